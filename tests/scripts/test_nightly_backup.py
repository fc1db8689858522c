"""scripts/nightly_backup.py run for real: bash, a real Postgres behind a stub `docker exec`.

Pins a backup that was never proven (a dump that is cut, empty or does not restore), a scratch database or a changed
script left behind by a run that failed, and a removal that deletes a dump of the operator's.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import bundle
from tests.scripts.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = r"""#!/bin/bash
# Nightly backup
BACKUP_DIR="@HOME/backups"
TIMESTAMP=$(date +%Y%m%d_%H%M%S)
BACKUP_FILE="${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"
mkdir -p "${BACKUP_DIR}"

docker exec matrix-postgres pg_dump -U synapse -d synapse | gzip > "${BACKUP_FILE}"
if [ $? -eq 0 ] && [ -s "${BACKUP_FILE}" ]; then
    echo "Backup created: ${BACKUP_FILE}"
else
    exit 1
fi

find "${BACKUP_DIR}" -name "synapse_*.sql.gz" -mtime +14 -delete
"""

Tree = dict[str, tuple[int, bytes]]


class Box:
    """A host's directory with pg_backup.sh in it, and calls of the script under test."""

    def __init__(self, home: Path, server: Postgres) -> None:
        self.home, self.server = home, server
        (home / "scripts").mkdir()
        self.file = home / "scripts/pg_backup.sh"
        self.write(SCRIPT)
        self.backups = home / "backups"
        self.arguments: dict[str, Any] = {
            "file": str(self.file),
            "owner": "mautrix-signal/contabo",
            "container": "matrix-postgres",
            "dumps": [{"database": "mas", "role": "mas"}, {"database": "mautrix_signal", "role": "mautrix_signal"}],
            "all_databases": ["synapse", "mas", "mautrix_signal"],
            "bridge_database": "mautrix_signal",
            "superuser": "synapse",
            "scratch_database": "mautrix_signal_restore_check",
            "reapply": 0,
        }

    def write(self, text: str) -> None:
        self.file.write_text(text.replace("@HOME", str(self.home)))
        self.file.chmod(0o750)

    def run(self, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "scripts.nightly_backup", verb],
            cwd=CHECKOUT, env=self.server.environment(**environment), input=json.dumps(self.arguments),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def good(self, verb: str) -> dict[str, Any]:
        done = self.run(verb)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def bad(self, **environment: str) -> str:
        """`apply` fails, and leaves nothing: tree and databases as they were."""
        before, databases = self.tree(), self.server.databases()
        done = self.run("apply", **environment)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert self.tree() == before
        assert self.server.databases() == databases
        return done.stderr

    def tree(self) -> Tree:
        return {
            str(path.relative_to(self.home)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in self.home.rglob("*")
        }


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres) -> Box:
    return Box(tmp_path, bridge_database)


def test_apply_edits_runs_and_proves_and_remove_leaves_no_trace(box: Box) -> None:
    before, databases = box.tree(), box.server.databases()
    result = box.good("apply")
    assert result["file"] == str(box.file) and result["changed"] is True
    assert [dump["database"] for dump in result["dumps"]] == ["synapse", "mas", "mautrix_signal"]
    for dump in result["dumps"]:
        path = Path(dump["path"])
        assert path.parent == box.backups and path.name.startswith(dump["database"] + "_2")
        assert dump["bytes"] == path.stat().st_size
        assert (stat.S_IMODE(path.stat().st_mode) == 0o600) == (dump["database"] != "synapse")
    assert "COPY public.portal" in gzip.decompress(Path(result["dumps"][2]["path"]).read_bytes()).decode()
    assert {entry["path"] for entry in result["created"]} == {dump["path"] for dump in result["dumps"]}
    assert stat.S_IMODE(box.file.stat().st_mode) == 0o750
    notes = [path for path in box.file.parent.iterdir() if path != box.file]
    assert [stat.S_IMODE(note.stat().st_mode) for note in notes] == [0o600]
    assert box.server.databases() == databases, "the scratch database is dropped"

    deleted = box.good("remove")
    assert sorted(deleted["deleted"]) == sorted(dump["path"] for dump in result["dumps"])
    assert box.tree() == before


