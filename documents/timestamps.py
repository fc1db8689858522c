"""Times as Docker, the bridges' logs and our file names write them, in seconds since the epoch; None if the text is no
such time. And the present one, as text."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timezone
from typing import Optional

# Docker writes nine digits of a second; datetime.fromisoformat of Python 3.9 reads three or six, and no Z.
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_FILE_NAME = re.compile(r"\d{8}T\d{6}Z")


def now() -> str:
    """As 2026-11-24T14:12:35.123456+00:00: a later one is greater."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def rfc3339_seconds(text: str) -> Optional[float]:
    """Of 2026-11-24T14:12:35.123456789Z."""
    match = _RFC_3339.fullmatch(text)
    if match:
        with contextlib.suppress(ValueError):
            zone = match[3].replace("Z", "+00:00")
            return datetime.fromisoformat(match[1] + zone).timestamp() + float(match[2] or 0)
    return None


def file_name_seconds(text: str) -> Optional[float]:
    """Of 20261124T141235Z, as in the names of dumps and archives."""
    if _FILE_NAME.fullmatch(text):
        with contextlib.suppress(ValueError):
            return datetime.strptime(f"{text}+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
    return None
