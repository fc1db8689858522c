"""Checks Docker, the containers of the Matrix stack, their network, and what steps need on the host."""

from __future__ import annotations

from collections.abc import Iterator

from documents.places import Deployment
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.requirements import OLDEST_DOCKER, format_version, version_numbers


def check_stack(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    yield from _check_host(facts)
    yield from _check_containers(facts, deployment)


def _check_host(facts: HostFacts) -> Iterator[str]:
    """Docker, rights and programs."""
    if version_numbers(facts.docker) < OLDEST_DOCKER:
        yield f"Docker {facts.docker}: too old: this needs {format_version(OLDEST_DOCKER)} or newer"
    if not facts.root:
        yield (
            "the programs on the host do not run as root: they change the owner of files: run pulumi as root; over "
            "SSH, be root there, or `pulumi config set become sudo`"
        )
    user = facts.user_without_docker
    if user:
        yield (
            f"user {user}: may not use Docker on the host without sudo, and Docker's provider connects as that user: "
            f"`sudo usermod -aG docker {user}` (which gives the user root's rights)"
        )
    yield from (
        f"step {step}: is still running on the host, for a run that goes on or was cut off: wait until it has ended, "
        "then run this again"
        for step in facts.running_steps
    )
    if not facts.bash:
        yield "bash: missing, or it does not run: the nightly dumps are made with it: install it"


def _check_containers(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """The containers of the Matrix stack, and their network."""
    network = deployment.synapse.network
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
