"""What is no longer as `up` left it: one line for each thing, with what mends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from documents.bridge.kinds import GID, UID
from documents.places import Deployment
from verdicts.host_facts.docker import id_on_host
from verdicts.host_facts.host import HostFacts, OwnFile
from verdicts.preflight.observed import ObservedBridge
from verdicts.preflight.operator_files import FileEdit, is_reapplied
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
    facts: HostFacts, deployment: Deployment, bridges: list[ObservedBridge], edits: list[FileEdit]
) -> Iterator[Drift]:
    """`edits`: of the operator's files."""
    deployed = [bridge for bridge in bridges if bridge.was_deployed]
    again = f"`pulumi config set reapply {deployment.reapply + 1}` and `pulumi up` put it back"
    if is_reapplied(facts, deployment):
        again = f"this `pulumi up` puts it back (reapply is {deployment.reapply})"
    if not deployed:
        return
    synapse = facts.synapse
    for_synapse = None
    if not synapse.error:  # it runs, so its user is known
        for_synapse = id_on_host(synapse.uid, facts.uids), id_on_host(synapse.gid, facts.gids), 0o600
    for_bridge = id_on_host(UID, facts.uids), id_on_host(GID, facts.gids), 0o600
    path, puppet = deployment.doublepuppet_path, facts.doublepuppet
    yield from (Drift(line, (VERDICT, READY)) for line in _check_file(path, puppet, again, for_synapse))
    by_root = (0, 0, 0o700) if facts.root else None
    yield from map(Drift, _check_file(deployment.dump_script, facts.dump_script, again, by_root))
    yield from map(Drift, find_schedule_faults(facts.schedule, deployment, again))
    for edit in edits:
        if edit.lost:
            mended = "this `pulumi up` writes it" if edit.is_due else again
            text = f"{edit.path}: no longer holds {', '.join(edit.lost)}: if somebody removed it, {mended}"
            yield Drift(text, (VERDICT, READY) if edit.path == deployment.synapse.homeserver_file else ())
    yield from (Drift(line) for line in _check_shared_directory(facts, deployment, again))
    for bridge in deployed:
        path, found = bridge.deployment.registration_path, bridge.facts.registration
        lines = _check_file(path, found, again, for_synapse)
        yield from (Drift(line, (VERDICT, READY), bridge.deployment.key) for line in lines)
        if bridge.owns_directory and bridge.owns_container:
            path = f"{bridge.deployment.place.directory}: config.yaml"
            lines = _check_file(path, bridge.facts.config, again, for_bridge)
            yield from (Drift(line, (READY,), bridge.deployment.key) for line in lines)
        yield from _find_bridge_drift(bridge, again)


def _check_file(path: str, file: OwnFile | None, again: str, written: tuple[int, int, int] | None) -> Iterator[str]:
    """`written`: the uid, the gid and the mode that `up` gave it (None: not known now)."""
    if file is None:
        yield f"{path}: is missing: if somebody removed it, {again}"
    elif file.changed:
        yield f"{path}: was changed since `up` wrote it: {again}"
    elif written and (file.uid, file.gid, file.mode) != written:
        now, then = describe_owner(file.uid, file.gid, file.mode), describe_owner(*written)
        yield f"{path}: has another owner or mode ({now}) than `up` gave it ({then}): {again}"


def describe_owner(uid: int, gid: int, mode: int) -> str:
    return f"{uid}:{gid}, {mode:04o}"


def _check_shared_directory(facts: HostFacts, deployment: Deployment, again: str) -> Iterator[str]:
    directory = deployment.shared_directory
    names = {
        "deployed.json": "`status` knows nothing without it",
        ".proven.json": "a destroy does not know the dumps of the proof without it",
    }
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
    lost = f", empty: set {bridge.setting}.restore first, to an archive or a nightly dump of it"
    content = f", with the content of {source.path}" if source and source.path else lost
    for thing, owned, loss in zip(place.database.names, (bridge.role, bridge.database), ("", content), strict=True):
        if not owned.exists and not bridge.postgres.error:
            text = f"{thing}: is missing: if somebody removed it, {again}{loss}"
            yield Drift(text, (ISOLATION, READY), key)
    if foreign := bridge.postgres.foreign.get(place.database.database):
        count = f"{foreign} objects in it are" if foreign > 1 else "1 object in it is"
        text = f"database {place.database.database}: {count} not {place.database.role}'s, which can neither use nor "
        yield Drift(f"{text}archive what is not its own (a superuser's restore?): {again}", (READY,), key)
    if facts.directory.stack is None:
        lost = "its mark, the file .stack, is missing" if facts.directory.entries else "is empty or missing"
        yield Drift(f"{place.directory}: {lost}: if somebody removed it, {again}", (READY,), key)
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
