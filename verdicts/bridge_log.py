"""Finds the line of a bridge's log that a person should read first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERRORS = {"error", "fatal", "panic", "ERR", "FTL", "PNC"}
_PRETTY = re.compile(r"\S+ (?:\S+ )?(ERR|FTL|PNC) ")  # zerolog's console format: time, level, message, fields
_CRASH = re.compile(r"(panic|fatal error): ")


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
