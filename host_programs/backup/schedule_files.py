"""Has the host run our dump script each night (documents/backup/schedule.py), and no longer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Optional

from documents.backup.schedule import ScheduleFile
from documents.marks import file_owner
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say

BOOTED = Path("/run/systemd/system")  # is there if systemd runs, sd_booted(3)
STAMPS = Path("/var/lib/systemd/timers")  # when each timer with Persistent= was last due
LIMIT = 60.0  # seconds


def install_schedule(files: Sequence[ScheduleFile], stack: str, undo: ExitStack) -> None:
    """Write those that should be there, remove the others of this stack, and tell systemd. ScriptError, and nothing is
    changed, if somebody else's file is in the place of one."""
    old = tuple(ScheduleFile(file.path, _read_own(file.path, stack) or "") for file in files)
    for file, before in zip(files, old):
        if file.text and not before.text and safe_files.inspect_file(Path(file.path)):
            raise ScriptError(
                f"{file.path}: exists and was not made by this stack: move it away, or set another sharedDir"
            )
    undo.callback(_put_back, old, stack)
    _apply(files, stack, run_systemctl)


def remove_schedule(files: Sequence[ScheduleFile], stack: str) -> None:
    """Remove all files of this stack among these."""
    _apply([replace(file, text="") for file in files], stack, run_systemctl)


def _apply(files: Sequence[ScheduleFile], stack: str, systemctl: Callable[..., object]) -> None:
    leaving = [file for file in files if not file.text and _read_own(file.path, stack) is not None]
    wanted = [file for file in files if file.text]
    is_booted = BOOTED.is_dir()
    for file in leaving:
        if is_booted and file.is_timer:
            systemctl("disable", "--now", "--", file.unit)
    for file in leaving:
        safe_files.remove_file(Path(file.path))
        say(f"{file.path}: removed")
    for file in wanted:  # also one that says it already: cron passes over it if others may write into it
        safe_files.write_file(Path(file.path), file.text.encode(errors="surrogateescape"), mode=0o644)
        say(f"{file.path}: written")
    if is_booted and any(file.unit for file in (*leaving, *wanted)):
        systemctl("daemon-reload")
    for file in leaving:
        if file.is_timer:
            safe_files.remove_file(STAMPS / f"stamp-{file.unit}")
        elif is_booted and file.unit:
            with suppress(ScriptError):  # systemd knows the service no longer, unless its last run failed
                run_systemctl("reset-failed", "--", file.unit)
    for file in wanted:
        if file.is_timer:
            systemctl("enable", "--now", "--", file.unit)


def _put_back(old: Sequence[ScheduleFile], stack: str) -> None:
    """The files as they were. What goes wrong is told: why the run failed is the error."""

    def try_systemctl(*words: str) -> None:
        try:
            run_systemctl(*words)
        except ScriptError as error:
            say(f"note: {error}")

    _apply(old, stack, try_systemctl)


def _read_own(path: str, stack: str) -> Optional[str]:
    """The text of a file that names this stack; None if there is none. A link is nobody's that we know."""
    try:
        content = safe_files.read_file(Path(path), links=False)
    except ScriptError:
        return None
    text = content.data.decode(errors="surrogateescape") if content else ""
    return text if file_owner(text) == stack else None


def run_systemctl(*words: str, timeout: float = LIMIT) -> str:
    """What `systemctl WORDS` prints. ScriptError, in its own words, if it fails or gives no answer."""
    command = f"systemctl {' '.join(words)}"
    try:
        done = subprocess.run(
            ["systemctl", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ScriptError(f"{command}: {error}") from None
    if done.returncode:
        raise ScriptError(f"{command}: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}")
    return done.stdout
