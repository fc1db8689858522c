"""What is no longer as `up` left it: one line for each thing, with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from documents.places import Deployment
from verdicts.host_facts.host import HostFacts, OwnFile
from verdicts.preflight.observed import ObservedBridge
from verdicts.preflight.operator_files import FileEdit
from verdicts.schedule import find_schedule_faults

VERDICT, ISOLATION, READY = "verdict", "isolation", "ready"  # what `up` proves, as the outputs call it


@dataclass(frozen=True)
class Drift:
    """`text`: what, where, and what mends it. `doubts`: the proofs of the last `up` that cannot stand beside it.
    `bridge`: the key of the one that it is about, "" for what all share."""

    text: str
    doubts: tuple[str, ...] = ()
    bridge: str = ""


def find_drift(
    facts: HostFacts, deployment: Deployment, bridges: list[ObservedBridge], edits: list[FileEdit], reapply: int
) -> Iterator[Drift]:
    """`edits`: of the operator's files; `reapply`: the setting."""
    deployed = [bridge for bridge in bridges if bridge.was_deployed]
    again = f"`pulumi config set reapply {reapply + 1}` and `pulumi up` put it back"
    if not deployed:
        return
    path = deployment.doublepuppet_path
    yield from (Drift(line, (VERDICT, READY)) for line in _check_file(path, facts.doublepuppet, again))
    yield from (Drift(line) for line in _check_file(deployment.dump_script, facts.dump_script, again))
    yield from map(Drift, find_schedule_faults(facts.schedule, deployment, again))
    if len(deployed) == len(bridges):  # a new one lacks its entries
        for edit in edits:
            if edit.missing:
                text = f"{edit.path}: no longer holds {', '.join(edit.missing)}: if somebody removed it, {again}"
                yield Drift(text, (VERDICT, READY) if edit.path == deployment.synapse.homeserver_file else ())
    yield from (Drift(line) for line in _check_shared_directory(facts, deployment, again))
    for bridge in deployed:
        yield from _find_bridge_drift(bridge, again)


def _check_file(path: str, file: OwnFile | None, again: str) -> Iterator[str]:
    if file is None:
        yield f"{path}: is missing: if somebody removed it, {again}"
    elif file.changed:
        yield f"{path}: was changed since `up` wrote it: {again}"


def _check_shared_directory(facts: HostFacts, deployment: Deployment, again: str) -> Iterator[str]:
    directory = deployment.shared_directory
    names = {"deployed.json": "`status` knows nothing without it"}
    if deployment.backup.has_own_directory or deployment.backup.proves_script:  # else the proof's dumps were not kept
        names[".proven.json"] = "a destroy does not know the dumps of the proof without it"
    if not facts.directory.entries:
        yield f"{directory}: is empty or missing: if somebody removed it, {again}"
        return
    for name, loss in names.items():
        if name not in facts.directory.entries:
            yield f"{directory}/{name}: is missing, and {loss}: if somebody removed it, {again}"


def _find_bridge_drift(bridge: ObservedBridge, again: str) -> Iterator[Drift]:
    deployment, facts, key = bridge.deployment, bridge.facts, bridge.deployment.key
    place, container = deployment.place, facts.container
    source = bridge.pending_source
    content = f", with the content of {source.path}" if source and source.path else ", empty"
    for thing, owned, loss in zip(place.database.names, (bridge.role, bridge.database), ("", content), strict=True):
        if not owned.exists and not bridge.postgres.error:
            text = f"{thing}: is missing: if somebody removed it, {again}{loss}"
            yield Drift(text, (ISOLATION, READY), key)
    registration = _check_file(deployment.registration_path, facts.registration, again)
    yield from (Drift(line, (VERDICT, READY), key) for line in registration)
    if facts.directory.stack is None:
        lost = "its mark, the file .stack, is missing" if facts.directory.entries else "is empty or missing"
        yield Drift(f"{place.directory}: {lost}: if somebody removed it, {again}", (READY,), key)
    elif bridge.owns_container:
        config = _check_file(f"{place.directory}: config.yaml", facts.config, again)
        yield from (Drift(line, (READY,), key) for line in config)
    fault = ""
    if container is None:
        fault = "is gone"
    elif container.stays_stopped:
        fault = f"is {container.status}"
    elif bridge.owns_container and bridge.ready_container != container.id:
        fault = "is not the one that got ready last"
    elif bridge.owns_container and container.running and place.network not in container.networks:
        fault = f"is not in the network {place.network}"
    if fault:
        yield Drift(f"container {place.container}: {fault}: `up` replaces it", (READY,), key)
