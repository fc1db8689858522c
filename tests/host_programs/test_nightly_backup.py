"""backup/nightly_backup.py run for real: the shells, our dump script, a real Postgres behind a stub `docker exec`.

Pins a backup that was never proven (a dump that is cut, empty or does not restore), a scratch database or a changed
script left behind by a run that failed, and a file of the operator's or of another job that goes with ours.
"""

from __future__ import annotations

import gzip
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.backup.backup_script import DumpCall
from documents.backup.dump_script import render_dump_script
from documents.backup.schedule import render_schedule
from documents.marks import owner_comment
from documents.places import Database
from documents.places import Postgres as Place
from host_programs.backup import nightly_backup, proof, scripts
from host_programs.backup.nightly_backup import NightlyBackup
from host_programs.messages import ScriptError
from host_programs.postgres import dumps
from tests.facts import whole
from tests.host_programs import programs
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALL, REMOVE = "install_and_prove_dumps", "remove_dumps"
OWNER = "mautrix-signal/contabo"
SCRIPT = r"""#!/bin/bash
# Nightly backup
PATH=@TOOLS:$PATH
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
    """A host's directories with pg_backup.sh in one of them, and calls of the script under test."""

    def __init__(self, home: Path, server: Postgres) -> None:
        self.home, self.server = home, server
        self.backups, self.bridge_dir = home / "backups", home / "mautrix-bridges"
        self.file, self.ours = home / "scripts/pg_backup.sh", self.bridge_dir / "mautrix-backup.sh"
        self.note, self.cron_d = self.bridge_dir / ".proven.json", home / "etc/cron.d"
        for directory in (self.file.parent, self.bridge_dir, self.backups):
            directory.mkdir()
        self.write(SCRIPT)
        self.config: dict[str, str] = {}
        self.changed: dict[str, Any] = {}

    def arguments(self) -> NightlyBackup:
        plan = whole(None, sharedDir=str(self.bridge_dir), **self.config)
        template = (CHECKOUT / "host_programs/backup/bridge_backup.sh").read_text()
        arguments = NightlyBackup(
            script=str(self.file),
            proves_script=plan.backup.proves_script,
            call=DumpCall(OWNER, str(self.ours), plan.backup.directory),
            # cron's PATH does not lead to the stub
            dump_script=render_dump_script(template, plan).replace(
                "umask 077\n", f"umask 077\nPATH={self.tools}:$PATH\n"
            ),
            records=plan.dump_records,
            suffix=f".mautrix-bridges.sql.gz{plan.backup.suffix}",
            databases=(
                Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),
                Database("matrix-postgres", "mas", "mas"),
            ),
            bridges=(Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),),
            filter=plan.backup.filter,
            postgres=Place("matrix-postgres", 5432, "synapse"),
            directory=str(self.bridge_dir),
            schedule=tuple(
                replace(file, path=str(self.home / file.path.lstrip("/"))) for file in render_schedule(plan, "cron")
            ),
        )
        return replace(arguments, **self.changed)

    def write(self, text: str) -> None:
        self.file.write_text(text.replace("@HOME", str(self.home)).replace("@TOOLS", str(self.tools)))
        self.file.chmod(0o750)

    @property
    def tools(self) -> Path:
        return self.server.tools

    def run(self, verb: str, fail_dump: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """`fail_dump`: the database whose dump fails."""
        fault = self.tools / "fail_dump"
        fault.write_text(fail_dump)
        try:
            return subprocess.run(
                programs.command_of(getattr(nightly_backup, verb), "-I"),
                cwd="/", env=self.server.environment(**environment), input=programs.order_of(self.arguments()),
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            fault.unlink()

    def good(self, verb: str) -> Any:
        done = self.run(verb)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def deleted(self) -> int:
        """How many dumps a removal says that it deleted."""
        done = self.run(REMOVE)
        assert done.returncode == 0, done.stderr
        told = re.search(r"^deleted (\d+) dumps of our proof: ", done.stderr, re.MULTILINE)
        return int(told[1]) if told else 0

    def bad(self, fail_dump: str = "") -> str:
        """`apply` fails, and leaves nothing but what the operator's own script made: tree and databases as before."""
        before, databases = self.tree(), self.server.databases()
        done = self.run(INSTALL, fail_dump)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert self.tree() == before
        assert self.server.databases() == databases
        return done.stderr

    def tree(self) -> Tree:
        """All but the operator's own dumps, which his script makes whenever it is run."""
        return {
            str(path.relative_to(self.home)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in self.home.rglob("*")
            if not path.match("backups/synapse_*")
        }


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres) -> Box:
    return Box(tmp_path, bridge_database)


def test_apply_installs_edits_runs_and_proves_and_remove_leaves_no_trace(box: Box) -> None:
    before, databases = box.tree(), box.server.databases()
    result = box.good(INSTALL)
    assert [dump["database"] for dump in result["dumps"]] == ["mautrix_signal", "mas"]
    for dump in result["dumps"]:
        path = Path(dump["path"])
        assert path.parent == box.backups and path.name.startswith(dump["database"] + "_2")
        assert (dump["bytes"], dump["proof"]) == (path.stat().st_size, "unpacks, and is whole")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "COPY public.portal" in gzip.decompress(Path(result["dumps"][0]["path"]).read_bytes()).decode()
    assert (stat.S_IMODE(box.file.stat().st_mode), stat.S_IMODE(box.ours.stat().st_mode)) == (0o750, 0o700)
    assert stat.S_IMODE(box.note.stat().st_mode) == 0o600
    assert box.server.databases() == databases, "the scratch database is dropped"

    assert box.deleted() == 2
    assert box.tree() == before
    assert len([*box.backups.glob("synapse_*")]) == 1, "the operator's own dump is his"


def test_what_is_said_names_the_run_the_sizes_and_the_proof(box: Box) -> None:
    said = box.run(INSTALL).stderr
    assert "one run of " in said and "Backup created" not in said, "what his script says is his"
    assert "proven: mautrix_signal: mautrix_signal_" in said and "restores" in said


def test_no_secret_that_the_script_prints_is_shown(box: Box) -> None:
    """`set -x` shows every value that a script exports."""
    box.write(
        SCRIPT.replace("\nfind", "\necho '+ PGPASSWORD=hunter2-hunter2 restic -r rest:https://u:hunter2@x/'\nfind")
    )
    said = box.run(INSTALL).stderr
    assert "PGPASSWORD" not in said and "hunter2" not in said
    box.write(SCRIPT.replace("\nfind", "\necho '+ PGPASSWORD=hunter2-hunter2'\nexit 3\nfind"))
    said = box.run(INSTALL).stderr
    assert "its run failed with exit code 3" in said and "PGPASSWORD=…" in said and "hunter2" not in said


def test_an_earlier_script_keeps_its_call_until_the_new_dumps_are_proven(box: Box) -> None:
    """It lost the call before anything new was made: with a proof that failed, nothing made dumps at night."""
    box.config = {"backupDir": str(box.home / "own/dumps"), "proveBackupScript": "false"}
    before = box.file.read_text()
    box.good(INSTALL)
    called, first = box.file.read_text(), box.file
    box.file = box.home / "scripts/other.sh"
    box.write(SCRIPT)
    note = box.note.read_text()
    assert box.run(INSTALL, fail_dump="mas").returncode == 1
    assert first.read_text() == called and "added by Pulumi" not in box.file.read_text()
    assert box.note.read_text() == note
    box.good(INSTALL)
    assert first.read_text() == before and "added by Pulumi" in box.file.read_text()
    assert json.loads(box.note.read_text())["scripts"] == [str(box.file)]


def test_a_removal_takes_the_call_out_of_every_script_that_has_it(box: Box) -> None:
    """A run that was killed between the two scripts leaves the call in both, and the state knows one."""
    box.config = {"backupDir": str(box.home / "own/dumps"), "proveBackupScript": "false"}
    before = box.file.read_text()
    box.good(INSTALL)
    first, box.file = box.file, box.home / "scripts/other.sh"
    box.write(SCRIPT)
    box.good(REMOVE)
    assert first.read_text() == before and not box.note.exists()


def test_a_filter_that_a_shell_quotes_in_its_error_is_not_shown(box: Box) -> None:
    box.config = {"backupFilter": "gpg --passphrase hunter2 |;", "backupFilterSuffix": ".gpg"}
    said = box.bad()
    assert "syntax error" in said and "hunter2" not in said
    assert not (box.bridge_dir / "dumps").exists(), "nor is it in a note"


def test_the_script_runs_in_the_environment_that_cron_gives_it(box: Box) -> None:
    """It had all that Pulumi's process has: the state's passphrase, and a PATH with which it works by day alone."""
    box.write(SCRIPT.replace("PATH=@TOOLS", "env -0 >@HOME/seen; pwd >>@HOME/seen\nPATH=@TOOLS", 1))
    done = box.run(INSTALL, PULUMI_CONFIG_PASSPHRASE="hunter2", DOCKER_HOST="unix:///nowhere", LANG="C.UTF-8")
    assert done.returncode == 0, done.stderr
    *seen, directory = (box.home / "seen").read_text().split("\0")
    variables = dict(variable.split("=", 1) for variable in seen)
    account = pwd.getpwuid(os.geteuid())
    assert {key: value for key, value in variables.items() if key not in ("_", "SHLVL", "PWD")} == {
        "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LANG": "C.UTF-8",
        "HOME": account.pw_dir, "LOGNAME": account.pw_name, "USER": account.pw_name,
    }  # fmt: skip
    assert directory.strip() == account.pw_dir


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda box: os.chown(box.file, 1000, 0), "{file}: belongs to uid 1000, .*: `chown root {file}`"),
        (lambda box: box.file.chmod(0o757), "{file}: others may write into it, .*: `chmod go-w {file}`"),
        (lambda box: os.chown(box.file.parent, 1000, 0), "{file.parent}: belongs to uid 1000, .*: chown root "),
        (
            lambda box: subprocess.run(f"chgrp 1000 {box.home} && chmod 770 {box.home}", shell=True, check=True),
            "{home}: others may write into it, .*: chmod",
        ),
    ],
)
def test_a_program_that_somebody_else_can_change_is_not_run_by_root(
    box: Box, spoil: Callable[[Box], object], told: str
) -> None:
    spoil(box)
    expected = told.format(file=box.file, home=box.home)
    assert re.match(expected, scripts.find_foreign_owner(box.file)), "as preview says it"
    assert re.search(expected, box.bad())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_link_to_a_program_of_somebody_else_s_is_not_run_by_root(box: Box) -> None:
    folder = box.home / "theirs"
    folder.mkdir()
    os.chown(folder, 1000, 1000)
    box.file.rename(folder / "script")
    box.file.symlink_to(folder / "script")
    assert f"{folder}: belongs to uid 1000, who could change what is in it: chown root" in box.bad()


