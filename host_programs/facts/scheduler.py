"""What on the host runs programs by the clock, and whether it runs our dump script each night."""

from __future__ import annotations

import os
import re
from pathlib import Path

from documents.backup.schedule import CRON, CRON_DIRECTORY, SYSTEMD, UNIT_DIRECTORY, render_schedule
from documents.places import StackConfig
from host_programs.backup import schedule_files
from host_programs.facts.files import read_own_file
from host_programs.files import safe_files
from host_programs.messages import ScriptError
from verdicts.host_facts.host import ScheduleFacts

LIMIT = 5.0  # seconds
# Debian's and SUSE's process is named cron; cronie's (Red Hat, Arch, Alpine) crond.
_DAEMONS = ("cron", "crond")
# A cron that knows this file expects a user in each line of /etc/cron.d. Busybox' crond reads no /etc/cron.d, and
# dcron's takes the user for the command: neither has this path in its program.
_CRONTAB = b"/etc/crontab\0"


def find_scheduler() -> str:
    """cron if it runs and reads /etc/cron.d; else systemd, if it runs; else ""."""
    if _is_usable(CRON_DIRECTORY) and any(map(_is_cron, Path("/proc").glob("[0-9]*"))):
        return CRON
    return SYSTEMD if schedule_files.BOOTED.is_dir() and _is_usable(UNIT_DIRECTORY) else ""


def read_schedule(deployment: StackConfig) -> ScheduleFacts:
    """Nothing is looked for if a script of the operator's calls our dump script."""
    if deployment.backup.script:
        return ScheduleFacts()
    scheduler = find_scheduler()
    files = render_schedule(deployment, scheduler)
    found = {file.path: own for file in files if (own := read_own_file(Path(file.path)))}
    timer = next((file.unit for file in files if file.is_timer and file.text), "")
    is_ours = any(path.endswith(f"/{timer}") and own.stack == deployment.stack for path, own in found.items())
    return ScheduleFacts(scheduler, found, _explain_stop(timer) if timer and is_ours else "")


def _is_usable(directory: str) -> bool:
    """Whether root can put a file there, and nobody else can."""
    path = Path(directory)
    return path.is_dir() and os.access(path, os.W_OK) and not safe_files.find_fault(path)


def _is_cron(process: Path) -> bool:
    try:
        if (process / "comm").read_text().strip() not in _DAEMONS:
            return False
        is_here = os.path.samefile(process / f"root{CRON_DIRECTORY}", CRON_DIRECTORY)  # one in a container is not
        return is_here and _CRONTAB in (process / "exe").read_bytes()
    except OSError:  # it has ended meanwhile
        return False


def _explain_stop(timer: str) -> str:
    """Why systemd will not start the service of the timer; "" if it will."""
    try:
        told = schedule_files.run_systemctl("show", "--property=ActiveState,UnitFileState", "--", timer, timeout=LIMIT)
    except ScriptError as error:
        return f"not known ({error})"
    states = re.findall(r"=(.*)", told)
    return ", ".join(state for state in states if state not in ("active", "enabled"))
