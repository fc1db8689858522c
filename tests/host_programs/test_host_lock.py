"""A step that goes on alone after its run was cut off, and that the next run does not know of: two at once on the same
files; a preview that tells of a host in the middle of a change."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from host_programs import host_lock
from host_programs.bridge.config import ConfigFile, SettingsQuestion
from host_programs.files.files import OwnedFile
from host_programs.host_lock import hold_step_lock, list_running_steps
from host_programs.messages import ScriptError
from host_programs.wire import to_json
from tests.host_programs.steps import PYTHON, ROOT, dispatching, program_path, run_step

STACK = f"project/cut-off-test-{os.getpid()}"  # the locks are the host's: another run of the tests has its own
HERE = f"{STACK}:/opt/matrix/mautrix-signal"
STEP = f"{HERE} mautrix-signal-directory"


def test_it_is_known_while_it_is_at_work_and_not_any_more() -> None:
    assert list_running_steps(HERE) == ()
    with hold_step_lock(STEP):
        assert list_running_steps(HERE) == (f"mautrix-signal-directory (pid {os.getpid()})",)
        assert list_running_steps(f"{STACK}:/opt/matrix/other") == () == list_running_steps(STACK)
    assert list_running_steps(HERE) == ()


def arguments(folder: Path) -> ConfigFile:
    """Of a step that makes a file in a directory `bridge`."""
    file = OwnedFile(str(folder / "bridge/config.yaml"), "", os.geteuid(), os.getegid(), own_directory=True)
    return ConfigFile(STACK, SettingsQuestion({}, "i:1", "/b", "synapse"), "sha256:0", file)


def test_the_next_run_of_it_waits_and_says_for_whom(tmp_path: Path) -> None:
    with hold_step_lock(STEP):
        later = subprocess.Popen(
            [*PYTHON, program_path(), "config", "write"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert later.stdin and later.stderr
        later.stdin.write(json.dumps({"arguments": to_json(arguments(tmp_path)), "step": STEP}))
        later.stdin.close()
        later.stdin = None
        told = later.stderr.readline()
        assert told == f"waiting for {STEP} (pid {os.getpid()}), which is at work for an earlier run\n"
        assert not (tmp_path / "bridge").exists()
    assert later.wait(30) == 0
    later.communicate()
    assert (tmp_path / "bridge").is_dir()


def test_another_step_of_the_stack_and_the_same_of_another_stack_do_not_wait(tmp_path: Path) -> None:
    with hold_step_lock(STEP):
        for step in (f"{HERE} mautrix-signal-config", f"{STACK}:/another mautrix-signal-directory", ""):
            done = run_step("config write", arguments(tmp_path), timeout=30, step=step)
            assert (done.returncode, done.stderr) == (0, "")


def test_one_that_never_ends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lock, "DEADLINE", 0.3)
    words = rf"{STEP} \(pid {os.getpid()}\) has been at work for an earlier run for over 0.3 s: wait"
    with hold_step_lock(STEP), pytest.raises(ScriptError, match=words), hold_step_lock(STEP):
        raise AssertionError("both hold it")


def test_what_is_said_to_nobody_does_not_end_a_step(tmp_path: Path) -> None:
    """A step that tells of its progress, and whose listener has gone, does its work to the end."""
    worked = tmp_path / "worked"
    verb = (
        "import pathlib\n"
        "def verb(arguments: Any) -> Any:\n"
        "    for _ in range(3): say('progress')\n"
        f"    pathlib.Path({str(worked)!r}).touch()\n"
        "    return {}\n"
    )
    process = subprocess.Popen(
        dispatching(verb), cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    process.stdin.write('{"arguments": {}}')
    process.stdin.close()
    assert process.wait(30) == 0
    assert worked.exists()