def test_another_job_s_new_file_stays_when_the_proof_fails_and_at_destroy(box: Box) -> None:
    box.write(SCRIPT.replace("\nfind", '\necho theirs > "${BACKUP_DIR}/other_job.tar"\nfind'))
    done = box.run(INSTALL, fail_dump="mas")
    assert done.returncode == 1
    assert [path.name for path in box.backups.iterdir() if "synapse" not in path.name] == ["other_job.tar"]
    box.good(INSTALL)
    (box.backups / "nightly_20260101.sql.gz").write_bytes(b"another job's")
    box.good(REMOVE)
    left = sorted(path.name for path in box.backups.iterdir() if "synapse" not in path.name)
    assert left == ["nightly_20260101.sql.gz", "other_job.tar"]


def test_later_dumps_stay_and_are_told(box: Box) -> None:
    box.good(INSTALL)
    later = box.backups / "mas_20990101T030000Z.mautrix-bridges.sql.gz"
    later.write_text("a nightly one")
    done = box.run(REMOVE)
    assert done.returncode == 0, done.stderr
    assert later.exists()
    assert f"note: 1 dumps by later runs stay in {box.backups}: nothing deletes them now" in done.stderr


def test_what_is_not_as_our_run_made_it_stays(box: Box) -> None:
    """Whatever stood at a noted path was deleted: a later run's dump, and a link of somebody's."""
    result = box.good(INSTALL)
    over, moved = (Path(dump["path"]) for dump in result["dumps"][:2])
    over.write_text("written over by another run")
    kept = moved.rename(box.home / "kept.sql.gz")
    moved.symlink_to(kept)
    done = box.run(REMOVE)
    assert done.returncode == 0, done.stderr
    for path in (over, moved):
        assert path.exists() and f"note: {path} is not as our run made it: it stays\n" in done.stderr


