"""The verdict on a host before anything is planned: what stops the deployment, what to know, what will change.

Pure: it judges the facts that scripts/facts.py brings. Each problem is one line: what, where, and its fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from documents import appservice, backup_script, bridges, homeserver
from documents.diff import diff
from documents.marks import ATTEMPT_LABEL, STACK_LABEL
from documents.places import Deployment
from documents.refusal import Refused
from settings import Settings
from verdicts.host_facts import Container, File, HostFacts, PostgresFacts, Registration

OLDEST_SYNAPSE = (1, 121)  # MSC4190: https://github.com/element-hq/synapse/pull/17705
OLDEST_DOCKER = (20, 10)  # older ones were never run with this program
OLDEST_POSTGRES = 12
ADVISED_POSTGRES = 16  # https://docs.mau.fi/bridges/general/docker-setup.html
IMAGE_BYTES = 600 * 2**20  # the bridge's image unpacked, with room for its download
SPARE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Findings:
    """What the host looks like to the plan. `changes`: what `up` will do to the operator's own files, as diffs, and the
    new file beside them; `attempt`: see `_attempt`."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    attempt: int


def judge(facts: HostFacts, settings: Settings, deployment: Deployment) -> Findings:
    """All that is wrong, all that is worth knowing, and the changes that `up` will make."""
    deployed = _owner(facts.bridge_container) == deployment.stack
    claimed = facts.bridge_dir.stack == deployment.stack
    edits = [_homeserver_edit(facts, deployment)]
    if deployment.backup.script:
        edits.append(_backup_edit(facts, deployment))
    reverted = [*(f"{edit.path}: no longer holds {', '.join(edit.missing)}" for edit in edits if edit.missing)]
    reverted += [f"{path}: is no longer there" for path, there in facts.registrations.items() if not there]
    if facts.dump_script_owner is None:
        reverted.append(f"{deployment.dump_script}: is no longer there")
    new = [] if facts.dump_script_owner else [f"a new file, {deployment.dump_script} (0700): makes the dumps"]
    again = f"`pulumi config set reapply {settings.reapply + 1}` and `pulumi up` put it back"
    return Findings(
        problems=(
            *_stack(facts, deployment),
            *_synapse(facts, deployment),
            *_postgres(facts, settings, deployment, claimed),
            *_taken(facts, deployment, claimed, deployed),
            *_room(facts, settings, deployment, claimed),
            *(problem for edit in edits for problem in edit.problems),
        ),
        warnings=(
            *_warnings(facts, settings, deployment, deployed),
            *(warning for edit in edits for warning in edit.warnings),
            *(f"{what}: somebody took it out; {again}" for what in reverted if deployed),
        ),
        changes=(*(edit.change for edit in edits if edit.change), *new),
        attempt=_attempt(facts, claimed, deployed),
    )


def _owner(container: Container | None) -> str | None:
    return container.labels.get(STACK_LABEL) if container else None


def _attempt(facts: HostFacts, claimed: bool, deployed: bool) -> int:
    """The number in the container's label ATTEMPT_LABEL. Another number makes Pulumi replace the container.

    It stays what it is, unless the container never got ready, or somebody removed it since: then it is the next.
    """
    ready, _, number = facts.ready_mark.partition(" ") if claimed else ("", "", "")
    last = int(number) if number.isdigit() else 0
    if not deployed or facts.bridge_container is None:
        return last + 1
    now = int(facts.bridge_container.labels.get(ATTEMPT_LABEL, "1"))
    return now if ready == facts.bridge_container.id else max(now, last) + 1


# the operator's files --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edit:
    """What is to be said of a file of the operator's that `up` edits. `missing`: what of ours it does not hold."""

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    change: str = ""


def _homeserver_edit(facts: HostFacts, deployment: Deployment) -> _Edit:
    path, file, entries = deployment.synapse.homeserver_file, facts.homeserver, homeserver.Entries.of(deployment)
    problems = tuple(_file_problems(path, "synapseDir", file))
    if file is None or file.text is None:
        return _Edit(path, problems)
    try:
        edited = homeserver.add(file.text, entries)
    except Refused as refused:
        return _Edit(path, (*problems, *refused.lines(path)))
    missing = homeserver.missing(file.text, entries)
    return _Edit(path, problems, missing=missing, change=diff(file.text, edited, path))


def _backup_edit(facts: HostFacts, deployment: Deployment) -> _Edit:
    path, file = deployment.backup.script, facts.backup_script
    problems = tuple(_file_problems(path, "backupScript", file))
    if file is None or file.text is None:
        return _Edit(path, problems)
    judged = backup_script.judge(file.text, deployment)
    if facts.backup_syntax:
        problems = (*problems, f"{path}:{facts.backup_syntax}")
    missing = () if judged.stands else ("the call of our dump script",)
    change = diff(file.text, judged.edited, path) if judged.edited else ""
    return _Edit(path, (*problems, *judged.problems), judged.warnings, missing, change)


