"""The verdict on a host before anything is planned: what stops the deployment, what to know, what will change.

Pure: it judges the facts that host_programs/facts/host.py brings. Each problem is one line: what, where, and its fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from documents import appservice, backup_script, bridges, homeserver
from documents.diff import diff
from documents.marks import ATTEMPT_LABEL, STACK_LABEL, TOKENS_LABEL, commented
from documents.places import BridgeDeployment, Deployment
from documents.refusal import Refused
from settings import Settings
from verdicts import versions
from verdicts.host_facts import BridgeFacts, Container, File, HostFacts, OwnFile, PostgresFacts, Registration

OLDEST_SYNAPSE = (1, 121)  # MSC4190: https://github.com/element-hq/synapse/pull/17705
OLDEST_DOCKER = (20, 10)  # older ones were never run with this program
OLDEST_POSTGRES = 15  # older ones were never run with this program
ADVISED_POSTGRES = 16  # https://docs.mau.fi/bridges/general/docker-setup.html
IMAGE_BYTES = 600 * 2**20  # the bridge's image unpacked, with room for its download
TEMPORARY_BYTES = 2 * 2**30  # what the bridges put into /tmp: Signal's transfer of the history has gigabytes
SPARE_BYTES = 200 * 2**20


@dataclass(frozen=True)
class BridgeFindings:
    """What the host looks like to one bridge. `attempt`, `restore`: see `_attempt`, `_restore`; `role_there`,
    `database_there`: whether they are there and this stack's, so that a state which does not hold them takes them
    over."""

    attempt: int
    restore: str
    role_there: bool
    database_there: bool


@dataclass(frozen=True)
class Findings:
    """What the host looks like to the plan. `changes`: what `up` will do to the operator's own files, as diffs, and the
    new file beside them; `bridges` are in the settings' order."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    bridges: tuple[BridgeFindings, ...]


