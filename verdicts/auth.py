"""The stop-and-check's judgement: from what Synapse answered to PASS or FAIL. Pure; `synapse/stop_and_check.py` asks.

Five requests prove that both registrations are loaded and that MAS does not stand in their way (Synapse 1.147.1):
the bot can be registered, its token speaks for it, token and registration id belong together, and the same for the
double-puppet registration, whose token speaks for the admin. PASS needs all five. A step fails by the first rule of
the plan's FAIL list that fits, and by the last rule, "neither PASS nor known", when none does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

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
    """One request and what came of it. `sent_headers` hold masked tokens only. Either `status` is set or `fault`
    (a key of FAULTS, `detail` in the system's words); with "too-long", "closed" or "timeout" both may be, and
    `headers` and `body` are as far as they came."""

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
        """The body's JSON object; None if it is no JSON or no object."""
        try:
            body = json.loads(self.body.decode())
        except (ValueError, RecursionError):
            return None
        return body if isinstance(body, dict) else None

    def text(self) -> str:
        return self.body.decode(errors="replace")


@dataclass(frozen=True)
class Expected:
    """What a PASS has to show. User ids with @ and domain; `mas_hosts`: host or host:port that mean MAS;
    `bridge_host`: of the url in the bridge's registration ("": any)."""

    bot: str
    appservice_id: str
    admin: str
    doublepuppet_id: str
    mas_hosts: tuple[str, ...] = ()
    bridge_host: str = ""


@dataclass(frozen=True)
class Step:
    """One step judged: what was sent, what came (one line each), whether it passed, by which rule, what to do."""

    step: str
    sent: str
    came: str
    passed: bool
    rule: str
    todo: str = ""


@dataclass(frozen=True)
class Verdict:
    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step.passed for step in self.steps)

    @property
    def word(self) -> str:
        return "PASS" if self.passed else "FAIL"

    @property
    def decided(self) -> Step | None:
        """The first step that failed: later ones mostly fail for the same reason."""
        return next((step for step in self.steps if not step.passed), None)


STEPS = ("register bot", "whoami as bot", "ping", "whoami as admin", "puppet ping")


def starting(exchange: Exchange) -> bool:
    """Is this how a Synapse that is still starting answers: refused, or a proxy's 502 or 503 in its place?
    An answer with an errcode is Synapse's own, and one with MAS's name in it is no start either."""
    if exchange.fault:
        return exchange.fault == "refused"
    return exchange.status in (502, 503) and "errcode" not in (exchange.json() or {}) and not _mas_mark(exchange)


def judge(exchanges: Sequence[Exchange], expected: Expected) -> Verdict:
    """The verdict on the last exchange of each step; a step without one has failed."""
    by_step = {exchange.step: exchange for exchange in exchanges}
    missing = Exchange("", "", "", fault="not-sent")
    return Verdict(tuple(_step(name, by_step.get(name, missing), expected) for name in STEPS))


def _step(name: str, exchange: Exchange, expected: Expected) -> Step:
    puppet = name in STEPS[3:]
    ours = expected.doublepuppet_id if puppet else expected.appservice_id
    passed = _passes(name, exchange, expected, ours)
    rule, todo = (passed, "") if passed else _fails(name, exchange, expected, ours)
    return Step(name, _sent(exchange), came(exchange), bool(passed), rule, todo)


def _passes(name: str, exchange: Exchange, expected: Expected, ours: str) -> str:
    """The PASS rule that holds, or nothing. A known FAIL is looked for first: a 200 may come from MAS, too."""
    if exchange.fault or _mas_mark(exchange) or _html(exchange):
        return ""
    body = exchange.json()
    if body is None:
        return ""
    status, errcode = exchange.status, body.get("errcode")
    if name == "register bot":
        if status == 200 and body.get("user_id") == expected.bot:
            return f"registered {expected.bot}"
        return "the bot exists already" if (status, errcode) == (400, "M_USER_IN_USE") else ""
    if name in ("whoami as bot", "whoami as admin"):
        user = expected.bot if name == "whoami as bot" else expected.admin
        if status != 200 or body.get("user_id") != user or body.get("appservice_id", ours) != ours:
            return ""
        return f"the token speaks for {user}"
    if name == "puppet ping":
        return f"token and id {ours} match" if (status, errcode) == (400, "M_URL_NOT_SET") else ""
    duration = body.get("duration_ms")
    if status == 200 and isinstance(duration, (int, float)) and not isinstance(duration, bool):
        return f"token and id {ours} match, a bridge answers"
    if _wrong_host(body, expected):
        return ""
    if (status, errcode) in ((502, "M_CONNECTION_FAILED"), (502, "M_BAD_STATUS"), (504, "M_CONNECTION_TIMEOUT")):
        return f"token and id {ours} match, no bridge yet"
    return ""


