"""Whether the operator's backup script can take our call, asked of the shell that runs it (`-n`: it reads, and runs
nothing)."""

from __future__ import annotations

import re
import subprocess
from typing import Optional

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall

# An error wherever a command may begin, and a part of what is still open: of a here-document, of a quote.
UNFINISHED = "\n)\n"


def check(text: str, block: DumpCall) -> str:
    """What is wrong with the script once it has the call, as `LINE: reason: fix`; "" if nothing is.

    The text above the call must be complete by itself, the whole must be valid. Raises documents.refusal.Refused as
    documents/backup_script.py does.
    """
    shell = backup_script.find_interpreter(text)
    edited = backup_script.add_call(text, block)
    above = backup_script.text_above_call(edited, block.owner)
    place = above.count("\n") + 1
    fix = f"put the two lines `# >>> {block.owner}` and `# <<< {block.owner}` where it should stand, at the margin"
    if (wrong := _wrong(shell, backup_script.remove_call(text, block.owner))) is not None:
        return f"{_line(wrong)}: {shell} cannot read the script as it is: {wrong}: repair it"
    if _wrong(shell, above) is not None or _wrong(shell, above + UNFINISHED) is None:
        return f"{place}: our call would stand inside of something that is not closed there: {fix}"
    if (wrong := _wrong(shell, edited)) is not None:
        return f"{place}: {shell} cannot read the script with our call in it: {wrong}: {fix}"
    return ""


def _wrong(shell: str, text: str) -> Optional[str]:
    """The shell's own words, its last line; None if it finds nothing."""
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


def _line(said: str) -> int:
    match = re.search(r"(?:line |: )(\d+):", said)
    return int(match[1]) if match else 1
