"""How is the bridge today? One look, read-only and quick, that never fails: what it cannot learn it says.

`pulumi up` and `pulumi preview` show it as its output `status`. It holds nothing that changes while a bridge
runs well (no times, no durations).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Optional

from documents.bridge.kinds import READY_PATH
from documents.masking import clean_log
from host_programs.common import ScriptError
from host_programs.container import last_exit, recent_log, status_inside
from host_programs.synapse.exchange import Request, ping_request, send
from verdicts.answers import shorten_line, summarize_answer
from verdicts.bridge_log import last_error
from verdicts.exit_codes import explain_exit_code
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.host_facts.docker import Container

LINES = 200  # of the log are searched for the last error
TIMEOUT = 5.0  # seconds for each of the things that are asked
DIRECT = 1.0  # seconds at most for a way that may lead nowhere


@dataclass(frozen=True)
class Question:
    """The bridge listens on `port` in `network`; `timeout` (seconds) is for each of the things that are asked; no ping
    is asked for without `as_token`, which is a secret."""

    network: str
    port: int
    synapse_url: str
    appservice_id: str
    as_token: str = field(repr=False)
    timeout: float = TIMEOUT


def seen(question: Question, state: Optional[Container]) -> BridgeStatus:
    """Of a container that was just looked at; None: there is none. Nothing raises: `problem` says why something is not
    known."""
    if state is None:
        return BridgeStatus(container="absent")
    asked: list[Job] = []
    if state.running:
        asked.append(lambda: _ready(question, state))
        asked += [lambda: _ping(question)] if question.as_token and question.synapse_url else []
    return BridgeStatus(**_known(state, question.as_token, question.timeout, *asked))


def ready(state: Container, network: str, port: int, timeout: float) -> str:
    """What the bridge says of itself: "200" when it is ready, else another status or why there is none. No port is
    published, so it is asked at its address, or, where the host does not reach that (a rootless Docker), from
    inside."""
    if address := state.host_on(network):
        request, seconds = Request("GET", READY_PATH), min(timeout, DIRECT)
        exchange = send("ready", f"http://{address}:{port}", request, seconds)
        if exchange.fault not in ("unreachable", "timeout"):
            return summarize_answer(exchange) if exchange.fault else str(exchange.status)
    return status_inside(state.id, f"http://127.0.0.1:{port}{READY_PATH}", timeout)


def answering(state: Container, as_token: str) -> BridgeStatus:
    """The same of a container that was just seen to be ready, and to be pinged by Synapse."""
    return BridgeStatus(**_known(state, as_token, TIMEOUT), ready=True, ping="200")


Job = Callable[[], dict[str, Any]]


def _known(state: Container, as_token: str, timeout: float, *asked: Job) -> dict[str, Any]:
    """What Docker tells of it, and what is `asked` beside."""
    jobs: list[Job] = [lambda: _log(as_token, state, timeout), lambda: _exit(state), *asked]
    known: dict[str, Any] = {"container": state.status, "restart_count": state.restarts, "image": state.image}
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        for part in pool.map(_safe, jobs):
            known |= part
    return known


def _safe(job: Job) -> dict[str, Any]:
    """One part's failure does not hide the others."""
    try:
        return job()
    except Exception as error:
        return {"problem": _told(error)}


def _told(error: Exception) -> str:
    return shorten_line(str(error) if isinstance(error, ScriptError) else f"{type(error).__name__}: {error}", 200)


def _ready(question: Question, state: Container) -> dict[str, Any]:
    answer = ready(state, question.network, question.port, question.timeout)
    known = answer.isdigit()  # any status is the bridge's own word
    return {"ready": answer == "200", **({} if known else {"problem": shorten_line(f"ready: {answer}", 200)})}


def _ping(question: Question) -> dict[str, Any]:
    request = ping_request(question.appservice_id, question.as_token)
    exchange = send("ping", question.synapse_url, request, question.timeout)
    answered = exchange.status == 200 and not exchange.fault and "duration_ms" in (exchange.json() or {})
    return {"ping": "200" if answered else summarize_answer(exchange)}


def _exit(state: Container) -> dict[str, Any]:
    code = last_exit(state) if state.ended or state.restarts else None
    return {} if code is None else {"exit_code": code, "exit_meaning": str(explain_exit_code(code))}


def _log(as_token: str, state: Container, timeout: float) -> dict[str, Any]:
    log = clean_log(recent_log(state, LINES, timeout), [as_token] if as_token else [])
    return {"last_error": shorten_line(last_error(log), 300)}
