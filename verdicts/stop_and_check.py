"""Evaluates the stop-and-check: from Synapse's answers to PASS or FAIL, with a rule and a fix for each step.

Five requests (host_programs/synapse/stop_and_check.py sends them) prove that both registrations are loaded and that MAS
does not interfere (Synapse 1.147.1): the bot can be registered, its token speaks for it, its token and registration id
match, and the same two proofs for the double-puppet registration, whose token speaks for the admin. PASS needs all
five. A step that does not pass fails by the first rule of the plan's FAIL list that applies; if none does, by the last
one, "neither PASS nor known".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from verdicts.answers import FAULTS, MAS_MARK, Exchange, find_mas_mark, is_html, is_still_starting, summarize_answer


@dataclass(frozen=True)
class Expected:
    """What a PASS has to show.

    User ids have @ and domain; `mas_hosts` are the names (host or host:port) of MAS; `bridge_host` is the host in the
    url of the bridge's registration ("": any).
    """

    bot: str
    appservice_id: str
    admin: str
    doublepuppet_id: str
    mas_hosts: tuple[str, ...] = ()
    bridge_host: str = ""


@dataclass(frozen=True)
class Step:
    """The result of one step. `request` and `answer` are one line each; `rule` decided whether it `passed`; `fix` says
    what to do about a failure."""

    step: str
    request: str
    answer: str
    passed: bool
    rule: str
    fix: str = ""


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
    def first_failure(self) -> Step | None:
        """The first step that failed. Later steps mostly fail for the same reason."""
        return next((step for step in self.steps if not step.passed), None)


STEPS = ("register bot", "whoami as bot", "ping", "whoami as admin", "puppet ping")


def evaluate_stop_and_check(exchanges: Sequence[Exchange], expected: Expected) -> Verdict:
    """The verdict on the last exchange of each step. A step without an exchange has failed."""
    by_step = {exchange.step: exchange for exchange in exchanges}
    missing = Exchange("", "", "", fault="not-sent")
    return Verdict(tuple(_evaluate_step(name, by_step.get(name, missing), expected) for name in STEPS))


def _evaluate_step(name: str, exchange: Exchange, expected: Expected) -> Step:
    puppet = name in STEPS[3:]
    appservice = expected.doublepuppet_id if puppet else expected.appservice_id
    pass_rule = _find_pass_rule(name, exchange, expected, appservice)
    rule, fix = (pass_rule, "") if pass_rule else _find_fail_rule(name, exchange, expected, appservice)
    request = f"{exchange.method} {exchange.url}".strip()
    return Step(name, request, summarize_answer(exchange), bool(pass_rule), rule, fix)


def _find_pass_rule(name: str, exchange: Exchange, expected: Expected, appservice: str) -> str:
    """The PASS rule that applies, or "". Signs of a FAIL count first: a 200 may come from MAS, too."""
    if exchange.fault or find_mas_mark(exchange) or is_html(exchange):
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
        if status != 200 or body.get("user_id") != user or body.get("appservice_id", appservice) != appservice:
            return ""
        return f"the token speaks for {user}"
    if name == "puppet ping":
        return f"token and id {appservice} match" if (status, errcode) == (400, "M_URL_NOT_SET") else ""
    duration = body.get("duration_ms")
    if status == 200 and isinstance(duration, (int, float)) and not isinstance(duration, bool):
        return f"token and id {appservice} match, a bridge answers"
    if _wrong_host(body, expected):
        return ""
    if (status, errcode) in ((502, "M_CONNECTION_FAILED"), (502, "M_BAD_STATUS"), (504, "M_CONNECTION_TIMEOUT")):
        return f"token and id {appservice} match, no bridge yet"
    return ""


def _wrong_host(body: Mapping[str, Any], expected: Expected) -> str:
    """The host that Synapse could not find, by Twisted's message; "" if it is the bridge's, which may not exist yet."""
    found = re.search(r"hostname lookup: (\S+?)\.?$", str(body.get("error", "")))
    host = found[1] if found else ""
    return host if expected.bridge_host and host.lower() != expected.bridge_host.lower() else ""


_SYNAPSE_LOGS = "read Synapse's log below"
_URL = "check synapseUrl: it must be Synapse itself, not MAS and not a login page in front of it"


Rule = tuple[str, str]  # what is wrong, and the fix


def _find_fail_rule(name: str, exchange: Exchange, expected: Expected, appservice: str) -> Rule:
    """The FAIL rule that applies: the plan's FAIL list from the transport up, then the rest."""
    user = expected.admin if name in STEPS[3:] else expected.bot
    return (
        _rule_for_fault(exchange)
        or _rule_for_foreign_answer(exchange, expected)
        or _rule_for_rejected_token(exchange, user, appservice)
        or _rule_for_wrong_registration(name, exchange, expected, appservice)
        or _rule_for_wrong_user(exchange, user, appservice)
        or _rule_for_unknown_answer(exchange)
    )


