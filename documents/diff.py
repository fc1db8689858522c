"""The lines that an edit changes, for a screen or a CI log.

homeserver.yaml and pg_backup.sh hold secrets, in more forms than a search can know. So a diff shows our own lines and
their numbers, and nothing of anybody else's: none of the lines around a change, and of a line of the operator's that is
replaced (a list or mapping in braces, which has to be split) only our mark.
"""

from __future__ import annotations

import difflib

from documents.homeserver.positions import MARK

HIDDEN = "…"


def make_diff(old: str, new: str, name: str, ours: bool = False) -> str:
    """The unified diff without context; "" if no line differs. An end of line that the last line gets is no difference.
    `ours`: a line that is replaced is ours, too."""
    before, after = old.splitlines(), new.splitlines()
    lines = difflib.unified_diff(before, after, f"a/{name.lstrip('/')}", f"b/{name.lstrip('/')}", n=0, lineterm="")
    shown, replaces, hidden = [], False, 0
    for number, line in enumerate(lines):
        if line.startswith("@@"):
            replaces, hidden = False, 0
        elif number > 1 and not ours and line.startswith("-"):
            replaces, hidden = True, hidden + 1
            line = f"-{HIDDEN}"
        elif replaces:  # the first are what became of his lines, and what has no mark is the rest of one
            mark = MARK.search(line)
            if hidden or not mark:
                line = f"+{HIDDEN}" + (f"  # pulumi stack {mark['owners']}" if mark else "")
            hidden = max(hidden - 1, 0)
        shown.append(f"{line}\n")
    return "".join(shown)
