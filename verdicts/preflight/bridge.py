"""Checks one bridge: names that somebody else has, its archive, its container, and what somebody removed."""

from __future__ import annotations

from collections.abc import Iterator

from documents.marks import ATTEMPT_LABEL, TOKENS_LABEL, parse_owner_comment
from documents.places import NO_ARCHIVE
from settings.fields import Settings
from verdicts.preflight.observed import ObservedBridge
from verdicts.preflight.registrations import check_registration_file
from verdicts.preflight.versions import check_versions, stops_the_bridge


def check_bridge(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    yield from _check_database(bridge)
    yield from _check_container_and_directory(bridge)
    path, key = bridge.deployment.registration_path, f"{bridge.setting}.registrationFile"
    yield from check_registration_file(bridge.facts.registration, path, bridge.deployment.stack, key)
    yield from _check_archive(bridge, settings)
    yield from check_versions(bridge)
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
        elif name in comments and owner is None and not bridge.owns_any:
            yield f"{kind} {name}: exists, and nothing shows that this stack made it: set another {setting}.{kind}"


def _check_container_and_directory(bridge: ObservedBridge) -> Iterator[str]:
    """A container of that name, or a directory, that is somebody else's."""
    place, directory, setting = bridge.deployment.place, bridge.facts.directory, bridge.setting
    if bridge.facts.container is not None and not bridge.owns_container:
        owner = bridge.container_owner
        reason = f"belongs to the stack {owner}" if owner else "was not made by this stack"
        yield f"container {place.container}: exists and {reason}: set another {setting}.container"
    if directory.stack not in (None, bridge.deployment.stack):
        yield f"{place.directory}: belongs to the stack {directory.stack}: set another {setting}.directory"
    elif not bridge.owns_directory and directory.entries:
        moved = ", though its bridge exists: was the setting changed?" if bridge.owns_container else ""
        yield f"{place.directory}: holds files that this stack did not make{moved}: set another {setting}.directory"


def _check_archive(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    """The archive that a new database begins with. The session in one of another stack or domain may be in use."""
    archive, key, owner = bridge.facts.archive, f"{bridge.setting}.restore", bridge.deployment.archive_owner
    if archive is None or bridge.origin:
        return
    manifest, name = archive.manifest, bridge.deployment.bridge.name
    if manifest is None:
        yield f"{key}: {archive.error}: set it to none, or to an archive's path"
    elif manifest.bridge != name:
        yield f"{key}: {archive.path} is of the bridge {manifest.bridge}, and this is {name}: name one of {name}"
    elif manifest.archive_owner not in (owner, settings.accept_archive_of):
        yield (
            f"{key}: {archive.path} is of {manifest.archive_owner}, and this is {owner}: two bridges with one "
            f"{bridge.deployment.bridge.network_name} session log each other out, and messages are lost: if that one "
            f"is gone for good, `pulumi config set acceptArchiveOf {manifest.archive_owner}`"
        )


def find_bridge_warnings(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    place, restore = bridge.deployment.place, bridge.deployment.archive.restore
    if bridge.origin and restore not in (NO_ARCHIVE, bridge.origin):
        fix = "to begin with the archive, destroy it first; else set it to none"
        yield f"{bridge.setting}.restore: {restore!r} counts at a bridge's first `up` only: {fix}"
    container = bridge.facts.container
    if container is None or not bridge.owns_container:
        return
    if container.stays_stopped:
        yield f"container {container.name}: is {container.status}: `up` replaces it"
    generation = container.labels.get(TOKENS_LABEL)
    if generation is not None and generation != str(settings.token_generation):
        yield (
            f"tokenGeneration: {settings.token_generation}, and {place.container} runs with {generation}: from the "
            "change of the role's password until the new container is ready, the bridge neither sends nor receives; "
            "Synapse keeps new events meanwhile"
        )


def find_removed_bridge_files(bridge: ObservedBridge) -> Iterator[str]:
    """Files of a bridge with a container that somebody removed."""
    directory, path = bridge.facts.directory, bridge.deployment.place.directory
    if bridge.owns_container and bridge.facts.registration is None:
        yield f"{bridge.deployment.registration_path}: is missing"
    if bridge.owns_container and directory.stack is None:
        yield f"{path}: its mark, the file .stack, is missing" if directory.entries else f"{path}: is empty or missing"


def next_attempt(bridge: ObservedBridge) -> int:
    """The number for the container's label ATTEMPT_LABEL. Pulumi replaces the container when the number changes.

    It changes if the container never got ready, if somebody removed or stopped it since, or if it is stopped for a
    change of the database.
    """
    container, mark = bridge.facts.container, bridge.facts.ready_mark if bridge.owns_directory else ""
    ready_container, number, *_ = [*mark.split(), "", ""]
    last = int(number) if number.isdigit() else 0
    if container is None or not bridge.owns_container:
        return last + 1
    current = int(container.labels.get(ATTEMPT_LABEL, "1"))
    if ready_container == container.id and not container.stays_stopped and not stops_the_bridge(bridge):
        return current
    return max(current, last) + 1
