"""A host as `scripts/facts.py` finds the plan's, before the first `up`; tests change what they are about."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from documents.backup_script import Block
from documents.homeserver import Entries
from settings import Settings, parse

PROJECT = yaml.safe_load((Path(__file__).parent.parent / "Pulumi.yaml").read_text())
STACK = "mautrix-signal/contabo"

HOMESERVER = """# Synapse of echo6.co
server_name: "echo6.co"
matrix_authentication_service:
  enabled: true
"""

BACKUP_SCRIPT = """#!/bin/bash
BACKUP_DIR=/opt/matrix/backups
TIMESTAMP=$(date +%Y%m%d_%H%M%S)

docker exec matrix-postgres pg_dump -U synapse -d synapse | gzip > "${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"

find "${BACKUP_DIR}" -name "synapse_*.sql.gz" -mtime +14 -delete
"""


def defaults() -> dict[str, str | None]:
    """The defaults of Pulumi.yaml as Pulumi hands them over: text, lists and numbers as JSON."""
    return {
        key: value["default"] if isinstance(value["default"], str) else json.dumps(value["default"])
        for key, value in PROJECT["config"].items()
    }


def settings(**changed: str) -> Settings:
    """The plan's settings, with some config keys changed."""
    return parse({**defaults(), **changed})


def _running(name: str) -> dict[str, Any]:
    return {
        "id": f"id-of-{name}",
        "image": "sha256:0",
        "running": True,
        "status": "running",
        "labels": {},
        "networks": {"matrix-net": "172.20.0.3"},
    }


_FACTS: dict[str, Any] = {
    "docker": "27.3.1",
    "containers": {
        "matrix-synapse": _running("matrix-synapse"),
        "matrix-mas": _running("matrix-mas"),
        "matrix-postgres": _running("matrix-postgres"),
        "mautrix-signal": None,
    },
    "superuser_password": "superuser-password",
    "network": True,
    "image": False,
    "synapse": {
        "version": "1.147.1",
        "uid": 991,
        "gid": 991,
        "server_name": "echo6.co",
        "mas": True,
        "registrations": [],
        "error": None,
    },
    "postgres": {
        "version": 160004,
        "superuser": True,
        "roles": ["synapse", "mas"],
        "databases": {
            "postgres": {"owner": "synapse", "bytes": 7_000_000, "public": True},
            "synapse": {"owner": "synapse", "bytes": 900_000_000, "public": True},
            "mas": {"owner": "mas", "bytes": 20_000_000, "public": True},
        },
        "locked_out": {"synapse": ["mas"]},
    },
    "others": [],
    "bridge": {"container": "absent", "ready": False},
    "homeserver": {"text": HOMESERVER, "mode": 0o644, "executable": False, "writable": True},
    "backup_script": {"text": BACKUP_SCRIPT, "mode": 0o755, "executable": True, "writable": True},
    "directories": {
        "bridge_dir": {"exists": False, "entries": [], "stack": None, "writable": True, "free": 80 * 2**30},
        "synapse_dir": {
            "exists": True,
            "entries": ["homeserver.yaml"],
            "stack": None,
            "writable": True,
            "free": 80 * 2**30,
        },
        "archive_dir": {"exists": False, "entries": [], "stack": None, "writable": True, "free": 80 * 2**30},
        "backup_dir": {"exists": True, "entries": [], "stack": None, "writable": True, "free": 80 * 2**30},
    },
    "registrations": {"/opt/matrix/synapse/registration.yaml": False, "/opt/matrix/synapse/doublepuppet.yaml": False},
    "docker_free": 80 * 2**30,
    "ready_container": None,
    "machine": {"python": "3.11.2", "root": True, "bash": True},
}


def fresh() -> dict[str, Any]:
    """The host before the first `up`."""
    return deepcopy(_FACTS)


def deployed() -> dict[str, Any]:
    """The host with this stack's bridge, ready."""
    from documents import backup_script, homeserver

    facts = fresh()
    container = _running("mautrix-signal")
    container["labels"] = {"mautrix-bridge.stack": STACK, "mautrix-bridge.attempt": "1"}
    facts["containers"]["mautrix-signal"] = container
    facts["ready_container"] = f"{container['id']} 1"
    facts["directories"]["bridge_dir"].update(exists=True, entries=[".ready", ".stack"], stack=STACK)
    facts["registrations"] = dict.fromkeys(facts["registrations"], True)
    facts["postgres"]["roles"].append("mautrix_signal")
    facts["postgres"]["databases"]["mautrix_signal"] = {"owner": "mautrix_signal", "bytes": 9_000_000, "public": False}
    facts["postgres"]["locked_out"] = None
    facts["homeserver"]["text"] = homeserver.add(HOMESERVER, entries())
    facts["backup_script"]["text"] = backup_script.add(BACKUP_SCRIPT, block())
    return facts


def entries() -> Entries:
    from plan import EXPERIMENTAL_FEATURES

    return Entries(STACK, ("/data/registration.yaml", "/data/doublepuppet.yaml"), EXPERIMENTAL_FEATURES)


def block() -> Block:
    from documents.backup_script import Dump

    return Block(STACK, "matrix-postgres", (Dump("mautrix_signal", "mautrix_signal"), Dump("mas", "mas")))
