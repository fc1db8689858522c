"""What only a worker's own container can tell: which file's list of registrations it takes, and whether it is healthy.

Runs in that container's python3, which has PyYAML and Synapse; read-only, and no secret is in the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from documents.homeserver.entries import REGISTRATIONS
from host_programs.messages import ScriptError
from host_programs.synapse.exchange import Request, send_request
from host_programs.synapse.inside import process as synapse_process
from verdicts.answers import summarize_answer
from verdicts.host_facts.synapse import WorkerFacts

SECONDS = 3  # for one answer
ESTABLISHED = "01"  # proc(5), /proc/net/tcp
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class WorkerRequest:
    """`homeserver`: the path of homeserver.yaml in the container."""

    homeserver: str


def inspect_worker(request: WorkerRequest) -> WorkerFacts:
    """Find the worker's process, and ask it. Whatever is wrong with the container or its configuration is `error`."""
    processes = synapse_process.find_processes(synapse_process.WORKER)
    if not processes:
        return WorkerFacts(error="runs no worker of Synapse")
    process = processes[0]
    synapse_process.enter_directory(process)
    try:
        documents = synapse_process.read_configuration(process, request.homeserver)
    except synapse_process.ConfigUnreadable as error:
        return WorkerFacts(error=str(error))
    try:
        fault = _explain_unhealthy(process, synapse_process.merge(documents.values()))
    except (OSError, AttributeError, LookupError, TypeError, ValueError, ScriptError) as error:
        return WorkerFacts(error=f"{[*documents][-1]}: {synapse_process.describe_error(error)}")
    decided = synapse_process.find_deciding_files(documents, [REGISTRATIONS]).get(REGISTRATIONS, "")
    return WorkerFacts(tuple(map(os.path.realpath, documents)), decided, fault)


def _explain_unhealthy(process: Path, config: Mapping[Any, Any]) -> str:
    """Why it is not healthy yet; "" if it is. Each HTTP listener of a worker answers /health (Synapse:
    app/generic_worker.py). A worker without one on a port connects to Postgres and Redis once it has loaded its
    configuration and all registrations."""
    urls = list(_list_urls(config))
    for url in urls:
        exchange = send_request("health", url, Request("GET", "/health"), SECONDS)
        if exchange.status != 200:
            return f"{url}/health: {summarize_answer(exchange)}"
    return "" if urls or _has_connection(process) else "it has no connection to anybody yet"


def _list_urls(config: Mapping[Any, Any]) -> Iterator[str]:
    for listener in config.get("worker_listeners") or []:
        if listener.get("type") == "http" and not listener.get("tls") and not listener.get("path"):
            host = (listener.get("bind_addresses") or [listener.get("bind_address") or ""])[0]
            host = EVERYWHERE.get(host, host)
            yield f"http://{f'[{host}]' if ':' in host else host}:{listener['port']}"


def _has_connection(process: Path) -> bool:
    """Whether its container has a TCP connection: before its configuration is loaded there is none."""
    rows = [row for table in ("tcp", "tcp6") for row in (process / "net" / table).read_text().splitlines()[1:]]
    return any(row.split()[3] == ESTABLISHED for row in rows)
