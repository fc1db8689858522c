"""Whether Synapse and its workers are healthy, and the restart that waits until they are."""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from documents.masking import clean_log
from documents.places import Synapse
from host_programs.docker import inspect_container, read_log, run_docker
from host_programs.messages import ScriptError, say
from host_programs.synapse import client
from host_programs.synapse.exchange import make_connection, parse_url
from host_programs.synapse.workers import explain_unhealthy_worker
from verdicts.host_facts.docker import Container

PAUSE = 0.1  # seconds between two questions for health
PATIENCE = 10.0  # seconds that a Synapse gets to answer before anything is done: it may just be starting
CRASHES = 3  # restarts by Docker after ours until we stop waiting
LOG_LINES = 50

HEALTH_PATHS = ("/health", "/_matrix/client/versions")  # the second where a proxy does not hand the first through


@dataclass(frozen=True)
class Restart:
    """`seconds`: from the command to Synapse's health; `fault`: None, or why not everything is healthy, and then
    `logs`: the containers that tell more."""

    seconds: float
    fault: Optional[str]
    logs: tuple[str, ...]


def restart_synapse(synapse: Synapse, workers: Sequence[str]) -> Restart:
    """Restart the container, and once it is healthy `workers` side by side: a file that Synapse does not start with
    leaves them alone. A Docker that fails is a fault too, and raises nothing: the caller has a file to put back."""
    begin, name = time.monotonic(), synapse.container
    fault = _restart_container(name, lambda restarts: wait_for_main(synapse, synapse.deadline, restarts))
    seconds = round(time.monotonic() - begin, 2)
    if fault or not workers:
        return Restart(seconds, fault, (name,))

    def restart_worker(worker: str) -> Optional[str]:
        return _restart_container(
            worker, lambda restarts: _wait_for_worker(worker, synapse, restarts, synapse.deadline)
        )

    with ThreadPoolExecutor(max_workers=len(workers)) as pool:
        faults = {worker: fault for worker, fault in zip(workers, pool.map(restart_worker, workers)) if fault}
    text = "; ".join(f"its worker {worker}: {fault}" for worker, fault in faults.items())
    return Restart(seconds, text or None, tuple(faults) or (name,))


def _restart_container(name: str, wait: Callable[[int], Optional[str]]) -> Optional[str]:
    say(f"restarting {name}")
    before = None
    with contextlib.suppress(ScriptError):
        before = inspect_container(name)
    try:
        done = run_docker("restart", name, check=False)
    except ScriptError as error:  # no answer in 600 s
        return str(error)
    if done.returncode:
        return f"docker restart: {done.stderr.strip()}"
    return wait(before.restarts if before else 0)


def explain_unhealthy_synapse(synapse: Synapse, restarts: int) -> str:
    """What of Synapse is not healthy, and why; "" if all is, or becomes so in a moment. `restarts`: as of
    `wait_for_main`."""
    seconds = min(PATIENCE, synapse.deadline)
    if fault := wait_for_main(synapse, seconds, restarts):
        return f"container {synapse.container}: Synapse is down ({fault})"
    for name in synapse.workers:
        container = inspect_container(name)
        if container is None or not container.running:
            return f"container {name}: is {describe_status(container)}"
        if fault := _wait_for_worker(name, synapse, container.restarts, seconds):
            return f"container {name}: its worker is down ({fault})"
    return ""


def wait_for_main(synapse: Synapse, seconds: float, restarts: int) -> Optional[str]:
    """Wait until the main process is healthy; None then, else why it is not. `restarts`: how often Docker itself had
    restarted the container before."""
    url, no_url = "", ""

    def explain(inspected: bool) -> Optional[str]:
        nonlocal url, no_url
        if inspected:  # each start may give it another address
            url, no_url = find_url(synapse)
        return no_url or _explain_unhealthy_url(url)

    return _wait(synapse.container, explain, seconds, restarts)


def _wait_for_worker(name: str, synapse: Synapse, restarts: int, seconds: float) -> Optional[str]:
    return _wait(name, lambda _: explain_unhealthy_worker(name, synapse), seconds, restarts)


def _wait(name: str, explain: Callable[[bool], Optional[str]], seconds: float, restarts: int) -> Optional[str]:
    """None once the container is healthy; else, after `seconds` or when it is clear that it will not be, why.

    `explain` says why it is not healthy yet, and is told whether the container was inspected since its last call.
    `restarts`: Docker's own count before; it begins anew when somebody restarts the container."""
    begin = inspected_at = time.monotonic()
    inspected = True
    while True:
        fault, inspected = explain(inspected), False
        now = time.monotonic()
        if not fault:
            return None
        if now - begin >= seconds:
            return f"not healthy within {seconds:.0f} s: {fault}"
        if now - inspected_at >= 1:
            inspected_at = now
            with contextlib.suppress(ScriptError):  # Docker does not answer just now: health alone has to tell
                container = inspect_container(name)
                if container is None:
                    return "its container is absent"
                restarts = min(restarts, container.restarts)
                if container.restarts - restarts >= CRASHES:
                    return f"it ended {CRASHES} times with exit code {container.exit_code}"
                if container.status in ("exited", "dead", "created", "paused"):
                    return f"its container is {container.status}, exit code {container.exit_code}"
                inspected = True
        time.sleep(PAUSE)


def find_url(synapse: Synapse) -> tuple[str, str]:
    """Where Synapse answers, or why that is not known."""
    try:
        return client.find_url(synapse), ""
    except ScriptError as error:
        return "", str(error)


def _explain_unhealthy_url(base: str) -> Optional[str]:
    """None if one of HEALTH_PATHS answers 200; else why not."""
    for path in HEALTH_PATHS:
        url, connection = f"{base}{path}", make_connection(parse_url(base), 3)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {str(error) or type(error).__name__}"
        finally:
            connection.close()
        if status != 404:
            break
    return None if status == 200 else f"{url} answered {status}"


def find_started_since(names: Sequence[str], stamp: float) -> list[str]:
    """Those containers that Docker started after that time (seconds since the epoch), or cannot tell of."""
    found = []
    for name in names:
        try:
            container = inspect_container(name)
        except ScriptError:
            container = None
        if container is None or _parse_time(container.started) > stamp:
            found.append(name)
    return found


def _parse_time(stamp: str) -> float:
    """Docker's time (2026-11-24T14:12:35.123456789Z) in seconds since the epoch."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?", stamp)
    if not match:
        raise ScriptError(f"Docker's time {stamp!r}: not like 2026-11-24T14:12:35.123456789Z")
    seconds = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return seconds.timestamp() + float(match[2] or 0)


def describe_status(container: Optional[Container]) -> str:
    """Docker's word for its status; "absent" without a container."""
    return container.status if container else "absent"


def quote_logs(restart: Restart, secrets: Collection[str]) -> str:
    """The last lines of the logs that tell more about a failed restart, with the secrets masked."""
    texts = (
        f"the last {LOG_LINES} log lines of {name}:\n{clean_log(read_log(name, LOG_LINES), secrets).rstrip()}"
        for name in restart.logs
    )
    return "\n".join(texts)
