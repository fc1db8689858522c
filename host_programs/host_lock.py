"""One at a time: a lock on this host for what more than one stack may change (homeserver.yaml with Synapse's restart,
the operator's backup script, who may connect to which database), and for each step of a stack: a run whose connection
was cut off goes on here, without whoever started it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from host_programs.messages import ScriptError, say

DIRECTORY = Path("/run")  # root's own, empty after a reboot
PREFIX = "mautrix-bridge-"
STEP_PREFIX = "step-"
DEADLINE = 300.0  # seconds to wait for whoever has it
PAUSE = 0.2


def hold_lock(what: str, holder: str, deadline: float = DEADLINE) -> AbstractContextManager[None]:
    """Hold the lock of `what` (a path, or a container's name) for as long as the body runs, also while others die: the
    kernel lets go of it with the process. ScriptError, with the other one's name, if it is not free in time."""
    late = f"{what}: {{}} has been changing it for over {deadline:g} s"
    return _hold(_lock_path(what), holder, deadline, f"waiting for {{}}, which is changing {what}", late)


def hold_step_lock(step: str) -> AbstractContextManager[None]:
    """The same for one step, "DEPLOYMENT RESOURCE", which another run of it waits for."""
    waiting = "waiting for {}, which an earlier run began that was cut off"
    late = f"{{}} has been at work for over {DEADLINE:g} s, for an earlier run that was cut off"
    return _hold(_lock_path(step, STEP_PREFIX), step, DEADLINE, waiting, late)


def list_running_steps(deployment: str) -> tuple[str, ...]:
    """The steps of a deployment that are at work on this host, as "RESOURCE (pid NUMBER)": those that we may see, so
    preflight refuses whoever is not root."""
    working = []
    for path in sorted(DIRECTORY.glob(f"{PREFIX}{STEP_PREFIX}*.lock")):
        try:
            with path.open() as file:
                if _is_locked(file.fileno()):
                    working.append(file.read().strip())
        except (FileNotFoundError, PermissionError):
            pass  # it has ended, or is root's alone
    return tuple(each.partition(" ")[2] for each in working if each.partition(" ")[0] == deployment)


def _lock_path(what: str, kind: str = "") -> Path:
    return DIRECTORY / f"{PREFIX}{kind}{hashlib.sha256(what.encode()).hexdigest()[:16]}.lock"


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def _hold(path: Path, holder: str, deadline: float, waiting: str, late: str) -> Iterator[None]:
    """`waiting` and `late` are told with the other holder's name."""
    end, told = time.monotonic() + deadline, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _take(descriptor, path):
                break
            other = os.read(descriptor, 500).decode(errors="replace").strip() or "another run"
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= end:
            raise ScriptError(f"{late.replace('{}', other)}: wait for it, or end it")
        if not told:
            say(waiting.replace("{}", other))
            told = True
        time.sleep(PAUSE)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    """Whether the lock is ours now, on the file that still has the name: its last holder took it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
