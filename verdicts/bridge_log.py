"""What a person should read first in a bridge's log. Our config has it written as JSON, one object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional

from documents.timestamps import rfc3339_seconds

_CRASH = re.compile(r"(panic|fatal error): ")  # of the Go runtime
_EVENTS_ARRIVED = "Starting handling of transaction"  # mautrix-go, appservice/http.go, at level debug; not of a ping


def last_error(log: str) -> str:
    """The last line at level error or worse, as "time LEVEL message: error", else "". (A healthy bridge repeats some
    warnings.)"""
    for line in reversed(log.splitlines()):
        if _CRASH.match(line):
            return line.strip()
        entry = _read_entry(line)
        level = str(entry.get("level", ""))
        if level in ("error", "fatal", "panic"):
            words = [str(entry[key]) for key in ("message", "error") if entry.get(key)]
            return " ".join([str(entry.get("time", "")), level.upper(), ": ".join(words)]).strip()
    return ""


def last_event_time(log: str) -> Optional[float]:
    """When Synapse last handed events to the bridge, in seconds since the epoch; None if no line tells."""
    for line in reversed(log.splitlines()):
        entry = _read_entry(line) if _EVENTS_ARRIVED in line else {}
        if entry.get("message") == _EVENTS_ARRIVED:
            return rfc3339_seconds(str(entry.get("time", "")))
    return None


def _read_entry(line: str) -> Mapping[str, Any]:
    """{} if the line is no JSON object."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}
