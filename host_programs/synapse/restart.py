"""Whether Synapse and its workers are healthy, and the restart that waits until they are."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

from documents.masking import clean_log
from documents.places import Synapse
from documents.timestamps import rfc3339_seconds
from host_programs import program_file
from host_programs.docker import find_path_in_container, inspect_container, read_log, run_docker
from host_programs.messages import ScriptError, say
from host_programs.synapse.client import url_of
from host_programs.synapse.exchange import Request, send_request
from host_programs.synapse.inside.synapse_facts import SynapseRequest, read_worker
from verdicts.answers import summarize_answer
from verdicts.host_facts.docker import Container
from verdicts.host_facts.synapse import Worker, WorkerFacts

PAUSE = 0.1  # seconds between two questions for health
PATIENCE = 10.0  # seconds that a Synapse gets to answer before anything is done: it may just be starting
CRASHES = 3  # restarts by Docker while we wait, until we stop waiting
LOG_LINES = 50
# The second where a proxy does not hand the first through; it may hand the second to a worker.
HEALTH_PATHS = ("/health", "/_matrix/client/versions")


@dataclass(frozen=True)
class Restart:
    """`seconds`: from the command to Synapse's health. `fault`: why not everything is healthy, or "". `containers`:
    those whose logs tell more: that did not come up, or else Synapse's. `workers`: those that were restarted."""

    seconds: float
    fault: str
    containers: tuple[str, ...]
    workers: tuple[str, ...] = ()


def restart_synapse(synapse: Synapse, workers: Sequence[str]) -> Restart:
    """Restart the container, and once it is healthy `workers` side by side: a file that Synapse does not start with
    leaves them alone. A Docker that fails is a fault too, and raises nothing: the caller has a file to put back."""
    begin = time.monotonic()
    fault = _restart_container(synapse.container, synapse)
    seconds = round(time.monotonic() - begin, 2)
    if fault or not workers:
        return Restart(seconds, fault, (synapse.container,))
    with ThreadPoolExecutor(max_workers=len(workers)) as pool:
        faults = list(pool.map(lambda worker: _restart_container(worker, synapse), workers))
    failed = {worker: fault for worker, fault in zip(workers, faults) if fault}
    text = "; ".join(f"its worker {worker}: {fault}" for worker, fault in failed.items())
    return Restart(seconds, text, tuple(failed) or (synapse.container,), tuple(workers))


def _restart_container(name: str, synapse: Synapse) -> str:
    say(f"restarting {name}")
    try:
        done = run_docker("restart", name, check=False)
    except ScriptError as error:  # no answer in 600 s
        return str(error)
    if done.returncode:
        return f"docker restart: {done.stderr.strip()}"
    return wait_until_healthy(name, synapse, synapse.deadline, 0)  # this restart sets Docker's own count to 0


def explain_unhealthy_synapse(synapse: Synapse) -> str:
    """What of Synapse is not healthy, and why; "" if all is, or becomes so in a moment."""
    for name in (synapse.container, *synapse.workers):
        container = inspect_container(name)
        if container is None or not container.running:
            return f"container {name}: is {describe_status(container)}"
        if fault := wait_until_healthy(name, synapse, min(PATIENCE, synapse.deadline)):
            part = "Synapse" if name == synapse.container else "its worker"
            return f"container {name}: {part} is down ({fault})"
    return ""


def wait_until_healthy(name: str, synapse: Synapse, seconds: float, restarts: Optional[int] = None) -> str:
    """Wait for the container, Synapse's or a worker's; "" once it is healthy. After `seconds`, or once it is clear that
    it will not be healthy: why not. `restarts`: Docker's own so far (None: those of the first look)."""
    end = time.monotonic() + seconds
    while True:
        container = None
        with contextlib.suppress(ScriptError):  # Docker does not answer just now: health alone has to tell
            container = inspect_container(name)
        try:
            fault = _explain_unhealthy(name, container, synapse)
        except ScriptError as error:
            fault = str(error)
        if not fault:
            return ""
        if container and restarts is None:
            restarts = container.restarts
        if container and restarts is not None and container.restarts - restarts >= CRASHES:
            return f"it ended {CRASHES} times with exit code {container.exit_code}"
        if container and (container.stays_stopped or container.status == "paused"):
            return f"its container is {container.status}, exit code {container.exit_code}"
        if time.monotonic() >= end:
            return f"not healthy within {seconds:.0f} s: {fault}"
        time.sleep(PAUSE)


def _explain_unhealthy(name: str, container: Optional[Container], synapse: Synapse) -> str:
    if name != synapse.container:
        facts = inspect_worker(name, synapse).facts
        return (facts.error or facts.unwell) if facts else "it does not run"
    url = url_of(synapse, container)
    for path in HEALTH_PATHS:
        exchange = send_request("health", url, Request("GET", path), 3)
        if exchange.status != 404:
            break
    return "" if exchange.status == 200 else f"{url}{path}: {summarize_answer(exchange)}"


def inspect_worker(name: str, synapse: Synapse) -> Worker:
    """The container of a worker, and what it says of itself. ScriptError if Docker fails."""
    container = inspect_container(name)
    if container is None:
        return Worker(None)
    homeserver = find_path_in_container(container, synapse.homeserver_file) or ""
    if not container.running:
        return Worker(container, homeserver)
    request = SynapseRequest(homeserver or synapse.path_inside("homeserver.yaml"))
    try:
        facts = program_file.run_inside(name, read_worker, request, timeout=30)
    except program_file.InsideError as error:
        facts = WorkerFacts(error=str(error))
    return Worker(container, homeserver, facts)


def are_started_since(names: Sequence[str], stamp: float) -> bool:
    """Whether Docker started all these containers after that time (seconds since the epoch)."""
    containers = [inspect_container(name) for name in names]
    return all(container and (rfc3339_seconds(container.started) or 0) > stamp for container in containers)


def describe_status(container: Optional[Container]) -> str:
    """Docker's word for its status; "absent" without a container."""
    return container.status if container else "absent"


def quote_logs(containers: Sequence[str], secrets: Collection[str]) -> str:
    """The last lines of the containers' logs, with the secrets masked."""
    return "\n".join(
        f"the last {LOG_LINES} log lines of {name}:\n{clean_log(read_log(name, LOG_LINES), secrets).rstrip()}"
        for name in containers
    )
