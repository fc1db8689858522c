"""Checks Docker, the containers of the Matrix stack, their network, and the stack's own files on the host."""

from __future__ import annotations

import re
from collections.abc import Iterator

from documents.places import BridgeDeployment, Deployment
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.ownership import check_directory, check_owner
from verdicts.schedule import check_schedule_owners

NAMELESS = ("host", "bridge", "none")  # networks of Docker's own, without a name server and aliases
OLDEST_DOCKER = "20.10"  # older ones were never run with this program


def is_older(version: str, oldest: str) -> bool:
    """By the first two numbers."""
    numbers, limit = ([int(part) for part in re.findall(r"\d+", text)[:2]] for text in (version, oldest))
    return numbers < limit


def check_host(facts: HostFacts) -> Iterator[str]:
    """Docker, rights and programs."""
    if is_older(facts.docker, OLDEST_DOCKER):
        yield f"Docker {facts.docker}: too old: this needs {OLDEST_DOCKER} or newer"
    if not facts.root:
        yield "the programs on the host do not run as root: be root there, or `pulumi config set become sudo`"
    user = facts.user_without_docker
    if user:
        fix = f"`sudo usermod -aG docker {user}` (which gives the user root's rights)"
        yield f"user {user}: may not use Docker on the host without sudo, as Docker's provider has to: {fix}"
    for step in facts.running_steps:
        yield f"step {step}: is still running on the host: wait until it has ended, then run this again"
    if not facts.bash:
        yield "bash: missing: the nightly dumps are made with it: install it"


def check_containers(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """The containers of the Matrix stack, and their network."""
    network = deployment.synapse.network
    if network in NAMELESS:
        yield (
            f"network: {network!r} has no names, and the bridge is reached by its name: set it to a network that "
            "Synapse, MAS and Postgres share: `docker network create matrix-net`, and for each of them `docker network "
            f"connect matrix-net {deployment.synapse.container}`, or with compose"
        )
        return
    for key, name, container in (
        ("synapseContainer", deployment.synapse.container, facts.synapse_container),
        *(("synapseWorkers", name, worker.container) for name, worker in facts.workers.items()),
        *([("masContainer", deployment.mas.container, facts.mas_container)] if deployment.mas else []),
        ("postgresContainer", deployment.postgres.container, facts.postgres_container),
    ):
        if container is None:
            yield f"container {name}: does not exist: start the stack, or correct the setting {key}"
        elif not container.running and not (key.startswith("synapse") and facts.interrupted):
            yield f"container {name}: is {container.status}, not running: start it (docker start {name})"
        elif facts.network and network not in container.networks and key != "synapseWorkers":
            yield f"container {name}: is not in the network {network}: correct the setting network"
    if not facts.network:
        yield f"network {network}: does not exist: correct the setting network (docker network ls)"


def check_renames(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """A bridge that lives and gets another name, or whose names another bridge takes: what is under the old name would
    be removed while the new one begins."""
    lives = {bridge.key: bridge for bridge in facts.recorded.bridges} if facts.recorded else {}
    keys = {bridge.key for bridge in deployment.bridges}
    leaving = [bridge for key, bridge in lives.items() if key not in keys]
    advice = "`pulumi destroy` (which archives it), then `pulumi up` with the new name and restore latest"
    if len(deployment.bridges) > 1:
        anew = "`pulumi up` (which archives it), then add it as it should be, with restore latest"
        advice = f"take the bridge from the list, {anew}"
    for bridge in deployment.bridges:
        wanted = _names(bridge)
        if bridge.key in lives:
            for key, name in _names(lives[bridge.key]).items():
                if name != wanted[key]:
                    yield (
                        f"{bridge.setting}.{key}: is {name} since the bridge's first `up`, and {wanted[key]} would "
                        f"begin anew beside it: set it back; or {advice}"
                    )
            continue
        for other in leaving:
            shared = [f"{key} {name}" for key, name in _names(other).items() if name == wanted[key]]
            if shared:
                yield (
                    f"{bridge.setting}: {bridge.key} takes {', '.join(shared)} of {other.key}, which lives and would "
                    f"be removed in the same `pulumi up`: set its name back to {other.key}; or {advice}"
                )


def _names(bridge: BridgeDeployment) -> dict[str, str]:
    """What a bridge is called on the host, by setting."""
    place = bridge.place
    return {
        "container": place.container,
        "database": place.database.database,
        "role": place.database.role,
    }


def check_own_files(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Somebody else's directory or file in the place of one that the bridges share."""
    stack, registration = deployment.stack, facts.doublepuppet
    yield from check_directory(deployment.shared_directory, facts.directory, stack, "sharedDir")
    yield from check_schedule_owners(facts.schedule, deployment)
    owner = registration.stack if registration else None
    yield from check_owner(deployment.doublepuppet_path, owner, stack, "doublepuppetFile")