def _rule_for_fault(exchange: Exchange) -> Rule | None:
    """No whole answer."""
    if exchange.fault == "not-sent":
        return FAULTS["not-sent"], "fix the step above it"
    if exchange.fault == "refused":
        return "Synapse is not there: connection refused until the time limit", (
            f"start Synapse, or check synapseUrl; {_SYNAPSE_LOGS}"
        )
    if not exchange.fault:
        return None
    fix = {
        "closed": "something between here and Synapse drops connections (a proxy whose backend is not up does): "
        "check synapseUrl and that Synapse is healthy",
        "too-long": _URL,
        "no-http": _URL,
        "timeout": f"Synapse hangs or is overloaded, or synapseUrl is something else; {_SYNAPSE_LOGS}",
    }.get(exchange.fault, "check synapseUrl")
    return FAULTS[exchange.fault], fix


def _rule_for_foreign_answer(exchange: Exchange, expected: Expected) -> Rule | None:
    """An answer of MAS, a proxy or a login page instead of Synapse's."""
    status = exchange.status
    if status is not None and 300 <= status < 400:
        if _leads_to_mas(exchange.header("Location"), expected.mas_hosts):
            return f"{status} redirect to MAS", "synapseUrl leads to MAS or its login: use Synapse's own address"
        return f"{status} redirect", _URL
    if find_mas_mark(exchange):
        return f"MAS answered: {MAS_MARK} in its {find_mas_mark(exchange)}", _URL
    if is_still_starting(exchange):
        return f"Synapse is not there: {status} without a body of Synapse's until the time limit", (
            f"a proxy answers for it: start Synapse; {_SYNAPSE_LOGS}"
        )
    if is_html(exchange):
        return "an HTML page, not Synapse's JSON", _URL
    return None


def _rule_for_rejected_token(exchange: Exchange, user: str, appservice: str) -> Rule | None:
    """Synapse does not accept the token, or not for this user."""
    status, errcode, error = _status_and_error(exchange)
    load = (
        "Synapse has no registration with this as_token: check that app_service_config_files lists the file of "
        f"{appservice}, that its as_token is the one in the stack (`pulumi up` with a new `reapply` number writes it "
        "again), and that Synapse was restarted since"
    )
    if errcode == "M_UNKNOWN_TOKEN":
        # Only a registration request stops at the appservices. The others ask MAS then.
        asked = ", and MAS, which Synapse then asked, knows it neither" if "not active" in error else ""
        return f"{status} M_UNKNOWN_TOKEN: no appservice's token{asked}", load
    if status == 503 and "introspect" in error:
        return "503: no appservice's token, and MAS, which Synapse then asked, is down", f"{load}; start MAS as well"
    if errcode in ("M_USER_LOCKED", "M_USER_DEACTIVATED"):
        state = "locked" if errcode == "M_USER_LOCKED" else "deactivated"
        return f"{status} {errcode}: {user} is {state}", (
            f"unlock or reactivate {user} in MAS (or Synapse's admin API), or set another adminUser"
        )
    if status == 401:
        return f"401 {errcode}: the as_token was rejected".replace("  ", " "), load
    if status == 403:
        return _rule_for_403(error, appservice)
    return None


