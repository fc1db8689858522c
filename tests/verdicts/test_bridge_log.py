"""Pins the failure of a status that shows the wrong line: it is the last error; and of one that takes another line for
an event that arrived."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.timestamps import rfc3339_seconds
from verdicts.bridge_log import last_error, last_event_time

JSON = {"level": "error", "time": "2026-03-16T10:00:00Z", "message": "Failed", "error": "dial tcp: refused", "x": 1}


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("error: not at its place\n[]\n{", ""),
        (json.dumps(JSON), "2026-03-16T10:00:00Z ERROR Failed: dial tcp: refused"),
        (
            json.dumps(JSON) + "\n" + json.dumps({**JSON, "level": "warn"}),
            "2026-03-16T10:00:00Z ERROR Failed: dial tcp: refused",
        ),
        (json.dumps(JSON) + "\n" + json.dumps({"level": "fatal", "message": "later"}) + "\r\n", "FATAL later"),
        (json.dumps({**JSON, "level": "info"}), ""),
        (json.dumps({"level": "fatal"}), "FATAL"),
        ("panic: runtime error: nil\n\ngoroutine 1 [running]:", "panic: runtime error: nil"),
        ("fatal error: all goroutines are asleep", "fatal error: all goroutines are asleep"),
    ],
)
def test_the_last_line_at_level_error_is_found(log: str, line: str) -> None:
    assert last_error(log) == line


@given(st.text())
def test_no_log_makes_the_reader_fail(log: str) -> None:
    assert "\n" not in last_error(log)


EVENTS = {"level": "debug", "component": "matrix", "transaction_id": "7", "content": {"pdu": 1}}
EVENTS |= {"time": "2026-03-16T10:00:00.123Z", "message": "Starting handling of transaction"}
LATER = {**EVENTS, "time": "2026-03-16T11:00:00Z"}
PINGED = {"level": "debug", "time": "2026-03-16T12:00:00Z", "message": "Received ping from homeserver"}


@pytest.mark.parametrize(
    ("log", "time"),
    [
        (json.dumps(EVENTS), "2026-03-16T10:00:00.123Z"),
        ("\n".join(map(json.dumps, (EVENTS, LATER, PINGED))), "2026-03-16T11:00:00Z"),
        (json.dumps(PINGED), ""),
        (json.dumps({**PINGED, "error": "not Starting handling of transaction"}), ""),
        (json.dumps(LATER) + "\n" + json.dumps(LATER)[:-9], "2026-03-16T11:00:00Z"),
        (json.dumps({**LATER, "time": "noon"}), ""),
        ("", ""),
    ],
    ids=["one", "the last of two", "a ping is none", "words of another line", "a line cut off", "no time", "nothing"],
)
def test_the_last_event_is_that_of_the_last_transaction(log: str, time: str) -> None:
    assert last_event_time(log) == (rfc3339_seconds(time) if time else None)
