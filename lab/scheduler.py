"""What runs programs by the clock on the lab's host, which is this machine: a cron of the lab's own, or nothing.

The machine may have a cron and systemd, and a deployment without a backup script puts files of its own among theirs. So
it runs where /etc/cron.d is a directory of the lab's, and no systemd is to be seen: in a mount namespace of the thread
that calls this, which the CLI and the steps inherit. Not for a host behind the lab's SSH, whose server is elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.engine import LabError, run
from lab.place import Place

CLONE_NEWNS = 0x00020000  # sched.h
SYSTEMD = Path("/run/systemd")
# Nothing of the machine's is run: its crontab and its users' are hidden, and so is the lock of the cron that it has.
# /dev/shm is where faketime notes the clock.
_CRON = """
mount --bind /dev/null /etc/crontab && mount -t tmpfs tmpfs /var/spool/cron && mount -t tmpfs tmpfs /dev/shm &&
mount --bind /run /mnt && mount -t tmpfs tmpfs /run && ln -s /mnt/* /run && rm -f /run/crond.pid &&
exec faketime -f "$0" cron -f
"""


@contextmanager
def private_cron_directory(place: Place) -> Iterator[Path]:
    """/etc/cron.d is an empty directory of the lab's host tree, which this gives, and nothing reads it."""
    directory = place.host_dir / "cron.d"
    directory.mkdir()
    old, here = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY), os.getcwd()
    _call("unshare", CLONE_NEWNS)
    try:
        run(["mount", "--make-rprivate", "/"])
        run(["mount", "--bind", directory, "/etc/cron.d"])
        if SYSTEMD.is_dir():
            run(["mount", "-t", "tmpfs", "tmpfs", SYSTEMD])
        yield directory
    finally:
        _call("setns", old, CLONE_NEWNS)
        os.close(old)
        os.chdir(here)
        shutil.rmtree(directory)


@contextmanager
def running_cron(clock: str) -> Iterator[None]:
    """The real cron, in the namespace of this thread, whose clock begins at `clock` (YYYY-MM-DD HH:MM:SS)."""
    process = subprocess.Popen(["unshare", "--mount", "sh", "-c", _CRON, f"@{clock}"], start_new_session=True)
    try:
        for _ in range(100):
            if _names(process.pid) >= {"cron"}:
                break
            time.sleep(0.1)
        else:
            raise LabError("cron did not start: is Debian's package cron, and faketime, installed (make setup)?")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _names(group: int) -> set[str]:
    """What the processes of a group are called."""
    found = subprocess.run(["pgrep", "-l", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    return {line.split(" ", 1)[1] for line in found.splitlines()}


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        raise LabError(f"{function}: {os.strerror(ctypes.get_errno())} ({threading.current_thread().name})")