def _rule_for_403(error: str, appservice: str) -> Rule:
    """The rule for a 403, by Synapse's message (synapse/api/auth/base.py, synapse/rest/client/appservice_ping.py)."""
    if error.startswith("Mismatching application service ID"):
        return f"403: this as_token is not that of the registration {appservice}", (
            f"another registration holds the token (same file under another id?): its id must be {appservice}"
        )
    if "cannot masquerade" in error:
        return f"403: the user is outside the namespace of {appservice}", (
            f"compare namespaces.users of the loaded registration {appservice} with the domain"
        )
    if "has not registered this user" in error:
        return "403: Synapse has no such user", (
            "the bot: see the step `register bot`; the admin: check adminUser; an account that MAS alone knows comes "
            "to Synapse when this user logs in to Matrix once"
        )
    return "403: MAS or Synapse refused the as_token", _SYNAPSE_LOGS


def _rule_for_wrong_registration(name: str, exchange: Exchange, expected: Expected, appservice: str) -> Rule | None:
    """Synapse has loaded another registration than ours under this id."""
    status, errcode, _ = _status_and_error(exchange)
    user = expected.admin if name in STEPS[3:] else expected.bot
    other_file = f"another file is loaded as {appservice}: put ours in place"
    if name == "ping" and (host := _wrong_host(exchange.json() or {}, expected)):
        return f"the loaded registration {appservice} names the host {host}, which is not there", (
            f"its url should name {expected.bridge_host}: {other_file}"
        )
    if errcode == "M_EXCLUSIVE":
        return f"{user} is not in the namespace of {appservice}, or is in another's", (
            f"compare namespaces.users of the loaded registration {appservice} with the domain, and look for a second "
            "registration that claims the bot"
        )
    if name == "ping" and errcode == "M_URL_NOT_SET":
        return f"the loaded registration {appservice} has no url", other_file
    if name == "puppet ping" and status in (200, 502, 504):
        return f"the loaded registration {appservice} has a url", (
            "double puppeting needs `url: null`: another file is loaded in its place; look at it in Synapse's data"
        )
    return None


def _rule_for_wrong_user(exchange: Exchange, user: str, appservice: str) -> Rule | None:
    """An answer of status 200 about somebody else, or about nobody."""
    body = exchange.json() or {}
    if exchange.status != 200:
        return None
    if not exchange.body.strip():
        return "200 with nothing in it", _URL
    if "user_id" in body and body["user_id"] != user:
        return f"user_id is not {user}", (
            "the token belongs to another registration or domain: compare the loaded registration's as_token and "
            f"namespaces, and the setting domain, with {user}"
        )
    if body and body.get("appservice_id", appservice) != appservice:
        fix = f"another registration holds this as_token: give {appservice} its own"
        return f"appservice_id is not {appservice}", fix
    return None


def _rule_for_unknown_answer(exchange: Exchange) -> Rule:
    status, errcode, _ = _status_and_error(exchange)
    if not exchange.json():
        return f"{status} and no JSON object in it", _URL
    return f"neither PASS nor known: {status} {errcode}".rstrip(), f"{_SYNAPSE_LOGS}; {_URL}"


def _status_and_error(exchange: Exchange) -> tuple[int | None, str, str]:
    """The status, and errcode and error of Synapse's body ("" if it has none)."""
    body = exchange.json() or {}
    return exchange.status, str(body.get("errcode", "")), str(body.get("error", ""))


def _leads_to_mas(location: str, mas_hosts: Sequence[str]) -> bool:
    try:
        url = urlsplit(location)
        host, port = url.hostname or "", url.port or {"http": 80, "https": 443}.get(url.scheme)
    except ValueError:
        return False
    return any(host and mas.lower() in (host, f"{host}:{port}") for mas in mas_hosts)


def format_verdict(verdict: Verdict) -> str:
    """The verdict as a table for a person: one line for each step, in columns."""
    rows = [(step.step, "ok" if step.passed else "FAIL", step.rule, step.answer) for step in verdict.steps]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    passed = sum(step.passed for step in verdict.steps)
    lines = [f"stop-and-check: {verdict.word} ({passed} of {len(rows)} steps)"]
    for row in rows:
        lines.append("  " + "  ".join((*(row[column].ljust(widths[column]) for column in range(3)), f"<- {row[3]}")))
    return "\n".join(lines)
