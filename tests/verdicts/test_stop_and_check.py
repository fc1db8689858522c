"""Pins the failure of a check that passes what it should not: PASS is five answers exactly, and everything else, what
nobody thought of included, is a FAIL with a rule and something to do. (What each answer of a real server leads to is
played in tests/host_programs/test_stop_and_check.py.)
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdicts.answers import FAULTS, Exchange, is_still_starting, summarize_answer
from verdicts.stop_and_check import STEPS, Expected, evaluate_stop_and_check, format_verdict

BOT, ADMIN = "@signalbot:echo6.co", "@matt:echo6.co"
EXPECTED = Expected(
    BOT, "signal", ADMIN, "doublepuppet", ("matrix-mas:8080", "matrix.echo6.co", "[::1]:8080"), "mautrix-signal"
)
JSON = (("Content-Type", "application/json"),)


def answer(step: str, status: int, headers: tuple[tuple[str, str], ...] = JSON, **body: Any) -> Exchange:
    return Exchange(step, "GET", "http://h/p", status=status, headers=headers, body=json.dumps(body).encode())


PASSING = (
    answer("register bot", 200, user_id=BOT),
    answer("whoami as bot", 200, user_id=BOT),
    answer("ping", 502, errcode="M_CONNECTION_FAILED"),
    answer("whoami as admin", 200, user_id=ADMIN),
    answer("puppet ping", 400, errcode="M_URL_NOT_SET"),
)


def with_one(changed: Exchange) -> list[Exchange]:
    return [changed if exchange.step == changed.step else exchange for exchange in PASSING]


def decided(changed: Exchange) -> str:
    verdict = evaluate_stop_and_check(with_one(changed), EXPECTED)
    assert not verdict.passed and verdict.word == "FAIL"
    step = verdict.first_failure
    assert step is not None and step.step == changed.step and step.fix
    return step.rule


def _lookup(host: str) -> Exchange:
    error = f"DNSLookupError: DNS lookup failed: no results for hostname lookup: {host}."
    return answer("ping", 502, errcode="M_CONNECTION_FAILED", error=error)


def test_a_host_that_synapse_cannot_find_passes_only_if_it_is_the_bridge_s() -> None:
    """Before its start the bridge's own name is unknown too; another one stays unknown for ever."""
    assert evaluate_stop_and_check(with_one(_lookup("mautrix-signal")), EXPECTED).passed
    assert decided(_lookup("signal-bridge")) == (
        "the loaded registration signal names the host signal-bridge, which is not there"
    )


@pytest.mark.parametrize(
    ("status", "errcode", "rule"),
    [
        (401, "M_USER_LOCKED", f"401 M_USER_LOCKED: {ADMIN} is locked"),
        (403, "M_USER_DEACTIVATED", f"403 M_USER_DEACTIVATED: {ADMIN} is deactivated"),
    ],
)
def test_an_account_that_is_shut_is_no_rejected_token(status: int, errcode: str, rule: str) -> None:
    assert decided(answer("whoami as admin", status, errcode=errcode)) == rule


def test_the_order_of_the_exchanges_does_not_change_a_pass() -> None:
    verdict = evaluate_stop_and_check(tuple(reversed(PASSING)), EXPECTED)
    assert verdict.passed and verdict.word == "PASS" and verdict.first_failure is None
    assert tuple(step.step for step in verdict.steps) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_step_without_an_exchange_fails(step: str) -> None:
    verdict = evaluate_stop_and_check([exchange for exchange in PASSING if exchange.step != step], EXPECTED)
    assert verdict.first_failure and verdict.first_failure.step == step
    assert not evaluate_stop_and_check([], EXPECTED).passed


def test_the_last_exchange_of_a_step_counts() -> None:
    first = replace(PASSING[0], status=503, body=b"")
    assert evaluate_stop_and_check([first, *PASSING], EXPECTED).passed
    assert not evaluate_stop_and_check([*PASSING, first], EXPECTED).passed


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.parametrize("exchange", PASSING, ids=STEPS)
def test_no_pass_with_a_fault(exchange: Exchange, fault: str) -> None:
    """Also when all of a good answer is there: it may go on with something else."""
    assert decided(replace(exchange, fault=fault))


@pytest.mark.parametrize("exchange", PASSING, ids=STEPS)
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"status": 302, "headers": (("Location", "https://Matrix.echo6.co/login"),)}, "302 redirect to MAS"),
        ({"headers": (("Server", "Matrix-Authentication-Service/1.16"),)}, "MAS answered: matrix-authentication-ser"),
        ({"headers": (("content-type", "text/HTML"),)}, "an HTML page, not Synapse's JSON"),
        ({"body": b"\xef\xbb\xbf<HTML>"}, "an HTML page, not Synapse's JSON"),
        ({"status": 401}, "401"),
        ({"status": 403, "body": b"{}"}, "403: MAS or Synapse refused the as_token"),
        ({"status": 418}, "neither PASS nor known: 418"),
        ({"status": 200, "body": b""}, "200 and no JSON object in it"),
        ({"status": 200, "body": b"null"}, "200 and no JSON object in it"),
        ({"status": 200, "body": b"{}"}, "neither PASS nor known: 200"),
    ],
)
def test_every_step_has_every_rule(exchange: Exchange, change: dict[str, Any], rule: str) -> None:
    found = decided(replace(exchange, **change))
    if exchange.step == "puppet ping" and change.get("status") == 200:
        assert found == "the loaded registration doublepuppet has a url"
    elif exchange.step == "ping" and "HTML" in str(change.get("body")):
        assert found == "Synapse is not there: 502 without a body of Synapse's until the time limit"
    elif change.get("body") == b"{}" and change.get("status") == 200:
        assert found in (rule, "200 and no JSON object in it")
    else:
        assert found.startswith(rule)