def test_what_is_said_names_the_run_the_sizes_and_the_proof(box: Box) -> None:
    said = box.run("apply").stderr
    assert "pg_backup.sh | Backup created: " in said
    assert "proven: mautrix_signal: mautrix_signal_" in said and "restores (2 tables)" in said
    assert "synapse_" in said and "has mode 0644, so others on the host can read it" in said


def test_it_runs_from_a_bundle_without_the_checkout(box: Box, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", bundle.command("scripts.nightly_backup", "apply")],
        cwd="/", env=box.server.environment(), input=bundle.pack("scripts.nightly_backup", box.arguments),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True


def test_later_dumps_of_the_operator_and_files_written_over_stay(box: Box) -> None:
    result = box.good("apply")
    theirs = box.backups / "mas_20260101_030000.sql.gz"
    theirs.write_text("a nightly one")
    over = Path(result["dumps"][0]["path"])
    over.write_text("written over by another run")
    done = box.run("remove")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in box.backups.iterdir()} == {theirs.name, over.name}
    assert f"note: {over} is not as our run made it: it stays" in done.stderr
    assert f"note: 1 dumps of mas by other runs stay in {box.backups}: none deletes them now" in done.stderr


def test_a_second_apply_changes_nothing_in_the_script_and_remove_takes_both_runs_dumps(box: Box) -> None:
    before = box.tree()
    box.good("apply")
    subprocess.run(["sleep", "1.1"], check=True)  # the script's timestamp has seconds
    assert box.good("apply")["changed"] is False
    assert len(list(box.backups.iterdir())) == 6
    assert len(box.good("remove")["deleted"]) == 6
    assert box.tree() == before


def test_remove_twice_and_remove_without_apply_do_nothing(box: Box) -> None:
    before = box.tree()
    assert box.good("remove") == {"file": str(box.file), "changed": False, "deleted": []}
    box.good("apply")
    box.good("remove")
    assert box.good("remove")["deleted"] == []
    assert box.tree() == before
    box.file.unlink()
    assert box.good("remove")["changed"] is False


def test_the_operators_edits_in_between_stand(box: Box) -> None:
    box.good("apply")
    box.write(box.file.read_text().replace("# Nightly backup\n", "# Nightly backup, mine\n"))
    box.good("remove")
    assert box.file.read_text() == SCRIPT.replace("@HOME", str(box.home)).replace("backup\n", "backup, mine\n", 1)


@pytest.mark.parametrize("database", ["mas", "mautrix_signal"])
def test_a_failed_dump_stops_and_leaves_nothing(box: Box, database: str) -> None:
    said = box.bad(FAIL_DUMP=database)
    assert f"{box.file}: its run failed with exit code 1; its last lines:" in said
    assert f"ERROR: {database} backup failed" in said.split("last lines:")[1]


def test_a_failed_dump_of_the_scripts_own_which_it_calls_created_is_found_out(box: Box) -> None:
    said = box.bad(FAIL_DUMP="synapse")
    assert "not a whole dump: pg_dump's closing line is not at its end" in said


def test_a_failed_update_leaves_the_deployed_state(box: Box) -> None:
    box.good("apply")
    subprocess.run(["sleep", "1.1"], check=True)
    box.arguments["container"] = "other-postgres"
    assert "No such container: other-postgres" in box.bad()
    box.arguments["container"] = "matrix-postgres"
    assert len(box.good("remove")["deleted"]) == 3


def test_a_dump_that_does_not_restore_stops_and_the_scratch_database_goes(box: Box) -> None:
    box.server.sql(
        "CREATE ROLE other; ALTER TABLE portal OWNER TO other; GRANT SELECT ON portal TO mautrix_signal;",
        "mautrix_signal",
    )
    try:
        said = box.bad()
        assert "the dump cannot be restored into mautrix_signal_restore_check: psql:" in said
    finally:
        box.server.sql("ALTER TABLE portal OWNER TO mautrix_signal; DROP ROLE other;", "mautrix_signal")


