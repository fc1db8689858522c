"""What only Synapse's own container can tell: its version, its process' user, its whole configuration.

Runs in that container's python3, which has PyYAML and Synapse (so PyYAML is imported there only); read-only, and no
secret is in the result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS
from host_programs.messages import ScriptError
from host_programs.synapse.exchange import MEDIA_CONFIG, Request, send_request
from host_programs.synapse.inside import process as synapse_process
from verdicts.answers import summarize_answer
from verdicts.host_facts.synapse import Registration, SynapseFacts


@dataclass(frozen=True)
class SynapseRequest:
    """`homeserver`: the path of homeserver.yaml in the container; `address`: Synapse's as the bridge's container
    reaches it."""

    homeserver: str
    address: str


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
    listed = config.get(REGISTRATIONS)
    return SynapseFacts(
        version=package,
        uid=uid,
        gid=gid,
        server_name=_to_text(config.get("server_name")),
        mas=bool(mas.get("enabled") or _get_mapping(features, "msc3861").get("enabled")),
        registrations=tuple(_read_registration(str(path)) for path in (listed if isinstance(listed, list) else [])),
        files=tuple(map(os.path.realpath, documents)),
        decided_in=synapse_process.find_deciding_files(documents, KEYS),
        workers=len(synapse_process.find_processes(synapse_process.WORKER)),
        named_workers=tuple(str(name) for name in _get_mapping(config, "instance_map") if name != "main"),
        pusher=_to_text(config.get("notify_appservices_from_worker")),
        media=_check_media(request.address) if config.get("enable_media_repo") is False else "",
    )


def _check_media(address: str) -> str:
    """What answers there in the place of a media repository; "" if one does."""
    try:
        exchange = send_request("media", address, Request("GET", MEDIA_CONFIG), 5)
    except ScriptError as error:
        return str(error)
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
        return Registration(path, _to_text(document.get("id")), _to_text(document.get("sender_localpart")), exclusive)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        return Registration(path, error=synapse_process.describe_error(error))


def _to_text(value: object) -> str:
    return "" if value is None else str(value)
