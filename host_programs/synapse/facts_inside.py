"""What only Synapse's own container can tell: its version, its process' user, its configuration as its files have it
together.

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

from host_programs.common import ScriptError
from host_programs.synapse import synapse_process
from host_programs.synapse.exchange import MEDIA_CONFIG, Request, ask
from verdicts.auth import came
from verdicts.host_facts import Registration, SynapseFacts


@dataclass(frozen=True)
class Arguments:
    """`homeserver`: the path of homeserver.yaml in the container; `address`: Synapse's as the bridge's container
    reaches it."""

    homeserver: str
    address: str


def read(arguments: Arguments) -> SynapseFacts:
    """What is there. Whatever is wrong with the configuration is `error`."""
    from documents.homeserver import FEATURES, KEYS, REGISTRATIONS

    try:
        package = version("matrix-synapse")
    except PackageNotFoundError:
        package = ""
    process = synapse_process.find()
    uid, gid = _owner(process, Path(arguments.homeserver).parent)
    synapse_process.enter(process)
    try:
        documents = synapse_process.configuration(process, arguments.homeserver)
    except synapse_process.Unreadable as error:
        return SynapseFacts(package, uid, gid, error=str(error))
    config = synapse_process.merged(documents.values())
    mas, old = _mapping(config, "matrix_authentication_service"), _mapping(config, FEATURES)
    listed = config.get(REGISTRATIONS)
    return SynapseFacts(
        version=package,
        uid=uid,
        gid=gid,
        server_name=_text(config.get("server_name")),
        mas=bool(mas.get("enabled") or _mapping(old, "msc3861").get("enabled")),
        registrations=tuple(_registration(str(path)) for path in (listed if isinstance(listed, list) else [])),
        files=tuple(map(os.path.realpath, documents)),
        decided_in=synapse_process.decided_in(documents, KEYS),
        workers=len(synapse_process.running(synapse_process.WORKER)),
        named_workers=tuple(str(name) for name in _mapping(config, "instance_map") if name != "main"),
        pusher=_text(config.get("notify_appservices_from_worker")),
        media=_media(arguments.address) if config.get("enable_media_repo") is False else "",
    )


def _media(address: str) -> str:
    """What answers for the media repository there, if it is not one."""
    try:
        exchange = ask("media", address, Request("GET", MEDIA_CONFIG), 5)
    except ScriptError as error:
        return str(error)
    return "" if exchange.status in (200, 401) else came(exchange)


def _mapping(document: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """Empty if it is of another type, which the edit of the file says."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _owner(process: Path, directory: Path) -> tuple[int, int]:
    """User and group of the running Synapse; of the data directory, if no process names itself so."""
    try:
        named = b"synapse" in (process / "cmdline").read_bytes()
        owner = os.stat(process if named else directory)
    except OSError:
        owner = os.stat(directory)
    return owner.st_uid, owner.st_gid


def _registration(path: str) -> Registration:
    import yaml

    try:
        document: Any = yaml.safe_load(Path(path).read_text())
        users = (document.get("namespaces") or {}).get("users") or []
        exclusive = tuple(_text(user.get("regex")) for user in users if user.get("exclusive"))
        return Registration(path, _text(document.get("id")), _text(document.get("sender_localpart")), exclusive)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        return Registration(path, error=synapse_process.told(error))


def _text(value: object) -> str:
    return "" if value is None else str(value)
