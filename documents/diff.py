"""The lines that an edit changes, for a screen or a CI log.

homeserver.yaml and pg_backup.sh hold secrets. So a diff shows none of the lines around a change. A changed line of the
operator's (a list or mapping in braces, which has to be split) may hold secrets too: they are shown as `…`.
"""

from __future__ import annotations

import difflib
import re

from documents.masking import SECRET_NAME, looks_secret

HIDDEN = "…"
_SHOWN = re.compile(r"(?i)(?:true|false|yes|no|on|off|null|~)\Z")
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*')(?=[\s,}\]]|\Z)|[^\s,}\]#]\S*?(?=[,}\]]*(?:\s|\Z))"
_PAIR = re.compile(rf"(?i)\b({SECRET_NAME})([\"']?[ \t]*:[ \t]+)({_VALUE})")
_ADDRESS = re.compile(r"(://[^\s:/@]*:)[^\s/@]+@")


def hide_secrets(line: str) -> str:
    """Hides the values whose keys look secret, and the passwords in addresses."""
    return _ADDRESS.sub(rf"\1{HIDDEN}@", _PAIR.sub(_hide_value, line))


def _hide_value(pair: re.Match[str]) -> str:
    key, colon, value = pair.groups()
    return f"{key}{colon}{HIDDEN}" if looks_secret(key) and not _SHOWN.match(value) else pair[0]


def make_diff(old: str, new: str, name: str) -> str:
    """The unified diff without context, secrets hidden; "" if no line differs. An end of line that the last line gets
    is no difference."""
    before, after = old.splitlines(), new.splitlines()
    lines = difflib.unified_diff(before, after, f"a/{name.lstrip('/')}", f"b/{name.lstrip('/')}", n=0, lineterm="")
    return "".join(f"{hide_secrets(line)}\n" for line in lines)
