"""The edited pg_backup.sh, run for real by bash with a stub `docker`.

Pins the failure that nobody sees until a restore: a dump that failed and counts as made (`pg_dump | gzip` under `$?`),
a failure that `exit 0`, a trap or the last command hides from cron, a dump that others can read, a retention that
deletes the last good dump.
"""

from __future__ import annotations

import gzip
import os
import stat
import time
from pathlib import Path

import pytest

from documents import backup_script
from tests.documents.backup_scripts import CORPUS, SIGNAL, WHATSAPP, run

OURS = ["mas", "mautrix_signal", "synapse"]


@pytest.mark.parametrize("name", CORPUS)
def test_all_dumps_are_made_once_whole_and_private(name: str, tmp_path: Path) -> None:
    ran = run(backup_script.add(CORPUS[name], SIGNAL), tmp_path)
    assert ran.code == run(CORPUS[name], tmp_path / "before").code == 0, ran.output
    assert ran.dumps() == OURS
    already = backup_script.dumped(CORPUS[name])
    assert len(ran.calls) == 3
    for path in ran.directory.glob("*.sql.gz"):
        assert b"-- PostgreSQL database dump complete" in gzip.decompress(path.read_bytes())
        if not path.name.startswith(already):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(ran.directory.glob("*.part"))


@pytest.mark.parametrize("name", CORPUS)
def test_the_rest_of_the_script_says_and_writes_what_it_did(name: str, tmp_path: Path) -> None:
    before = run(CORPUS[name], tmp_path / "before")
    after = run(backup_script.add(CORPUS[name], SIGNAL), tmp_path / "after")
    theirs = [path for path in before.directory.iterdir() if not path.name.startswith(("mas", "mautrix"))]
    assert theirs
    for path in theirs:
        prefix = path.name[:8]
        match = [other for other in after.directory.iterdir() if other.name.startswith(prefix)]
        assert [stat.S_IMODE(other.stat().st_mode) for other in match] == [stat.S_IMODE(path.stat().st_mode)]


@pytest.mark.parametrize("how", ["fail", "cut", "late"])
@pytest.mark.parametrize("database", ["mas", "mautrix_signal"])
@pytest.mark.parametrize("name", [name for name in CORPUS if "mas" not in backup_script.dumped(CORPUS[name])])
def test_a_failed_dump_leaves_no_file_and_is_told_at_the_end(
    name: str, database: str, how: str, tmp_path: Path
) -> None:
    old = tmp_path / "backups/synapse_20200101_000000.sql.gz"
    dashed = tmp_path / "backups/synapse-2020-01-01.sql.gz"
    old.parent.mkdir()
    for path in (old, dashed):
        path.write_text("old")
        os.utime(path, (1, 1))
    ran = run(backup_script.add(CORPUS[name], SIGNAL), tmp_path, **{how: database})
    assert ran.code != 0, ran.output
    assert f"ERROR: {database} backup failed" in ran.output
    assert ran.dumps() == sorted({*OURS} - {database})
    assert len(ran.calls) == 3
    cleaned = "find" in CORPUS[name]
    assert (old.exists() and dashed.exists()) == (not cleaned), "the script's own cleanup still runs"


def test_the_scripts_own_exit_trap_runs_and_sees_the_failure(tmp_path: Path) -> None:
    edited = backup_script.add(CORPUS["strict_trap"], SIGNAL)
    good, bad = run(edited, tmp_path / "good"), run(edited, tmp_path / "bad", fail="mas mautrix_signal")
    assert (good.code, bad.code) == (0, 1)
    assert "cleanup with 0" in good.output and "cleanup with 1" in bad.output
    assert bad.output.count("cleanup with") == 1
    assert not (bad.directory / ".lock").exists()
    assert "line " not in bad.output, "the ERR trap is not for a failure that is handled"


def test_ours_are_dumped_when_the_scripts_own_dump_failed_and_its_check_exits(tmp_path: Path) -> None:
    honest = CORPUS["plain"].replace("#!/bin/bash\n", "#!/bin/bash\nset -o pipefail\n")
    ran = run(backup_script.add(honest, SIGNAL), tmp_path, fail="synapse")
    assert ran.code == 1 and "synapse backup failed" in ran.output
    assert {"mas", "mautrix_signal"} <= set(ran.dumps())


def test_the_last_status_of_a_script_that_ends_with_its_dump_stays(tmp_path: Path) -> None:
    text = CORPUS["no_cleanup"].replace("#!/bin/bash\n", "#!/bin/bash\nset -o pipefail\n")
    assert run(text, tmp_path / "before", fail="synapse").code == 1
    assert run(backup_script.add(text, SIGNAL), tmp_path / "after", fail="synapse").code == 1


def test_old_dumps_of_ours_go_after_the_scripts_days_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    ages = {
        "mas_20260101_000000.sql.gz": 16,
        "mas_20260103_000000.sql.gz": 13,
        "mautrix_signal_20260101_000000.sql.gz": 16,
        "mautrix_signal_20260101_000000.sql.gz.part": 16,
        "mas_before_the_upgrade.sql.gz": 400,
        "mas_20260101_notes.txt": 400,
    }
    for name, days in ages.items():
        (directory / name).write_text("x")
        os.utime(directory / name, (time.time() - days * 86400,) * 2)
    edited = backup_script.add(CORPUS["plain"], SIGNAL)
    ran = run(edited, tmp_path, fail="mautrix_signal")
    left = {path.name for path in directory.iterdir()} & set(ages)
    assert left == {*ages} - {"mas_20260101_000000.sql.gz"}, "a database whose dump failed keeps its old ones"
    assert ran.code == 1
    run(edited, tmp_path)
    left = {path.name for path in directory.iterdir()} & set(ages)
    assert left == {"mas_20260103_000000.sql.gz", "mas_before_the_upgrade.sql.gz", "mas_20260101_notes.txt"}


def test_two_stacks_dump_mas_once_and_either_can_go(tmp_path: Path) -> None:
    both = backup_script.add(backup_script.add(CORPUS["plain"], SIGNAL), WHATSAPP)
    ran = run(both, tmp_path / "both")
    assert ran.code == 0 and len(ran.calls) == 4
    assert ran.dumps() == ["mas", "mautrix_signal", "mautrix_whatsapp", "synapse"]
    one = run(backup_script.remove(both, SIGNAL.owner), tmp_path / "one")
    assert one.dumps() == ["mas", "mautrix_whatsapp", "synapse"]
    failed = run(both, tmp_path / "failed", fail="mautrix_signal mautrix_whatsapp")
    assert failed.code == 1 and failed.dumps() == ["mas", "synapse"]
    assert "ERROR: mautrix_signal" in failed.output and "ERROR: mautrix_whatsapp" in failed.output


def test_a_full_disk_fails_the_dump(tmp_path: Path) -> None:
    edited = backup_script.add(CORPUS["plain"], SIGNAL).replace('mv -f "${mautrix_file}.part"', "false")
    ran = run(edited, tmp_path)
    assert ran.code == 1 and ran.dumps() == ["synapse"]


def test_the_directory_of_the_dumps_can_be_asked_for(tmp_path: Path) -> None:
    import subprocess

    for name, text in CORPUS.items():
        home = tmp_path / name
        run(text, home)
        program = backup_script.directory((home / "pg_backup.sh").read_text())
        done = subprocess.run(
            ["bash", "-c", program, str(home / "pg_backup.sh")], capture_output=True, text=True, check=True
        )
        assert done.stdout == str(home / "backups"), name
