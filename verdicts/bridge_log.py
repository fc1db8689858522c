"""Finds the line of a bridge's log that a person should read first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Optional

from documents.timestamps import rfc3339_seconds

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERRORS = {"error", "fatal", "panic", "ERR", "FTL", "PNC"}
_PRETTY = re.compile(r"\S+ (?:\S+ )?(ERR|FTL|PNC) ")  # zerolog's console format: time, level, message, fields
_CRASH = re.compile(r"(panic|fatal error): ")
_EVENTS_ARRIVED = "Starting handling of transaction"  # mautrix-go, appservice/http.go, at level debug; not of a ping


def last_error(log: str) -> str:
    """The last line at level error or worse, else "". (A healthy bridge repeats some warnings.)

    It reads JSON lines, zerolog's console format (with colours), and a Go crash. A JSON line becomes "time LEVEL
    message: error".
    """
    last = ""
    for raw in log.splitlines():
        text, level = _read(_COLOUR.sub("", raw).strip())
        if level in _ERRORS:
            last = text
    return last


def last_event_time(log: str) -> Optional[float]:
    """When Synapse last handed events to the bridge, in seconds since the epoch; None if no line tells. Only the JSON
    that our config asks for is understood."""
    for raw in reversed(log.splitlines()):
        if _EVENTS_ARRIVED in raw:
            try:
                entry = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict) and entry.get("message") == _EVENTS_ARRIVED:
                return rfc3339_seconds(str(entry.get("time", "")))
    return None


def _read(text: str) -> tuple[str, str]:
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            return text, ""
        return _json(entry) if isinstance(entry, dict) else (text, "")
    if _CRASH.match(text):
        return text, "panic"
    pretty = _PRETTY.match(text)
    return text, pretty.group(1) if pretty else ""


def _json(entry: Mapping[str, object]) -> tuple[str, str]:
    level = str(entry.get("level", ""))
    words = [str(entry[key]) for key in ("message", "error") if entry.get(key)]
    return " ".join([str(entry.get("time", "")), level.upper(), ": ".join(words)]).strip(), level
