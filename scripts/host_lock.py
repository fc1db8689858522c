"""One at a time: a lock on this host for what more than one stack may change (homeserver.yaml with Synapse's restart,
the operator's backup script, who may connect to which database)."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.common import ScriptError, say

DIRECTORY = Path("/run")  # root's own, empty after a reboot
DEADLINE = 300.0  # seconds to wait for whoever has it
PAUSE = 0.2


@contextmanager
def held(what: str, holder: str, deadline: float = DEADLINE) -> Iterator[None]:
    """Hold the lock of `what` (a path, or a container's name) for as long as the body runs, also while others die: the
    kernel lets go of it with the process. ScriptError, with the other one's name, if it is not free in time."""
    path = DIRECTORY / f"mautrix-bridge-{hashlib.sha256(what.encode()).hexdigest()[:16]}.lock"
    end, told = time.monotonic() + deadline, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _taken(descriptor, path):
                break
            other = os.read(descriptor, 500).decode(errors="replace").strip() or "another run"
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= end:
            raise ScriptError(f"{what}: {other} has been changing it for over {deadline:g} s: wait for it, or end it")
        if not told:
            say(f"waiting for {other}, which is changing {what}")
            told = True
        time.sleep(PAUSE)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder} (pid {os.getpid()})\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _taken(descriptor: int, path: Path) -> bool:
    """Whether the lock is ours now, on the file that still has the name: its last holder took it away."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
