"""host_programs/backup/bridge_backup.sh run for real, with a Postgres behind a stub `docker exec`.

Pins a dump that is cut and taken for whole, one that others can read, one failure that takes the others with it or that
cron does not see, and a clean-up that deletes what is not ours or the last good dump.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents.backup.dump_script import render_dump_script
from tests.facts import whole
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

TEMPLATE = Path(__file__).resolve().parents[2] / "host_programs/backup/bridge_backup.sh"
NAME = re.compile(r"(mas|mautrix_signal)_\d{8}T\d{6}Z\.mautrix-bridges\.sql\.gz")


class Box:
    def __init__(self, home: Path, server: Postgres) -> None:
        self.home, self.server, self.script, self.dumps = home, server, home / "dump.sh", home / "dumps"
        self.records = home / "shared/dumps"
        self.install()

    def install(self, **config: str) -> None:
        plan = whole(sharedDir=str(self.home / "shared"), **config)
        self.script.write_text(
            render_dump_script(TEMPLATE.read_text(), plan).replace("mark=shared\n", "mark=mautrix-bridges\n")
        )
        self.script.chmod(0o700)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.script), *(words or [str(self.dumps)])],
            cwd=self.home, env=self.server.environment(**environment), capture_output=True, text=True, check=False,
        )  # fmt: skip

    def names(self) -> list[str]:
        return sorted(path.name for path in self.dumps.iterdir())

    def old(self, name: str, days: float) -> Path:
        self.dumps.mkdir(exist_ok=True)
        path = self.dumps / name
        path.write_text(name)
        then = time.time() - days * 86400
        os.utime(path, (then, then))
        return path


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres) -> Box:
    return Box(tmp_path, bridge_database)


def test_both_databases_whole_private_and_told(box: Box) -> None:
    done = box.run()
    assert (done.returncode, done.stderr) == (0, "")
    names = box.names()
    assert [NAME.fullmatch(name) is not None for name in names] == [True, True]
    assert stat.S_IMODE(box.dumps.stat().st_mode) == 0o700
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for name, line in zip(reversed(names), lines, strict=True):
        path = box.dumps / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert line.endswith(f": {path}, {path.stat().st_size} bytes")
    text = gzip.decompress((box.dumps / names[1]).read_bytes()).decode()
    assert "COPY public.portal" in text and "-- PostgreSQL database dump complete\n" in text
    noted = {path.name: path.read_text() for path in box.records.iterdir()}
    assert noted == {"mas.made": f"{box.dumps / names[0]}\n", "mautrix_signal.made": f"{box.dumps / names[1]}\n"}
    assert stat.S_IMODE(box.records.stat().st_mode) == 0o700


def test_a_night_that_failed_leaves_its_reason_and_the_next_good_one_takes_it_away(box: Box) -> None:
    """Nobody knew of it but whoever reads cron's mail."""
    assert box.run().returncode == 0
    last = (box.records / "mautrix_signal.made").read_text()
    assert box.run(FAIL_DUMP="mautrix_signal").returncode == 1
    assert (box.records / "mautrix_signal.made").read_text() == last, "it is still the newest whole one"
    reason = (box.records / "mautrix_signal.failed").read_text()
    assert re.fullmatch(
        rf"\d{{4}}-\S+Z: mautrix_signal: no whole dump could be made in {box.dumps}: pg_dump: error: gone\n", reason
    )
    assert not (box.records / "mas.failed").exists()
    (box.home / "file").write_text("")
    assert box.run(str(box.home / "file/dumps")).returncode == 1
    assert "file/dumps: cannot be made\n" in (box.records / "mas.failed").read_text()
    assert box.run().returncode == 0
    assert sorted(path.name for path in box.records.iterdir()) == ["mas.made", "mautrix_signal.made"]


def test_what_a_filter_says_is_not_noted(box: Box) -> None:
    """A shell quotes it in its errors, and it may hold a passphrase; the note is shown."""
    box.install(backupFilter="gpg --passphrase hunter2 |;", backupFilterSuffix=".gpg")
    done = box.run()
    assert done.returncode == 1 and "hunter2" in done.stderr
    assert all("hunter2" not in path.read_text() for path in box.records.iterdir())


