"""Where a run may be cut off: after an operation has been done, and before the engine knows.

LAB_FAULT_LOG names a file that gets a line for each such point: "create mautrix-signal-role". At the point that
LAB_FAULT names, the Pulumi CLI that runs this plugin dies with SIGKILL, and so do its plugins and the program. What a
command has started on the host goes on, as it would. In the operation that LAB_CUT names, all connections of the sshd
whose process LAB_CUT_SSHD names are cut.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from lab.ssh_server import cut_sessions

CUT_AFTER = 0.05  # seconds from the operation's begin: Python has not even started then
OPERATIONS = ("create", "update", "delete")
_SCRIPT = "mautrix-host-"  # in the command line of each step of the product's on the host


def watch(provider: Any) -> None:
    """Give the provider's operations their points."""
    if {"LAB_FAULT", "LAB_FAULT_LOG", "LAB_CUT"} & os.environ.keys():
        for name in OPERATIONS:
            setattr(provider, name, _watched(name, getattr(provider, name)))


def _watched(name: str, operation: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def run(request: Any) -> Any:
        point = f"{name} {request.urn.rpartition('::')[2]}"
        if getattr(request, "preview", False):
            return await operation(request)
        if point == os.environ.get("LAB_CUT"):
            threading.Timer(CUT_AFTER, cut_sessions, [int(os.environ["LAB_CUT_SSHD"])]).start()
        result = await operation(request)
        _reached(point)
        return result

    return run


def _reached(point: str) -> None:
    log = os.environ.get("LAB_FAULT_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{point}\n")
    if point == os.environ.get("LAB_FAULT"):
        cli = next(pid for pid in _above(os.getpid()) if Path(_words(pid)[0]).name.startswith("pulumi"))
        for pid in (cli, *[pid for pid in _below(cli) if pid != os.getpid()], os.getpid()):
            os.kill(pid, signal.SIGKILL)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return [""]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _above(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = _parent(pid)
        yield pid


def _below(pid: int) -> Iterator[int]:
    """The processes that it started, and those that they did, but for the scripts on the host."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        children.setdefault(_parent(int(entry.name)), []).append(int(entry.name))
    todo = children.get(pid, [])
    while todo:
        child = todo.pop()
        if not any(_SCRIPT in word for word in _words(child)):
            yield child
            todo += children.get(child, [])
