"""What the README promises of backups, on the lab: without a script of the operator's, with a filter, and with a script
that ours must not go along with.
"""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared
from tests.lab.test_program import snapshot

pytestmark = pytest.mark.e2e


def test_without_a_script_of_the_operator_s_ours_is_installed_proven_and_told_to_cron(lab: Lab, shared: Shared) -> None:
    before = snapshot(lab)
    dumps = lab.host_dir / "dumps"
    lab.write_config(backupScript="none", backupDir=str(dumps))
    try:
        preview = lab.pulumi("preview").stdout
        assert "+++" in preview and "pg_backup.sh" not in preview, "homeserver.yaml alone is edited"
        lab.pulumi("up", "--yes", "--skip-preview")
        told = lab.outputs()
        assert [dump["database"] for dump in told["backups"]] == ["mautrix_signal", "mas"]
        script = Path(told["backupCron"].split(" root ")[1].split(" ")[0])
        assert stat.S_IMODE(script.stat().st_mode) == 0o700
        done = subprocess.run([str(script), str(dumps)], capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), "as cron runs it"
        for path in dumps.iterdir():
            if str(path) not in [dump["path"] for dump in told["backups"]]:
                path.unlink()  # this night's; the proof's own go by themselves
        lab.pulumi("destroy", "--yes", "--skip-preview")
        assert snapshot(lab) == before
    finally:
        lab.write_config()
        shared.spoilt = True


def test_a_filter_makes_every_dump_of_ours_what_it_writes(lab: Lab, shared: Shared) -> None:
    lab.write_config(backupFilter="gzip -dc | tr A-Za-z N-ZA-Mn-za-m", backupFilterSuffix=".rot13")
    try:
        lab.pulumi("up", "--yes", "--skip-preview")
        ours = [dump for dump in lab.outputs()["backups"] if dump["database"] != "synapse"]
        assert [dump["proof"] for dump in ours] == ["made and filtered without an error"] * 2
        for dump in ours:
            assert dump["path"].endswith(".sql.gz.rot13")
            assert "-- CbfgterFDY qngnonfr qhzc pbzcyrgr" in Path(dump["path"]).read_text()
        lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    finally:
        lab.write_config()
        shared.spoilt = True


def test_another_script_in_the_same_directory_gets_the_call_and_the_old_one_is_as_it_was(
    lab: Lab, shared: Shared
) -> None:
    """Both call the one dump script there, which the old one's removal must not take away for good."""
    before = snapshot(lab)
    old = lab.host_dir / "scripts/pg_backup.sh"
    new = old.with_name("nightly.sh")
    was = old.read_bytes()
    new.write_bytes(was)
    new.chmod(0o755)
    try:
        lab.pulumi("up", "--yes", "--skip-preview")
        lab.write_config(backupScript=str(new))
        lab.pulumi("up", "--yes", "--skip-preview")
        assert old.read_bytes() == was
        assert subprocess.run([str(new)], check=False).returncode == 0, "it finds our dump script"
        lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
        for path in lab.host_dir.glob("backups/*.bridges.sql.gz"):
            if str(path) not in [dump["path"] for dump in lab.outputs()["backups"]]:
                path.unlink()
        lab.pulumi("destroy", "--yes", "--skip-preview")
        assert new.read_bytes() == was
        new.unlink()
        assert snapshot(lab) == before
    finally:
        new.unlink(missing_ok=True)
        lab.write_config()
        shared.spoilt = True


def test_a_script_that_encrypts_and_uploads_is_told_with_every_line_and_ours_does_not_go_along(lab: Lab) -> None:
    file = lab.host_dir / "scripts/pg_backup.sh"
    was = file.read_text()
    file.write_text(
        was.replace("BACKUP_DIR", "OUT").replace("| gzip", "| gzip | gpg -e -r ops@example.org")
        + 'rclone copy "$OUT" remote:matrix\n'
    )
    before = snapshot(lab)
    try:
        done = lab.pulumi("preview", check=False)
        assert done.returncode != 0
        lines = [line.strip() for line in done.stdout.splitlines() if f"- {file}:" in line]
        assert [line.partition(": ")[2].split(" ")[0] for line in lines] == ["backupDir", "encrypts"]
        assert snapshot(lab) == before
        lab.write_config(backupDir="${OUT}", acceptPlainDumps=True)
        done = lab.pulumi("preview")
        told = "if it sends the dumps' directory, it sends our dumps in plain text"
        assert f"{file}:{len(was.splitlines()) + 1}: uploads (rclone): {told}" in done.stdout
        assert '/mautrix-backup.sh "${OUT-}"' in done.stdout
    finally:
        lab.write_config()
        file.write_text(was)