def test_somebodys_database_of_the_scratch_name_is_left_alone(box: Box) -> None:
    box.server.sql("CREATE DATABASE mautrix_signal_restore_check;")
    said = box.bad()
    assert (
        "database mautrix_signal_restore_check is needed for the restore check and is not ours: rename or drop it"
        in said
    )


def test_our_scratch_database_of_a_killed_run_is_replaced(box: Box) -> None:
    box.server.sql("CREATE DATABASE mautrix_signal_restore_check;")
    remark = "restore check of mautrix-signal/contabo, may be dropped"
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal_restore_check IS '{remark}';")
    box.good("apply")
    assert "mautrix_signal_restore_check" not in box.server.databases()


def test_a_script_that_cannot_be_edited_is_named_with_line_reason_and_mend(box: Box) -> None:
    box.write(SCRIPT.replace("+14", "14"))
    assert box.bad() == (
        f"{box.file}:15: -mtime 14 is no retention in days: write it as -mtime +14 or -mtime +${{RETENTION_DAYS}}\n"
    )


def test_a_missing_script_is_named(box: Box) -> None:
    box.file.unlink()
    assert box.bad() == (
        f"{box.file}: cannot be read: No such file or directory: is this the backup script? (setting backupScript)\n"
    )


def test_a_database_that_the_script_does_not_dump_stops(box: Box) -> None:
    box.arguments["all_databases"].append("another")
    assert f"its run made no dump of another in {box.backups} (new there: mas_" in box.bad()


def test_two_runs_at_the_same_time_are_not_mixed_up_and_nothing_is_deleted(box: Box) -> None:
    box.write(SCRIPT.replace("\nfind", '\necho x > "${BACKUP_DIR}/mas_20990101_000000.sql.gz"\nfind'))
    before = box.file.read_bytes()
    done = box.run("apply")
    assert done.returncode == 1
    assert f"{box.file}: several new dumps of mas in {box.backups}: mas_" in done.stderr
    assert box.file.read_bytes() == before
    assert (box.backups / "mas_20990101_000000.sql.gz").exists()


def test_a_backup_directory_that_was_there_stays_with_what_is_in_it(box: Box) -> None:
    box.backups.mkdir(mode=0o700)
    (box.backups / "synapse_20200101_000000.sql.gz").write_text("fresh")
    before = box.tree()
    box.good("apply")
    box.good("remove")
    assert box.tree() == before


def test_a_symlink_to_the_script_is_followed(box: Box) -> None:
    real = box.home / "real.sh"
    box.file.rename(real)
    box.file.symlink_to(real)
    before = box.tree()
    box.good("apply")
    assert box.file.is_symlink() and "# >>> mautrix-signal/contabo" in real.read_text()
    box.good("remove")
    assert box.tree() == before


def test_a_script_that_dumps_everything_itself_is_run_and_proven_unchanged(box: Box) -> None:
    lines = [
        f'docker exec matrix-postgres pg_dump -U {d} -Fc -d {d} > "${{BACKUP_DIR}}/{d}_${{TIMESTAMP}}.dump"\n'
        for d in ("mas", "mautrix_signal")
    ]
    box.write(SCRIPT.replace("\nfind", "\n" + "".join(lines) + "find"))
    box.arguments["bridge_database"] = "none"
    text = box.file.read_bytes()
    result = box.good("apply")
    assert result["changed"] is False and box.file.read_bytes() == text
    assert result["dumps"][1]["path"].endswith(".dump")


def test_a_read_only_directory_leaves_the_old_script_whole(box: Box) -> None:
    subprocess.run(["chattr", "+i", str(box.file.parent)], check=False, capture_output=True)
    try:
        if os.access(box.file.parent, os.W_OK) and _can_write(box.file.parent):
            pytest.skip("this file system has no immutable flag")
        assert "not written, the old file stands" in box.bad()
    finally:
        subprocess.run(["chattr", "-i", str(box.file.parent)], check=False, capture_output=True)


def _can_write(directory: Path) -> bool:
    try:
        (directory / "probe").touch()
        (directory / "probe").unlink()
    except OSError:
        return False
    return True
