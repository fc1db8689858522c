"""The verdict on a host before anything is planned: what stops the deployment, what to know, what will change.

Pure: it judges what `scripts/facts.py` found (its docstring has the shape). Each problem is one line: what, where, and
its fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from documents import backup_script, bridges, homeserver
from documents.bridges import Bridge
from documents.diff import diff
from settings import Settings

OLDEST_SYNAPSE = (1, 121)  # MSC4190: https://github.com/element-hq/synapse/pull/17705
OLDEST_DOCKER = (20, 10)  # older ones were never run with this program
OLDEST_POSTGRES = 12
ADVISED_POSTGRES = 16  # https://docs.mau.fi/bridges/general/docker-setup.html
IMAGE_BYTES = 600 * 2**20  # the bridge's image unpacked, with room for its download
SPARE_BYTES = 200 * 2**20
LABEL = "mautrix-bridge.stack"
ATTEMPT = "mautrix-bridge.attempt"


@dataclass(frozen=True)
class Findings:
    """What the host looks like to the plan. `deployed`: this stack's bridge container is there."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    diffs: tuple[str, ...]
    deployed: bool
    attempt: int


def arguments(settings: Settings, bridge: Bridge) -> dict[str, Any]:
    """The arguments of `scripts/facts.py`."""
    return {
        "synapse_container": settings.synapse_container,
        "mas_container": settings.mas_container,
        "postgres_container": settings.postgres_container,
        "bridge_container": settings.bridge_container,
        "network": settings.network,
        "image": settings.image,
        "homeserver": settings.homeserver_file,
        "homeserver_inside": settings.seen_by_synapse("homeserver.yaml"),
        "backup_script": settings.backup_script,
        "backup_dir": str(PurePosixPath(settings.backup_script).parent),
        "bridge_dir": settings.bridge_dir,
        "synapse_dir": settings.synapse_dir,
        "archive_dir": settings.archive_dir,
        "registration_files": settings.registration_files,
        "postgres_superuser": settings.postgres_superuser,
        "isolated_databases": list(settings.isolated_databases),
        "bridge_role": settings.bridge_role,
        "bridge": {
            "container": settings.bridge_container,
            "port": settings.bridge_port,
            "synapse_url": settings.synapse_url,
            "appservice_id": bridge.appservice_id,
            "registration_file": f"{settings.synapse_dir}/{settings.registration_file}",
            "timeout": 3,
        },
    }


def judge(
    facts: Mapping[str, Any],
    settings: Settings,
    bridge: Bridge,
    stack: str,
    entries: homeserver.Entries,
    block: backup_script.Block,
) -> Findings:
    """All that is wrong, all that is worth knowing, and the diffs that `up` will make."""
    label = (facts["containers"][settings.bridge_container] or {}).get("labels", {})
    deployed = label.get(LABEL) == stack
    claimed = facts["directories"]["bridge_dir"]["stack"] == stack
    problems = [
        *_stack(facts, settings),
        *_synapse(facts, settings),
        *_postgres(facts, settings, claimed),
        *_taken(facts, settings, bridge, stack, claimed, deployed),
        *_room(facts, settings, claimed),
    ]
    warnings = list(_warnings(facts, settings, bridge))
    diffs = []
    for edit in (
        _Edit(
            settings.homeserver_file,
            "synapseDir",
            facts["homeserver"],
            lambda text: homeserver.add(text, entries),
            lambda text: homeserver.missing(text, entries),
        ),
        _Edit(
            settings.backup_script,
            "backupScript",
            facts["backup_script"],
            lambda text: backup_script.add(text, block),
            lambda text: backup_script.missing(text, block),
        ),
    ):
        wrong, gone, change = edit.judge()
        problems += wrong
        warnings += [_reverted(edit.path, f"no longer holds {', '.join(gone)}", settings)] if deployed and gone else []
        diffs += [change] if change else []
    if deployed:
        lost = [path for path, there in facts["registrations"].items() if not there]
        warnings += [_reverted(path, "is no longer there", settings) for path in lost]
    script = facts["backup_script"]
    if script and script.get("text") and not script["executable"]:
        problems.append(f"{settings.backup_script}: is not executable: chmod u+x it")
    return Findings(
        tuple(problems), tuple(warnings), tuple(diffs), deployed, _attempt(facts, settings, claimed, deployed)
    )


