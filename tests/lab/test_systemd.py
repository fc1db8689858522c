"""Pins a timer that systemd itself reads otherwise than we think: one that is not due, starts nothing, or leaves
something when it goes. A real systemd, booted in a container."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from documents.places import Deployment
from host_programs.wire import to_json
from lab import images
from lab.box import Lab
from lab.engine import LabError
from tests.facts import STACK, whole
from tests.host_programs import programs
from tests.lab.conftest import Shared

pytestmark = pytest.mark.e2e

NAME = "50-_backup"
SCRIPT = '#!/bin/bash\necho "$@" >/ran\nexit $(cat /code 2>/dev/null || echo 0)\n'
HEAD = f"""\
import json, sys
from contextlib import ExitStack
sys.path.insert(0, "/program.pyz")
from documents.backup.schedule import render_schedule
from documents.places import Deployment
from host_programs.backup.schedule_files import install_schedule, remove_schedule
from host_programs.facts.scheduler import find_scheduler, read_schedule
from host_programs.wire import from_json
deployment = from_json(Deployment, json.load(sys.stdin))
files, stack = render_schedule(deployment, find_scheduler()), "{STACK}"
"""
INSTALL = "with ExitStack() as undo: install_schedule(files, stack, undo); undo.pop_all()"


class Machine:
    """A machine with systemd, which has our program file and a stand-in for the dump script."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name

    def __call__(self, *words: str, check: bool = True) -> str:
        return self.lab.docker("exec", self.name, *words, check=check).stdout.strip()

    def run(self, code: str, **changed: str) -> str:
        """Run the code with the deployment, its files, and what the host has for them."""
        known = json.dumps(to_json(self.deployment(**changed)))
        words = ("exec", "-i", self.name, "/usr/bin/python3", "-I", "-c", HEAD + code)
        return self.lab.docker(*words, stdin=known).stdout.strip()

    def deployment(self, **changed: str) -> Deployment:
        return whole(None, **{"backupScript": "none", "backupDir": "/var/50%/é", "sharedDir": "/srv/50%", **changed})

    def trace(self) -> str:
        """All that systemd keeps in files, and all that it has of our units."""
        files = self("find", "/etc/systemd", "/var/lib/systemd/timers", "-printf", r"%p %l\n")
        units = self("systemctl", "list-units", "--all", "--no-legend", "--plain", "*_backup*")
        return f"{sorted(map(str.strip, files.splitlines()))}\n{units}"

    def due(self) -> str:
        return self("systemctl", "show", "--property=NextElapseUSecRealtime", "--value", f"{NAME}.timer").split(" ")[2]


@pytest.fixture(scope="module")
def machine(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    lab, name = shared.lab, shared.lab.container("systemd")
    options = [
        "--cap-add",
        "SYS_ADMIN",
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
    ]
    options += ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():  # version 2, of which systemd wants to write into its own
        options = ["--privileged"]
    install = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y systemd >&2"
    lab.docker.remove([name])
    lab.docker(
        *("run", "--detach", "--name", name, *lab.containers.labels(), "--cgroupns", "private", *options),
        *("--tmpfs", "/run", "--tmpfs", "/tmp", "--env", "container=docker", "--entrypoint", "/bin/sh"),
        *(images.tag(images.recipes()["synapse"]), "-c", f"{install} && exec /lib/systemd/systemd"),
    )
    made = Machine(lab, name)
    try:
        _wait_booted(made)
        script = tmp_path_factory.mktemp("systemd") / "script"
        script.write_text(SCRIPT)
        script.chmod(0o700)
        made("mkdir", "/srv/50%")
        lab.docker("cp", script, f"{name}:/srv/50%/mautrix-backup.sh")
        lab.docker("cp", programs.install(), f"{name}:/program.pyz")
        yield made
    finally:
        lab.docker.remove([name])


def _wait_booted(machine: Machine) -> None:
    deadline, state = time.monotonic() + 120, ""
    while state not in ("running", "degraded"):
        log = subprocess.run(["docker", "logs", machine.name], capture_output=True, text=True, check=False)
        assert time.monotonic() < deadline, f"systemd does not boot in a container here: {state}\n{log.stderr[-2000:]}"
        time.sleep(0.5)
        try:
            state = machine("systemctl", "is-system-running", check=False)
        except LabError:
            state = "not there yet"


def test_the_timer_is_due_each_night_and_starts_our_dump_script(machine: Machine) -> None:
    before = machine.trace()
    assert machine.run("print(find_scheduler())") == "systemd"
    machine.run(INSTALL)
    assert machine.due() == "03:30:00"
    assert machine.run("print(repr(read_schedule(deployment).stopped))") == "''"
    machine("test", "!", "-e", "/ran")  # a new timer catches up with nothing
    machine("systemctl", "start", f"{NAME}.service")
    assert machine("cat", "/ran") == "/var/50%/é"
    machine.run(INSTALL, backupTime="04:45")
    assert machine.due() == "04:45:00", "the one that runs, too"
    machine.run("remove_schedule(files, stack)")
    assert machine.trace() == before


def test_a_timer_that_somebody_disabled_is_told_and_comes_back(machine: Machine) -> None:
    machine.run(INSTALL)
    machine("systemctl", "disable", "--now", f"{NAME}.timer")
    assert machine.run("print(read_schedule(deployment).stopped)") == "inactive, disabled"
    machine.run(INSTALL)
    assert machine.run("print(repr(read_schedule(deployment).stopped))") == "''"
    machine.run("remove_schedule(files, stack)")


def test_a_night_that_failed_leaves_nothing_behind_a_removal(machine: Machine) -> None:
    """systemd keeps a unit that failed, and calls the machine degraded, without any file of it."""
    before = machine.trace()
    machine.run(INSTALL)
    machine("sh", "-c", "echo 3 >/code")
    machine("systemctl", "start", f"{NAME}.service", check=False)
    assert f"{NAME}.service" in machine("systemctl", "--failed", "--no-legend", "--plain")
    machine.run("remove_schedule(files, stack)")
    assert machine.trace() == before
    machine.run("remove_schedule(files, stack)")