def _wrong_host(body: Mapping[str, Any], expected: Expected) -> str:
    """The host that Synapse could not find, in Twisted's words, if it is not the bridge's: that one may not be there
    yet."""
    found = re.search(r"hostname lookup: (\S+?)\.?$", str(body.get("error", "")))
    host = found[1] if found else ""
    return host if expected.bridge_host and host.lower() != expected.bridge_host.lower() else ""


_SYNAPSE_LOGS = "read Synapse's log below"
_URL = "check synapseUrl: it must be Synapse itself, not MAS and not a login page in front of it"


def _fails(name: str, exchange: Exchange, expected: Expected, ours: str) -> tuple[str, str]:
    """The rule that decides and what to do about it: the plan's FAIL list from the transport up, then the rest."""
    body = exchange.json() or {}
    status, errcode, error = exchange.status, str(body.get("errcode", "")), str(body.get("error", ""))
    if exchange.fault == "not-sent":
        return FAULTS["not-sent"], "fix the step above it"
    if exchange.fault == "refused":
        return "Synapse is not there: connection refused until the time limit", (
            f"start Synapse, or check synapseUrl; {_SYNAPSE_LOGS}"
        )
    if exchange.fault:
        todo = {
            "closed": "something between here and Synapse drops connections (a proxy whose backend is not up does): "
            "check synapseUrl and that Synapse is healthy",
            "too-long": _URL,
            "no-http": _URL,
            "timeout": f"Synapse hangs or is overloaded, or synapseUrl is something else; {_SYNAPSE_LOGS}",
        }.get(exchange.fault, "check synapseUrl")
        return FAULTS[exchange.fault], todo
    if status is not None and 300 <= status < 400:
        if _to_mas(exchange.header("Location"), expected.mas_hosts):
            return f"{status} redirect to MAS", "synapseUrl leads to MAS or its login: use Synapse's own address"
        return f"{status} redirect", _URL
    if _mas_mark(exchange):
        return f"MAS answered: {MAS_MARK} in its {_mas_mark(exchange)}", _URL
    if starting(exchange):
        return f"Synapse is not there: {status} without a body of Synapse's until the time limit", (
            f"a proxy answers for it: start Synapse; {_SYNAPSE_LOGS}"
        )
    if _html(exchange):
        return "an HTML page, not Synapse's JSON", _URL
    loaded = (
        f"Synapse has no registration with this as_token: check that app_service_config_files lists the file of {ours},"
        " that its as_token is the one in the stack (`pulumi up` with a new `reapply` number writes it again), and"
        " that Synapse was restarted since"
    )
    if errcode == "M_UNKNOWN_TOKEN":
        # Registration looks among the appservices only; the other requests ask MAS then.
        asked = ", and MAS, which Synapse then asked, knows it neither" if "not active" in error else ""
        return f"{status} M_UNKNOWN_TOKEN: no appservice's token{asked}", loaded
    if status == 503 and "introspect" in error:
        return "503: no appservice's token, and MAS, which Synapse then asked, is down", f"{loaded}; start MAS as well"
    user = expected.admin if name in STEPS[3:] else expected.bot
    if errcode in ("M_USER_LOCKED", "M_USER_DEACTIVATED"):
        how = "locked" if errcode == "M_USER_LOCKED" else "deactivated"
        return f"{status} {errcode}: {user} is {how}", (
            f"unlock or reactivate {user} in MAS (or Synapse's admin API), or set another adminUser"
        )
    if status == 401:
        return f"401 {errcode}: the as_token was rejected".replace("  ", " "), loaded
    if status == 403:
        return _forbidden(error, ours)
    if name == "ping" and (host := _wrong_host(body, expected)):
        return f"the loaded registration {ours} names the host {host}, which is not there", (
            f"its url should name {expected.bridge_host}: another file is loaded as {ours}: put ours in place"
        )
    if errcode == "M_EXCLUSIVE":
        return f"{user} is not in the namespace of {ours}, or is in another's", (
            f"compare namespaces.users of the loaded registration {ours} with the domain, and look for a second"
            " registration that claims the bot"
        )
    if name == "ping" and errcode == "M_URL_NOT_SET":
        return f"the loaded registration {ours} has no url", f"another file is loaded as {ours}: put ours in place"
    if name == "puppet ping" and status in (200, 502, 504):
        return f"the loaded registration {ours} has a url", (
            "double puppeting needs `url: null`: another file is loaded in its place; look at it in Synapse's data"
        )
    if status == 200 and not exchange.body.strip():
        return "200 with nothing in it", _URL
    if not exchange.json():
        return f"{status} and no JSON object in it", _URL
    if status == 200 and "user_id" in body and body["user_id"] != user:
        return f"user_id is not {user}", (
            "the token belongs to another registration or domain: compare the loaded registration's as_token and"
            f" namespaces, and the setting domain, with {user}"
        )
    if status == 200 and body.get("appservice_id", ours) != ours:
        return f"appservice_id is not {ours}", f"another registration holds this as_token: give {ours} its own"
    return f"neither PASS nor known: {status} {errcode}".rstrip(), f"{_SYNAPSE_LOGS}; {_URL}"