@dataclass(frozen=True)
class _Ours:
    """What there is of this stack's bridge, each by a mark of its own. `directory`: the bridge's, by its mark or by a
    config in it; `anything`: whether the bridge was here before."""

    container: bool
    directory: bool
    role: bool
    database: bool
    registration: bool

    @property
    def anything(self) -> bool:
        return self.container or self.directory or self.role or self.database or self.registration

    @classmethod
    def seen(cls, facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> _Ours:
        stack, database = deployment.stack, deployment.place.database
        return cls(
            container=_owner(facts.container) == stack,
            directory=facts.directory.stack == stack
            or (facts.directory.stack is None and stack in facts.directory_writers),
            role=commented(postgres.roles.get(database.role)).get("stack") == stack,
            database=commented(postgres.databases.get(database.database)).get("stack") == stack,
            registration=facts.registration is not None and facts.registration.stack == stack,
        )


@dataclass(frozen=True)
class _Met:
    """One bridge as it was met: its settings, the look at it and at Postgres, and what of it is ours."""

    deployment: BridgeDeployment
    facts: BridgeFacts
    postgres: PostgresFacts
    ours: _Ours

    @property
    def began(self) -> str:
        """What the database began with; "" if it has not begun."""
        return str(versions.said(self.postgres, self.deployment).get("began", ""))

    @property
    def setting(self) -> str:
        """Where its settings are."""
        return self.deployment.setting


def judge(facts: HostFacts, settings: Settings, deployment: Deployment) -> Findings:
    """All that is wrong, all that is worth knowing, and the changes that `up` will make."""
    met = [
        _Met(each, seen, facts.postgres, _Ours.seen(seen, facts.postgres, each))
        for each, seen in zip(deployment.bridges, facts.bridges, strict=True)
    ]
    deployed = any(each.ours.container for each in met)
    problems = [*_stack(facts, deployment), *_synapse(facts, deployment), *_directory(facts, deployment)]
    warnings, changes, reverted, edits = [*_warnings(facts, deployment)], list[str](), list[str](), list[_Edit]()
    problems += _registrations(facts, deployment)
    edits.append(_homeserver_edit(facts, settings, deployment))
    if facts.doublepuppet is None:
        reverted.append(f"{deployment.doublepuppet_path}: is no longer there")
    problems += [*_postgres(facts, settings, deployment), *_dump_script(facts, deployment)]
    warnings += _dumps(facts, settings, deployment)
    edits += [_backup_edit(facts, deployment)] if deployment.backup.script else []
    if facts.dump_script_owner is None:
        reverted.append(f"{deployment.dump_script}: is no longer there")
        changes.append(f"a new file, {deployment.dump_script} (0700): makes the dumps")
    changes += (line for each in met for line in versions.changes(each.facts, each.postgres, each.deployment))
    reverted += [f"{edit.path}: no longer holds {', '.join(edit.missing)}" for edit in edits if edit.missing]
    reverted = [line for line in reverted if deployed]
    for each in met:
        problems += _own_problems(each, settings)
        warnings += _own_warnings(each, settings)
        reverted += _reverted(each)
    problems += _room(facts, settings, deployment)
    warnings += (line for line, certain in _disks(facts, settings, deployment) if not certain)
    again = f"`pulumi config set reapply {settings.reapply + 1}` and `pulumi up` put it back"
    changes += (
        f"container {name}: is no longer among the bridges: it stops, its database is archived, and all of it goes"
        for name in facts.leaving
    )
    return Findings(
        problems=(*problems, *(problem for edit in edits for problem in edit.problems)),
        warnings=(
            *warnings,
            *(warning for edit in edits for warning in edit.warnings),
            *(f"{what}: somebody took it out; {again}" for what in reverted),
        ),
        changes=(*(edit.change for edit in edits if edit.change), *changes),
        bridges=tuple(_findings(each) for each in met),
    )


def _findings(met: _Met) -> BridgeFindings:
    postgres, database, ours = met.postgres, met.deployment.place.database, met.ours
    return BridgeFindings(
        attempt=_attempt(met),
        restore=_restore(met),
        role_there=database.role in postgres.roles and ours.anything,
        database_there=database.database in postgres.databases and ours.anything,
    )


def _reverted(met: _Met) -> Iterator[str]:
    """What of a bridge that is there somebody took away."""
    if met.ours.container and met.facts.registration is None:
        yield f"{met.deployment.registration_path}: is no longer there"
    if met.ours.container and met.ours.directory and met.facts.directory.stack is None:
        yield f"{met.deployment.place.directory}: its mark, the file .stack, is no longer there"


def _own_problems(met: _Met, settings: Settings) -> Iterator[str]:
    yield from _bridge_s_own(met)
    yield from _taken(met)
    path, key = met.deployment.registration_path, f"{met.setting}.registrationFile"
    yield from _registration_taken(met.facts.registration, path, met.deployment.stack, key)
    yield from _archive(met, settings)
    yield from versions.problems(met.facts, met.postgres, met.deployment)
    yield from (f"{met.setting}.{line}" for line in met.facts.config_refused)


def _restore(met: _Met) -> str:
    """What the database begins with, or began with: none, or an archive's path. Key and data both follow it."""
    return met.began or (met.facts.archive.path if met.facts.archive else met.deployment.archive.restore)


def _owner(container: Container | None) -> str | None:
    return container.labels.get(STACK_LABEL) if container else None


def _attempt(met: _Met) -> int:
    """The number in the container's label ATTEMPT_LABEL. Another number makes Pulumi replace the container.

    It stays what it is, unless the container never got ready, or somebody removed or stopped it since, or it is stopped
    for a change of the database: then it is the next.
    """
    facts, ours = met.facts, met.ours
    mark = facts.ready_mark if ours.directory else ""
    ready, number, *_ = [*mark.split(), "", ""]
    last = int(number) if number.isdigit() else 0
    if not ours.container or facts.container is None:
        return last + 1
    now = int(facts.container.labels.get(ATTEMPT_LABEL, "1"))
    stopped = facts.container.stays_stopped or versions.stops_the_bridge(facts, met.postgres, met.deployment)
    stands = ready == facts.container.id and not stopped
    return now if stands else max(now, last) + 1


# the operator's files --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Edit:
    """What is to be said of a file of the operator's that `up` edits. `missing`: what of ours it does not hold."""

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    change: str = ""


def _homeserver_edit(facts: HostFacts, settings: Settings, deployment: Deployment) -> _Edit:
    path, file, entries = deployment.synapse.homeserver_file, facts.homeserver, homeserver.Entries.of(deployment)
    problems = tuple(_file_problems(path, "synapseDir", file))
    if file is None or file.text is None:
        return _Edit(path, problems)
    try:
        edited = homeserver.add(file.text, entries)
    except Refused as refused:
        return _Edit(path, (*problems, *refused.lines(path)))
    missing = homeserver.missing(file.text, entries)
    warnings = Refused(homeserver.doubled(file.text)).lines(path)
    head = homeserver.generated(file.text)
    made = [f"{path}:{head.line}: {head.reason}"] if head else []
    made += [f"{path}: container {name} makes it anew at each start, by its command" for name in facts.renderers]
    if made and edited != file.text:
        line = (
            f"{'; '.join(made)}: our entries go when that happens, and the bridge is dead then: put them into its "
            f"template: {', '.join(missing)}"
        )
        if settings.accept_generated:
            warnings = (*warnings, line)
        else:
            problems = (*problems, f"{line}; or `pulumi config set acceptGenerated true`")
    return _Edit(path, problems, warnings, missing, change=diff(file.text, edited, path))


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
    network = deployment.synapse.network
    if _version(facts.docker) < OLDEST_DOCKER:
        yield f"Docker {facts.docker}: too old: this needs {_dotted(OLDEST_DOCKER)} or newer"
    if not facts.root:
        yield (
            "the host's scripts do not run as root: they change the owner of files: run pulumi as root; over SSH, be "
            "root there, or `pulumi config set become sudo`"
        )
    if facts.without_docker:
        yield (
            f"user {facts.without_docker}: may not use Docker there without sudo, and its provider comes as that user: "
            f"`sudo usermod -aG docker {facts.without_docker}` on the host (which is as much as root's rights)"
        )
    yield from (
        f"step {step}: is at work on the host, for a run that goes on or was cut off: wait until it has ended, then "
        "run this again"
        for step in facts.at_work
    )
    if not facts.bash:
        yield "bash: not there, or it does not run: the nightly dumps are made with it: install it"
    for key, name, container in (
        ("synapseContainer", deployment.synapse.container, facts.synapse_container),
        *(("synapseWorkers", name, worker.container) for name, worker in facts.workers.items()),
        *([("masContainer", deployment.mas.container, facts.mas_container)] if deployment.mas else []),
        ("postgresContainer", deployment.postgres.container, facts.postgres_container),
    ):
        if container is None:
            yield f"container {name}: not there: start the stack, or correct the setting {key}"
        elif not container.running and not (key.startswith("synapse") and facts.interrupted):
            yield f"container {name}: is {container.status}, not running: start it (docker start {name})"
        elif facts.network and network not in container.networks and key != "synapseWorkers":
            yield f"container {name}: is not in the network {network}: correct the setting network"
    if not facts.network:
        yield f"network {network}: not there: correct the setting network (docker network ls)"


def _synapse(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    if facts.synapse_container is None or not facts.synapse_container.running or facts.interrupted:
        return
    name, domain, synapse = deployment.synapse.container, deployment.synapse.domain, facts.synapse
    if synapse.error:
        yield f"container {name}: its homeserver.yaml cannot be judged: {synapse.error}"
        return
    if synapse.server_name != domain:
        yield f"domain: {domain!r} should be Synapse's server_name, {synapse.server_name!r}"
    if facts.synapse_silent:
        yield (
            f"synapseUrl: {facts.synapse_url or deployment.synapse.url} does not answer as Synapse's client API "
            f"({facts.synapse_silent}), though container {name} runs: publish its port on 127.0.0.1, or set synapseUrl "
            "(auto: as Docker has it)"
        )
    yield from _places(facts, deployment)
    if deployment.mas and not synapse.mas:
        yield (
            f"masContainer: {deployment.mas.container!r}, but Synapse has its own logins (no "
            f"matrix_authentication_service "
            f"in {deployment.synapse.homeserver_file}): set it to none, or check that synapseContainer is the right one"
        )
    if synapse.mas and not deployment.mas:
        yield (
            f"masContainer: none, but {deployment.synapse.homeserver_file} has matrix_authentication_service: "
            "set it to the name of MAS' container"
        )
    if synapse.media:
        yield (
            f"homeserverAddress: {deployment.synapse.address} has no media repository ({synapse.media}), where the "
            "bridge uploads: Synapse's main process leaves it to another one (enable_media_repo: false): set it to the "
            "address of a proxy in the network that serves the whole client API"
        )
    yield from _workers(facts, deployment)
    if not synapse.version:
        yield f"container {name}: holds no Synapse: correct the setting synapseContainer"
    elif deployment.mas and _version(synapse.version) < OLDEST_SYNAPSE:
        yield f"Synapse {synapse.version}: too old for MSC4190: update it to {_dotted(OLDEST_SYNAPSE)} or newer"


def _places(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Whether Synapse has what we write where we think that it has it, and whether it counts there."""
    synapse, files, name = deployment.synapse, facts.synapse.files, deployment.synapse.container
    directory, file = facts.mounted.get(synapse.directory), facts.mounted.get(synapse.homeserver_file)
    if directory is None:
        mounts = facts.synapse_container.mounts if facts.synapse_container else ()
        pairs = ", ".join(f"{mount.source} as {mount.destination}" for mount in mounts) or "nothing of the host's"
        yield (
            f"synapseDir: container {name} does not have {synapse.directory}; it has {pairs}: "
            "set synapseDir and synapseDataMount to the two names of one directory"
        )
    elif directory != synapse.data_mount:
        yield f"synapseDataMount: {synapse.data_mount!r} should be {directory!r}: there {name} has {synapse.directory}"
    if facts.homeserver is None:
        return
    if file is None or file not in files:
        how = "has another file, or none, in the place of" if file is None else "does not read"
        yield (
            f"{synapse.homeserver_file}: Synapse {how} it; its configuration is {_named(files, facts)}: "
            "set homeserverFile to the one that lists the registrations"
        )
        return
    keys = homeserver.KEYS if deployment.experimental_features else (homeserver.REGISTRATIONS,)
    decided = {facts.synapse.decided_in[key] for key in keys if key in facts.synapse.decided_in}
    for key in keys:
        other = facts.synapse.decided_in.get(key, file)
        if other != file:
            fix = f"set homeserverFile to {facts.on_host.get(other, 'a file on the host, and move the key there')}"
            if len(decided) > 1:
                fix = f"move {' and '.join(keys)} into one file, and set homeserverFile to it"
            yield (
                f"{synapse.homeserver_file}: {_named([other], facts)} sets {key}, and Synapse takes the whole of it "
                f"from the last file that has it ({_named(files, facts)}): one of the two would not count: {fix}"
            )


def _workers(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Processes of Synapse that would go on without the registrations: events may come from one of them."""
    server, file = deployment.synapse, deployment.synapse.homeserver_file
    unnamed = [name for name in facts.worker_containers if name not in server.workers]
    if unnamed:
        commands = " && ".join(
            f"pulumi config set --path 'synapseWorkers[{number}]' {name}"
            for number, name in enumerate(unnamed, start=len(server.workers))
        )
        yield (
            f"container {', '.join(unnamed)}: runs a worker of {server.container}, which has to be restarted with it, "
            f"or it does not know the registrations: `{commands}`"
        )
    for name, worker in facts.workers.items():
        seen = worker.facts
        if seen is None:
            continue
        if seen.error:
            yield f"container {name}: {seen.error}: correct the setting synapseWorkers"
        elif worker.homeserver not in seen.files or seen.decided_in not in ("", worker.homeserver):
            where = seen.decided_in or ", ".join(seen.files)
            yield (
                f"container {name}: takes its list of registrations from {where} (in the container), and not from "
                f"{file}: have it read that file, and keep {homeserver.REGISTRATIONS} there"
            )
    if facts.synapse.pusher not in ("", "main", "master") and not _has_workers(facts):
        yield (
            f"{file}: notify_appservices_from_worker is {facts.synapse.pusher}, which pushes all events to bridges, "
            "and no process that runs it was found on this host: set synapseWorkers to the name of its container"
        )


def _has_workers(facts: HostFacts) -> bool:
    return bool(facts.worker_containers or facts.workers or facts.synapse.workers)


def _named(files: Sequence[str], facts: HostFacts) -> str:
    """Files of Synapse's as the host has them."""
    return ", ".join(facts.on_host.get(each, f"{each} (in the container alone)") for each in files)


def _postgres(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
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
            f"postgresPassword: not set, and container {container} has no POSTGRES_PASSWORD (or _FILE): "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    needed = [("synapseDatabase", settings.synapse_database)]
    needed += [("masDatabase", settings.mas_database)] if settings.has_mas else []
    for key, name in [*needed, *(("isolatedDatabases", name) for name in settings.isolated)]:
        if name not in postgres.databases:
            yield f"{key}: {name!r} should be a database of {container}"
    if settings.has_mas and settings.mas_role not in postgres.roles:
        yield f"masRole: {settings.mas_role!r} should be a role of {container}"
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
        mas = settings.has_mas and database != settings.mas_database
        others = [role for role in roles if not (mas and role == settings.mas_role)]
        if others:
            yield database, others


def _directory(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """The stack's own directory, if it is somebody else's."""
    stack, directory = deployment.stack, facts.directory
    if directory.stack not in (None, stack):
        yield f"{deployment.shared_directory}: belongs to the stack {directory.stack}: set another sharedDir"
    elif directory.stack is None and directory.entries:
        yield f"{deployment.shared_directory}: holds files that this stack did not make: set another sharedDir"


def _dump_script(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    if facts.dump_script_owner not in (None, deployment.stack):
        whose = f"belongs to the stack {facts.dump_script_owner}" if facts.dump_script_owner else "is not ours"
        yield f"{deployment.dump_script}: is there and {whose}: set another sharedDir, whose name it has"


def _registration_taken(file: OwnFile | None, path: str, stack: str, key: str) -> Iterator[str]:
    if file is not None and file.stack != stack:
        whose = f"belongs to the stack {file.stack}" if file.stack else "does not name this stack in its first line"
        yield f"{path}: is there and {whose}; Synapse may need it: set another {key}"


def _bridge_s_own(met: _Met) -> Iterator[str]:
    """The names of role and database, if they are somebody else's. Both may be alive: nothing here may advise to drop
    them."""
    postgres, database = met.postgres, met.deployment.place.database
    for what, name, there in (
        ("role", database.role, postgres.roles),
        ("database", database.database, postgres.databases),
    ):
        owner = commented(there.get(name)).get("stack")
        if owner not in (None, met.deployment.stack):
            yield f"{what} {name}: belongs to the stack {owner}: set another {met.setting}.{what}"
        elif name in there and owner is None and not met.ours.anything:
            yield f"{what} {name}: is there, and nothing says that this stack made it: set another {met.setting}.{what}"


def _taken(met: _Met) -> Iterator[str]:
    """Names and directories that somebody else already has."""
    place, directory, stack = met.deployment.place, met.facts.directory, met.deployment.stack
    if met.facts.container is not None and not met.ours.container:
        owner = _owner(met.facts.container)
        whose = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"container {place.container}: is there and {whose}: set another {met.setting}.container"
    another = f"set another {met.setting}.directory"
    if directory.stack not in (None, stack):
        yield f"{place.directory}: belongs to the stack {directory.stack}: {another}"
    elif not met.ours.directory and directory.entries:
        moved = ", and its bridge is here already: was the directory changed?" if met.ours.container else ""
        yield f"{place.directory}: holds files that this stack did not make{moved}: {another}"
    if met.facts.others:
        yield f"{place.directory}: is used by the container {', '.join(met.facts.others)}: {another}"


def _registrations(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """The double puppet's registration, if it is somebody else's; ids and namespaces that other appservices have."""
    own, path = homeserver.Entries.of(deployment).registrations, deployment.doublepuppet_path
    yield from _registration_taken(facts.doublepuppet, path, deployment.stack, "doublepuppetFile")
    for other in facts.synapse.registrations:
        if other.path in own:
            continue
        if other.error:
            yield f"registration {other.path}: cannot be read: {other.error}: fix it, or Synapse will not start again"
            continue
        if other.id == deployment.doublepuppet_id:
            yield f"registration {other.path}: has the id {other.id} too: set another doublepuppetId"
        if other.sender_localpart == appservice.doublepuppet_sender(deployment.doublepuppet_id):
            yield _sender_taken(other)
        for each in deployment.bridges:
            yield from _conflicts(other, each)


def _sender_taken(other: Registration) -> str:
    return f"registration {other.path}: has the sender {other.sender_localpart}, which this deployment needs: remove it"


def _conflicts(other: Registration, deployment: BridgeDeployment) -> Iterator[str]:
    path, bridge, domain = other.path, deployment.bridge, deployment.synapse.domain
    if other.id == bridge.appservice_id:
        yield (
            f"registration {path}: has the id {other.id} too: Synapse would not start: remove one of the two; "
            f"{_come_along(deployment)}"
        )
        return
    if other.sender_localpart == bridge.bot_localpart:
        yield _sender_taken(other)
    ghosts = (f"@{bridge.username_template.replace('{{.}}', each)}:{domain}" for each in bridge.ghost_ids)
    users = [deployment.bot, *ghosts]
    for regex in other.exclusive:
        covered = next((user for user in users if _matches(regex, user)), None)
        if covered:
            yield (
                f"registration {path}: its exclusive namespace {regex} covers {covered}: narrow it or remove it; "
                f"{_come_along(deployment)}"
            )


def _come_along(deployment: BridgeDeployment) -> str:
    return (
        f"if a {deployment.bridge.network_name} bridge was set up by hand, it comes along with its account: `python -m "
        "host_programs.bridge.adopt --config ITS/config.yaml` says how"
    )


def _matches(regex: str, user: str) -> bool:
    try:
        return re.match(regex, user) is not None
    except re.error:
        return False


def _archive(met: _Met, settings: Settings) -> Iterator[str]:
    """The archive that a new database begins with: one of another stack or domain is a session that may be alive."""
    archive, key, whose = met.facts.archive, f"{met.setting}.restore", met.deployment.whose
    if archive is None or met.began:
        return
    if archive.manifest is None:
        others = f" (others are of {', '.join(archive.others)}: name one by its path)" if archive.others else ""
        yield f"{key}: {archive.error}{others}: set it to none, or to an archive's path"
        return
    manifest, bridge = archive.manifest, met.deployment.bridge.name
    if manifest.bridge != bridge:
        yield f"{key}: {archive.path} is of the bridge {manifest.bridge}, and this is {bridge}: name one of {bridge}"
    elif manifest.whose not in (whose, settings.accept_archive_of):
        yield (
            f"{key}: {archive.path} is of {manifest.whose}, and this is {whose}: two bridges with one "
            f"{met.deployment.bridge.network_name} session throw each other out, and messages are lost: if that one is "
            f"gone for good, `pulumi config set acceptArchiveOf {manifest.whose}`"
        )


def _room(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    """Writable directories, and disks that certainly have too little room."""
    bridges = zip(deployment.bridges, facts.bridges, strict=True)
    places = [
        (deployment.shared_directory, facts.directory),
        (deployment.synapse.directory, facts.synapse_dir),
        *((each.place.directory, seen.directory) for each, seen in bridges),
    ]
    for path, directory in places:
        if not directory.writable:
            yield f"{path}: is read-only: make it writable for the user who runs this"
    if not facts.synapse_dir.exists:
        yield f"{deployment.synapse.directory}: no such directory on the host: correct the setting synapseDir"
    yield from (f"{line}: make room" for line, certain in _disks(facts, settings, deployment) if certain)


def _disks(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[tuple[str, bool]]:
    """Disks with less room than may be needed, where it really is needed; and whether it certainly is too little: what
    is estimated here shrinks to a tenth at best."""
    sizes, wanted = facts.postgres.bytes, []
    images = {each.place.image for each, seen in zip(deployment.bridges, facts.bridges, strict=True) if not seen.image}
    pulled = {0: "", 1: "the image and "}.get(len(images), f"{len(images)} images and ")
    what = f"{pulled}the bridges' temporary files"
    wanted.append(("for Docker", facts.docker_free, what, len(images) * IMAGE_BYTES + TEMPORARY_BYTES))
    dumped = (settings.synapse_database, *(each.database for each in deployment.dumped))
    size = sum(sizes.get(name, 0) for name in dumped)
    where = f"in {facts.dumps_path}" if facts.dumps_path else f"beside {deployment.backup.script}"
    wanted.append((where, facts.backup_dir.free, "the dumps", size // 2 + SPARE_BYTES))
    for each, seen in zip(deployment.bridges, facts.bridges, strict=True):
        size, where = sizes.get(each.place.database.database, 0), f"in {each.archive.directory}"
        wanted.append((where, seen.archive_dir.free, "an archive", size + size // 2))
    for where, free, what, needed in wanted:
        if free < needed:
            yield f"disk: {_mebi(free)} MiB free {where}: {what} may need {_mebi(needed)}", free * 10 < needed


def _warnings(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    file = deployment.synapse.homeserver_file
    if facts.synapse.named_workers and not _has_workers(facts):
        yield (
            f"{file}: instance_map names {', '.join(facts.synapse.named_workers)}, and no such process was found on "
            "this host: one that runs elsewhere knows the registrations after a restart only"
        )
    if facts.interrupted:
        yield (
            f"{file}: an earlier run was ended before Synapse was healthy with what it wrote: `up` finishes that "
            "first, or takes it back"
        )


def _dumps(facts: HostFacts, settings: Settings, deployment: Deployment) -> Iterator[str]:
    """What to know of the databases."""
    if not facts.postgres.error:
        major = facts.postgres.version // 10000
        if OLDEST_POSTGRES <= major < ADVISED_POSTGRES:
            yield f"Postgres {major}: mautrix advises {ADVISED_POSTGRES} or newer; it was tested and works"
        for database, roles in _locked_out(facts.postgres, settings):
            yield f"isolation: {', '.join(roles)} will no longer get into the database {database}"
    if not deployment.backup.script and not facts.dump_scheduled:
        yield (
            f"backupScript: none, and no cron table or systemd unit of the host names {deployment.dump_script}: nobody "
            "dumps the bridges' databases at night: the output backupCron is the line for cron"
        )


def _own_warnings(met: _Met, settings: Settings) -> Iterator[str]:
    if met.began and met.deployment.archive.restore not in ("none", met.began):
        yield (
            f"{met.setting}.restore: {met.deployment.archive.restore!r} counts at a bridge's first `up` only, and this "
            f"one keeps its database, which began with {met.began}: to begin with the archive, destroy it first; else "
            "set it to none"
        )
    yield from _container_warnings(met, settings)


def _container_warnings(met: _Met, settings: Settings) -> Iterator[str]:
    bridge, place, container = met.deployment.bridge, met.deployment.place, met.facts.container
    if bridges.can_link(bridge, place.image) is False:
        yield (
            f"image {place.image}: releases before {bridge.first_linking_tag} can no longer link an account, "
            f"users report ({bridge.first_linking_source})"
        )
    if container and met.ours.container and container.stays_stopped:
        yield f"container {container.name}: is {container.status}: `up` makes it anew"
    had = container.labels.get(TOKENS_LABEL) if container and met.ours.container else None
    if had is not None and had != str(settings.token_generation):
        yield (
            f"tokenGeneration: {settings.token_generation}, and {place.container} runs with {had}: from the change of "
            "the role's password and Synapse's restart until the new container is ready, the bridge neither sends nor "
            "receives; Synapse keeps what comes in meanwhile and hands it over then"
        )
    seen: list[str] = []
    if met.ours.container:
        seen.append(f"the container {place.container}")
    if met.ours.database:
        seen.append(f"the database {place.database.database}")
    if seen and not met.ours.directory and not met.facts.directory.entries:
        yield (
            f"{met.setting}.directory: {place.directory} does not hold this stack's files, though "
            f"{' and '.join(seen)} are this stack's: the setting was changed, then `up` moves them there and makes the "
            f"container anew; or the directory was lost, then `pulumi config set reapply {settings.reapply + 1}` and "
            "`pulumi up` make it again"
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _mebi(size: int) -> int:
    return size // 2**20