@pytest.mark.parametrize("text", ["", '{"files": ["/a"]}', "[1]"])
def test_a_note_that_cannot_be_read_stops_both_steps_and_is_not_written_over(box: Box, text: str) -> None:
    """It alone names the dumps of the proof: the next run wrote it anew, and they stayed for ever."""
    box.good(INSTALL)
    box.note.write_text(text)
    before = box.tree()
    said = box.bad()
    assert f"{box.note}: cannot be read (" in said and f"or give them up (rm {box.note}), then run this again" in said
    done = box.run(REMOVE)
    assert done.returncode == 1 and f"{box.note}: cannot be read (" in done.stderr
    assert box.tree() == before
    box.note.unlink()
    box.good(REMOVE)


def test_a_second_apply_changes_nothing_in_the_scripts_and_remove_takes_both_runs_dumps(box: Box) -> None:
    before = box.tree()
    box.good(INSTALL)
    for path in box.backups.glob("m*"):  # the time in the names has seconds
        path.rename(path.with_name(path.name.replace("_20", "_19", 1)))
    note = json.loads(box.note.read_text())
    note["files"] = [{**entry, "path": entry["path"].replace("_20", "_19", 1)} for entry in note["files"]]
    box.note.write_text(json.dumps(note))
    scripts = [(path.stat().st_mtime_ns, path.read_bytes()) for path in (box.file, box.ours)]
    box.good(INSTALL)
    assert scripts == [(path.stat().st_mtime_ns, path.read_bytes()) for path in (box.file, box.ours)]
    assert len(list(box.backups.glob("m*"))) == 4
    assert box.deleted() == 4
    assert box.tree() == before


