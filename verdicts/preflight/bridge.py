"""Checks one bridge: names that somebody else has, its archive, its container, and what somebody removed."""

from __future__ import annotations

from collections.abc import Iterator

from documents.marks import ATTEMPT_LABEL, TOKENS_LABEL, parse_owner_comment
from documents.places import NO_ARCHIVE
from settings.fields import Settings
from verdicts import versions
from verdicts.preflight.observed import ObservedBridge, container_owner
from verdicts.preflight.registrations import check_registration_file


def check_bridge(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    yield from _check_database(bridge)
    yield from _check_container_and_directory(bridge)
    path, key = bridge.deployment.registration_path, f"{bridge.setting}.registrationFile"
    yield from check_registration_file(bridge.facts.registration, path, bridge.deployment.stack, key)
    yield from _check_archive(bridge, settings)
    yield from versions.find_problems(bridge.facts, bridge.postgres, bridge.deployment)
    yield from (f"{bridge.setting}.{line}" for line in bridge.facts.config_refused)


def _check_database(bridge: ObservedBridge) -> Iterator[str]:
    """A role or a database of that name that is somebody else's. It may be in use: no advice says to drop it."""
    postgres, database, setting = bridge.postgres, bridge.deployment.place.database, bridge.setting
    for kind, name, comments in (
        ("role", database.role, postgres.roles),
        ("database", database.database, postgres.databases),
    ):
        owner = parse_owner_comment(comments.get(name)).get("stack")
        if owner not in (None, bridge.deployment.stack):
            yield f"{kind} {name}: belongs to the stack {owner}: set another {setting}.{kind}"
        elif name in comments and owner is None and not bridge.owned.any:
            yield f"{kind} {name}: exists, and nothing shows that this stack made it: set another {setting}.{kind}"


def _check_container_and_directory(bridge: ObservedBridge) -> Iterator[str]:
    """A container of that name, or a directory, that is somebody else's."""
    place, directory, stack = bridge.deployment.place, bridge.facts.directory, bridge.deployment.stack
    if bridge.facts.container is not None and not bridge.owned.container:
        owner = container_owner(bridge.facts.container)
        reason = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"container {place.container}: exists and {reason}: set another {bridge.setting}.container"
    fix = f"set another {bridge.setting}.directory"
    if directory.stack not in (None, stack):
        yield f"{place.directory}: belongs to the stack {directory.stack}: {fix}"
    elif not bridge.owned.directory and directory.entries:
        moved = ", though its bridge exists: was the setting changed?" if bridge.owned.container else ""
        yield f"{place.directory}: holds files that this stack did not make{moved}: {fix}"
    if bridge.facts.other_containers:
        yield f"{place.directory}: is used by the container {', '.join(bridge.facts.other_containers)}: {fix}"


def _check_archive(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    """The archive that a new database begins with. The session in one of another stack or domain may be in use."""
    archive, key, owner = bridge.facts.archive, f"{bridge.setting}.restore", bridge.deployment.archive_owner
    if archive is None or bridge.origin:
        return
    if archive.manifest is None:
        others = (
            f" (others are of {', '.join(archive.other_owners)}: name one by its path)" if archive.other_owners else ""
        )
        yield f"{key}: {archive.error}{others}: set it to none, or to an archive's path"
        return
    manifest, name = archive.manifest, bridge.deployment.bridge.name
    if manifest.bridge != name:
        yield f"{key}: {archive.path} is of the bridge {manifest.bridge}, and this is {name}: name one of {name}"
    elif manifest.archive_owner not in (owner, settings.accept_archive_of):
        yield (
            f"{key}: {archive.path} is of {manifest.archive_owner}, and this is {owner}: two bridges with one "
            f"{bridge.deployment.bridge.network_name} session log each other out, and messages are lost: if that one "
            f"is gone for good, `pulumi config set acceptArchiveOf {manifest.archive_owner}`"
        )


def find_bridge_warnings(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    if bridge.origin and bridge.deployment.archive.restore not in (NO_ARCHIVE, bridge.origin):
        yield (
            f"{bridge.setting}.restore: {bridge.deployment.archive.restore!r} counts at a bridge's first `up` only, "
            f"and this one keeps its database, which began with {bridge.origin}: to begin with the archive, destroy it "
            "first; else set it to none"
        )
    yield from _find_container_warnings(bridge, settings)
    yield from _find_lost_directory(bridge, settings)


def _find_container_warnings(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    place, container = bridge.deployment.place, bridge.facts.container
    if container is None or not bridge.owned.container:
        return
    if container.stays_stopped:
        yield f"container {container.name}: is {container.status}: `up` replaces it"
    generation = container.labels.get(TOKENS_LABEL)
    if generation is not None and generation != str(settings.token_generation):
        yield (
            f"tokenGeneration: {settings.token_generation}, and {place.container} runs with {generation}: from the "
            "change of the role's password and Synapse's restart until the new container is ready, the bridge neither "
            "sends nor receives; Synapse keeps new events meanwhile and delivers them then"
        )


def _find_lost_directory(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    """A directory without this stack's files, though other parts of the bridge exist."""
    place, existing = bridge.deployment.place, list[str]()
    if bridge.owned.container:
        existing.append(f"the container {place.container}")
    if bridge.owned.database:
        existing.append(f"the database {place.database.database}")
    if existing and not bridge.owned.directory and not bridge.facts.directory.entries:
        yield (
            f"{bridge.setting}.directory: {place.directory} does not hold this stack's files, though "
            f"{' and '.join(existing)} are this stack's: if the setting was changed, `up` moves them and replaces the "
            "container; if the directory was lost, `pulumi config set reapply "
            f"{settings.reapply + 1}` and `pulumi up` make it again"
        )


def find_removed_bridge_files(bridge: ObservedBridge) -> Iterator[str]:
    """Files of a bridge with a container that somebody removed."""
    if bridge.owned.container and bridge.facts.registration is None:
        yield f"{bridge.deployment.registration_path}: is missing"
    if bridge.owned.container and bridge.owned.directory and bridge.facts.directory.stack is None:
        yield f"{bridge.deployment.place.directory}: its mark, the file .stack, is missing"


def database_origin(bridge: ObservedBridge) -> str:
    """What the database begins with, or began with: none, or an archive's path. The pickle key comes from the same."""
    archive = bridge.facts.archive
    return bridge.origin or (archive.path if archive else bridge.deployment.archive.restore)


def next_attempt(bridge: ObservedBridge) -> int:
    """The number for the container's label ATTEMPT_LABEL. Pulumi replaces the container when the number changes.

    It changes if the container never got ready, if somebody removed or stopped it since, or if it is stopped for a
    change of the database.
    """
    facts, owned = bridge.facts, bridge.owned
    mark = facts.ready_mark if owned.directory else ""
    ready_container, number, *_ = [*mark.split(), "", ""]
    last = int(number) if number.isdigit() else 0
    if not owned.container or facts.container is None:
        return last + 1
    current = int(facts.container.labels.get(ATTEMPT_LABEL, "1"))
    stopped = facts.container.stays_stopped or versions.stops_the_bridge(facts, bridge.postgres, bridge.deployment)
    keeps = ready_container == facts.container.id and not stopped
    return current if keeps else max(current, last) + 1
