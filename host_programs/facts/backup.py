"""Facts about the operator's backup script, and about who calls ours."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Optional

from documents.backup import backup_script
from documents.places import Deployment
from documents.refusal import Refused
from host_programs.backup import scripts
from verdicts.host_facts.files import File

SCHEDULES = (
    "etc/crontab", "etc/cron.*/*", "var/spool/cron/*", "var/spool/cron/crontabs/*", "etc/systemd/system/*.service",
)  # fmt: skip


def runs(*words: str) -> bool:
    """Whether the host can run the command."""
    try:
        return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def is_scheduled(script: str, root: Path = Path("/")) -> bool:
    """Whether cron or a systemd unit of the host names the script."""
    for pattern in SCHEDULES:
        for file in root.glob(pattern):
            with contextlib.suppress(OSError):
                if script.encode() in file.read_bytes():
                    return True
    return False


def check_syntax(deployment: Deployment, script: Optional[File]) -> str:
    """What the interpreter of the operator's script says against our edit; "" if nothing, or if there is no edit."""
    if script is None or script.text is None:
        return ""
    try:
        return scripts.check_call(script.text, backup_script.dump_call_of(deployment))
    except Refused:
        return ""  # preflight says it
