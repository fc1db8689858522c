"""The files by which the host runs our dump script each night, if no script of the operator's calls it: one for cron,
or a service and a timer for systemd."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from documents.marks import seal
from documents.places import StackConfig

CRON, SYSTEMD = "cron", "systemd"  # what runs programs by the clock; "": neither is on the host
CRON_DIRECTORY = "/etc/cron.d"
UNIT_DIRECTORY = "/etc/systemd/system"


@dataclass(frozen=True)
class ScheduleFile:
    """`text`: "" if the file should not be there."""

    path: str
    text: str

    @property
    def unit(self) -> str:
        """The name of the timer or service that the file describes to systemd; "" if it describes none."""
        name = self.path.rpartition("/")[2]
        return name if name.endswith((".timer", ".service")) else ""

    @property
    def is_timer(self) -> bool:
        return self.unit.endswith(".timer")


def render_schedule(deployment: StackConfig, scheduler: str) -> tuple[ScheduleFile, ...]:
    """All files that may be there for this stack, with the text that each should have."""
    # cron passes over names with a dot (cron(8) of Debian)
    name = re.sub(r"[^A-Za-z0-9_-]", "-", f"{deployment.shared_name}_backup")
    cron_file, unit = f"{CRON_DIRECTORY}/{name}", f"{UNIT_DIRECTORY}/{name}"
    texts = {cron_file: "", f"{unit}.service": "", f"{unit}.timer": ""}
    if not deployment.backup.script and scheduler == CRON:
        texts[cron_file] = f"{format_cron_line(deployment)}\n"
    if not deployment.backup.script and scheduler == SYSTEMD:
        texts |= {f"{unit}.service": _render_service(deployment), f"{unit}.timer": _render_timer(deployment)}
    head = f"# Runs the bridges' nightly dumps: written by the Pulumi stack {deployment.stack}.\n"
    return tuple(ScheduleFile(path, seal(head + text) if text else "") for path, text in texts.items())


def format_cron_line(deployment: StackConfig) -> str:
    """The line of /etc/cron.d that runs our dump script. What goes wrong is on stderr, which cron sends to root."""
    command = shlex.join([deployment.dump_script, deployment.backup.directory])
    hour, minute = deployment.backup.time.split(":")
    escaped = command.replace("%", "\\%")  # else a line break, crontab(5)
    return f"{int(minute)} {int(hour)} * * * root {escaped} >/dev/null"


def _render_service(deployment: StackConfig) -> str:
    program, directory = map(_quote, (deployment.dump_script, deployment.backup.directory))
    return f"""\
[Unit]
Description=Dumps of the mautrix bridges' databases
After=docker.service

[Service]
Type=oneshot
ExecStart={program} {directory}
"""


def _render_timer(deployment: StackConfig) -> str:
    return f"""\
[Unit]
Description=Dumps of the mautrix bridges' databases, each night

[Timer]
OnCalendar=*-*-* {deployment.backup.time}:00
Persistent=true

[Install]
WantedBy=timers.target
"""


def _quote(word: str) -> str:
    """As systemd.service(5) reads a word. A `$` begins a variable behind the program alone, where there is none."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
