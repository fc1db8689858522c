"""What only the container of one of Synapse's workers can tell: whose list of registrations it takes, and whether it is
up.

Runs in that container's python3, which has PyYAML and Synapse; read-only, and no secret is in the result.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_programs.synapse import synapse_process
from verdicts.host_facts import WorkerFacts

SECONDS = 3  # for one answer
ESTABLISHED = "01"  # proc(5), /proc/net/tcp
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Arguments:
    """`homeserver`: the path of homeserver.yaml in the container."""

    homeserver: str


def look(arguments: Arguments) -> WorkerFacts:
    """What is there. Whatever is wrong with the container or its configuration is `error`."""
    from documents.homeserver import REGISTRATIONS

    processes = synapse_process.running(synapse_process.WORKER)
    if not processes:
        return WorkerFacts(error="runs no worker of Synapse")
    process = processes[0]
    synapse_process.enter(process)
    try:
        documents = synapse_process.configuration(process, arguments.homeserver)
    except synapse_process.Unreadable as error:
        return WorkerFacts(error=str(error))
    try:
        unwell = _unwell(process, synapse_process.merged(documents.values()))
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        return WorkerFacts(error=f"{[*documents][-1]}: {synapse_process.told(error)}")
    decided = synapse_process.decided_in(documents, [REGISTRATIONS]).get(REGISTRATIONS, "")
    return WorkerFacts(tuple(map(os.path.realpath, documents)), decided, unwell)


def _unwell(process: Path, config: Mapping[Any, Any]) -> str:
    """Why it is not up yet; "" if it is. Each HTTP listener of a worker answers /health (Synapse:
    app/generic_worker.py); one without speaks with Postgres and Redis once its configuration and all registrations are
    loaded."""
    listeners = list(_listeners(config))
    for where in listeners:
        if why := _asked(where):
            return f"{where}: {why}"
    return "" if listeners or _connected(process) else "it has no connection to anybody yet"


def _listeners(config: Mapping[Any, Any]) -> Iterator[str]:
    """A socket's path, or "HOST PORT"."""
    for listener in config.get("worker_listeners") or []:
        if listener.get("type") == "http" and not listener.get("tls"):
            host = (listener.get("bind_addresses") or [listener.get("bind_address") or ""])[0]
            yield listener.get("path") or f"{EVERYWHERE.get(host, host)} {listener['port']}"


def _asked(where: str) -> str:
    host, _, port = where.partition(" ")
    connection = http.client.HTTPConnection(host if port else "localhost", int(port or 80), timeout=SECONDS)
    try:
        if not port:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(SECONDS)
            connection.sock.connect(where)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"/health answered {status}"


def _connected(process: Path) -> bool:
    """Whether its container has a TCP connection; there is none before its configuration is loaded."""
    rows = [row for table in ("tcp", "tcp6") for row in (process / "net" / table).read_text().splitlines()[1:]]
    return any(row.split()[3] == ESTABLISHED for row in rows)
