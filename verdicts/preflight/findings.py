"""Everything that preflight finds, in one list: problems, warnings, changes, and what the plan needs of each bridge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from documents.places import Deployment
from settings.fields import Settings
from verdicts import versions
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.bridge import (
    check_bridge,
    database_origin,
    find_bridge_warnings,
    find_removed_bridge_files,
    next_attempt,
)
from verdicts.preflight.disks import check_room, find_disk_warnings
from verdicts.preflight.observed import ObservedBridge, observe_bridges
from verdicts.preflight.operator_files import FileEdit, check_backup_script_file, check_homeserver_file
from verdicts.preflight.postgres import check_postgres, find_dump_warnings, find_postgres_warnings
from verdicts.preflight.registrations import check_registrations
from verdicts.preflight.stack import check_stack
from verdicts.preflight.stack_files import check_dump_script, check_shared_directory
from verdicts.preflight.synapse import check_synapse, find_synapse_warnings


@dataclass(frozen=True)
class BridgeFindings:
    """What the plan needs to know of one bridge.

    `attempt` is from `next_attempt`, `restore` from `database_origin`; `role_exists` and
    `database_exists`: whether this stack has them already, so that a state without them imports them.
    """

    attempt: int
    restore: str
    role_exists: bool
    database_exists: bool


@dataclass(frozen=True)
class Findings:
    """All that preflight found. `changes` is what `up` will do to the operator's own files, as diffs, and the new file
    beside them; `bridges` are in the settings' order."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    bridges: tuple[BridgeFindings, ...]


def preflight(facts: HostFacts, settings: Settings, deployment: Deployment) -> Findings:
    """All that is wrong, all that is worth knowing, and the changes that `up` will make."""
    bridges = observe_bridges(facts, deployment)
    edits = [check_homeserver_file(facts, settings, deployment)]
    edits += [check_backup_script_file(facts, deployment)] if deployment.backup.script else []
    return Findings(
        problems=(
            *_find_problems(facts, settings, deployment, bridges),
            *(line for edit in edits for line in edit.problems),
        ),
        warnings=(
            *_find_warnings(facts, settings, deployment, bridges),
            *(line for edit in edits for line in edit.warnings),
            *_find_removals(facts, settings, deployment, bridges, edits),
        ),
        changes=(*(edit.change for edit in edits if edit.change), *_describe_changes(facts, deployment, bridges)),
        bridges=tuple(_summarize_bridge(bridge) for bridge in bridges),
    )


def _find_problems(
    facts: HostFacts, settings: Settings, deployment: Deployment, bridges: tuple[ObservedBridge, ...]
) -> Iterator[str]:
    yield from check_stack(facts, deployment)
    yield from check_synapse(facts, deployment)
    yield from check_shared_directory(facts, deployment)
    yield from check_registrations(facts, deployment)
    yield from check_postgres(facts, settings, deployment)
    yield from check_dump_script(facts, deployment)
    for bridge in bridges:
        yield from check_bridge(bridge, settings)
    yield from check_room(facts, settings, deployment)


def _find_warnings(
    facts: HostFacts, settings: Settings, deployment: Deployment, bridges: tuple[ObservedBridge, ...]
) -> Iterator[str]:
    yield from find_synapse_warnings(facts, deployment)
    yield from find_postgres_warnings(facts, settings)
    yield from find_dump_warnings(facts, deployment)
    for bridge in bridges:
        yield from find_bridge_warnings(bridge, settings)
    yield from find_disk_warnings(facts, settings, deployment)


def _find_removals(
    facts: HostFacts,
    settings: Settings,
    deployment: Deployment,
    bridges: tuple[ObservedBridge, ...],
    edits: list[FileEdit],
) -> Iterator[str]:
    """What an earlier `up` made and somebody took out since, with the command that puts it back."""
    removals = list[str]()
    if any(bridge.owned.container for bridge in bridges):
        if facts.doublepuppet is None:
            removals.append(f"{deployment.doublepuppet_path}: is missing")
        if facts.dump_script_owner is None:
            removals.append(f"{deployment.dump_script}: is missing")
        removals += [f"{edit.path}: no longer holds {', '.join(edit.missing)}" for edit in edits if edit.missing]
    for bridge in bridges:
        removals += find_removed_bridge_files(bridge)
    again = f"`pulumi config set reapply {settings.reapply + 1}` and `pulumi up` put it back"
    return (f"{removal}: somebody removed it; {again}" for removal in removals)


def _describe_changes(facts: HostFacts, deployment: Deployment, bridges: tuple[ObservedBridge, ...]) -> Iterator[str]:
    if facts.dump_script_owner is None:
        yield f"a new file, {deployment.dump_script} (0700): makes the dumps"
    for bridge in bridges:
        yield from versions.describe_changes(bridge.facts, bridge.postgres, bridge.deployment)
    for name in facts.leaving_containers:
        yield (
            f"container {name}: is no longer among the bridges: it stops, its database is archived, and all of it is "
            "removed"
        )


def _summarize_bridge(bridge: ObservedBridge) -> BridgeFindings:
    postgres, database, owned = bridge.postgres, bridge.deployment.place.database, bridge.owned
    return BridgeFindings(
        attempt=next_attempt(bridge),
        restore=database_origin(bridge),
        role_exists=database.role in postgres.roles and owned.any,
        database_exists=database.database in postgres.databases and owned.any,
    )
