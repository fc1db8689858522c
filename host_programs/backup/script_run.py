"""One run of a backup script, as cron would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

from documents.backup import backup_script
from documents.masking import clean_log
from host_programs.messages import ScriptError, say

LIMIT = 6 * 3600  # seconds that a run may take
RECORD = "MAUTRIX_BACKUP_RECORD"  # names a file: bridge_backup.sh writes a line `DATABASE PATH` there for each dump
LAST_LINES = 20


def run_script(command: list[str], script: Path, record: Path) -> None:
    """Run the command, and show what it says as it says it. ScriptError with its last lines if it fails."""
    if not os.access(script, os.X_OK):
        command = [backup_script.find_interpreter(script.read_text()), *command]
    home = os.path.expanduser("~")
    say(f"one run of {script}")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home if os.path.isdir(home) else "/",
        env={**os.environ, RECORD: str(record)},
        start_new_session=True,
    )
    timer = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    last: list[str] = []
    try:
        assert process.stdout is not None
        for raw in process.stdout:
            line = clean_log(raw.decode(errors="replace").rstrip("\n"), ())
            say(f"  {script.name} | {line}")
            last = [*last, line][-LAST_LINES:]
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
    if code:
        head = f"{script}: its run failed with exit code {code}; its last lines:"
        raise ScriptError("\n".join([head, *(f"  {line}" for line in last)]))


def read_record(record: Path) -> list[tuple[str, Path]]:
    """The dumps that our dump script made, each behind its database's name."""
    pairs = (line.split(" ", 1) for line in record.read_text().splitlines())
    return [(database, Path(path)) for database, path in pairs]
