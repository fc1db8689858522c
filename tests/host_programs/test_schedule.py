"""The nightly run, with the real cron and systemd's own checker.

Pins a night that never comes: a file that a scheduler passes over or reads otherwise, a cron that does not read it at
all (a container's, busybox'), a timer that is written and not started; and a file of somebody else's that goes.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from documents.backup.schedule import CRON, SYSTEMD, ScheduleFile, render_schedule
from documents.places import Deployment
from host_programs.backup import schedule_files
from host_programs.backup.schedule_files import install_schedule, remove_schedule
from host_programs.facts import scheduler
from host_programs.messages import ScriptError
from tests.facts import ROOT, STACK, whole
from verdicts.host_facts.host import OwnFile, ScheduleFacts

OTHER = "other/stack"
PRIVATE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
NAME = "bridges_backup"


# the real cron, which sees directories of its own ---------------------------------------------------------------


class Crontabs:
    """A private mount namespace in which /etc/cron.d and what else cron reads are this folder's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cron_d = folder, folder / "cron.d"
        self.cron_d.mkdir()
        (folder / "spool").mkdir()

    def run(self, script: str, *words: str) -> str:
        """What a shell prints in there. It ends with all that it has started."""
        mounts = f"""\
mount --bind {self.cron_d} /etc/cron.d && mount --bind {self.folder}/spool /var/spool/cron &&
mount --bind /dev/null /etc/crontab && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm || exit 99
"""
        done = subprocess.run(
            [*PRIVATE, "/bin/sh", "-c", mounts + script, "sh", *words],
            capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def find(self, daemon: str, *words: str) -> str:
        """What `find_scheduler` finds beside a daemon that was started so."""
        started = (
            f"{daemon} & i=0; until pgrep -x 'cron|crond' >/dev/null || [ $i = 50 ]; do sleep 0.1; i=$((i + 1)); done"
        )
        look = f"{sys.executable} -c 'from host_programs.facts.scheduler import *; print(repr(find_scheduler()))'"
        return self.run(f"{started}; {look}", *words)


@pytest.fixture
def crontabs(tmp_path: Path) -> Crontabs:
    return Crontabs(tmp_path)


def test_a_cron_that_runs_is_found(crontabs: Crontabs) -> None:
    assert crontabs.find("cron -f") == "'cron'"


def test_a_program_of_that_name_is_not_enough(crontabs: Crontabs, tmp_path: Path) -> None:
    """Nothing runs what is in the directory."""
    shutil.copy("/bin/sleep", tmp_path / "cron")
    assert crontabs.find('"$1" 60', str(tmp_path / "cron")) == "''"


def test_a_cron_in_a_container_is_not_the_host_s(crontabs: Crontabs) -> None:
    """The host's /proc shows it, too; it reads a directory of the container's."""
    own = crontabs.folder / "own"
    own.mkdir()
    assert crontabs.find('unshare --mount sh -c "mount --bind $1 /etc/cron.d && exec cron -f"', str(own)) == "''"


def test_busybox_crond_is_none_that_reads_the_directory(crontabs: Crontabs, tmp_path: Path) -> None:
    (tmp_path / "crond").symlink_to(shutil.which("busybox") or "missing")
    assert crontabs.find('"$1" -f -c /var/spool/cron', str(tmp_path / "crond")) == "''"


def test_a_directory_that_others_may_write_into_is_not_used(crontabs: Crontabs) -> None:
    crontabs.cron_d.chmod(0o777)
    assert crontabs.find("cron -f") == "''"


def test_cron_runs_our_file_at_its_time(crontabs: Crontabs, tmp_path: Path) -> None:
    """The real one, whose clock says that it is nearly that time."""
    shared = tmp_path / "a %d&b".replace(" ", "")
    shared.mkdir()
    deployment = whole(None, backupScript="none", backupDir="/var/50%", sharedDir=str(shared), backupTime="00:05")
    program, ran = Path(deployment.dump_script), tmp_path / "ran"
    program.write_text(f'#!/bin/bash\necho "$@" "$(id -un)" "$PATH" >{ran}.new && mv {ran}.new {ran}\n')
    program.chmod(0o700)
    with ExitStack() as undo:
        files = [replace(file, path=str(tmp_path / file.path[5:])) for file in render_schedule(deployment, CRON)]
        install_schedule(files, STACK, undo)
        undo.pop_all()
    wait = 'i=0; until [ -e "$1" ] || [ $i = 300 ]; do sleep 0.1; i=$((i + 1)); done; cat "$1"'
    told = crontabs.run(f"faketime -f '@2026-11-24 00:04:58' cron -f & {wait}", str(ran))
    assert told == "/var/50% root /usr/bin:/bin"


# systemd's checker ------------------------------------------------------------------------------------------------


def test_systemd_has_nothing_against_our_units(tmp_path: Path) -> None:
    """It only warns of a key that it does not know, and goes on without it."""
    deployment = whole(None, backupScript="none", backupDir="/var/50%", sharedDir=str(tmp_path / "a%d"))
    program = Path(deployment.dump_script)
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    units = []
    for file in render_schedule(deployment, SYSTEMD):
        if file.text:
            units.append(tmp_path / file.unit)
            units[-1].write_text(file.text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(units) == 2


# files, with a systemctl that knows what it was told --------------------------------------------------------------


class Host:
    """A host's two directories in a folder, and a `systemctl` that notes its words; `fails`: those that it refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        for name in ("etc/cron.d", "etc/systemd/system", "stamps", "bin", "booted"):
            (folder / name).mkdir(parents=True)
        self.answer("true")

    def answer(self, script: str) -> None:
        program = self.folder / "bin/systemctl"
        program.write_text(f'#!/bin/sh\necho "$*" >>{self.calls}\n{script}\n')
        program.chmod(0o755)

    def files(self, kind: str, stack: str = STACK, **changed: str) -> list[ScheduleFile]:
        config = {"backupScript": "none", "backupDir": "/dumps", "sharedDir": "/srv/bridges", **changed}
        deployment = replace(whole(None, **config), stack=stack)
        return [replace(file, path=f"{self.folder}{file.path}") for file in render_schedule(deployment, kind)]

    def install(self, kind: str, **changed: str) -> None:
        with ExitStack() as undo:
            install_schedule(self.files(kind, **changed), STACK, undo)
            undo.pop_all()

    def told(self) -> list[str]:
        """What systemctl was told since the last question."""
        words = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return words

    def tree(self) -> dict[str, tuple[int, str]]:
        found = (path for path in (self.folder / "etc").rglob("*") if not path.is_dir())
        return {path.name: (stat.S_IMODE(path.lstat().st_mode), path.read_text()) for path in found}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(schedule_files, "BOOTED", tmp_path / "booted")
    monkeypatch.setattr(schedule_files, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(scheduler, "CRON_DIRECTORY", f"{tmp_path}/etc/cron.d")
    monkeypatch.setattr(scheduler, "UNIT_DIRECTORY", f"{tmp_path}/etc/systemd/system")
    return made


def test_cron_s_file_comes_and_goes_and_systemd_is_told_nothing(host: Host) -> None:
    host.install(CRON)
    (file,) = (file for file in host.files(CRON) if file.text)
    assert host.tree() == {NAME: (0o644, file.text)}
    host.install(CRON, backupTime="04:45")
    assert "45 4 * * * root" in host.tree()[NAME][1]
    remove_schedule(host.files(CRON), STACK)
    assert (host.tree(), host.told()) == ({}, [])


def test_a_timer_is_enabled_and_started_and_goes_without_a_trace(host: Host) -> None:
    host.install(SYSTEMD)
    assert {name: mode for name, (mode, _) in host.tree().items()} == dict.fromkeys(
        (f"{NAME}.service", f"{NAME}.timer"), 0o644
    )
    assert host.told() == ["daemon-reload", f"enable --now -- {NAME}.timer"]
    stamp = host.folder / f"stamps/stamp-{NAME}.timer"
    stamp.touch()
    remove_schedule(host.files(SYSTEMD), STACK)
    assert host.tree() == {} and not stamp.exists()
    assert host.told() == [f"disable --now -- {NAME}.timer", "daemon-reload", f"reset-failed -- {NAME}.service"]
    remove_schedule(host.files(SYSTEMD), STACK)
    assert host.told() == [], "again, there is nothing to do"


def test_a_timer_that_somebody_stopped_is_started_again(host: Host) -> None:
    host.install(SYSTEMD)
    host.told()
    host.install(SYSTEMD)
    assert host.told() == ["daemon-reload", f"enable --now -- {NAME}.timer"]


def test_a_file_that_others_may_write_into_is_closed_again(host: Host) -> None:
    """cron passes over it."""
    host.install(CRON)
    before = host.tree()
    (host.folder / f"etc/cron.d/{NAME}").chmod(0o666)
    host.install(CRON)
    assert host.tree() == before


def test_a_host_that_gets_cron_has_the_dumps_made_once_a_night(host: Host) -> None:
    host.install(SYSTEMD)
    host.told()
    host.install(CRON)
    assert [*host.tree()] == [NAME]
    assert host.told()[0] == f"disable --now -- {NAME}.timer"
    host.install("")
    assert host.tree() == {}


def test_what_systemctl_refuses_is_the_error_and_all_is_as_it_was(host: Host) -> None:
    host.install(CRON)
    before = host.tree()
    host.answer('case $1 in enable | disable) echo "Failed to connect to bus" >&2; exit 1;; esac')
    with pytest.raises(ScriptError, match=rf"^systemctl enable --now -- {NAME}\.timer: Failed to connect to bus$"):
        host.install(SYSTEMD)
    host.answer("true")
    with pytest.raises(RuntimeError), ExitStack() as undo:
        install_schedule(host.files(SYSTEMD), STACK, undo)
        raise RuntimeError("a later part of the step fails")
    assert host.tree() == before


@pytest.mark.parametrize("kind", [CRON, SYSTEMD])
@pytest.mark.parametrize("text", ["", "# mine\n", f"# Runs: written by the Pulumi stack {OTHER}.\n"])
def test_a_file_of_somebody_else_s_stays_as_it_is(host: Host, kind: str, text: str) -> None:
    """Two stacks whose sharedDir have one name would make one's dumps under the other's name, or none."""
    path = Path(next(file.path for file in host.files(kind) if file.text))
    path.write_text(text)
    before = host.tree()
    with pytest.raises(ScriptError, match=f"^{path}: exists and was not made by this stack: move it away, or set"):
        host.install(kind)
    remove_schedule(host.files(kind), STACK)
    assert (host.tree(), host.told()) == (before, [])


def test_a_link_in_the_place_of_our_file_is_not_written_through_and_stays(host: Host) -> None:
    """`systemctl mask` makes one."""
    path = Path(next(file.path for file in host.files(SYSTEMD) if file.text))
    path.symlink_to("/dev/null")
    with pytest.raises(ScriptError, match="exists and was not made by this stack"):
        host.install(SYSTEMD)
    remove_schedule(host.files(SYSTEMD), STACK)
    assert path.is_symlink()


def test_without_a_systemd_that_runs_its_files_go_all_the_same(host: Host) -> None:
    host.install(SYSTEMD)
    host.told()
    (host.folder / "booted").rmdir()
    remove_schedule(host.files(SYSTEMD), STACK)
    assert (host.tree(), host.told()) == ({}, [])


# the look ---------------------------------------------------------------------------------------------------------


def look(host: Host, monkeypatch: pytest.MonkeyPatch, kind: str) -> ScheduleFacts:
    def render(deployment: Deployment, wanted: str) -> tuple[ScheduleFile, ...]:
        files = render_schedule(deployment, wanted)
        return tuple(replace(file, path=f"{host.folder}{file.path}") for file in files)

    monkeypatch.setattr(scheduler, "render_schedule", render)
    monkeypatch.setattr(scheduler, "find_scheduler", lambda: kind)
    return scheduler.read_schedule(whole(None, backupScript="none", backupDir="/dumps", sharedDir="/srv/bridges"))


def test_the_look_tells_whose_the_files_are_and_whether_they_are_as_written(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{host.folder}/etc/cron.d/{NAME}"
    assert look(host, monkeypatch, CRON).files == {}
    host.install(CRON)
    assert look(host, monkeypatch, CRON).files == {path: OwnFile(STACK, 0, 0, mode=0o644)}
    with Path(path).open("a") as file:
        file.write("# by hand\n")
    assert look(host, monkeypatch, CRON).files == {path: OwnFile(STACK, 0, 0, changed=True, mode=0o644)}


@pytest.mark.parametrize(
    ("answer", "stopped"),
    [
        ("printf 'ActiveState=active\\nUnitFileState=enabled\\n'", ""),
        ("printf 'ActiveState=inactive\\nUnitFileState=enabled\\n'", "inactive"),
        ("printf 'ActiveState=inactive\\nUnitFileState=disabled\\n'", "inactive, disabled"),
        ("echo gone >&2; exit 1", "not known (systemctl show --property=ActiveState,UnitFileState -- "
         f"{NAME}.timer: gone)"),
    ],
)  # fmt: skip
def test_a_timer_that_will_not_start_its_service_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, answer: str, stopped: str
) -> None:
    assert look(host, monkeypatch, SYSTEMD).stopped == ""
    host.install(SYSTEMD)
    host.answer(answer)
    assert look(host, monkeypatch, SYSTEMD).stopped == stopped


def test_beside_a_script_of_the_operator_s_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "find_scheduler", lambda: pytest.fail("it looked"))
    assert scheduler.read_schedule(whole()) == ScheduleFacts()


def test_systemd_is_the_choice_where_no_cron_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_is_cron", lambda process: False)
    assert scheduler.find_scheduler() == SYSTEMD
    (host.folder / "etc/systemd/system").chmod(0o777)
    assert scheduler.find_scheduler() == ""
    (host.folder / "etc/systemd/system").chmod(0o755)
    (host.folder / "booted").rmdir()
    assert scheduler.find_scheduler() == ""
