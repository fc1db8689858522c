"""The stop-and-check: do Synapse's appservice tokens work although MAS does the logins? Asked before the bridge starts.

It sends five requests (verdicts/stop_and_check.py says which and why). A FAIL ends the step, and leaves a file with the
requests and answers, which the next PASS removes. While Synapse starts the check waits; other answers count at once.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from documents.marks import STACK_LABEL, TOKENS_LABEL
from documents.places import BridgePlace, Synapse
from documents.timestamps import now
from host_programs.docker import inspect_container
from host_programs.files import safe_files
from host_programs.files.directory import EVIDENCE
from host_programs.messages import ScriptError, say
from host_programs.synapse.client import SynapseClient
from host_programs.synapse.exchange import Request, ping_request
from host_programs.synapse.restart import quote_logs
from host_programs.wire import to_json
from verdicts.answers import Exchange, is_still_starting
from verdicts.stop_and_check import STEPS, Expected, Verdict, evaluate_stop_and_check, format_verdict

PING = STEPS[2]  # Synapse asks the bridge


@dataclass(frozen=True)
class StopAndCheckArguments:
    """The tokens are secrets, of this `generation`, for the container `bridge` of `stack`. `mas_container`: "" without
    MAS. `fingerprint`: a changed one makes the check run again. Seconds: `request_timeout` for one request, `deadline`
    for all requests and the waiting, `retry_pause` between two tries while Synapse starts."""

    synapse: Synapse
    mas_container: str
    expected: Expected
    as_token: str = field(repr=False)
    doublepuppet_as_token: str = field(repr=False)
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
    """A PASS, for a person the table of its steps, and when (documents/timestamps.py, now)."""

    verdict: str
    table: str
    at: str


def stop_and_check(arguments: StopAndCheckArguments) -> StopAndCheckResult:
    """Send the requests and evaluate the answers. ScriptError on a FAIL."""
    exchanges = _send_all(arguments)
    verdict = evaluate_stop_and_check(exchanges, arguments.expected)
    if not verdict.passed:
        raise ScriptError(_write_report(arguments, verdict, exchanges))
    say(format_verdict(verdict))
    safe_files.remove_file(arguments.evidence)
    return StopAndCheckResult(verdict.word, format_verdict(verdict), now())


def _build_requests(arguments: StopAndCheckArguments) -> dict[str, Request]:
    """The request of each step."""
    expected, (bridge, puppet) = arguments.expected, arguments.secrets
    # With inhibit_login: behind MAS Synapse gives appservices no device and no token at registration (MSC4190).
    localpart = expected.bot[1:].partition(":")[0]
    bot = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
    requests = (
        Request("POST", "/_matrix/client/v3/register", bridge, bot),
        _whoami_request(expected.bot, bridge),
        ping_request(expected.appservice_id, bridge),
        _whoami_request(expected.admin, puppet),
        ping_request(expected.doublepuppet_id, puppet),
    )
    return dict(zip(STEPS, requests))


def _whoami_request(user: str, token: str) -> Request:
    return Request("GET", f"/_matrix/client/v3/account/whoami?user_id={quote(user, safe='')}", token)


def _send_all(arguments: StopAndCheckArguments) -> list[Exchange]:
    """The last exchange of each step. A step for which no time is left has none."""
    end = time.monotonic() + arguments.deadline
    last: dict[str, Exchange] = {}
    client = SynapseClient(arguments.synapse, arguments.secrets)
    for step, request in _build_requests(arguments).items():
        while (left := end - time.monotonic()) > 0:
            is_first_try = step not in last
            exchange = last[step] = client.send(step, request, min(arguments.request_timeout, left))
            if is_still_starting(exchange):
                if time.monotonic() + arguments.retry_pause >= end:
                    return [*last.values()]
                if is_first_try:
                    say(f"waiting for Synapse ({exchange.detail or exchange.status}) …")
                time.sleep(arguments.retry_pause)
            elif step == PING and exchange.fault == "timeout" and is_first_try:
                # Synapse may have waited for a bridge that was just ending: one with old tokens does so all the time.
                say("the bridge did not answer Synapse in time: asking once more")
            else:
                break
    return [*last.values()]


def _write_report(arguments: StopAndCheckArguments, verdict: Verdict, exchanges: list[Exchange]) -> str:
    """Write the evidence; the error's text. Its first line says all that counts."""
    failure = verdict.first_failure
    assert failure is not None
    containers = [name for name in (arguments.synapse.container, arguments.mas_container) if name]
    return (
        f"stop-and-check: FAIL: {failure.step}: {failure.rule}. What to do: {failure.fix}. "
        f"{_describe_bridge(arguments)}\n"
        f"{format_verdict(verdict)}\n"
        f"{_write_evidence(arguments.evidence, verdict, exchanges)}\n"
        f"{quote_logs(containers, arguments.secrets)}"
    )


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


def _write_evidence(path: Path, verdict: Verdict, exchanges: list[Exchange]) -> str:
    evidence = {
        "verdict": verdict.word,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "steps": to_json(verdict.steps),
        "exchanges": [{**to_json(exchange), "body": exchange.text()} for exchange in exchanges],
    }
    try:
        safe_files.write_file(path, json.dumps(evidence, indent=2, ensure_ascii=False).encode() + b"\n")
    except ScriptError as error:
        return f"Evidence could not be kept: {error}"
    return f"Evidence (everything sent and received, tokens masked): {path}"
