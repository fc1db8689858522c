"""Pins a nightly run that never comes: a file that cron or systemd passes over, a time that is another one, a path that
is read as something else."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.backup.schedule import CRON, SYSTEMD, ScheduleFile, format_cron_line, render_schedule
from documents.marks import file_owner, is_sealed
from documents.places import Deployment
from tests.facts import STACK, whole

OWN = {"backupScript": "none", "backupDir": "/var/backups/mautrix-bridges"}
SCRIPT = "/opt/matrix/mautrix-bridges/mautrix-backup.sh"
# What the settings sharedDir and backupDir may both hold, but the slash.
NAMES = st.text(st.sampled_from("aZ0_-.%$#@+={}[]~!^é"), min_size=1).filter(lambda name: name not in (".", ".."))


def plan(**changed: str) -> Deployment:
    return whole(None, **{**OWN, **changed})


def texts(scheduler: str, **changed: str) -> dict[str, str]:
    """The files that should be there, without their first and last lines, which name their owner and seal them."""
    files = [file for file in render_schedule(plan(**changed), scheduler) if file.text]
    assert all(file_owner(file.text) == STACK and is_sealed(file.text) for file in files)
    return {file.path: "\n".join(file.text.splitlines()[1:-1]) for file in files}


def test_for_cron_it_is_one_line_of_root_s() -> None:
    assert texts(CRON) == {
        "/etc/cron.d/mautrix-bridges_backup": f"30 3 * * * root {SCRIPT} /var/backups/mautrix-bridges >/dev/null"
    }


def test_for_systemd_it_is_a_timer_with_its_service() -> None:
    found = texts(SYSTEMD, backupTime="00:05")
    service, timer = (f"/etc/systemd/system/mautrix-bridges_backup.{end}" for end in ("service", "timer"))
    assert [*found] == [service, timer]
    assert f'\nExecStart="{SCRIPT}" "/var/backups/mautrix-bridges"' in found[service]
    assert "\nOnCalendar=*-*-* 00:05:00\nPersistent=true\n" in found[timer]


@pytest.mark.parametrize(("scheduler", "changed"), [("", {}), (CRON, {"backupScript": "/opt/b.sh"})])
def test_without_a_scheduler_and_beside_a_script_of_the_operator_s_none_of_the_files_should_be_there(
    scheduler: str, changed: dict[str, str]
) -> None:
    assert texts(scheduler, **changed) == {}
    paths = [file.path for file in render_schedule(plan(**changed), scheduler)]
    assert paths == [file.path for file in render_schedule(plan(), SYSTEMD)], "a removal knows all of them"


def test_the_names_are_such_that_no_cron_passes_over_them() -> None:
    """Debian's cron(8) reads no file with a dot in its name, and says nothing."""
    (path,) = texts(CRON, sharedDir="/srv/matrix/bridges.echo6.co")
    assert path == "/etc/cron.d/bridges-echo6-co_backup"


@pytest.mark.parametrize(
    ("time", "begin"), [("00:00", "0 0 "), ("03:30", "30 3 "), ("08:09", "9 8 "), ("23:59", "59 23 ")]
)
def test_the_time_is_cron_s(time: str, begin: str) -> None:
    assert format_cron_line(plan(backupTime=time)).startswith(f"{begin}* * * root /")


def read_as_cron(line: str) -> tuple[str, str]:
    """The command that cron gives to the shell, and what that has on its stdin (crontab(5))."""
    command, *rest = re.split(r"(?<!\\)%", line.split(" ", 6)[6])
    return command.replace("\\%", "%"), "\n".join(rest)


@given(shared=NAMES, dumps=NAMES)
def test_whatever_the_directories_are_called_cron_runs_our_dump_script_in_its_directory(
    shared: str, dumps: str
) -> None:
    """A `%` cut the line off, and the rest was the command's standard input."""
    deployment = plan(sharedDir=f"/srv/{shared}", backupDir="/var/" + dumps.replace("$", ""))
    command, stdin = read_as_cron(format_cron_line(deployment))
    wanted = [deployment.dump_script, deployment.backup.directory, ">/dev/null"]
    assert (shlex.split(command), stdin) == (wanted, "")
    for file in render_schedule(deployment, CRON):
        assert re.fullmatch(r"[A-Za-z0-9_-]+(\.service|\.timer)?", file.path.rpartition("/")[2])


@given(shared=NAMES, dumps=NAMES)
def test_whatever_the_directories_are_called_systemd_reads_them_as_they_are(shared: str, dumps: str) -> None:
    """By systemd.service(5): a `%` begins a specifier."""
    deployment = plan(sharedDir=f"/srv/{shared}", backupDir="/var/" + dumps.replace("$", ""))
    text = next(file.text for file in render_schedule(deployment, SYSTEMD) if file.unit.endswith(".service"))
    (words,) = re.findall('^ExecStart="(.*)" "(.*)"$', text, re.MULTILINE)
    assert [re.sub("%%", "%", word) for word in words] == [deployment.dump_script, deployment.backup.directory]
    assert not any(re.search(r"(?<!%)(?:%%)*%(?!%)", word) for word in words)


def test_a_unit_is_told_by_its_name() -> None:
    assert [ScheduleFile(f"/x/{name}", "").unit for name in ("a", "a.timer", "a.service")] == [
        "",
        "a.timer",
        "a.service",
    ]
