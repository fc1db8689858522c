"""Everything that preflight finds, in one list: problems, warnings, changes, and what the plan needs of each bridge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from documents.places import Deployment
from settings.fields import Settings
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.bridge import check_bridge, find_bridge_warnings, next_attempt
from verdicts.preflight.disks import (
    check_directories,
    check_moves,
    find_files_among_dumps,
    find_full_disks,
    find_left_archives,
)
from verdicts.preflight.drift import Drift, find_drift
from verdicts.preflight.keys import LivingKey, find_living_key
from verdicts.preflight.observed import ObservedBridge
from verdicts.preflight.operator_files import check_backup_script_file, check_homeserver_file
from verdicts.preflight.postgres import check_postgres, find_full_connections, find_orphans
from verdicts.preflight.registrations import check_own_registrations, check_registrations
from verdicts.preflight.stack import check_containers, check_host, check_own_files, check_renames
from verdicts.preflight.synapse import check_synapse, find_old_events
from verdicts.preflight.versions import describe_change
from verdicts.schedule import describe_new_schedule, find_missing_scheduler


@dataclass(frozen=True)
class BridgeFindings:
    """What the plan needs to know of one bridge.

    `attempt` is from `next_attempt`; `restore` is what the database begins with, or began with: none, or the path of an
    archive, where the pickle key comes from, too, or of a nightly dump; `role_exists` and `database_exists`: whether
    this stack has them already, so that a state without them imports them; `container_exists`: whether it has the
    container, which the state may not know; `key`: the pickle key that the database needs; `rotates`: whether the
    container runs with tokens of another generation than the setting's; `doubts`: why a proof of the last `up` cannot
    stand now, by the output's name.
    """

    attempt: int
    restore: str
    role_exists: bool
    database_exists: bool
    container_exists: bool
    key: LivingKey
    rotates: bool = False
    doubts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """All that preflight found. `changes` is what `up` will do to the operator's own files, as diffs, and the new files
    beside them; `bridges` are in the settings' order."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    bridges: tuple[BridgeFindings, ...]


def preflight(facts: HostFacts, settings: Settings, deployment: Deployment) -> Findings:
    """All that is wrong, all that is worth knowing, and the changes that `up` will make."""
    observed = zip(deployment.bridges, facts.bridges, strict=True)
    bridges = [ObservedBridge(bridge, found, facts.postgres) for bridge, found in observed]
    edits = [check_homeserver_file(facts, settings, deployment)]
    edits += [check_backup_script_file(facts, deployment)] if deployment.backup.script else []
    disks = list(find_full_disks(facts, deployment))
    drift = [*find_drift(facts, deployment, bridges, edits)]
    return Findings(
        problems=(
            *check_host(facts),
            *check_containers(facts, deployment),
            *check_synapse(facts, deployment),
            *check_own_files(facts, deployment),
            *check_registrations(facts, deployment),
            *check_own_registrations(facts, deployment),
            *check_postgres(facts, settings, deployment),
            *(line for bridge in bridges for line in check_bridge(bridge, settings)),
            *check_directories(facts, deployment),
            *check_moves(facts, deployment),
            *check_renames(facts, deployment),
            *find_files_among_dumps(facts, deployment),
            *(f"{line}: make room" for line, certain in disks if certain),
            *(line for edit in edits for line in edit.problems),
        ),
        warnings=(
            *_find_interrupted_run(facts, deployment),
            *(line for bridge in bridges for line in find_bridge_warnings(bridge, settings)),
            *find_left_archives(facts, deployment),
            *find_old_events(facts, deployment),
            *find_full_connections(facts, deployment),
            *find_orphans(facts, deployment),
            *(line for line, certain in disks if not certain),
            *(line for edit in edits for line in edit.warnings),
            *find_missing_scheduler(facts.schedule, deployment),
            *(found.text for found in drift),
        ),
        changes=(*(edit.change for edit in edits if edit.is_due), *_describe_changes(facts, deployment, bridges)),
        bridges=tuple(_summarize_bridge(bridge, drift, facts.began, settings) for bridge in bridges),
    )


def _find_interrupted_run(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    if facts.interrupted:
        yield (
            f"{deployment.synapse.homeserver_file}: an earlier run was ended before Synapse was healthy with what it "
            "wrote: `up` takes that back first"
        )


def _describe_changes(facts: HostFacts, deployment: Deployment, bridges: list[ObservedBridge]) -> Iterator[str]:
    if facts.dump_script is None:
        yield f"a new file, {deployment.dump_script} (0700): makes the dumps, in {deployment.backup.directory}"
    yield from describe_new_schedule(facts.schedule, deployment)
    earlier = facts.recorded.backup.script if facts.recorded else ""
    if earlier not in ("", deployment.backup.script):
        yield f"{earlier}: loses the call of our dump script, once the new dumps are proven"
    yield from filter(None, map(describe_change, bridges))
    yield from (_describe_beginning(bridge) for bridge in bridges if not bridge.was_deployed)
    for name in facts.leaving_containers:
        yield (
            f"container {name}: is no longer among the bridges: it stops, its database is archived, and all of it is "
            "removed"
        )


def _describe_beginning(bridge: ObservedBridge) -> str:
    """What a new database begins with."""
    name, source, archives = bridge.deployment.place.database.database, bridge.facts.restoring, bridge.facts.archives
    if source and source.path:
        return f"a new database, {name}: begins with the content of {source.path}"
    found = max((archive.path for archive in archives.values()), default="")
    hint = f", and not with what {found} holds, as with {bridge.setting}.restore latest" if found else ""
    return f"a new database, {name}: begins empty{hint}"


def _summarize_bridge(bridge: ObservedBridge, drift: list[Drift], began: str, settings: Settings) -> BridgeFindings:
    doubts: dict[str, str] = {}
    for found in drift:
        if found.bridge in ("", bridge.deployment.key):
            doubts = {**dict.fromkeys(found.doubts, found.text), **doubts}
    source = bridge.facts.restoring
    return BridgeFindings(
        attempt=next_attempt(bridge, began),
        restore=bridge.origin or (source.path if source else bridge.deployment.archive.restore),
        role_exists=bridge.role.is_ours,
        database_exists=bridge.database.is_ours,
        container_exists=bridge.owns_container,
        key=find_living_key(bridge),
        rotates=bridge.generation not in (None, str(settings.token_generation)),
        doubts=doubts,
    )
