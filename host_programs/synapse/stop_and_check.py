"""The stop-and-check: do Synapse's appservice tokens work although MAS does the logins? Asked before the bridge starts.

It sends five requests (verdicts/stop_and_check.py says which and why). A PASS is the result. A FAIL ends the step with
an error that a person can act on, and leaves a file with all requests and answers, which the next PASS removes. While
Synapse starts (verdicts/answers.py, `is_still_starting`) the check waits; any other answer counts at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from documents.marks import STACK_LABEL, TOKENS_LABEL
from documents.masking import clean_log
from documents.places import BridgePlace, Mas, Synapse
from host_programs.docker import inspect_container, read_log
from host_programs.files import safe_files
from host_programs.files.directory import EVIDENCE
from host_programs.messages import ScriptError, say
from host_programs.synapse.client import SynapseClient
from host_programs.synapse.exchange import Request, ping_request
from verdicts.answers import Exchange, is_still_starting
from verdicts.stop_and_check import STEPS, Expected, Verdict, evaluate_stop_and_check, format_verdict

PING = STEPS[2]  # Synapse asks the bridge
LOG_LINES = 50  # of each log
LOG_LENGTH = 64 * 1024  # characters of each log at most


@dataclass(frozen=True)
class StopAndCheckArguments:
    """`bot` and `admin_user`: user ids. The tokens are secrets, of this `generation`, for the container `bridge` of
    `stack`. `fingerprint`: a changed one makes the check run again. Seconds: `request_timeout` for one request,
    `deadline` for all requests and the waiting, `retry_pause` between two tries while Synapse starts."""

    synapse: Synapse
    mas: Optional[Mas]
    bot: str
    appservice_id: str
    as_token: str = field(repr=False)
    doublepuppet_id: str
    doublepuppet_as_token: str = field(repr=False)
    admin_user: str
    bridge: BridgePlace
    stack: str
    generation: int
    fingerprint: str
    request_timeout: float = 10.0
    deadline: float = 60.0
    retry_pause: float = 0.5

    @property
    def secrets(self) -> tuple[str, str]:
        return self.as_token, self.doublepuppet_as_token

    @property
    def evidence(self) -> Path:
        return Path(self.bridge.directory) / EVIDENCE


@dataclass(frozen=True)
class StopAndCheckResult:
    """A PASS, and for a person the table of its steps."""

    verdict: str
    table: str


def stop_and_check(arguments: StopAndCheckArguments) -> StopAndCheckResult:
    """Send the requests and evaluate the answers. ScriptError on a FAIL."""
    expected = Expected(
        bot=arguments.bot,
        appservice_id=arguments.appservice_id,
        admin=arguments.admin_user,
        doublepuppet_id=arguments.doublepuppet_id,
        mas_hosts=arguments.mas.hosts if arguments.mas else (),
        bridge_host=arguments.bridge.container,
    )
    exchanges, tries = _send_all(arguments)
    verdict = evaluate_stop_and_check(exchanges, expected)
    if not verdict.passed:
        raise ScriptError(_write_report(arguments, verdict, tries))
    say(format_verdict(verdict))
    _remove_evidence(arguments.evidence)
    return StopAndCheckResult(verdict.word, format_verdict(verdict))


def _build_requests(arguments: StopAndCheckArguments) -> dict[str, Request]:
    """The request of each step."""
    bridge, puppet = arguments.secrets
    # With inhibit_login: behind MAS Synapse gives appservices no device and no token at registration (MSC4190).
    localpart = arguments.bot[1:].partition(":")[0]
    bot = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
    requests = (
        Request("POST", "/_matrix/client/v3/register", bridge, bot),
        Request("GET", _whoami_target(arguments.bot), bridge),
        ping_request(arguments.appservice_id, bridge),
        Request("GET", _whoami_target(arguments.admin_user), puppet),
        ping_request(arguments.doublepuppet_id, puppet),
    )
    return dict(zip(STEPS, requests))


def _whoami_target(user: str) -> str:
    return f"/_matrix/client/v3/account/whoami?user_id={quote(user, safe='')}"


def _send_all(arguments: StopAndCheckArguments) -> tuple[list[Exchange], list[Exchange]]:
    """The last exchange of each step, and the exchanges for the evidence. Of the tries while Synapse starts, that is
    the first and the last."""
    end = time.monotonic() + arguments.deadline
    last, evidence = list[Exchange](), list[Exchange]()
    client = SynapseClient(arguments.synapse, arguments.secrets)
    for step, request in _build_requests(arguments).items():
        # This check waited for Synapse until the deadline: no time is left for the next steps.
        waited = any(is_still_starting(exchange) for exchange in last)

        def once(step: str = step, request: Request = request, waited: bool = waited) -> Exchange:
            seconds = min(arguments.request_timeout, end - time.monotonic())
            if seconds <= 0 or waited:
                return Exchange(step, request.method, request.target, fault="not-sent")
            return client.send(step, request, seconds)

        tried = _send_until_started(once, end, arguments.retry_pause)
        if step == PING and tried[-1].fault == "timeout" and not waited:
            # Synapse may have waited for a bridge that was just ending: a bridge with old tokens ends again and again.
            say("the bridge did not answer Synapse in time: asking once more")
            tried += _send_until_started(once, end, arguments.retry_pause)
        last.append(tried[-1])
        evidence += tried
    return last, evidence


def _send_until_started(once: Callable[[], Exchange], end: float, pause: float) -> list[Exchange]:
    first = exchange = once()
    while is_still_starting(exchange) and time.monotonic() + pause < end:
        if exchange is first:
            say(f"waiting for Synapse ({exchange.detail or exchange.status}) …")
        time.sleep(pause)
        again = once()
        if again.fault == "not-sent":  # the answer before tells more
            break
        exchange = again
    return [first] if exchange is first else [first, exchange]


def _write_report(arguments: StopAndCheckArguments, verdict: Verdict, tries: list[Exchange]) -> str:
    """Write the evidence; the error's text. Its first line says all that counts."""
    containers = [arguments.synapse.container, *([arguments.mas.container] if arguments.mas else [])]
    texts = {
        container: clean_log(read_log(container, LOG_LINES), arguments.secrets)[-LOG_LENGTH:]
        for container in containers
    }
    failure = verdict.first_failure
    assert failure is not None
    what_to_do = f"What to do: {failure.fix}. {_describe_bridge(arguments)}"
    lines = [
        f"stop-and-check: FAIL: {failure.step}: {failure.rule}. {what_to_do}",
        format_verdict(verdict),
        _write_evidence(arguments.evidence, verdict, tries, texts),
    ]
    for container, text in texts.items():
        lines += [f"--- last {LOG_LINES} log lines of {container} ---", text.rstrip("\n") or "(empty)"]
    return "\n".join(lines)


