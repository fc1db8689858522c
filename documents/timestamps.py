"""Times as Docker, the bridges' logs and our file names write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Optional

# RFC 3339, with as many digits of a second as there are (Docker writes nine, Python 3.9 reads six).
_RFC_3339 = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:Z|([+-])(\d\d):(\d\d))")
_FILE_NAME = re.compile(r"\d{8}T\d{6}Z")


def rfc3339_seconds(text: str) -> Optional[float]:
    """2026-11-24T14:12:35.123456789Z in seconds since the epoch; None if it is no such time."""
    match = _RFC_3339.fullmatch(text)
    if not match:
        return None
    offset = timedelta(hours=int(match[5] or 0), minutes=int(match[6] or 0))
    seconds = _seconds(f"{match[1]} {match[2]}", "%Y-%m-%d %H:%M:%S")
    if seconds is None:
        return None
    east = -1 if match[4] == "-" else 1
    return seconds + float(match[3] or 0) - east * offset.total_seconds()


def file_name_seconds(text: str) -> Optional[float]:
    """20261124T141235Z, as in the names of dumps and archives, in seconds since the epoch; None if it is no such
    time."""
    return _seconds(text, "%Y%m%dT%H%M%SZ") if _FILE_NAME.fullmatch(text) else None


def _seconds(text: str, pattern: str) -> Optional[float]:
    try:
        return datetime.strptime(text, pattern).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
