"""Locks on this host: of what several stacks may change (homeserver.yaml, the operator's backup script, rights in
Postgres), and of each step of a stack, since a run whose connection was cut off goes on here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from host_programs.messages import ScriptError, say

DIRECTORY = Path("/run")  # only root writes into it, and a reboot empties it
PREFIX = "mautrix-bridge-"
STEP_PREFIX = "step-"
DEADLINE = 300.0  # seconds to wait for the other holder
PAUSE = 0.2  # seconds between two tries


def hold_lock(resource: str, holder: str, deadline: float = DEADLINE) -> AbstractContextManager[None]:
    """Hold the lock of `resource` (a path, or a container's name) while the body runs. The kernel frees the lock when
    its process ends. ScriptError, with the other holder's name, if the lock is not free in `deadline` seconds."""
    return _hold(_lock_path(resource), holder, deadline, f"changing {resource}")


def hold_step_lock(step: str) -> AbstractContextManager[None]:
    """Hold the lock of one step, "DEPLOYMENT RESOURCE": another run of the same step waits for it."""
    return _hold(_lock_path(step, STEP_PREFIX), step, DEADLINE, "at work for an earlier run")


def list_running_steps(deployment: str) -> tuple[str, ...]:
    """The running steps of a deployment, as "RESOURCE (pid NUMBER)". Other users' locks are invisible, so preflight
    refuses a user who is not root."""
    holders = []
    for path in sorted(DIRECTORY.glob(f"{PREFIX}{STEP_PREFIX}*.lock")):
        try:
            with path.open() as file:
                if _is_locked(file.fileno()):
                    holders.append(file.read().strip())
        except (FileNotFoundError, PermissionError):
            pass  # the step has ended, or only root may read its lock
    return tuple(holder.partition(" ")[2] for holder in holders if holder.partition(" ")[0] == deployment)


def _lock_path(resource: str, kind: str = "") -> Path:
    return DIRECTORY / f"{PREFIX}{kind}{hashlib.sha256(resource.encode()).hexdigest()[:16]}.lock"


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def _hold(path: Path, holder: str, deadline: float, activity: str) -> Iterator[None]:
    end, announced = time.monotonic() + deadline, False
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
            raise ScriptError(f"{other} has been {activity} for over {deadline:g} s: wait for it, or end it")
        if not announced:
            say(f"waiting for {other}, which is {activity}")
            announced = True
        time.sleep(PAUSE)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> bool:
    """Try to take the lock. False if another process holds it, or if its last holder has removed the file meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