def test_remove_twice_and_remove_without_apply_do_nothing(box: Box) -> None:
    before = box.tree()
    assert box.deleted() == 0
    box.good(INSTALL)
    box.good(REMOVE)
    assert box.deleted() == 0
    assert box.tree() == before
    box.file.unlink()
    done = box.run(REMOVE)
    assert done.returncode == 0 and f"warning: {box.file}: is gone, so there is nothing to take out" in done.stderr


def test_what_is_no_utf_8_any_more_stops_no_destroy(box: Box) -> None:
    box.good(INSTALL)
    with box.file.open("ab") as file:
        file.write(b"# caf\xe9\n")
    box.good(REMOVE)
    data = box.file.read_bytes()
    assert data.endswith(b"# caf\xe9\n") and b">>>" not in data


def test_the_operators_edits_in_between_stand(box: Box) -> None:
    before = box.file.read_text()
    box.good(INSTALL)
    box.write(box.file.read_text().replace("# Nightly backup\n", "# Nightly backup, mine\n"))
    box.good(REMOVE)
    assert box.file.read_text() == before.replace("backup\n", "backup, mine\n", 1)


def test_an_edit_of_his_during_a_run_that_fails_is_not_lost(box: Box) -> None:
    box.write(SCRIPT.replace("\nfind", f'\necho "# mine" >> {box.file}; exit 9\nfind'))
    done = box.run(INSTALL)
    assert done.returncode == 1
    assert f"note: {box.file}: somebody changed it meanwhile, so it was not put back" in done.stderr
    text = box.file.read_text()
    assert text.endswith("# mine\n") and f"# >>> {OWNER}" in text
    box.good(REMOVE)
    text = box.file.read_text()
    assert text.endswith("# mine\n") and f"# >>> {OWNER}" not in text