@dataclass(frozen=True)
class _Edit:
    """A file of the operator's that `up` edits. `found` is as facts has it; `key` the setting that says where it is."""

    path: str
    key: str
    found: Mapping[str, Any] | None
    add: Callable[[str], str]
    missing: Callable[[str], tuple[str, ...]]

    def judge(self) -> tuple[list[str], tuple[str, ...], str]:
        """Problems; what of ours the file does not hold; the diff that `up` makes."""
        if self.found is None or self.found.get("error"):
            why = f"cannot be read: {self.found['error']}" if self.found else "no such file on the host"
            return [f"{self.path}: {why}: check the setting {self.key}"], (), ""
        text = self.found["text"]
        if text is None:
            return [f"{self.path}: is not UTF-8 text: convert it"], (), ""
        fix = "make it writable for the user who runs this"
        problems = [] if self.found["writable"] else [f"{self.path}: it or its directory is read-only: {fix}"]
        try:
            return problems, self.missing(text), diff(text, self.add(text), self.path)
        except (homeserver.Refused, backup_script.Refused) as refused:
            told = [f"{self.path}:{problem.line}: {problem.reason}: {problem.fix}" for problem in refused.problems]
            return [*problems, *told], (), ""


def _reverted(path: str, what: str, settings: Settings) -> str:
    fix = f"`pulumi config set reapply {settings.reapply + 1}` and `pulumi up` put it back"
    return f"{path}: {what}: somebody took it out; {fix}"


def _attempt(facts: Mapping[str, Any], settings: Settings, claimed: bool, deployed: bool) -> int:
    """A number for the container's label, which replaces the container when it changes.

    It is the one that the container has, unless that never got ready or somebody removed it since: then the next.
    """
    ready, _, number = (facts["ready_container"] or "").partition(" ") if claimed else ("", "", "")
    last = int(number) if number.isdigit() else 0
    if not deployed:
        return last + 1
    container = facts["containers"][settings.bridge_container]
    now = int(container["labels"].get(ATTEMPT, "1"))
    return now if ready == container["id"] else max(now, last) + 1


