"""What the README promises of backups, on the lab: without a script of the operator's, with a filter, and with a script
that ours must not go along with.
"""

from __future__ import annotations

import re
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.box import Lab
from lab.scheduler import private_cron_directory, running_cron
from lab.ssh_server import host_over_ssh
from tests.lab.conftest import Shared
from tests.lab.test_program import snapshot

pytestmark = pytest.mark.e2e


HERE = pytest.mark.skipif(host_over_ssh(), reason="the lab's SSH server is in no mount namespace of a test's")
CRON_LINE = r"30 3 \* \* \* root (\S+) (\S+) >/dev/null"


@HERE
def test_without_a_script_of_the_operator_s_cron_runs_ours_each_night(lab: Lab, shared: Shared) -> None:
    """The real cron, at the time of the setting by a clock of its own."""
    before, dumps = snapshot(lab), lab.host_dir / "dumps"
    lab.write_config(backupScript="none", backupDir=str(dumps))
    try:
        with private_cron_directory(lab) as directory:
            with running_cron("2026-11-24 12:00:00"):
                preview = lab.pulumi("preview").stdout
                assert "+++" in preview and "pg_backup.sh" not in preview, "homeserver.yaml alone is edited"
                assert "a new file, /etc/cron.d/bridges_backup: the host makes the dumps each night at 03:30" in preview
                lab.pulumi("up", "--yes", "--skip-preview")
                told = lab.outputs()
                assert [dump["database"] for dump in told["backups"]] == ["mautrix_signal", "mas"]
                assert told["backupCron"] == "", "there is nothing to add"
                (file,) = directory.iterdir()
                assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_uid) == (0o644, 0)
                assert re.search(f"^{CRON_LINE}$", file.read_text(), re.MULTILINE)
                lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
                lab.write_config(backupScript="none", backupDir=str(dumps), backupTime="04:45")
                lab.pulumi("up", "--yes", "--skip-preview")
                assert "\n45 4 * * * root " in file.read_text()
            proven = {Path(dump["path"]) for dump in lab.outputs()["backups"]}
            made = {*dumps.iterdir()}
            with running_cron("2026-11-24 04:44:58"):
                _wait(lambda: len({*dumps.glob("*.sql.gz")} - made) == 2 and not [*dumps.glob(".*")])
            for path in {*dumps.iterdir()} - made:
                path.unlink()  # this night's; the proof's own go by themselves
            assert proven <= made
            file.unlink()
            with running_cron("2026-11-24 12:00:00"):
                preview = lab.pulumi("preview").stdout
                assert "/etc/cron.d/bridges_backup: is missing: if somebody removed it, `pulumi" in preview
                lab.write_config(backupScript="none", backupDir=str(dumps), backupTime="04:45", reapply=1)
                lab.pulumi("up", "--yes", "--skip-preview")
                assert file.exists()
            lab.pulumi("destroy", "--yes", "--skip-preview")
            assert not [*directory.iterdir()]
        assert snapshot(lab) == before
    finally:
        lab.write_config()
        shared.spoilt = True


@HERE
def test_without_anything_that_runs_it_at_night_the_line_is_left_to_the_operator(lab: Lab, shared: Shared) -> None:
    before, dumps = snapshot(lab), lab.host_dir / "dumps"
    lab.write_config(backupScript="none", backupDir=str(dumps))
    try:
        with private_cron_directory(lab) as directory:
            preview = lab.pulumi("preview").stdout
            assert "neither a cron that reads /etc/cron.d nor systemd runs on the host: nothing makes" in preview
            lab.pulumi("up", "--yes", "--skip-preview")
            assert not [*directory.iterdir()]
            told = lab.outputs()
            line = re.fullmatch(CRON_LINE, told["backupCron"])
            assert line
            done = subprocess.run([line[1], line[2]], capture_output=True, text=True, check=False)
            assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
            for path in dumps.iterdir():
                if str(path) not in [dump["path"] for dump in told["backups"]]:
                    path.unlink()
            lab.pulumi("destroy", "--yes", "--skip-preview")
        assert snapshot(lab) == before
    finally:
        lab.write_config()
        shared.spoilt = True


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)


def test_a_filter_makes_every_dump_of_ours_what_it_writes(lab: Lab, shared: Shared) -> None:
    lab.write_config(backupFilter="gzip -dc | tr A-Za-z N-ZA-Mn-za-m", backupFilterSuffix=".rot13")
    try:
        lab.pulumi("up", "--yes", "--skip-preview")
        ours = lab.outputs()["backups"]
        assert [dump["proof"] for dump in ours] == ["made and filtered without an error"] * 2
        for dump in ours:
            assert dump["path"].endswith(".sql.gz.rot13")
            assert "-- CbfgterFDY qngnonfr qhzc pbzcyrgr" in Path(dump["path"]).read_text()
        lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    finally:
        lab.write_config()
        shared.spoilt = True