def _wait_until_it_hangs(script: Path) -> int:
    """The id of the child for which the script waits."""
    pid, deadline = script.with_name("pid"), time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(pid.read_text())


def _has_ended(pid: int) -> bool:
    """Whether the process is gone, or dead and not yet waited for."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_script_that_never_ends_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that waits for ever, and holds the lock of the script meanwhile."""
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho begun\necho $! >{tmp_path}/pid\nwait\n")
    script.chmod(0o700)
    monkeypatch.setattr(scripts, "LIMIT", 1.8)
    with pytest.raises(ScriptError) as raised:
        scripts.run_script([str(script)])
    assert str(raised.value) == (f"{script}: its run took over 0.0005 hours and was ended; its last lines:\n  begun")
    assert _has_ended(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_a_signal_ends_is_taken_back_and_the_script_ends_with_it(box: Box, number: signal.Signals) -> None:
    """Both scripts stayed changed, with no proof, and the operator's went on alone."""
    hang = f"sleep 600 &\necho $! > {box.home}/scripts/pid\nwait\n"
    box.write(SCRIPT.replace("find ", hang + "find "))
    before = box.tree()
    with subprocess.Popen(
        programs.command_of(nightly_backup.install_and_prove_dumps, "-I"),
        cwd="/", env=box.server.environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(programs.order_of(box.arguments()))
        process.stdin.close()
        process.stdin = None
        child = _wait_until_it_hangs(box.file)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "") and said.endswith(f"\nended by {number.name}\n")
    assert _has_ended(child)
    (box.home / "scripts/pid").unlink()
    assert box.tree() == before


@pytest.mark.parametrize("database", ["mas", "mautrix_signal"])
def test_a_failed_dump_stops_and_leaves_nothing(box: Box, database: str) -> None:
    said = box.bad(fail_dump=database)
    assert f"{box.file}: its run failed with exit code 1; its last lines:" in said
    assert f"{database}: no whole dump could be made in {box.backups}" in said.split("last lines:")[1]


def test_a_failed_update_leaves_the_deployed_state(box: Box) -> None:
    box.good(INSTALL)
    before = box.tree()
    box.config["postgresContainer"] = "other-postgres"
    done = box.run(INSTALL)
    assert done.returncode == 1 and "No such container: other-postgres" in done.stderr
    assert box.tree() == before
    box.config.clear()
    assert box.deleted() == 2


def test_a_dump_that_does_not_restore_stops_and_the_scratch_database_goes(box: Box) -> None:
    box.server.sql(
        "CREATE ROLE other; ALTER TABLE portal OWNER TO other; GRANT SELECT ON portal TO mautrix_signal;",
        "mautrix_signal",
    )
    try:
        said = box.bad()
        assert "the dump cannot be restored into mautrix_signal_restore_check: " in said
        assert "permission denied" in said or "must be able to SET ROLE" in said or "must be member of role" in said
    finally:
        box.server.sql("ALTER TABLE portal OWNER TO mautrix_signal; DROP ROLE other;", "mautrix_signal")


def test_somebodys_database_of_the_scratch_name_is_left_alone(box: Box) -> None:
    box.server.sql("CREATE DATABASE mautrix_signal_restore_check;")
    said = box.bad()
    assert (
        "database mautrix_signal_restore_check is needed for the restore check and is not ours: look whose it is, "
        "and rename it" in said
    )


def test_our_scratch_database_of_a_killed_run_is_replaced(box: Box) -> None:
    box.server.sql("CREATE DATABASE mautrix_signal_restore_check;")
    remark = owner_comment("mautrix-signal/contabo", scratch=True)
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal_restore_check IS '{remark}';")
    box.good(INSTALL)
    assert "mautrix_signal_restore_check" not in box.server.databases()


def test_a_script_that_cannot_take_the_call_is_named_with_line_reason_and_fix(box: Box) -> None:
    marks = f"# >>> {OWNER}\n# <<< {OWNER}\n"
    box.write(SCRIPT.replace("\nfind", f"\nif true; then\n{marks}find") + "fi\n")
    line = 1 + box.file.read_text().split("\n").index("if true; then") + 1
    assert (
        box.bad()
        .splitlines()[0]
        .startswith(
            f"{box.file}:{line}: our call would stand inside of something that is not closed there: put the two lines "
        )
    )


def test_a_missing_script_is_named(box: Box) -> None:
    box.file.unlink()
    assert f"{box.file}: cannot be read: No such file or directory: check the setting backupScript\n" in box.bad()


def test_a_script_that_ends_before_the_call_is_found_out(box: Box) -> None:
    box.write(SCRIPT.replace("mkdir -p", "[ -e /nowhere ] || exit 0\nmkdir -p"))
    assert "its run ended well and our dump script made no dump of mautrix_signal, mas: does it end" in box.bad()


def test_without_consent_the_script_is_not_run_and_ours_is_proven_alone(box: Box) -> None:
    """It uploaded, or stopped Synapse, at midday."""
    box.write(SCRIPT + 'touch "@HOME/ran"\n')
    box.config = {"backupDir": str(box.home / "own/dumps"), "proveBackupScript": "false"}
    before = box.tree()
    dumps = box.good(INSTALL)["dumps"]
    assert [Path(dump["path"]).parent for dump in dumps] == [box.home / "own/dumps"] * 2
    assert stat.S_IMODE((box.home / "own/dumps").stat().st_mode) == 0o700
    assert box.file.read_text().splitlines()[2].startswith(f"# >>> {OWNER}"), "behind the first comment"
    assert not (box.home / "ran").exists()
    box.good(REMOVE)
    assert box.tree() == before


def test_without_consent_and_with_an_expression_nothing_is_kept_and_no_success_is_claimed_of_the_script(
    box: Box,
) -> None:
    """`main` ended with `exit` before the call, the script uploads and was not run, and `up` said success: no dump,
    ever."""
    box.config["proveBackupScript"] = "false"
    before = box.tree()
    done = box.run(INSTALL)
    assert done.returncode == 0, done.stderr
    assert (
        f"{box.file}: was not run, so nothing proves that our call is reached: run it once, and `pulumi" in done.stderr
    )
    assert [(dump["database"], dump["path"], dump["proof"]) for dump in json.loads(done.stdout)["dumps"]] == [
        (name, "", "unpacks, and is whole; not kept") for name in ("mautrix_signal", "mas")
    ]
    assert not [*box.backups.iterdir()], "only the script can tell where $BACKUP_DIR is"
    assert not (box.bridge_dir / "dumps").exists(), "no dump is there that `status` could count"
    assert f"# >>> {OWNER}" in box.file.read_text()
    box.good(REMOVE)
    assert box.tree() == before


def test_with_consent_the_script_is_run_with_ours_at_its_head(box: Box) -> None:
    box.config["backupDir"] = str(box.home / "own/dumps")
    before = box.tree()
    assert [Path(dump["path"]).parent for dump in box.good(INSTALL)["dumps"]] == [box.home / "own/dumps"] * 2
    assert [*box.backups.iterdir()], "the script's own"
    box.good(REMOVE)
    assert box.tree() == before


def test_a_proof_that_fails_leaves_what_was_noted_of_the_last_good_night(box: Box) -> None:
    box.good(INSTALL)
    noted = {path.name: path.read_bytes() for path in (box.bridge_dir / "dumps").iterdir()}
    assert sorted(noted) == ["mas.made", "mautrix_signal.made"]
    box.bad(fail_dump="mas")
    assert {path.name: path.read_bytes() for path in (box.bridge_dir / "dumps").iterdir()} == noted


def test_without_a_script_of_the_operator_s(box: Box) -> None:
    box.file.unlink()
    box.config |= {"backupScript": "none", "backupDir": str(box.home / "new/dumps"), "backupTime": "04:45"}
    box.changed = {"script": ""}
    box.cron_d.mkdir(parents=True)
    before = box.tree()
    assert "no whole dump could be made" in box.bad(fail_dump="mas")
    result = box.good(INSTALL)
    assert [Path(dump["path"]).parent for dump in result["dumps"]] == [box.home / "new/dumps"] * 2
    assert stat.S_IMODE((box.home / "new/dumps").stat().st_mode) == 0o700
    (file,) = box.cron_d.iterdir()
    assert f"\n45 4 * * * root {box.ours} {box.home}/new/dumps >/dev/null\n" in file.read_text()
    box.config["backupTime"] = "05:00"
    assert "no whole dump could be made" in box.run(INSTALL, fail_dump="mas").stderr
    assert "\n45 4 " in file.read_text(), "a run that failed changes no time"
    box.good(INSTALL)
    assert "\n0 5 " in file.read_text()
    assert box.deleted() == 4
    assert box.tree() == before


def test_a_schedule_that_cannot_be_installed_takes_all_back(box: Box) -> None:
    """The dumps are proven by then, and would stay; and the dump script, which nothing runs."""
    box.file.unlink()
    box.config |= {"backupScript": "none", "backupDir": str(box.home / "new/dumps")}
    box.changed = {"script": ""}
    box.cron_d.mkdir(parents=True)
    file = box.cron_d / "mautrix-bridges_backup"
    file.write_text("# mine\n")
    assert f"{file}: exists and was not made by this stack: move it away, or set another sharedDir" in box.bad()
    file.unlink()
    box.cron_d.chmod(0o777)
    assert f"{box.cron_d}: others may write into it, and could change what is in it" in box.bad()


def test_a_script_of_the_operator_s_takes_the_schedule_s_place(box: Box) -> None:
    """Both would make the dumps, twice a night."""
    box.config |= {"backupDir": str(box.home / "new/dumps"), "backupScript": "none"}
    box.changed = {"script": ""}
    box.cron_d.mkdir(parents=True)
    box.good(INSTALL)
    assert len([*box.cron_d.iterdir()]) == 1
    del box.config["backupScript"]
    box.changed = {}
    box.good(INSTALL)
    assert not [*box.cron_d.iterdir()]


def test_filtered_dumps_are_proven_by_size_and_the_restore_check_comes_before_the_filter(box: Box) -> None:
    box.config |= {"backupFilter": "tr a-z b-za", "backupFilterSuffix": ".rot"}
    done = box.run(INSTALL)
    assert done.returncode == 0, done.stderr
    ours = json.loads(done.stdout)["dumps"][:2]
    assert [dump["proof"] for dump in ours] == ["made and filtered without an error"] * 2
    assert all(dump["path"].endswith(".mautrix-bridges.sql.gz.rot") for dump in ours)
    assert "proven: mautrix_signal: mautrix_signal.sql restores" in done.stderr
    box.config["backupFilter"] = "cat >/dev/null"
    assert "no whole dump could be made" in box.run(INSTALL).stderr


def test_what_lies_beside_ours_is_not_judged(box: Box) -> None:
    """Dumps of other programs, encrypted ones, answers of psql: `up` called each "not a whole dump", for ever."""
    names = ["wiki.sql.gz", "synapse_1.sql.gz.gpg", "synapse_1.sql.zst", "users.sql", "synapse_1.sql", "empty.dump"]
    made = "".join(f'\necho x > "${{BACKUP_DIR}}/{name}"' for name in names)
    box.write(SCRIPT.replace("\nfind", f"{made}\nfind"))
    assert len(box.good(INSTALL)["dumps"]) == 2


def test_a_dump_with_a_terminal_s_line_ends_is_whole(box: Box) -> None:
    """`docker exec -t` writes them."""
    path = box.backups / "mas_20260101T000000Z.mautrix-bridges.sql.gz"
    path.write_bytes(gzip.compress(b"--\r\n-- PostgreSQL database dump complete\r\n--\r\n"))
    dumps.prove_dump(path)
    path.write_bytes(gzip.compress(b"--\r\n-- PostgreSQL database dump com"))
    with pytest.raises(ScriptError, match="not a whole dump: pg_dump's closing line is not at its end"):
        dumps.prove_dump(path)


def test_a_script_without_an_interpreter_s_line_is_run_as_cron_does(box: Box) -> None:
    box.write(SCRIPT.replace("#!/bin/bash\n", ""))
    assert len(box.good(INSTALL)["dumps"]) == 2


def test_a_dump_script_of_somebody_else_s_is_not_written_over(box: Box) -> None:
    box.ours.write_text("#!/bin/sh\necho mine\n")
    assert f"{box.ours}: exists and is not this stack's: move it away" in box.bad()
    box.good(REMOVE)
    assert box.ours.read_text() == "#!/bin/sh\necho mine\n"


def test_one_mark_alone_stops_a_removal_before_anything_goes(box: Box) -> None:
    box.good(INSTALL)
    box.write("\n".join(line for line in box.file.read_text().split("\n") if not line.startswith("# <<<")))
    before = box.tree()
    done = box.run(REMOVE)
    assert done.returncode == 1
    assert f"the marks of {OWNER} should be one pair" in done.stderr
    assert box.tree() == before


def test_a_script_without_the_executable_bit_is_run_by_its_shell(box: Box) -> None:
    box.file.chmod(0o640)
    assert len(box.good(INSTALL)["dumps"]) == 2
    assert stat.S_IMODE(box.file.stat().st_mode) == 0o640


def test_a_backup_directory_that_was_there_stays_with_what_is_in_it(box: Box) -> None:
    box.backups.chmod(0o700)
    (box.backups / "mas_20200101_000000.sql.gz").write_text("fresh")
    before = box.tree()
    box.good(INSTALL)
    box.good(REMOVE)
    assert box.tree() == before


def test_a_symlink_to_the_script_is_followed(box: Box) -> None:
    real = box.home / "real.sh"
    box.file.rename(real)
    box.file.symlink_to(real)
    before = box.tree()
    box.good(INSTALL)
    assert box.file.is_symlink() and f"# >>> {OWNER}" in real.read_text()
    box.good(REMOVE)
    assert box.tree() == before


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


def test_a_dump_that_a_killed_run_left_in_the_open_goes_with_the_next_run(box: Box) -> None:
    """Beside a filter that encrypts, the proof makes dumps that anybody who finds them can read."""
    box.config = {"backupFilter": "tr a-z A-Z", "backupFilterSuffix": ".x"}
    left = box.bridge_dir / ".work"
    left.mkdir()
    (left / "mautrix_signal.sql").write_text("messages")
    box.good(INSTALL)
    assert not left.exists()


def test_a_dump_of_ours_that_a_link_replaced_meanwhile_is_not_read(box: Box) -> None:
    """Whoever owns the directory has root read, and name as a dump, whatever he likes."""
    path = box.backups / "mas_20260101T000000Z.mautrix-bridges.sql.gz"
    path.symlink_to("/etc/shadow")
    with pytest.raises(ScriptError, match="is no file"):
        proof.prove_dump("mas", path, filtered=False)
    with pytest.raises(ScriptError, match="is a link to /etc/shadow, not a file of its own"), dumps.open_dump(path):
        pass
