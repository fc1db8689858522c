"""A host as host_programs/facts sees the plan's, before the first `up` (`healthy`) and after it (`deployed`), and the
plan's settings; tests change what they are about, with dataclasses.replace."""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from documents.backup import backup_script
from documents.bridge.pickle_key import fingerprint_key
from documents.credentials import DoublePuppet, Keys, PermanentSeed, Seed, Tokens
from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from documents.marks import owner_comment
from documents.places import BridgeDeployment, Deployment
from settings.fields import Settings
from settings.reader import parse
from verdicts.host_facts.docker import Container, IdRange, Mount
from verdicts.host_facts.host import BridgeFacts, Directory, File, HostFacts, OwnFile, PostgresFacts, ScheduleFacts
from verdicts.host_facts.synapse import SynapseFacts

ROOT = Path(__file__).parent.parent
PROJECT = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
STACK = "mautrix-signal/contabo"
PLAN = yaml.safe_load((ROOT / "Pulumi.contabo.yaml").read_text())["config"]

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


def defaults(stack: Mapping[str, Any] = PLAN) -> dict[str, str | None]:
    """The config of a stack, the plan's host, as Pulumi hands it over: text, lists and numbers as JSON."""
    given = {key.partition(":")[2]: value for key, value in stack.items()}
    given = {**{key: value["default"] for key, value in PROJECT["config"].items() if "default" in value}, **given}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}


def settings(
    bridge: Mapping[str, Any] | None = None, others: Sequence[Mapping[str, Any]] = (), /, **changed: str
) -> Settings:
    """The plan's settings, with some config keys changed, and some of Signal's entry of `bridges`; `others` stand
    behind it."""
    return parse(config(bridge, others, **changed))


def config(
    bridge: Mapping[str, Any] | None = None, others: Sequence[Mapping[str, Any]] = (), /, **changed: str
) -> dict[str, str | None]:
    """The same as Pulumi hands it over."""
    bridges = json.dumps([{"kind": "signal", **(bridge or {})}, *others])
    return {**defaults(), "bridges": bridges, **changed}


def whole(
    bridge: Mapping[str, Any] | None = None, others: Sequence[Mapping[str, Any]] = (), /, **changed: str
) -> Deployment:
    """The plan's stack, as `settings`."""
    return settings(bridge, others, **changed).deployment(STACK)


def deployment(bridge: Mapping[str, Any] | None = None, /, **changed: str) -> BridgeDeployment:
    """The plan's Signal bridge, as `settings`."""
    return whole(bridge, **changed).bridges[0]


def container(name: str, **changed: Any) -> Container:
    """A container that runs in the stack's network."""
    running = Container(
        id=f"id-of-{name}",
        name=name,
        image=f"example/{name}:1",
        image_id="sha256:0",
        status="running",
        exit_code=0,
        restarts=0,
        error="",
        oom_killed=False,
        created="2026-11-24T14:28:01.445924776Z",
        started="2026-11-24T14:28:02.273427765Z",
        pid=4242,
        labels={},
        networks={"matrix-net": "172.20.0.3"},
        published={},
        mounts=(),
    )
    return replace(running, **changed)


def _directory(**changed: Any) -> Directory:
    return replace(Directory(entries=(), stack=None, writable=True, free=80 * 2**30), **changed)


SEED = Seed(f"secret-seed-{'x' * 52}")
TOKENS, KEYS = SEED.derive_secrets(Tokens, "mautrix-signal"), SEED.derive_secrets(Keys, "mautrix-signal")
DOUBLEPUPPET = SEED.derive_secrets(DoublePuppet, "")
PERMANENT_SEED = PermanentSeed(f"secret-permanent-{'y' * 47}", {})
KEY = fingerprint_key(PERMANENT_SEED.derive_keys("mautrix-signal").pickle_key)
ARCHIVED_KEY = f"secret-pickle_key-{'x' * 46}"


def pickled(key: str) -> bytes:
    """An account that mautrix-go would have encrypted with the pickle key."""
    secret, data = hmac.digest(bytes(32), key.encode(), "sha256"), os.urandom(64)
    mac_key = hmac.digest(secret, hmac.digest(secret, b"Pickle\x01", "sha256") + b"Pickle\x02", "sha256")
    return base64.b64encode(data + hmac.digest(mac_key, data, "sha256")[:8]).rstrip(b"=")


def _met() -> BridgeFacts:
    """A bridge before its first `up`."""
    return BridgeFacts(
        container=None,
        image=False,
        directory=_directory(),
        directory_writers=(),
        claimed=(),
        keys={},
        config=None,
        registration=None,
        ready_mark="",
        config_refused=(),
        archive_dir=_directory(),
        restoring=None,
        going_back=None,
        archives={},
    )


