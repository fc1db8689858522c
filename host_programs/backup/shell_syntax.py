"""Asks the shell that runs the operator's backup script whether the script can take our call (`-n`: the shell reads
it, and runs nothing)."""

from __future__ import annotations

import re
import subprocess
from typing import Optional

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall

# A syntax error where a command may begin; plain text inside a quote or a here-document that is not closed yet.
UNFINISHED = "\n)\n"


def check_call(text: str, block: DumpCall) -> str:
    """What is wrong with the script once it has the call, as `LINE: reason: fix`; "" if nothing is.

    The text above the call must be complete by itself, and the whole must be valid. Raises Refused as
    documents/backup/backup_script.py does.
    """
    shell = backup_script.find_interpreter(text)
    edited = backup_script.add_call(text, block)
    above = backup_script.text_above_call(edited, block.owner)
    place = above.count("\n") + 1
    fix = f"put the two lines `# >>> {block.owner}` and `# <<< {block.owner}` where it should stand, at the margin"
    if (error := _find_error(shell, backup_script.remove_call(text, block.owner))) is not None:
        return f"{_find_line(error)}: {shell} cannot read the script as it is: {error}: repair it"
    if _find_error(shell, above) is not None or _find_error(shell, above + UNFINISHED) is None:
        return f"{place}: our call would stand inside of something that is not closed there: {fix}"
    if (error := _find_error(shell, edited)) is not None:
        return f"{place}: {shell} cannot read the script with our call in it: {error}: {fix}"
    return ""


def _find_error(shell: str, text: str) -> Optional[str]:
    """The last line that the shell says against it; None if it finds nothing."""
    try:
        done = subprocess.run(
            [shell, "-n"],
            input=text,
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return f"{shell} is not on the host"
    except subprocess.TimeoutExpired:
        return f"{shell} -n does not end"
    if not done.returncode:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _find_line(error: str) -> int:
    match = re.search(r"(?:line |: )(\d+):", error)
    return int(match[1]) if match else 1
