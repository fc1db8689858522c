"""What only the containers of Synapse and its workers can tell: version, user, configuration, a worker's health.

Runs in their python3, which has PyYAML and Synapse (so PyYAML is imported there only); read-only, and no secret is in
the result.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS
from host_programs.synapse.exchange import MEDIA_CONFIG, Request, send_request
from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside.registrations import list_registrations
from verdicts.answers import summarize_answer
from verdicts.host_facts.synapse import Registration, SynapseFacts, WorkerFacts

SECONDS = 3  # for one answer
DEFAULT_POOL = 5  # connections to Postgres of one process: cp_max of twisted.enterprise.adbapi
ESTABLISHED = "01"  # proc(5), /proc/net/tcp
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class SynapseRequest:
    """`homeserver`: the path of homeserver.yaml in the container; `address`: Synapse's as the bridge's container
    reaches it (no worker needs it)."""

    homeserver: str
    address: str = ""


def read_synapse(request: SynapseRequest) -> SynapseFacts:
    """Find Synapse's process, and read its configuration. Whatever is wrong with that is `error`."""
    try:
        package = version("matrix-synapse")
    except PackageNotFoundError:
        package = ""
    process = synapse_process.find_main()
    uid, gid = _find_owner(process, Path(request.homeserver).parent)
    synapse_process.enter_directory(process)
    try:
        documents = synapse_process.read_configuration(process, request.homeserver)
    except synapse_process.ConfigUnreadable as error:
        return SynapseFacts(package, uid, gid, error=str(error))
    config = synapse_process.merge(documents.values())
    mas, features = _get_mapping(config, "matrix_authentication_service"), _get_mapping(config, FEATURES)
    return SynapseFacts(
        version=package,
        uid=uid,
        gid=gid,
        server_name=_to_text(config.get("server_name")),
        mas=bool(mas.get("enabled") or _get_mapping(features, "msc3861").get("enabled")),
        registrations=tuple(map(_read_registration, list_registrations(config))),
        files=tuple(map(os.path.realpath, documents)),
        decided_in=synapse_process.find_deciding_files(documents, KEYS),
        workers=len(synapse_process.find_processes(synapse_process.WORKER)),
        pusher=_to_text(config.get("notify_appservices_from_worker")),
        connections=_read_connections(config),
        media=_check_media(request.address),
    )


def _read_connections(config: Mapping[Any, Any]) -> int:
    """How many each process may have."""
    size = _get_mapping(_get_mapping(config, "database"), "args").get("cp_max", DEFAULT_POOL)
    return size if isinstance(size, int) else DEFAULT_POOL


def _check_media(address: str) -> str:
    """What answers there in the place of the client API with its media repository; "" if that does."""
    exchange = send_request("media", address, Request("GET", MEDIA_CONFIG), 5)
    return "" if exchange.status in (200, 401) else summarize_answer(exchange)


def _get_mapping(document: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """Empty if it is of another type: the edit of the file refuses that."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _find_owner(process: Path, directory: Path) -> tuple[int, int]:
    """User and group of the running Synapse; of the data directory, if no process names itself so."""
    try:
        named = b"synapse" in (process / "cmdline").read_bytes()
        owner = os.stat(process if named else directory)
    except OSError:
        owner = os.stat(directory)
    return owner.st_uid, owner.st_gid


def _read_registration(path: str) -> Registration:
    import yaml

    try:
        document: Any = yaml.safe_load(Path(path).read_text())
        users = (document.get("namespaces") or {}).get("users") or []
        exclusive = tuple(_to_text(user.get("regex")) for user in users if user.get("exclusive"))
        return Registration(path, _to_text(document.get("id")), exclusive)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        return Registration(path, error=synapse_process.describe_error(error))


def _to_text(value: object) -> str:
    return "" if value is None else str(value)


def read_worker(request: SynapseRequest) -> WorkerFacts:
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
        fault = _explain_unhealthy_worker(process, synapse_process.merge(documents.values()))
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        return WorkerFacts(error=f"{[*documents][-1]}: {synapse_process.describe_error(error)}")
    decided = synapse_process.find_deciding_files(documents, [REGISTRATIONS]).get(REGISTRATIONS, "")
    return WorkerFacts(tuple(map(os.path.realpath, documents)), decided, fault)


def _explain_unhealthy_worker(process: Path, config: Mapping[Any, Any]) -> str:
    """Why it is not healthy yet; "" if it is. Each HTTP listener of a worker answers /health (Synapse:
    app/generic_worker.py). A worker without one connects to Postgres and Redis once it has loaded its
    configuration and all registrations."""
    places = list(_list_listeners(config))
    for place in places:
        if place.startswith("/"):
            fault = _ask_socket(place)
        else:
            exchange = send_request("health", place, Request("GET", "/health"), SECONDS)
            fault = "" if exchange.status == 200 else summarize_answer(exchange)
        if fault:
            return f"{place}{'' if place.startswith('/') else '/health'}: {fault}"
    return "" if places or _has_connection(process) else "it has no connection to anybody yet"


def _list_listeners(config: Mapping[Any, Any]) -> Iterator[str]:
    """The path of a UNIX socket, or a URL."""
    for listener in config.get("worker_listeners") or []:
        if listener.get("type") == "http" and listener.get("path"):
            yield os.path.abspath(listener["path"])
        elif listener.get("type") == "http" and not listener.get("tls"):
            host = (listener.get("bind_addresses") or [listener.get("bind_address") or ""])[0]
            host = EVERYWHERE.get(host, host)
            yield f"http://{f'[{host}]' if ':' in host else host}:{listener['port']}"


def _ask_socket(path: str) -> str:
    """Why a listener at a UNIX socket does not answer 200; "" if it does."""
    connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(path)
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"/health answered {status}"


def _has_connection(process: Path) -> bool:
    """Whether its container has a TCP connection: before its configuration is loaded there is none."""
    rows = [row for table in ("tcp", "tcp6") for row in (process / "net" / table).read_text().splitlines()[1:]]
    return any(row.split()[3] == ESTABLISHED for row in rows)