def _stack(facts: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """Docker, the containers of the Matrix stack and their network."""
    if _version(facts["docker"]) < OLDEST_DOCKER:
        yield f"Docker {facts['docker']}: too old: this needs {_dotted(OLDEST_DOCKER)} or newer"
    if not facts["machine"]["root"]:
        yield "the host's scripts do not run as root: they change the owner of files: run pulumi as root"
    for key in ("synapse", "mas", "postgres"):
        name = getattr(settings, f"{key}_container")
        container = facts["containers"][name]
        if container is None:
            yield f"container {name}: not there: start the stack, or correct the setting {key}Container"
        elif not container["running"]:
            yield f"container {name}: is {container['status']}, not running: start it (docker start {name})"
        elif facts["network"] and settings.network not in container["networks"]:
            yield f"container {name}: is not in the network {settings.network}: correct the setting network"
    if not facts["network"]:
        yield f"network {settings.network}: not there: correct the setting network (docker network ls)"


def _running(facts: Mapping[str, Any], name: str) -> bool:
    return bool((facts["containers"][name] or {}).get("running"))


def _synapse(facts: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    if not _running(facts, settings.synapse_container):
        return
    synapse = facts["synapse"]
    if synapse.get("error"):
        yield f"container {settings.synapse_container}: its homeserver.yaml cannot be judged: {synapse['error']}"
        return
    if synapse["server_name"] != settings.domain:
        yield f"domain: {settings.domain!r} should be Synapse's server_name, {synapse['server_name']!r}"
    if not synapse["mas"]:
        yield (
            f"{settings.homeserver_file}: MAS is not enabled (matrix_authentication_service): "
            "this deploys beside MAS only; check that synapseContainer is the right one"
        )
    if not synapse["version"]:
        yield f"container {settings.synapse_container}: holds no Synapse: correct the setting synapseContainer"
    elif _version(synapse["version"]) < OLDEST_SYNAPSE:
        yield f"Synapse {synapse['version']}: too old for MSC4190: update it to {_dotted(OLDEST_SYNAPSE)} or newer"


def _postgres(facts: Mapping[str, Any], settings: Settings, claimed: bool) -> Iterator[str]:
    if not _running(facts, settings.postgres_container):
        return
    postgres = facts["postgres"]
    if postgres.get("error"):
        yield f"container {settings.postgres_container}: psql as {settings.postgres_superuser}: {postgres['error']}"
        return
    if postgres["version"] // 10000 < OLDEST_POSTGRES:
        yield f"Postgres {postgres['version'] // 10000}: too old: this needs {OLDEST_POSTGRES} or newer"
    if not postgres["superuser"]:
        yield f"postgresSuperuser: {settings.postgres_superuser!r} should be a superuser of Postgres"
    if not settings.postgres_password and not facts["superuser_password"]:
        yield (
            f"postgresPassword: not set, and container {settings.postgres_container} has no POSTGRES_PASSWORD: "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    needed = [("synapseDatabase", settings.synapse_database), ("masDatabase", settings.mas_database)]
    for key, name in [*needed, *(("isolatedDatabases", name) for name in settings.isolated_databases)]:
        if name not in postgres["databases"]:
            yield f"{key}: {name!r} should be a database of {settings.postgres_container}"
    if settings.mas_role not in postgres["roles"]:
        yield f"masRole: {settings.mas_role!r} should be a role of {settings.postgres_container}"
    if not claimed:
        if settings.bridge_role in postgres["roles"]:
            fix = "drop it or set another bridgeRole"
            yield f"role {settings.bridge_role}: exists and was not made by this stack: {fix}"
        if settings.bridge_database in postgres["databases"]:
            yield (
                f"database {settings.bridge_database}: exists and was not made by this stack: "
                "dump and drop it, or set another bridgeDatabase"
            )
    for database, roles in _locked_out(postgres, settings):
        refused = [role for role in roles if role not in settings.accept_locked_out]
        if refused:
            yield (
                f"isolatedDatabases: {', '.join(refused)} would no longer get into the database {database}: "
                "grant it CONNECT there, or accept it with "
                f"`pulumi config set --path 'acceptLockedOut[0]' {refused[0]}`"
            )


def _locked_out(postgres: Mapping[str, Any], settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Roles that come into an isolated database through PUBLIC alone. MAS' role has no business but in its own."""
    for database, roles in sorted((postgres.get("locked_out") or {}).items()):
        others = [role for role in roles if not (role == settings.mas_role and database != settings.mas_database)]
        if others:
            yield database, others


def _taken(
    facts: Mapping[str, Any], settings: Settings, bridge: Bridge, stack: str, claimed: bool, deployed: bool
) -> Iterator[str]:
    """Names, directories, ids and namespaces that somebody else already has."""
    container, directory = facts["containers"][settings.bridge_container], facts["directories"]["bridge_dir"]
    if container is not None and not deployed:
        owner = container["labels"].get(LABEL)
        whose = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"container {settings.bridge_container}: exists and {whose}: remove it or set another bridgeContainer"
    if directory["stack"] not in (None, stack):
        yield f"{settings.bridge_dir}: belongs to the stack {directory['stack']}: set another bridgeDir"
    elif not claimed and directory["entries"]:
        fix = "move them away or set another bridgeDir"
        yield f"{settings.bridge_dir}: holds files that this stack did not make: {fix}"
    if facts["others"]:
        yield f"{settings.bridge_dir}: is used by the container {', '.join(facts['others'])}: set another bridgeDir"
    if not claimed:
        for path, there in facts["registrations"].items():
            if there:
                yield f"{path}: exists and was not made by this stack: move it away or set another file name"
    ours = {settings.seen_by_synapse(name) for name in (settings.registration_file, settings.doublepuppet_file)}
    users = [
        bridge.bot_user_id(settings.domain),
        f"@{bridge.username_template.replace('{{.}}', 'x')}:{settings.domain}",
    ]
    for other in facts["synapse"].get("registrations", []):
        if other["path"] not in ours:
            yield from _conflicts(other, bridge, settings, users)


def _conflicts(other: Mapping[str, Any], bridge: Bridge, settings: Settings, users: Sequence[str]) -> Iterator[str]:
    path = other["path"]
    if other.get("error"):
        yield f"registration {path}: cannot be read: {other['error']}: fix it, or Synapse will not start again"
        return
    if other["id"] == bridge.appservice_id:
        yield f"registration {path}: has the id {other['id']} too: Synapse would not start: remove one of the two"
    if other["id"] == settings.doublepuppet_id:
        yield f"registration {path}: has the id {other['id']} too: set another doublepuppetId"
    if other["sender_localpart"] in (bridge.bot_localpart, f"_{settings.doublepuppet_id}"):
        yield f"registration {path}: has the sender {other['sender_localpart']}, which this deployment needs: remove it"
    for regex in other["exclusive"]:
        for user in users:
            if _matches(regex, user):
                yield f"registration {path}: its exclusive namespace {regex} covers {user}: narrow it or remove it"


def _matches(regex: str, user: str) -> bool:
    try:
        return re.match(regex, user) is not None
    except (re.error, TypeError):
        return False


def _room(facts: Mapping[str, Any], settings: Settings, claimed: bool) -> Iterator[str]:
    """Writable directories; disk for the image and, at the first time, for the dumps."""
    directories = facts["directories"]
    for key, path in (("bridge_dir", settings.bridge_dir), ("synapse_dir", settings.synapse_dir)):
        if not directories[key]["writable"]:
            yield f"{path}: is read-only: make it writable for the user who runs this"
    if not directories["synapse_dir"]["exists"]:
        yield f"{settings.synapse_dir}: no such directory on the host: correct the setting synapseDir"
    if not facts["image"] and facts["docker_free"] < IMAGE_BYTES:
        yield f"disk: {_mebi(facts['docker_free'])} MiB free for Docker: the image needs {_mebi(IMAGE_BYTES)}"
    if claimed or facts["postgres"].get("error"):
        return
    databases = facts["postgres"].get("databases") or {}
    names = {settings.synapse_database, settings.mas_database}
    needed = sum(databases[name]["bytes"] for name in names if name in databases) // 2 + SPARE_BYTES
    free = directories["backup_dir"]["free"]
    if free < needed:
        yield f"disk: {_mebi(free)} MiB free beside {settings.backup_script}: the dumps may need {_mebi(needed)}"


def _warnings(facts: Mapping[str, Any], settings: Settings, bridge: Bridge) -> Iterator[str]:
    postgres = facts["postgres"]
    if not postgres.get("error"):
        major = postgres["version"] // 10000
        if OLDEST_POSTGRES <= major < ADVISED_POSTGRES:
            yield f"Postgres {major}: mautrix advises {ADVISED_POSTGRES} or newer; 15 was tested and works"
        for database, roles in _locked_out(postgres, settings):
            yield f"isolation: {', '.join(roles)} will no longer get into the database {database}"
    if bridges.can_link(bridge, settings.image) is False:
        yield (
            f"image {settings.image}: releases before {bridge.first_linking_tag} can no longer link an account, "
            f"users report ({bridge.first_linking_source})"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _mebi(size: int) -> int:
    return int(size) // 2**20