def _file_problems(path: str, key: str, file: File | None) -> Iterator[str]:
    """`key` is the setting that says where the file is."""
    if file is None:
        yield f"{path}: no such file on the host: check the setting {key}"
    elif file.error:
        yield f"{path}: cannot be read: {file.error}: check the setting {key}"
    elif file.text is None:
        yield f"{path}: is not UTF-8 text: convert it"
    elif not file.writable:
        yield f"{path}: it or its directory is read-only: make it writable for the user who runs this"


# the host --------------------------------------------------------------------------------------------------------


def _stack(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Docker, the containers of the Matrix stack and their network."""
    network = deployment.place.network
    if _version(facts.docker) < OLDEST_DOCKER:
        yield f"Docker {facts.docker}: too old: this needs {_dotted(OLDEST_DOCKER)} or newer"
    if not facts.root:
        yield "the host's scripts do not run as root: they change the owner of files: run pulumi as root"
    if not facts.bash:
        yield "bash: not there, or it does not run: the nightly dumps are made with it: install it"
    for key, name, container in (
        ("synapse", deployment.synapse.container, facts.synapse_container),
        ("mas", deployment.mas.container, facts.mas_container),
        ("postgres", deployment.postgres.container, facts.postgres_container),
    ):
        if container is None:
            yield f"container {name}: not there: start the stack, or correct the setting {key}Container"
        elif not container.running:
            yield f"container {name}: is {container.status}, not running: start it (docker start {name})"
        elif facts.network and network not in container.networks:
            yield f"container {name}: is not in the network {network}: correct the setting network"
    if not facts.network:
        yield f"network {network}: not there: correct the setting network (docker network ls)"


def _synapse(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    if facts.synapse_container is None or not facts.synapse_container.running:
        return
    name, domain, synapse = deployment.synapse.container, deployment.synapse.domain, facts.synapse
    if synapse.error:
        yield f"container {name}: its homeserver.yaml cannot be judged: {synapse.error}"
        return
    if synapse.server_name != domain:
        yield f"domain: {domain!r} should be Synapse's server_name, {synapse.server_name!r}"
    if not synapse.mas:
        yield (
            f"{deployment.synapse.homeserver_file}: MAS is not enabled (matrix_authentication_service): "
            "this deploys beside MAS only; check that synapseContainer is the right one"
        )
    if not synapse.version:
        yield f"container {name}: holds no Synapse: correct the setting synapseContainer"
    elif _version(synapse.version) < OLDEST_SYNAPSE:
        yield f"Synapse {synapse.version}: too old for MSC4190: update it to {_dotted(OLDEST_SYNAPSE)} or newer"


def _postgres(facts: HostFacts, settings: Settings, deployment: Deployment, claimed: bool) -> Iterator[str]:
    if facts.postgres_container is None or not facts.postgres_container.running:
        return
    container, superuser, postgres = deployment.postgres.container, deployment.postgres.superuser, facts.postgres
    if postgres.error:
        yield f"container {container}: psql as {superuser}: {postgres.error}"
        return
    if postgres.version // 10000 < OLDEST_POSTGRES:
        yield f"Postgres {postgres.version // 10000}: too old: this needs {OLDEST_POSTGRES} or newer"
    if not postgres.superuser:
        yield f"postgresSuperuser: {superuser!r} should be a superuser of Postgres"
    if not settings.postgres_password and not facts.superuser_password:
        yield (
            f"postgresPassword: not set, and container {container} has no POSTGRES_PASSWORD: "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    needed = [("synapseDatabase", settings.synapse_database), ("masDatabase", settings.mas_database)]
    for key, name in [*needed, *(("isolatedDatabases", name) for name in settings.isolated_databases)]:
        if name not in postgres.databases:
            yield f"{key}: {name!r} should be a database of {container}"
    if settings.mas_role not in postgres.roles:
        yield f"masRole: {settings.mas_role!r} should be a role of {container}"
    if not claimed:
        if settings.bridge_role in postgres.roles:
            fix = "drop it or set another bridgeRole"
            yield f"role {settings.bridge_role}: exists and was not made by this stack: {fix}"
        if settings.bridge_database in postgres.databases:
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


def _locked_out(postgres: PostgresFacts, settings: Settings) -> Iterator[tuple[str, list[str]]]:
    """Roles that come into an isolated database through PUBLIC alone. MAS' role has no business but in its own."""
    for database, roles in sorted(postgres.locked_out.items()):
        others = [role for role in roles if not (role == settings.mas_role and database != settings.mas_database)]
        if others:
            yield database, others


def _taken(facts: HostFacts, deployment: Deployment, claimed: bool, deployed: bool) -> Iterator[str]:
    """Names, directories, ids and namespaces that somebody else already has."""
    place, directory, stack = deployment.place, facts.bridge_dir, deployment.stack
    if facts.bridge_container is not None and not deployed:
        owner = _owner(facts.bridge_container)
        whose = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"container {place.container}: exists and {whose}: remove it or set another bridgeContainer"
    if directory.stack not in (None, stack):
        yield f"{place.directory}: belongs to the stack {directory.stack}: set another bridgeDir"
    elif not claimed and directory.entries:
        fix = "move them away or set another bridgeDir"
        yield f"{place.directory}: holds files that this stack did not make: {fix}"
    if facts.others:
        yield f"{place.directory}: is used by the container {', '.join(facts.others)}: set another bridgeDir"
    if not claimed:
        for path, there in facts.registrations.items():
            if there:
                yield f"{path}: exists and was not made by this stack: move it away or set another file name"
    if facts.dump_script_owner not in (None, stack):
        whose = f"belongs to the stack {facts.dump_script_owner}" if facts.dump_script_owner else "is not ours"
        yield f"{deployment.dump_script}: exists and {whose}: move it away, or set another bridgeContainer"
    ours = {deployment.synapse.inside(file) for file in deployment.registration_files}
    for other in facts.synapse.registrations:
        if other.path not in ours:
            yield from _conflicts(other, deployment)


def _conflicts(other: Registration, deployment: Deployment) -> Iterator[str]:
    path, bridge, domain = other.path, deployment.bridge, deployment.synapse.domain
    if other.error:
        yield f"registration {path}: cannot be read: {other.error}: fix it, or Synapse will not start again"
        return
    if other.id == bridge.appservice_id:
        yield f"registration {path}: has the id {other.id} too: Synapse would not start: remove one of the two"
    if other.id == deployment.doublepuppet_id:
        yield f"registration {path}: has the id {other.id} too: set another doublepuppetId"
    if other.sender_localpart in (bridge.bot_localpart, appservice.doublepuppet_sender(deployment.doublepuppet_id)):
        yield f"registration {path}: has the sender {other.sender_localpart}, which this deployment needs: remove it"
    users = [deployment.bot, f"@{bridge.username_template.replace('{{.}}', 'x')}:{domain}"]
    for regex in other.exclusive:
        for user in users:
            if _matches(regex, user):
                yield f"registration {path}: its exclusive namespace {regex} covers {user}: narrow it or remove it"


def _matches(regex: str, user: str) -> bool:
    try:
        return re.match(regex, user) is not None
    except re.error:
        return False


def _room(facts: HostFacts, settings: Settings, deployment: Deployment, claimed: bool) -> Iterator[str]:
    """Writable directories; disk for the image and, at the first time, for the dumps."""
    for path, directory in ((settings.bridge_dir, facts.bridge_dir), (settings.synapse_dir, facts.synapse_dir)):
        if not directory.writable:
            yield f"{path}: is read-only: make it writable for the user who runs this"
    if not facts.synapse_dir.exists:
        yield f"{settings.synapse_dir}: no such directory on the host: correct the setting synapseDir"
    if not facts.image and facts.docker_free < IMAGE_BYTES:
        yield f"disk: {_mebi(facts.docker_free)} MiB free for Docker: the image needs {_mebi(IMAGE_BYTES)}"
    if claimed or facts.postgres.error:
        return
    databases = facts.postgres.databases
    names = {settings.synapse_database, settings.mas_database}
    needed = sum(databases.get(name, 0) for name in names) // 2 + SPARE_BYTES
    if facts.backup_dir.free < needed:
        where = deployment.backup.script or deployment.backup.directory
        free = _mebi(facts.backup_dir.free)
        yield f"disk: {free} MiB free beside {where}: the dumps may need {_mebi(needed)}"


def _warnings(facts: HostFacts, settings: Settings, deployment: Deployment, deployed: bool) -> Iterator[str]:
    if not facts.postgres.error:
        major = facts.postgres.version // 10000
        if OLDEST_POSTGRES <= major < ADVISED_POSTGRES:
            yield f"Postgres {major}: mautrix advises {ADVISED_POSTGRES} or newer; 15 was tested and works"
        for database, roles in _locked_out(facts.postgres, settings):
            yield f"isolation: {', '.join(roles)} will no longer get into the database {database}"
    bridge = deployment.bridge
    if bridges.can_link(bridge, settings.image) is False:
        yield (
            f"image {settings.image}: releases before {bridge.first_linking_tag} can no longer link an account, "
            f"users report ({bridge.first_linking_source})"
        )
    if deployed and settings.restore != "none":
        yield (
            f"restore: {settings.restore!r} counts at the first `up` of a deployment only, and this one keeps its "
            "database: to begin with the archive, destroy it first; else set restore to none"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _mebi(size: int) -> int:
    return size // 2**20