def _forbidden(error: str, ours: str) -> tuple[str, str]:
    """403 in Synapse's words (synapse/api/auth/base.py, synapse/rest/client/appservice_ping.py)."""
    if error.startswith("Mismatching application service ID"):
        return f"403: this as_token is not that of the registration {ours}", (
            f"another registration holds the token (same file under another id?): its id must be {ours}"
        )
    if "cannot masquerade" in error:
        return f"403: the user is outside the namespace of {ours}", (
            f"compare namespaces.users of the loaded registration {ours} with the domain"
        )
    if "has not registered this user" in error:
        return "403: Synapse has no such user", (
            "the bot: see the step `register bot`; the admin: check adminUser; an account that MAS alone knows comes "
            "to Synapse when this user logs in to Matrix once"
        )
    return "403: MAS or Synapse refused the as_token", _SYNAPSE_LOGS


def _mas_mark(exchange: Exchange) -> str:
    if any(MAS_MARK in f"{key}: {value}".lower() for key, value in exchange.headers):
        return "headers"
    return "body" if MAS_MARK.encode() in exchange.body.lower() else ""


def _html(exchange: Exchange) -> bool:
    start = exchange.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:16].lower()
    return "html" in exchange.header("Content-Type").lower() or start.startswith((b"<!doctype html", b"<html"))


def _to_mas(location: str, mas_hosts: Sequence[str]) -> bool:
    try:
        where = urlsplit(location)
        host, port = where.hostname or "", where.port or {"http": 80, "https": 443}.get(where.scheme)
    except ValueError:
        return False
    return any(host and mas.lower() in (host, f"{host}:{port}") for mas in mas_hosts)


def _sent(exchange: Exchange) -> str:
    return f"{exchange.method} {exchange.url}".strip()


def came(exchange: Exchange) -> str:
    """What came, in one short line."""
    if exchange.fault:
        came = FAULTS[exchange.fault].partition(":")[0]
        return f"{exchange.status}, then {came}" if exchange.status else came
    body = exchange.json()
    if body is None:
        kind = exchange.header("Content-Type").partition(";")[0] or "no content type"
        where = exchange.header("Location")
        return f"{exchange.status} {'to ' + line(where) if where else f'{kind}, {len(exchange.body)} bytes'}"
    if "errcode" in body:
        return line(f"{exchange.status} {body['errcode']} {body.get('error', '')}".rstrip())
    shown = {key: body[key] for key in ("user_id", "appservice_id", "duration_ms") if key in body}
    return line(f"{exchange.status} {json.dumps(shown or body, sort_keys=True)}")


def line(text: str, width: int = 100) -> str:
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def table(verdict: Verdict) -> str:
    """The verdict for a person: one line a step, in columns."""
    rows = [(step.step, "ok" if step.passed else "FAIL", step.rule, step.came) for step in verdict.steps]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    good = sum(step.passed for step in verdict.steps)
    lines = [f"stop-and-check: {verdict.word} ({good} of {len(rows)} steps)"]
    for row in rows:
        lines.append("  " + "  ".join((*(row[column].ljust(widths[column]) for column in range(3)), f"<- {row[3]}")))
    return "\n".join(lines)
