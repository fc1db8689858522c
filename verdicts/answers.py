"""An answer of Synapse's to one request: the record of it, what kind of answer it is, and its summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAS_MARK = "matrix-authentication-service"

FAULTS = {
    "refused": "connection refused",
    "unreachable": "host not reachable",
    "timeout": "no whole answer within the time limit",
    "closed": "connection closed before the answer was whole",
    "too-long": "answer longer than the limit",
    "no-http": "answer is not HTTP",
    "not-sent": "not sent: the time limit for the whole check was reached",
}


@dataclass(frozen=True)
class Exchange:
    """One request and its answer.

    `sent_headers` hold only masked tokens. Either `status` is set, or `fault` (a key of FAULTS, with `detail` in the
    system's words). With "too-long", "closed" or "timeout" both may be set; `headers` and `body` are then incomplete.
    """

    step: str
    method: str
    url: str
    sent_headers: tuple[tuple[str, str], ...] = ()
    sent_body: str = ""
    status: int | None = None
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    fault: str = ""
    detail: str = ""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def json(self) -> Mapping[str, Any] | None:
        """The body as a JSON object; None if it is none."""
        try:
            body = json.loads(self.body.decode())
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    def text(self) -> str:
        return self.body.decode(errors="replace")


def is_still_starting(exchange: Exchange) -> bool:
    """Whether Synapse is not up yet: the connection is refused, or a proxy answers 502 or 503 in its place.

    An answer with an errcode is Synapse's own. One with MAS' name in it does not come from a proxy before Synapse.
    """
    if exchange.fault:
        return exchange.fault == "refused"
    return exchange.status in (502, 503) and "errcode" not in (exchange.json() or {}) and not find_mas_mark(exchange)


def find_mas_mark(exchange: Exchange) -> str:
    """Where the answer has MAS' name: headers, body or ""."""
    if any(MAS_MARK in f"{key}: {value}".lower() for key, value in exchange.headers):
        return "headers"
    return "body" if MAS_MARK.encode() in exchange.body.lower() else ""


def is_html(exchange: Exchange) -> bool:
    start = exchange.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower()
    return "html" in exchange.header("Content-Type").lower() or start.startswith((b"<!doctype html", b"<html"))


def summarize_answer(exchange: Exchange) -> str:
    """The answer in one short line."""
    if exchange.fault:
        fault = FAULTS[exchange.fault].partition(":")[0]
        return f"{exchange.status}, then {fault}" if exchange.status else fault
    body = exchange.json()
    if body is None:
        kind = exchange.header("Content-Type").partition(";")[0] or "no content type"
        location = exchange.header("Location")
        text = f"to {shorten_line(location)}" if location else f"{kind}, {len(exchange.body)} bytes"
        return f"{exchange.status} {text}"
    if "errcode" in body:
        return shorten_line(f"{exchange.status} {body['errcode']} {body.get('error', '')}".rstrip())
    shown = {key: body[key] for key in ("user_id", "appservice_id", "duration_ms") if key in body}
    return shorten_line(f"{exchange.status} {json.dumps(shown or body, sort_keys=True)}")


def shorten_line(text: str, width: int = 100) -> str:
    """The text as one line of at most `width` printable characters."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return text if len(text) <= width else text[: width - 1] + "…"