def test_a_dump_that_fails_is_told_and_the_other_is_made(box: Box) -> None:
    """pg_dump writes something and ends with 1, gzip with 0."""
    done = box.run(FAIL_DUMP="mautrix_signal")
    assert done.returncode == 1
    assert [name.partition("_2")[0] for name in box.names()] == ["mas"]
    assert "dump.sh: mautrix_signal: no whole dump could be made in " in done.stderr
    assert "pg_dump: error: gone" in done.stderr


@pytest.mark.parametrize("says", ["echo '-- half'", "true", "printf 'no dump'; exit 0"])
def test_a_dump_that_is_not_whole_is_none_though_every_program_ended_well(box: Box, says: str) -> None:
    (box.home / "docker").write_text(f"#!/bin/sh\n{says}\n")
    (box.home / "docker").chmod(0o755)
    done = box.run(PATH=f"{box.home}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout, box.names()) == (1, "", [])


def test_a_filter_gets_each_dump_and_its_failure_is_one(box: Box) -> None:
    box.install(backupFilter="gzip -d | tr a-z A-Z | xz", backupFilterSuffix=".shout")
    done = box.run()
    assert done.returncode == 0, done.stderr
    assert all(name.endswith(".mautrix-bridges.sql.gz.shout") for name in box.names())
    shouted = subprocess.run(["xz", "-dc", str(box.dumps / box.names()[0])], capture_output=True, check=True).stdout
    assert b"-- POSTGRESQL DATABASE DUMP COMPLETE" in shouted
    for command in ("cat >/dev/null; exit 3", "cat >/dev/null"):  # it fails; it writes nothing
        box.install(backupFilter=command, backupFilterSuffix=".x")
        before = box.names()
        assert box.run().returncode == 1
        assert box.names() == before


def test_a_filter_s_text_is_in_no_process_list(box: Box) -> None:
    """Everybody on the host can read the words of a command, and a filter may hold a passphrase."""
    look = f"grep -al 'hunter[2]' /proc/[0-9]*/cmdline >>{box.home}/seen"
    box.install(backupFilter=f": hunter2; {look}; cat", backupFilterSuffix=".x")
    assert box.run().returncode == 0 and len(box.names()) == 2
    assert (box.home / "seen").read_text() == ""


def test_old_dumps_of_ours_go_and_nobody_else_s(box: Box) -> None:
    ours = [
        box.old("mas_20250101T000000Z.mautrix-bridges.sql.gz", 15),
        box.old("mautrix_signal_20250101T000000Z.mautrix-bridges.sql.gz.age", 15),  # with another filter then
        box.old("mas_20250101T000000Z.mautrix-bridges.sql.gz.77.part", 15),  # of a run that was killed
    ]
    theirs = [
        box.old("mas_20250101_000000.sql.gz", 99),
        box.old("mas_20250101T000000Z.mautrix-whatsapp.sql.gz", 99),
        box.old("synapse_20250101T000000Z.mautrix-bridges.sql.gz", 99),
        box.old("old_mas_20250101T000000Z.mautrix-bridges.sql.gz", 99),
    ]
    young = box.old("mas_20250102T000000Z.mautrix-bridges.sql.gz", 13)
    assert box.run().returncode == 0
    assert not [path for path in ours if path.exists()]
    assert all(path.exists() for path in (*theirs, young))


def test_the_last_good_dump_stays_while_no_new_one_can_be_made(box: Box) -> None:
    last = box.old("mautrix_signal_20250101T000000Z.mautrix-bridges.sql.gz", 99)
    gone = box.old("mas_20250101T000000Z.mautrix-bridges.sql.gz", 99)
    assert box.run(FAIL_DUMP="mautrix_signal").returncode == 1
    assert (last.exists(), gone.exists()) == (True, False)


def test_the_days_are_the_setting_s(box: Box) -> None:
    box.install(backupDays="2")
    paths = [box.old(f"mas_2025010{days}T000000Z.mautrix-bridges.sql.gz", days) for days in (1, 3)]
    assert box.run().returncode == 0
    assert [path.exists() for path in paths] == [True, False]


def test_by_hand_it_needs_no_word_where_the_dumps_have_a_directory_of_their_own(box: Box) -> None:
    """`status` says to run it, and it asked for a variable of a script that there is not."""
    box.install(backupDir=str(box.dumps))
    done = subprocess.run([str(box.script)], env=box.server.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and len(box.names()) == 2


@pytest.mark.parametrize("words", [[""], ["/a", "/b"]])
def test_without_a_directory_it_says_how_it_is_called(box: Box, words: list[str]) -> None:
    """The script that calls it has no such variable."""
    done = box.run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "no directory for the dumps: dump.sh DIRECTORY (what calls it should set the variable in backupDir)\n"
    )


def test_a_directory_that_cannot_be_made(box: Box) -> None:
    (box.home / "file").write_text("")
    done = box.run(str(box.home / "file/dumps"))
    assert done.returncode == 1 and f"{box.home}/file/dumps: cannot be made" in done.stderr


def test_a_relative_directory_is_the_caller_s(box: Box) -> None:
    assert box.run("dumps").returncode == 0
    assert (box.records / "mas.made").read_text().startswith(f"{box.home}/dumps/")


OWNER = 1000  # of the directory for the dumps


def _own(box: Box) -> None:
    """The directory is another user's, and root makes the dumps."""
    box.home.chmod(0o755)
    box.dumps.mkdir()
    os.chown(box.dumps, OWNER, OWNER)


# What that user does when the first dump begins: his links in the place of all that he can guess, and of all that is
# there.
ATTACK = """
import os, subprocess, sys, time
from pathlib import Path
dumps, caught = Path(sys.argv[1]), sys.argv[2]
found = subprocess.run(["pgrep", "-f", "dump.sh"], capture_output=True, text=True).stdout.split()
names = [*os.listdir(dumps), *(name + "/part" for name in os.listdir(dumps))]
for second in range(10):
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + second))
    names += [f"mas_{stamp}.mautrix-bridges.sql.gz{end}" for end in ("", *(f".{pid}.part" for pid in found))]
for name in names:
    try:
        if os.path.lexists(dumps / name):
            os.rename(dumps / name, dumps / (name + ".moved"))
        os.symlink(caught, dumps / name)
    except OSError:
        pass
"""


@pytest.fixture
def reachable(bridge_database: Postgres) -> Iterator[Box]:
    """As `box`, where other users get to; pytest's folder is root's alone."""
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o755)
        yield Box(Path(home), bridge_database)


