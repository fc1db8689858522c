"""Reads a bridge's present state, quickly and without changing anything. It never fails: it says what it cannot learn.

The verb `status` makes a row of the result, which holds nothing that changes while a bridge runs well (no times, no
durations).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from documents.bridge.kinds import READY_PATH
from documents.masking import clean_log
from host_programs.docker import read_last_exit, read_recent_log, request_in_container
from host_programs.messages import ScriptError
from host_programs.synapse.exchange import Request, ping_request, send_request
from verdicts.answers import shorten_line, summarize_answer
from verdicts.bridge_log import last_error
from verdicts.exit_codes import explain_exit_code
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.host_facts.docker import Container

LOG_LINES = 200  # of the log are searched for the last error
TIMEOUT = 5.0  # seconds for each question
DIRECT_TIMEOUT = 1.0  # seconds for the container's address, which the host may be unable to reach


@dataclass(frozen=True)
class BridgeAddress:
    """The bridge listens on `port` in `network`, Synapse at `synapse_url`. Without that URL or without `as_token` (a
    secret) Synapse is not asked for its ping. `timeout`: seconds for each question."""

    network: str
    port: int
    synapse_url: str
    appservice_id: str
    as_token: str = field(repr=False)
    timeout: float = TIMEOUT


def read_bridge_status(address: BridgeAddress, container: Optional[Container]) -> BridgeStatus:
    """The status of the bridge in this container; None: there is no container. It never raises: `problem` says why
    something is unknown."""
    if container is None:
        return BridgeStatus(container="absent")
    answers: dict[str, Any] = {"restart_count": container.restarts, "image": container.image}
    for question in _list_questions(address, container):
        try:
            answers |= question(address, container)
        except Exception as error:  # one question's failure does not hide the other answers
            answers["problem"] = describe_error(error)
    return BridgeStatus(container=container.status, **answers)


Question = Callable[[BridgeAddress, Container], dict[str, Any]]  # the answer: some of BridgeStatus' fields


def _list_questions(address: BridgeAddress, container: Container) -> Iterator[Question]:
    yield _read_log
    if container.ended or container.restarts:
        yield _read_exit
    if container.running:
        yield _read_ready
        if address.as_token and address.synapse_url:
            yield _read_ping


def request_readiness(container: Container, network: str, port: int, timeout: float) -> str:
    """Ask the bridge whether it is ready: "200" if so, else another status, or why there is none. No port is published,
    so the request goes to the container's address. Where the host cannot reach that (a rootless Docker), the request is
    sent from inside the container."""
    if address := container.host_on(network):
        request, seconds = Request("GET", READY_PATH), min(timeout, DIRECT_TIMEOUT)
        exchange = send_request("ready", f"http://{address}:{port}", request, seconds)
        if exchange.fault not in ("unreachable", "timeout"):
            return summarize_answer(exchange) if exchange.fault else str(exchange.status)
    return request_in_container(container.id, f"http://127.0.0.1:{port}{READY_PATH}", timeout)


def describe_error(error: Exception) -> str:
    """An exception's text in one line, with the class of one that is a defect of this program."""
    return shorten_line(str(error) if isinstance(error, ScriptError) else f"{type(error).__name__}: {error}", 200)


def _read_ready(address: BridgeAddress, container: Container) -> dict[str, Any]:
    answer = request_readiness(container, address.network, address.port, address.timeout)
    if answer.isdigit():  # any status is the bridge's own word
        return {"ready": answer == "200"}
    return {"problem": shorten_line(f"ready: {answer}", 200)}


def _read_ping(address: BridgeAddress, _: Container) -> dict[str, Any]:
    request = ping_request(address.appservice_id, address.as_token)
    exchange = send_request("ping", address.synapse_url, request, address.timeout)
    answered = exchange.status == 200 and not exchange.fault and "duration_ms" in (exchange.json() or {})
    return {"ping": "200" if answered else summarize_answer(exchange)}


def _read_exit(address: BridgeAddress, container: Container) -> dict[str, Any]:
    code = read_last_exit(container, address.timeout)
    return {} if code is None else {"exit_code": code, "exit_meaning": str(explain_exit_code(code))}


def _read_log(address: BridgeAddress, container: Container) -> dict[str, Any]:
    secrets = [address.as_token] if address.as_token else []
    log = clean_log(read_recent_log(container, LOG_LINES, address.timeout), secrets)
    return {"last_error": shorten_line(last_error(log), 300)}
