"""Evaluates the stop-and-check: from Synapse's answers to PASS or FAIL, with a rule and a fix for each step.

Five requests (host_programs/synapse/stop_and_check.py sends them) prove that both registrations are loaded and that MAS
does not interfere (Synapse 1.147.1): the bot can be registered, its token speaks for it, its token and registration id
match, and the same two proofs for the double-puppet registration, whose token speaks for the admin. PASS needs all
five. A step that does not pass fails by the first rule that applies: the plan's FAIL list, then "neither PASS nor
known".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from verdicts.answers import FAULTS, MAS_MARK, Exchange, find_mas_mark, is_html, is_still_starting, summarize_answer

STEPS = ("register bot", "whoami as bot", "ping", "whoami as admin", "puppet ping")
REGISTER, WHOAMI, PING, PUPPET_WHOAMI, PUPPET_PING = STEPS
_LOG = "read Synapse's log below"
_URL = "check synapseUrl: it must be Synapse itself, not MAS and not a login page in front of it"

Rule = tuple[str, str]  # what is wrong, and the fix


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
    """The result of one step. `answer` is one line; `rule` decided whether it `passed`; `fix` says what to do about a
    failure."""

    step: str
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


@dataclass(frozen=True)
class _Answer:
    """The answer to one step, about one user and one appservice. `body`: {} if it is no JSON object."""

    step: str
    exchange: Exchange
    status: int | None
    body: Mapping[str, Any]
    user: str
    appservice: str

    @property
    def errcode(self) -> str:
        return str(self.body.get("errcode", ""))

    @property
    def error(self) -> str:
        return str(self.body.get("error", ""))


def evaluate_stop_and_check(exchanges: Sequence[Exchange], expected: Expected) -> Verdict:
    """The verdict on the last exchange of each step. A step without an exchange has failed."""
    by_step = {exchange.step: exchange for exchange in exchanges}
    missing = Exchange("", "", "", fault="not-sent")
    return Verdict(tuple(_evaluate_step(name, by_step.get(name, missing), expected) for name in STEPS))


def _evaluate_step(name: str, exchange: Exchange, expected: Expected) -> Step:
    puppet = name in (PUPPET_WHOAMI, PUPPET_PING)
    user = expected.admin if puppet else expected.bot
    appservice = expected.doublepuppet_id if puppet else expected.appservice_id
    answer = _Answer(name, exchange, exchange.status, exchange.json() or {}, user, appservice)
    passed = _find_pass_rule(answer, expected)
    rule, fix = (passed, "") if passed else next(_list_fail_rules(answer, expected))
    return Step(name, summarize_answer(exchange), bool(passed), rule, fix)


def _find_pass_rule(answer: _Answer, expected: Expected) -> str:
    """The PASS rule that applies, or "". Signs of a FAIL count first: a 200 may come from MAS, too."""
    exchange, body, result = answer.exchange, answer.body, (answer.status, answer.errcode)
    if not body or exchange.fault or find_mas_mark(exchange) or is_html(exchange):
        return ""
    names_user = answer.status == 200 and body.get("user_id") == answer.user
    match = f"token and id {answer.appservice} match"
    if answer.step == REGISTER:
        if names_user:
            return f"registered {answer.user}"
        return "the bot exists already" if result == (400, "M_USER_IN_USE") else ""
    if answer.step in (WHOAMI, PUPPET_WHOAMI):
        ours = body.get("appservice_id", answer.appservice) == answer.appservice
        return f"the token speaks for {answer.user}" if names_user and ours else ""
    if answer.step == PUPPET_PING:
        return match if result == (400, "M_URL_NOT_SET") else ""
    if answer.status == 200 and type(body.get("duration_ms")) in (int, float):
        return f"{match}, a bridge answers"
    no_bridge = ((502, "M_CONNECTION_FAILED"), (502, "M_BAD_STATUS"), (504, "M_CONNECTION_TIMEOUT"))
    return f"{match}, no bridge yet" if result in no_bridge and not _find_wrong_host(answer, expected) else ""


def _find_wrong_host(answer: _Answer, expected: Expected) -> str:
    """The host that Synapse could not find, by Twisted's message; "" if it is the bridge's, which may not exist yet."""
    found = re.search(r"hostname lookup: (\S+?)\.?$", answer.error)
    host = found[1] if found else ""
    return host if expected.bridge_host and host.lower() != expected.bridge_host.lower() else ""


def _list_fail_rules(answer: _Answer, expected: Expected) -> Iterator[Rule]:
    """All that apply, from the transport up."""
    yield from _list_transport_rules(answer.exchange, expected)
    yield from _list_token_rules(answer)
    yield from _list_registration_rules(answer, expected)
    yield f"neither PASS nor known: {answer.status} {answer.errcode}".rstrip(), f"{_LOG}; {_URL}"


def _list_transport_rules(exchange: Exchange, expected: Expected) -> Iterator[Rule]:
    """No whole answer, or one of MAS, a proxy or a login page."""
    status, fault = exchange.status, exchange.fault
    if fault == "refused":
        fix = f"start Synapse, or check synapseUrl; {_LOG}"
        yield "Synapse is not there: connection refused until the time limit", fix
    elif fault == "not-sent":
        yield FAULTS[fault], "fix the step above it"
    elif fault:
        fix = "check that Synapse is healthy, and synapseUrl (a proxy whose backend is not up drops connections)"
        yield FAULTS[fault], f"{fix}; {_LOG}"
    if status is not None and 300 <= status < 400:
        to_mas = _leads_to_mas(exchange.header("Location"), expected.mas_hosts)
        yield f"{status} redirect{' to MAS' if to_mas else ''}", _URL
    if find_mas_mark(exchange):
        yield f"MAS answered: {MAS_MARK} in its {find_mas_mark(exchange)}", _URL
    if is_still_starting(exchange):
        fix = f"a proxy answers for it: start Synapse; {_LOG}"
        yield f"Synapse is not there: {status} without a body of Synapse's until the time limit", fix
    if is_html(exchange):
        yield "an HTML page, not Synapse's JSON", _URL


def _leads_to_mas(location: str, mas_hosts: Sequence[str]) -> bool:
    try:
        url = urlsplit(location)
        host, port = url.hostname or "", url.port or {"http": 80, "https": 443}.get(url.scheme)
    except ValueError:
        return False
    return any(host and mas.lower() in (host, f"{host}:{port}") for mas in mas_hosts)


def _list_token_rules(answer: _Answer) -> Iterator[Rule]:
    """Synapse does not accept the token, or not for this user."""
    status, errcode, error, appservice = answer.status, answer.errcode, answer.error, answer.appservice
    load = (
        "Synapse has no registration with this as_token: check that app_service_config_files lists the file of "
        f"{appservice}, that its as_token is the one in the stack (`pulumi up` with a new `reapply` number writes it "
        "again), and that Synapse was restarted since"
    )
    if errcode == "M_UNKNOWN_TOKEN":
        # Only a registration request stops at the appservices. The others ask MAS then.
        asked = ", and MAS, which Synapse then asked, knows it neither" if "not active" in error else ""
        yield f"{status} M_UNKNOWN_TOKEN: no appservice's token{asked}", load
    if status == 503 and "introspect" in error:
        yield "503: no appservice's token, and MAS, which Synapse then asked, is down", f"{load}; start MAS as well"
    if errcode in ("M_USER_LOCKED", "M_USER_DEACTIVATED"):
        fix = f"unlock or reactivate {answer.user} in MAS (or Synapse's admin API), or set another adminUser"
        yield f"{status} {errcode}: {answer.user} is {errcode[7:].lower()}", fix
    if status == 401:
        yield f"401{errcode and f' {errcode}'}: the as_token was rejected", load
    # By Synapse's messages: synapse/api/auth/base.py, synapse/rest/client/appservice_ping.py.
    if status == 403 and error.startswith("Mismatching application service ID"):
        fix = f"another registration holds the token (same file under another id?): its id must be {appservice}"
        yield f"403: this as_token is not that of the registration {appservice}", fix
    if status == 403 and "cannot masquerade" in error:
        fix = f"compare namespaces.users of the loaded registration {appservice} with the domain"
        yield f"403: the user is outside the namespace of {appservice}", fix
    if status == 403 and "has not registered this user" in error:
        fix = "the bot: see `register bot`; the admin: check adminUser, and let this user log in to Matrix once"
        yield "403: Synapse has no such user", fix
    if status == 403:
        yield "403: MAS or Synapse refused the as_token", _LOG


def _list_registration_rules(answer: _Answer, expected: Expected) -> Iterator[Rule]:
    """Synapse has loaded another registration than ours under this id, or answers about somebody else."""
    step, status, body, user, appservice = answer.step, answer.status, answer.body, answer.user, answer.appservice
    loaded, fix = f"the loaded registration {appservice}", f"another file is loaded as {appservice}: put ours in place"
    host = _find_wrong_host(answer, expected)
    if step == PING and host:
        yield f"{loaded} names the host {host}, which is not there", f"it should name {expected.bridge_host}: {fix}"
    if answer.errcode == "M_EXCLUSIVE":
        claim = "compare its namespaces.users with the domain, and look for another registration that claims the bot"
        yield f"{user} is not in the namespace of {appservice}, or is in another's", claim
    if step == PING and answer.errcode == "M_URL_NOT_SET":
        yield f"{loaded} has no url", fix
    if step == PUPPET_PING and status in (200, 502, 504):
        yield f"{loaded} has a url", f"double puppeting needs `url: null`: {fix}"
    if not body:
        yield f"{status} and no JSON object in it", _URL
    if status == 200 and body.get("user_id", user) != user:
        fix = f"compare the loaded registration's as_token and namespaces, and the setting domain, with {user}"
        yield f"user_id is not {user}", fix
    if status == 200 and body.get("appservice_id", appservice) != appservice:
        fix = f"another registration holds this as_token: give {appservice} its own"
        yield f"appservice_id is not {appservice}", fix


def format_verdict(verdict: Verdict) -> str:
    """The verdict as a table for a person: one line for each step, in columns."""
    rows = [(step.step, "ok" if step.passed else "FAIL", step.rule, step.answer) for step in verdict.steps]
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    passed = sum(step.passed for step in verdict.steps)
    lines = [f"stop-and-check: {verdict.word} ({passed} of {len(rows)} steps)"]
    for name, word, rule, answer in rows:
        lines.append(f"  {name:{first}}  {word:{second}}  {rule:{third}}  <- {answer}")
    return "\n".join(lines)
