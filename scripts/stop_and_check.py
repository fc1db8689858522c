"""The stop-and-check: do Synapse's appservice tokens work although MAS does the logins? Asked before the bridge starts.

Verb `check`: five requests (verdicts/auth.py says which and why), a PASS as result, or the end: exit code 1,
an error that a person can act on, and everything that was sent and came in a file. Verb `remove`: takes that file away.
While Synapse starts (`verdicts.auth.starting`) the check waits; any other answer counts at once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from documents.masking import clean
from scripts.common import ScriptError, logs, run, say, write_atomic
from scripts.exchange import Request, address, ask
from verdicts.auth import STEPS, Exchange, Expected, Verdict, judge, starting, table

EVIDENCE = "auth-check-failed.json"
LINES = 50  # of each log
LOG = 64 * 1024  # characters of each log at most


def check(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Ask, judge, report. Arguments:

    synapse_url, domain, bot_localpart, appservice_id, as_token, doublepuppet_id, doublepuppet_token, admin_user
    (a user id), mas_hosts (list of host or host:port), synapse_container, mas_container, evidence_dir (exists),
    request_timeout (seconds for one request, 10), deadline (seconds for all, waiting included, 60), retry_pause
    (seconds between tries while Synapse starts, 0.5). Others are ignored: they are there to make it run again.

    Result: {"verdict": "PASS", "steps": [{"step", "sent", "came", "rule", "todo"}], "table": text}. FAIL: ScriptError.
    """
    need = ("synapse_url", "domain", "bot_localpart", "appservice_id", "as_token", "doublepuppet_id",
            "doublepuppet_token", "admin_user", "synapse_container", "mas_container", "evidence_dir")  # fmt: skip
    for name in need:
        if not isinstance(arguments.get(name), str) or not arguments[name]:
            raise ScriptError(f"auth_check: argument {name} is missing: it should be a text")
    address(arguments["synapse_url"])
    secrets = [arguments["as_token"], arguments["doublepuppet_token"]]
    expected = Expected(
        bot=f"@{arguments['bot_localpart']}:{arguments['domain']}",
        appservice_id=arguments["appservice_id"],
        admin=arguments["admin_user"],
        doublepuppet_id=arguments["doublepuppet_id"],
        mas_hosts=tuple(arguments.get("mas_hosts") or ()),
    )
    exchanges, tries = _ask_all(arguments, expected)
    verdict = judge(exchanges, expected)
    evidence = Path(arguments["evidence_dir"]) / EVIDENCE
    if not verdict.passed:
        raise ScriptError(_report(arguments, verdict, tries, evidence, secrets))
    say(table(verdict))
    _unlink(evidence)
    return {"verdict": verdict.word, "steps": _steps(verdict), "table": table(verdict)}