def healthy(bridges: int = 1) -> HostFacts:
    """The host before the first `up` of so many bridges."""
    return HostFacts(
        began="2026-11-24T14:12:35.000000+00:00",
        recorded=None,
        docker="27.3.1",
        docker_host="unix:///var/run/docker.sock",
        uids=(IdRange(0, 0, 2**32 - 1),),
        gids=(IdRange(0, 0, 2**32 - 1),),
        docker_free=80 * 2**30,
        selinux=False,
        root=True,
        user_without_docker="",
        running_steps=(),
        bash=True,
        synapse_container=container("matrix-synapse", mounts=(Mount("/opt/matrix/synapse", "/data"),)),
        mas_container=container("matrix-mas"),
        postgres_container=container("matrix-postgres"),
        network=True,
        synapse=SynapseFacts(
            version="1.147.1", uid=991, gid=991, server_name="echo6.co", mas=True, files=("/data/homeserver.yaml",)
        ),
        postgres=PostgresFacts(
            version=160004,
            superuser=True,
            roles={"synapse": "", "mas": ""},
            databases={"postgres": "", "synapse": "", "mas": ""},
            bytes={"postgres": 7_000_000, "synapse": 900_000_000, "mas": 20_000_000},
            locked_out={"synapse": ("mas",)},
            superuser_password="superuser-password",
            admin_exists=True,
        ),
        homeserver=File(text=HOMESERVER, writable=True),
        container_paths={
            "/opt/matrix/synapse": "/data",
            "/opt/matrix/synapse/homeserver.yaml": "/data/homeserver.yaml",
        },
        synapse_url="http://172.20.0.3:8008",
        synapse_silent="",
        host_paths={"/data/homeserver.yaml": "/opt/matrix/synapse/homeserver.yaml"},
        backup_script=File(text=BACKUP_SCRIPT, writable=True),
        backup_edited=backup_script.add_call(BACKUP_SCRIPT, backup_script.dump_call_of(whole())),
        backup_syntax="",
        dump_script=None,
        schedule=ScheduleFacts(),
        directory=_directory(),
        synapse_dir=_directory(entries=("homeserver.yaml",)),
        backup_dir=_directory(),
        doublepuppet=None,
        leaving_containers=(),
        leaving_archives={},
        renderers=(),
        worker_containers=(),
        workers={},
        interrupted=False,
        bridges=(_met(),) * bridges,
    )


LABELS = {"mautrix-bridge.stack": STACK, "mautrix-bridge.attempt": "1", "mautrix-bridge.tokens": "1"}


def deployed() -> HostFacts:
    """The host with this stack's bridge, ready."""
    host, plan = healthy(), whole()
    bridge = container("mautrix-signal", labels=LABELS)
    place = plan.bridges[0].place.database
    script = backup_script.add_call(BACKUP_SCRIPT, backup_script.dump_call_of(plan))
    own = replace(
        _met(),
        container=bridge,
        ready_mark=f"{bridge.id} 1 {bridge.image}",
        directory=_directory(entries=(".ready", ".stack"), stack=STACK, shared=plan.shared_directory),
        directory_writers=(STACK,),
        claimed=place.names,
        keys={KEY: f"{plan.bridges[0].place.directory}/config-0123456789ab/config.yaml"},
        config=OwnFile(STACK, 1337, 1337),
        registration=OwnFile(STACK, 991, 991),
    )
    return changed(
        replace(host, bridges=(own,)),
        recorded=plan,
        directory=_directory(entries=(".proven.json", ".stack", "deployed.json"), stack=STACK),
        doublepuppet=OwnFile(STACK, 991, 991),
        postgres=replace(
            host.postgres,
            roles={**host.postgres.roles, "mautrix_signal": owner_comment(STACK, public={"synapse": ["CONNECT"]})},
            databases={
                **host.postgres.databases,
                "mautrix_signal": owner_comment(STACK, began="none", key=KEY),
            },
            objects={"mautrix_signal": 40},
            bytes={**host.postgres.bytes, "mautrix_signal": 9_000_000},
            locked_out={},
        ),
        homeserver=File(text=add_entries(HOMESERVER, Entries.of(plan)), writable=True),
        backup_script=File(text=script, writable=True),
        backup_edited=script,
        dump_script=OwnFile(STACK, 0, 0, mode=0o700),
    )


def changed(host: HostFacts, bridge: Mapping[str, Any] | None = None, **changes: Any) -> HostFacts:
    """A host with another look, and, in `bridge`, another look at its first bridge."""
    first, *rest = host.bridges
    return replace(host, bridges=(replace(first, **(bridge or {})), *rest), **changes)