@pytest.mark.parametrize(
    ("location", "mas"),
    [
        ("http://matrix-mas:8080/", True),
        ("http://matrix-mas/", False),  # another port is another program
        ("http://matrix-mas:8081/", False),
        ("https://matrix.echo6.co/x", True),
        ("https://matrix.echo6.co:444/x", True),
        ("https://matrix.echo6.co.example/x", False),
        ("https://example/?next=matrix.echo6.co", False),
        ("https://matrix.echo6.co@example/", False),
        ("/login", False),
        ("", False),
        ("http://[broken", False),
        ("http://h:99999999/", False),
    ],
)
def test_redirects_to_mas_and_elsewhere(location: str, mas: bool) -> None:
    rule = decided(replace(PASSING[1], status=303, headers=(("location", location),)))
    assert rule == ("303 redirect to MAS" if mas else "303 redirect")


@pytest.mark.parametrize(
    ("exchange", "is_start"),
    [
        (Exchange("ping", "", "", fault="refused"), True),
        *((Exchange("ping", "", "", fault=fault), False) for fault in FAULTS if fault != "refused"),
        (answer("ping", 502), True),
        (answer("ping", 503, error="no errcode"), True),
        (replace(answer("ping", 503), body=b"<html>busy"), True),
        (replace(answer("ping", 503), body=b"<html>matrix-authentication-service"), False),
        (answer("ping", 502, errcode="M_CONNECTION_FAILED"), False),
        (answer("ping", 503, errcode="M_UNKNOWN"), False),
        (answer("ping", 500), False),
        (answer("ping", 504), False),
        (answer("ping", 200), False),
    ],
)
def test_only_a_synapse_that_is_not_up_yet_counts_as_starting(exchange: Exchange, is_start: bool) -> None:
    assert is_still_starting(exchange) is is_start


def test_a_transport_fault_comes_before_what_was_said() -> None:
    assert decided(replace(PASSING[1], status=302, fault="too-long")) == FAULTS["too-long"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([BOT, ADMIN, "signal", "M_UNKNOWN", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
bodies = st.binary(max_size=20) | st.dictionaries(
    st.sampled_from(["user_id", "appservice_id", "errcode", "error", "duration_ms", "x"]), json_values
).map(lambda found: json.dumps(found).encode())
exchanges = st.builds(
    Exchange,
    step=st.sampled_from(STEPS),
    method=st.just("GET"),
    url=st.just("http://h/p"),
    status=st.none() | st.integers(100, 599) | st.sampled_from([200, 400, 401, 403, 502, 503]),
    headers=st.lists(
        st.tuples(st.sampled_from(["Location", "Content-Type", "Server"]), st.text(max_size=30)), max_size=2
    ).map(tuple),
    body=bodies,
    fault=st.just("") | st.sampled_from(sorted(FAULTS)),
)


@given(exchanges)
def test_any_answer_gets_a_rule_and_a_fix(changed: Exchange) -> None:
    """Nothing raises; a step that passes said exactly what it had to; one that fails has a rule and a to-do."""
    verdict = evaluate_stop_and_check(with_one(changed), EXPECTED)
    step = next(step for step in verdict.steps if step.step == changed.step)
    assert verdict.passed is step.passed
    assert step.rule and bool(step.fix) is not step.passed
    assert "\n" not in step.answer and "\n" not in step.rule
    assert len(format_verdict(verdict).split("\n")) == 1 + len(STEPS)
    if step.passed:
        assert not changed.fault and (changed.json() or {}).get("user_id", BOT) in (BOT, ADMIN)
        assert changed.status == {"ping": 200, "puppet ping": 0}.get(changed.step, 200)


def test_the_table_has_one_line_for_each_step() -> None:
    changed = answer("ping", 403, errcode="M_FORBIDDEN", error="Mismatching application service ID in path")
    assert format_verdict(evaluate_stop_and_check(with_one(changed), EXPECTED)) == (
        "stop-and-check: FAIL (4 of 5 steps)\n"
        "  register bot     ok    registered @signalbot:echo6.co                             "
        '<- 200 {"user_id": "@signalbot:echo6.co"}\n'
        "  whoami as bot    ok    the token speaks for @signalbot:echo6.co                   "
        '<- 200 {"user_id": "@signalbot:echo6.co"}\n'
        "  ping             FAIL  403: this as_token is not that of the registration signal  "
        "<- 403 M_FORBIDDEN Mismatching application service ID in path\n"
        "  whoami as admin  ok    the token speaks for @matt:echo6.co                        "
        '<- 200 {"user_id": "@matt:echo6.co"}\n'
        "  puppet ping      ok    token and id doublepuppet match                            "
        "<- 400 M_URL_NOT_SET"
    )


@pytest.mark.parametrize(
    ("exchange", "text"),
    [
        (Exchange("ping", "", "", fault="refused"), "connection refused"),
        (Exchange("ping", "", "", status=200, fault="timeout"), "200, then no whole answer within the time limit"),
        (Exchange("ping", "", "", status=302, headers=(("Location", "/a\nb"),)), "302 to /a b"),
        (Exchange("ping", "", "", status=200), "200 no content type, 0 bytes"),
        (answer("ping", 200, user_id="x" * 200), '200 {"user_id": "' + "x" * 82 + "…"),
        (answer("ping", 200, other=1), '200 {"other": 1}'),
    ],
)
def test_an_answer_is_summarized_in_one_line(exchange: Exchange, text: str) -> None:
    assert summarize_answer(exchange) == text