def remove(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take away what a failed check left. Only evidence_dir is read. Result: {"removed": whether there was one}."""
    return {"removed": _unlink(Path(str(arguments["evidence_dir"])) / EVIDENCE)}


def _requests(arguments: Mapping[str, Any], expected: Expected) -> dict[str, Request]:
    """What each step sends, by step."""
    bridge, puppet = arguments["as_token"], arguments["doublepuppet_token"]
    # With inhibit_login: behind MAS Synapse gives appservices no device and no token at registration (MSC4190).
    bot = {"type": "m.login.application_service", "username": arguments["bot_localpart"], "inhibit_login": True}
    sent = (
        Request("POST", "/_matrix/client/v3/register", bridge, bot),
        Request("GET", _whoami(expected.bot), bridge),
        Request("POST", _ping(expected.appservice_id), bridge, {}),
        Request("GET", _whoami(expected.admin), puppet),
        Request("POST", _ping(expected.doublepuppet_id), puppet, {}),
    )
    return dict(zip(STEPS, sent))


def _whoami(user: str) -> str:
    return f"/_matrix/client/v3/account/whoami?user_id={quote(user, safe='')}"


def _ping(appservice_id: str) -> str:
    return f"/_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping"


def _ask_all(arguments: Mapping[str, Any], expected: Expected) -> tuple[list[Exchange], list[Exchange]]:
    """The last exchange of each step, and all of them (of a start that is waited for, the first and the last)."""
    end = time.monotonic() + float(arguments.get("deadline", 60))
    limit, pause = float(arguments.get("request_timeout", 10)), float(arguments.get("retry_pause", 0.5))
    secrets = [arguments["as_token"], arguments["doublepuppet_token"]]
    last: list[Exchange] = []
    kept: list[Exchange] = []
    for step, request in _requests(arguments, expected).items():
        gone = any(
            starting(exchange) for exchange in last
        )  # waited for until the limit, so what is left of it is no use

        def once(step: str = step, request: Request = request, gone: bool = gone) -> Exchange:
            seconds = min(limit, end - time.monotonic())
            if seconds <= 0 or gone:
                return Exchange(step, request.method, arguments["synapse_url"] + request.target, fault="not-sent")
            return ask(step, arguments["synapse_url"], request, seconds, secrets)

        tried = _until_started(once, end, pause)
        last.append(tried[-1])
        kept += tried
    return last, kept


def _until_started(once: Callable[[], Exchange], end: float, pause: float) -> list[Exchange]:
    first = exchange = once()
    while starting(exchange) and time.monotonic() + pause < end:
        if exchange is first:
            say(f"waiting for Synapse ({exchange.detail or exchange.status}) …")
        time.sleep(pause)
        again = once()
        if again.fault == "not-sent":  # what came before it tells more
            break
        exchange = again
    return [first] if exchange is first else [first, exchange]


def _steps(verdict: Verdict) -> list[dict[str, str]]:
    return [
        {"step": step.step, "sent": step.sent, "came": step.came, "rule": step.rule, "todo": step.todo}
        for step in verdict.steps
    ]


def _report(
    arguments: Mapping[str, Any], verdict: Verdict, tries: list[Exchange], evidence: Path, secrets: list[str]
) -> str:
    """The error's text; on the way the evidence is written."""
    containers = (arguments["synapse_container"], arguments["mas_container"])
    texts = {container: clean(logs(container, LINES), secrets)[-LOG:] for container in containers}
    decided = verdict.decided
    assert decided is not None
    lines = [
        "stop-and-check: FAIL. The bridge is not started; a bridge that already runs is left as it is.",
        table(verdict),
        f"Decided by: {decided.step}: {decided.rule}",
        f"What to do: {decided.todo}",
        _write_evidence(evidence, verdict, tries, texts),
    ]
    for container, text in texts.items():
        lines += [f"--- last {LINES} log lines of {container} ---", text.rstrip("\n") or "(empty)"]
    return "\n".join(lines)


def _write_evidence(path: Path, verdict: Verdict, tries: list[Exchange], texts: Mapping[str, str]) -> str:
    found = {
        "verdict": verdict.word,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "table": table(verdict).split("\n"),
        "steps": _steps(verdict),
        "exchanges": [_evidence(exchange) for exchange in tries],
        "logs": {container: text.split("\n") for container, text in texts.items()},
    }
    data = json.dumps(found, indent=2, ensure_ascii=False).encode()
    try:
        write_atomic(path, data + b"\n", mode=0o600, uid=os.geteuid(), gid=os.getegid())
    except ScriptError as stop:
        return f"Evidence could not be kept: {stop}"
    return f"Evidence (everything sent and received, tokens masked): {path}"


def _evidence(exchange: Exchange) -> dict[str, Any]:
    return {
        "step": exchange.step,
        "sent": {
            "request": f"{exchange.method} {exchange.url}",
            "headers": [f"{key}: {value}" for key, value in exchange.sent_headers],
            "body": exchange.sent_body,
        },
        "came": {
            "status": exchange.status,
            "reason": exchange.reason,
            "headers": [f"{key}: {value}" for key, value in exchange.headers],
            "body": exchange.text(),
            "fault": exchange.fault,
            "detail": exchange.detail,
        },
    }


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        say(f"{path}: left over from a failed check and not removed: {error.strerror or error}")
        return False
    return True


VERBS = (check, remove)

if __name__ == "__main__":
    run(*VERBS)
