"""Checks one bridge: names that somebody else has, its archive, its container."""

from __future__ import annotations

from collections.abc import Iterator

from documents.marks import ATTEMPT_LABEL, STACK_LABEL, owner_comment
from documents.places import NO_ARCHIVE
from documents.timestamps import rfc3339_seconds
from settings.fields import Settings
from verdicts.preflight.observed import ObservedBridge
from verdicts.preflight.ownership import check_directory, check_owner
from verdicts.preflight.versions import check_versions, stops_the_bridge


def check_bridge(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    yield from _check_owners(bridge)
    yield from _check_source(bridge, settings)
    yield from check_versions(bridge)
    yield from (f"{bridge.setting}.{line}" for line in bridge.facts.config_refused)


def _check_owners(bridge: ObservedBridge) -> Iterator[str]:
    """Names that somebody else's thing has."""
    place, facts, setting = bridge.deployment.place, bridge.facts, bridge.setting
    stack, registration = bridge.deployment.stack, facts.registration
    for thing, owned in zip(place.database.names, (bridge.role, bridge.database)):
        if owned.other_owner:
            yield f"{thing}: exists and {owned.other_owner}: set another {setting}.{thing.partition(' ')[0]}"
    if bridge.has_unknown_content:
        yield _explain_unknown_content(bridge)
    owner = facts.container.labels.get(STACK_LABEL, "") if facts.container else None
    for line in check_owner(f"container {place.container}", owner, stack, f"{setting}.container"):
        yield f"{line}; or take that bridge over with its account: docs/operations.md#a-bridge-that-was-set-up-by-hand"
    if facts.directory.stack is not None or not bridge.owns_directory:
        yield from check_directory(place.directory, facts.directory, stack, f"{setting}.directory")
    owner = registration.stack if registration else None
    yield from check_owner(bridge.deployment.registration_path, owner, stack, f"{setting}.registrationFile")


def _explain_unknown_content(bridge: ObservedBridge) -> str:
    """How the operator gives the database the comment back that it lost. The config on the host has its key."""
    place, server = bridge.deployment.place, bridge.deployment.postgres
    name = place.database.database
    lost = (
        f"database {name}: has content, and no comment that tells which pickle key and which image it needs (a dump "
        "that was restored without it?)"
    )
    keys, image = [*bridge.facts.keys], bridge.facts.ready_mark.partition(" ")[2].partition(" ")[2]
    if len(keys) != 1 or not image:
        return f"{lost}: set another {bridge.setting}.database; begin that with an archive, if there is one"
    comment = owner_comment(bridge.deployment.stack, began=NO_ARCHIVE, key=keys[0], image=image)
    return (
        f"{lost}: if it is what {bridge.facts.keys[keys[0]]} was made for and {image} used last, tell so: "
        f"`docker exec {server.container} psql -U {server.superuser} -d postgres -c "
        f"'comment on database \"{name}\" is $${comment}$$'`; else set another {bridge.setting}.database"
    )


def _check_source(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    """What a new database begins with. The session in an archive of another stack or domain may be in use; a dump of
    one is encrypted with another key."""
    source, key, owner = bridge.facts.restoring, f"{bridge.setting}.restore", bridge.deployment.archive_owner
    if source is None or bridge.origin:
        return
    manifest, name = source.manifest, bridge.deployment.bridge.name
    if source.error:
        yield f"{key}: {source.error}: set it to none, or to the path of an archive or a nightly dump"
    elif manifest is None:
        return
    elif manifest.bridge != name:
        yield f"{key}: {source.path} is of the bridge {manifest.bridge}, and this is {name}: name one of {name}"
    elif manifest.archive_owner not in (owner, settings.accept_archive_of):
        yield (
            f"{key}: {source.path} is of {manifest.archive_owner}, and this is {owner}: two bridges with one "
            f"{bridge.deployment.bridge.network_name} session log each other out, and messages are lost: if that one "
            f"is gone for good, `pulumi config set acceptArchiveOf {manifest.archive_owner}`"
        )


def find_bridge_warnings(bridge: ObservedBridge, settings: Settings) -> Iterator[str]:
    place, restore = bridge.deployment.place, bridge.deployment.archive.restore
    if bridge.origin and restore not in (NO_ARCHIVE, bridge.origin):
        fix = "to put it in place of the present content, name its path in goBackTo; else set it to none"
        yield f"{bridge.setting}.restore: {restore!r} counts only where the database is new: {fix}"
    generation = bridge.generation
    if generation is not None and generation != str(settings.token_generation):
        yield (
            f"tokenGeneration: {settings.token_generation}, and {place.container} runs with {generation}: from the "
            "change of the role's password until the new container is ready, the bridge neither sends nor receives; "
            "Synapse keeps new events meanwhile"
        )


def next_attempt(bridge: ObservedBridge, began: str) -> int:
    """The number for the container's label ATTEMPT_LABEL. Pulumi replaces the container when the number changes.
    `began`: of HostFacts.

    It changes if the container never got ready, if somebody removed it, stopped it or took it out of its network since,
    or if it is stopped for a change of the database. Where the container is gone, nothing on the host tells the last
    number, which the state may hold: the time is one that no earlier run had.
    """
    place, container = bridge.deployment.place, bridge.facts.container
    mark = bridge.facts.ready_mark if bridge.owns_directory else ""
    ready_container, number, *_ = [*mark.split(), "", ""]
    last = int(number) if number.isdigit() else 0
    if container is None or not bridge.owns_container:
        return int(rfc3339_seconds(began) or last + 1)
    current = int(container.labels.get(ATTEMPT_LABEL, "1"))
    fit = not container.stays_stopped and (not container.running or place.network in container.networks)
    if ready_container == container.id and fit and not stops_the_bridge(bridge):
        return current
    return max(current, last) + 1
