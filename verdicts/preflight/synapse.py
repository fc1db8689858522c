"""Checks Synapse: its configuration, its address, its version and its workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from documents.homeserver.entries import KEYS, REGISTRATIONS
from documents.places import Deployment
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.stack import is_older

MANY_EVENTS = 10_000  # that it has to go through: fewer take seconds
EVENTS_PER_SECOND = 1200  # measured with Synapse 1.147.1 on two cores
OLDEST_SYNAPSE = "1.121"  # MSC4190: https://github.com/element-hq/synapse/pull/17705


def check_synapse(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    if facts.synapse_container is None or not facts.synapse_container.running or facts.interrupted:
        return
    name, domain, synapse = deployment.synapse.container, deployment.synapse.domain, facts.synapse
    if synapse.error:
        yield f"container {name}: its homeserver.yaml cannot be checked: {synapse.error}"
        return
    if synapse.server_name != domain:
        yield f"domain: {domain!r} should be Synapse's server_name, {synapse.server_name!r}"
    if facts.synapse_silent:
        yield (
            f"synapseUrl: {facts.synapse_url or deployment.synapse.url} does not answer as Synapse's client API "
            f"({facts.synapse_silent}): publish the port of {name} on 127.0.0.1, or set synapseUrl"
        )
    yield from _check_files(facts, deployment)
    if deployment.mas and not synapse.mas:
        yield "masContainer: set, but Synapse has its own logins (no matrix_authentication_service): set it to none"
    if synapse.mas and not deployment.mas:
        yield "masContainer: Synapse has matrix_authentication_service: set it to the name of MAS' container"
    if synapse.media:
        yield (
            f"homeserverAddress: {deployment.synapse.address} does not serve the client API with the media repository "
            f"inside the network {deployment.synapse.network} ({synapse.media}): set it to http://{name}:8008, or, if "
            "a worker has that, to a proxy in the network that serves the whole client API"
        )
    yield from _check_workers(facts, deployment)
    if not synapse.version:
        yield f"container {name}: holds no Synapse: correct the setting synapseContainer"
    elif deployment.mas and is_older(synapse.version, OLDEST_SYNAPSE):
        yield f"Synapse {synapse.version}: too old for MSC4190: update it to {OLDEST_SYNAPSE} or newer"


def find_old_events(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """What Synapse has to go through before it hands an event to a bridge: with its first application service, all."""
    behind, skips = facts.postgres.events_behind, deployment.synapse.skips_old_events
    if behind < MANY_EVENTS:
        return
    head = f"Synapse goes through {behind} old events for its application services before a bridge gets a new one"
    minutes = f"about {max(round(behind / EVENTS_PER_SECOND / 60), 1)} min, at {EVENTS_PER_SECOND} a second"
    if not facts.postgres.first_appservice:
        yield f"{head} ({minutes}): `up` waits as long as it goes on"
    elif skips:
        yield f"appserviceCatchUp: skip: {behind} old events go to no bridge: `up` has Synapse begin behind them"
    else:
        yield (
            f"{head} ({minutes}), since this is its first: `up` waits as long as it goes on; or `pulumi config set "
            "appserviceCatchUp skip`, and it begins behind them"
        )


def _check_files(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Whether Synapse sees our files under the paths of the settings, and takes our two keys from that file."""
    synapse, files, name = deployment.synapse, facts.synapse.files, deployment.synapse.container
    directory, file = facts.container_paths.get(synapse.directory), facts.container_paths.get(synapse.homeserver_file)
    if directory is None:
        mounts = facts.synapse_container.mounts if facts.synapse_container else ()
        pairs = ", ".join(f"{mount.source} as {mount.destination}" for mount in mounts) or "nothing of the host's"
        yield (
            f"synapseDir: container {name} does not have {synapse.directory}; it has {pairs}: "
            "set synapseDir and synapseDataMount to the two names of one directory. If there is none, mount one for "
            "the registrations (`- ./bridges:/bridges` at its service): synapseDir …/bridges, synapseDataMount /bridges"
        )
    elif directory != synapse.data_mount:
        yield f"synapseDataMount: {synapse.data_mount!r} should be {directory!r}: there {name} has {synapse.directory}"
    if facts.homeserver is None:
        return
    if file is None or file not in files:
        reason = "has another file, or none, in the place of" if file is None else "does not read"
        yield (
            f"{synapse.homeserver_file}: Synapse {reason} it; its configuration is {_host_paths(files, facts)}: "
            "set homeserverFile to the one that lists the registrations"
        )
        return
    keys = KEYS if deployment.experimental_features else (REGISTRATIONS,)
    decided = {facts.synapse.decided_in[key] for key in keys if key in facts.synapse.decided_in}
    for key in keys:
        other = facts.synapse.decided_in.get(key, file)
        if other != file:
            fix = f"set homeserverFile to {facts.host_paths.get(other, 'a file on the host, and move the key there')}"
            if len(decided) > 1:
                fix = f"move {' and '.join(keys)} into one file, and set homeserverFile to it"
            yield (
                f"{synapse.homeserver_file}: {_host_paths([other], facts)} sets {key}, and Synapse takes all of it "
                f"from the last file that has it ({_host_paths(files, facts)}): one of the two would not count: {fix}"
            )


def _check_workers(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Processes of Synapse that would not load the registrations. Any of them may send events to the bridge."""
    server, file = deployment.synapse, deployment.synapse.homeserver_file
    unnamed = [name for name in facts.worker_containers if name not in server.workers]
    if unnamed:
        numbered = enumerate(unnamed, start=len(server.workers))
        commands = (f"pulumi config set --path 'synapseWorkers[{number}]' {name}" for number, name in numbered)
        fix = f"have it restarted, too: `{' && '.join(commands)}`"
        yield f"container {', '.join(unnamed)}: runs a worker of {server.container}: {fix}"
    for name, worker in facts.workers.items():
        found = worker.facts
        if found is None:
            continue  # it does not run, which is told already
        if found.error:
            yield f"container {name}: {found.error}: correct the setting synapseWorkers"
        elif worker.homeserver not in found.files or found.decided_in not in ("", worker.homeserver):
            files = found.decided_in or ", ".join(found.files)
            yield (
                f"container {name}: takes its list of registrations from {files} (in the container), and not from "
                f"{file}: have it read that file, and keep {REGISTRATIONS} there"
            )
    running = facts.worker_containers or facts.workers or facts.synapse.workers
    if facts.synapse.pusher not in ("", "main", "master") and not running:
        yield (
            f"{file}: notify_appservices_from_worker is {facts.synapse.pusher}, and no worker was found on this host: "
            "set synapseWorkers to the name of its container"
        )


def _host_paths(files: Sequence[str], facts: HostFacts) -> str:
    """Paths on the host of files in Synapse's container."""
    return ", ".join(facts.host_paths.get(file, f"{file} (in the container alone)") for file in files)
