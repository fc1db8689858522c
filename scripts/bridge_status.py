"""How is the bridge today? One look, read-only and quick, that never fails: what it cannot learn it says.

`pulumi up` and `pulumi preview` show it as the output `bridgeStatus`. It holds nothing that changes while a bridge
runs well (no times, no durations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from documents.masking import clean
from scripts.common import ScriptError, run
from scripts.container import last_exit, look, ready, recent_log
from scripts.exchange import Request, ask
from verdicts.auth import came, line
from verdicts.bridge_log import last_error
from verdicts.exit_codes import explain
from verdicts.host_facts import Container

LINES = 200  # of the log are searched for the last error
NOT_ASKED = "not asked"


def probe(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Look. Arguments: container, port, synapse_url, appservice_id, as_token (None: no ping), timeout (seconds for
    each question, 5), hide (optional list of secrets that a log could hold).

    Result, all of it always there: container ("running", "restarting", "exited", … as Docker says, "absent", or
    "unknown"), ready (bool), ping ("200" or what came instead), last_error (a line of the log, secrets masked),
    restart_count, exit_code (of the last run; None if it never ended) and exit_meaning, image, problem (why something
    is not known).
    """
    found: dict[str, Any] = {
        "container": "unknown",
        "ready": False,
        "ping": NOT_ASKED,
        "last_error": "",
        "restart_count": 0,
        "exit_code": None,
        "exit_meaning": "",
        "image": "",
        "problem": "",
    }
    try:
        state = look(arguments["container"], float(arguments.get("timeout", 5)))
        if state is None:
            return {**found, "container": "absent"}
        found.update(container=state.status, restart_count=state.restarts, image=state.image)
        for part in _parts(arguments, state):
            found.update(part)
    except Exception as error:  # whatever it is: a preview must not fail for it
        found["problem"] = line(
            str(error) if isinstance(error, ScriptError) else f"{type(error).__name__}: {error}", 200
        )
    return found


def _parts(arguments: Mapping[str, Any], state: Container) -> list[dict[str, Any]]:
    """Everything else, at the same time."""
    timeout, running = float(arguments.get("timeout", 5)), state.status == "running"
    jobs: list[Callable[[], dict[str, Any]]] = [lambda: _log(arguments, state), lambda: _exit(state)]
    if running:
        jobs.append(lambda: _ready(state, int(arguments["port"]), timeout))
    if running and arguments.get("as_token"):
        jobs.append(lambda: _ping(arguments, timeout))
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        return list(pool.map(_safe, jobs))


def _safe(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """One part's failure does not hide the others."""
    try:
        return job()
    except Exception as error:
        return {
            "problem": line(str(error) if isinstance(error, ScriptError) else f"{type(error).__name__}: {error}", 200)
        }


def _ready(state: Container, port: int, timeout: float) -> dict[str, Any]:
    answer = ready(state.id, port, timeout)
    known = answer.isdigit()  # any status is the bridge's own word
    return {"ready": answer == "200", **({} if known else {"problem": line(f"ready: {answer}", 200)})}


def _ping(arguments: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    target = f"/_matrix/client/v1/appservice/{quote(arguments['appservice_id'], safe='')}/ping"
    exchange = ask("ping", arguments["synapse_url"], Request("POST", target, arguments["as_token"], {}), timeout)
    duration = exchange.status == 200 and not exchange.fault and "duration_ms" in (exchange.json() or {})
    return {"ping": "200" if duration else came(exchange)}


def _exit(state: Container) -> dict[str, Any]:
    code = last_exit(state) if state.ended or state.restarts else None
    return {} if code is None else {"exit_code": code, "exit_meaning": str(explain(code))}


def _log(arguments: Mapping[str, Any], state: Container) -> dict[str, Any]:
    secrets = [secret for secret in (arguments.get("as_token"), *(arguments.get("hide") or [])) if secret]
    log = clean(recent_log(state, LINES, float(arguments.get("timeout", 5))), secrets)
    return {"last_error": line(last_error(log), 300)}


VERBS = (probe,)

if __name__ == "__main__":
    run(*VERBS)