def test_another_script_gets_the_call_and_the_old_one_is_as_it_was(lab: Lab, shared: Shared) -> None:
    """The old one's removal must not take away for good the dump script that the new one calls."""
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


# It exits before its end, encrypts, uploads, stops Synapse and keeps the newest two of all dumps in its directory: in
# that directory ours would be lost, or harm it; in their own they do not.
HARD = r"""#!/bin/bash
set -eu
BACKUP_DIR=@HOST/backups
touch @HOST/backups/synapse_ran
docker stop @SYNAPSE
pg_dump synapse | gpg -c > "$BACKUP_DIR/synapse_1.sql.gpg"
rclone copy "$BACKUP_DIR" remote:matrix
ls -t "$BACKUP_DIR"/*.gz | tail -n +3 | xargs -r rm -f
exit 0
"""


def test_a_script_that_nothing_of_ours_should_depend_on(lab: Lab, shared: Shared) -> None:
    file, own = lab.host_dir / "scripts/pg_backup.sh", lab.host_root / "var/backups/mautrix-bridges"
    was = file.read_text()
    file.write_text(HARD.replace("@HOST", str(lab.host_dir)).replace("@SYNAPSE", lab.synapse))
    theirs = [lab.host_dir / f"backups/synapse_{day}.sql.gz" for day in range(7)]
    for path in theirs:
        path.write_text("theirs")
    before = snapshot(lab)
    try:
        done = lab.pulumi("preview", check=False)
        assert done.returncode != 0
        lines = [line.strip() for line in done.stdout.splitlines() if f"- {file}:" in line]
        assert [line.partition(": ")[2].split(" ")[0] for line in lines] == ["encrypts", "takes"]
        assert snapshot(lab) == before

        lab.write_config(backupDir=str(own), proveBackupScript=False)
        preview = lab.pulumi("preview").stdout
        assert f"{file}:7: uploads (rclone), and {own} is not among what it sends" in preview
        assert f"{file}:6: encrypts (gpg), and our dumps in {own} are plain" in preview
        lab.pulumi("up", "--yes", "--skip-preview")
        assert [Path(dump["path"]).parent for dump in lab.outputs()["backups"]] == [own, own]
        assert not (lab.host_dir / "backups/synapse_ran").exists(), "nothing of his was run"
        assert all(path.exists() for path in theirs)
        lines = file.read_text().splitlines()
        assert lines[2].startswith("# >>> ") and "/mautrix-backup.sh" in lines[3], "first of all"
        lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
        lab.pulumi("destroy", "--yes", "--skip-preview")
        assert snapshot(lab) == before and not own.exists()
    finally:
        file.write_text(was)
        for path in theirs:
            path.unlink(missing_ok=True)
        lab.write_config()
        shared.spoilt = True


def test_somebody_looks_at_the_nightly_dumps(lab: Lab, shared: Shared) -> None:
    """A cron line that a reinstall removed, a night that failed: preview and status said nothing, for ever."""
    try:
        lab.pulumi("up", "--yes", "--skip-preview")
        quiet = lab.pulumi("preview").stdout
        assert "dumps of" not in quiet
        records = lab.host_dir / "bridges/dumps"
        for name in ("mautrix_signal", "mas"):
            path = Path((records / f"{name}.made").read_text().strip())
            old = path.with_name(f"{name}_20260101T030000Z.bridges.sql.gz")
            path.rename(old)
            (records / f"{name}.made").write_text(f"{old}\n")
        (records / "mas.failed").write_text("2026-01-02T03:00:01Z: mas: no whole dump could be made: no room\n")
        told = lab.pulumi("preview").stdout
        assert "dumps of mautrix_signal: the newest is " in told and " days old (" in told
        assert "its last run made none: 2026-01-02T03:00:01Z: mas: no whole dump could be made: no room" in told
        program = lab.host_dir / "bridges/mautrix-host.pyz"
        done = subprocess.run(["python3", "-I", program, "status"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "dumps of mautrix_signal: the newest is " in done.stdout
        for name in ("mautrix_signal", "mas"):
            (lab.host_dir / f"backups/{name}_20260101T030000Z.bridges.sql.gz").unlink()
        assert f"{name}_20260101T030000Z.bridges.sql.gz: is gone: somebody deleted it" in lab.pulumi("preview").stdout
    finally:
        shared.spoilt = True