def test_the_owner_of_the_directory_cannot_read_a_dump_of_root_s(reachable: Box) -> None:
    """Pins MAS' dump, with everybody's sessions, written through a link into a file of that user's."""
    box = reachable
    box.dumps.mkdir()
    caught, tools = box.home / "caught", box.home / "tools"
    caught.write_text("")
    for path in (box.dumps, caught):
        os.chown(path, 1000, 1000)
    tools.mkdir()
    (tools / "attack").write_text(ATTACK)
    as_owner = "setpriv --reuid=1000 --regid=1000 --clear-groups"
    attack = f"{as_owner} /usr/bin/python3 {tools}/attack {box.dumps} {caught}"
    (tools / "docker").write_text(f'#!/bin/sh\n{attack}\nexec {box.server.tools}/docker "$@"\n')
    (tools / "docker").chmod(0o755)
    box.run(PATH=f"{tools}:{box.server.environment()['PATH']}")
    assert caught.read_bytes() == b""
    made = [path for path in box.dumps.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(made) == 2
    assert all((path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600) for path in made)


def test_what_a_killed_run_left_goes_and_a_run_that_is_at_work_stays(box: Box) -> None:
    left, at_work = box.dumps / ".mautrix-bridges.x", box.dumps / ".mautrix-bridges.y"
    for folder in (left, at_work):
        folder.mkdir(parents=True)
        (folder / "part").write_text("a dump")
    then = time.time() - 2 * 86400
    os.utime(left, (then, then))
    assert box.run().returncode == 0
    assert [name for name in box.names() if name.startswith(".")] == [at_work.name]


def test_a_filter_runs_in_the_root_directory_whoever_calls(box: Box) -> None:
    """By hand it found its key in the directory of that hand, and at night it did not."""
    box.install(backupFilter="cat >/dev/null; pwd", backupFilterSuffix=".x")
    assert box.run().returncode == 0
    assert all((box.dumps / name).read_text() == "/\n" for name in box.names())