def _describe_bridge(arguments: StopAndCheckArguments) -> str:
    """The bridge's state after a FAIL, and how to bring the bridge back."""
    name = arguments.bridge.container
    try:
        container = inspect_container(name)
    except ScriptError as error:
        return f"No bridge is started ({error})."
    if container is None or container.labels.get(STACK_LABEL) != arguments.stack:
        return "No bridge is started, and none was running."
    if not container.running:
        return f"No bridge is started; {name} is {container.status}, and is left so."
    generation = container.labels.get(TOKENS_LABEL, "")
    if generation == str(arguments.generation):
        return f"The new container is not started; {name} runs on with the tokens that Synapse has."
    return (
        f"{name} still runs, but with the tokens of generation {generation}, which Synapse no longer knows, and with "
        "the database password of then: it neither sends nor receives. Synapse keeps what comes in and hands it over "
        "later. Fix what is below and run `pulumi up`: the bridge comes back with the new tokens (an older "
        "tokenGeneration would make new ones, too)."
    )


def _write_evidence(path: Path, verdict: Verdict, tries: list[Exchange], texts: Mapping[str, str]) -> str:
    evidence = {
        "verdict": verdict.word,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "table": format_verdict(verdict).split("\n"),
        "steps": [{key: value for key, value in vars(step).items() if key != "passed"} for step in verdict.steps],
        "exchanges": [_describe_exchange(exchange) for exchange in tries],
        "logs": {container: text.split("\n") for container, text in texts.items()},
    }
    data = json.dumps(evidence, indent=2, ensure_ascii=False).encode()
    try:
        safe_files.write_file(path, data + b"\n")
    except ScriptError as error:
        return f"Evidence could not be kept: {error}"
    return f"Evidence (everything sent and received, tokens masked): {path}"


def _describe_exchange(exchange: Exchange) -> dict[str, Any]:
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


def _remove_evidence(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        say(f"{path}: left over from a failed check and not removed: {error.strerror or error}")
        return False
    return True
