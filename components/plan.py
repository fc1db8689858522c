"""The plan, step by step: the host as it is, the bridges' parts in their order, what is left for the operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi

from components.backup import DatabaseBackup
from components.beginning import begin
from components.bridge import Bridge, Shared, go_live, installed
from components.database import databases_access, databases_isolated, postgres_provider
from components.host_check import not_live
from components.install import DockerMachine, docker_provider
from components.registration import SynapseRegistration, doublepuppet_appservice
from components.secrets import StackSecrets
from documents import operator
from host_programs.backup.proof import ProvenDump
from host_programs.postgres.access import Access
from host_programs.postgres.isolation import Isolation
from settings import Settings


@dataclass(frozen=True)
class Deployed:
    """What is left for the operator. `bridges`: each one's outputs, by its key; `failed`: a line for each that did not
    go live, and one above them, "" if all did."""

    bridges: dict[str, dict[str, Any]]
    backups: pulumi.Output[tuple[ProvenDump, ...]]
    backup_cron: str
    doublepuppet_as_token: pulumi.Output[str]
    failed: pulumi.Output[str]


def deploy(settings: Settings) -> Deployed:
    """Raises pulumi.RunError, and has registered nothing, if the host is not ready for it."""
    # Before the plan: what is there, and whether the plan may touch it. Nothing below runs if not.
    begun = begin(settings)
    deployment, host, checked, name, after = begun.deployment, begun.host, begun.checked, begun.name, begun.after

    # Steps 1 to 3 and 6 to 8, side by side: each bridge's secrets, directory, config and image, role and database.
    postgres = postgres_provider(name, checked.postgres, after())
    secrets = StackSecrets(name, host, settings.token_generation, after(begun.programs))
    shared = Shared(
        host=host,
        machine=DockerMachine(docker_provider(name, checked.docker, after()), checked.bridge_owner),
        postgres=postgres,
        secrets=secrets,
        isolated=settings.isolated,
        whole=checked.whole,
    )
    first = after(begun.leftovers)
    bridges = [Bridge(shared, each.deployment, each.start(settings), first) for each in checked.bridges]
    install = installed(name, shared, bridges, after(*(each.leftovers for each in bridges)))
    databases = [
        each.own_database((met.found.role_there, met.found.database_there), install.resource)
        for each, met in zip(bridges, checked.bridges, strict=True)
    ]

    # Step 3. PUBLIC shut out of all their databases, and of the stack's.
    isolated = Isolation(deployment.stack, deployment.postgres, deployment.databases, settings.isolated)
    isolation = databases_isolated(name, host, isolated, after(*databases))

    # Steps 4 and 5. The nightly dumps with the bridges' among them, and a backup that is proven before anything goes
    # live.
    backup = DatabaseBackup(name, host, begun.backup, opts=after(isolation))

    # Step 3 again: the roles' passwords, and the proof. From here on a bridge that runs has old tokens: nothing slow
    # now, so where one may run this comes after the backup.
    slow = [backup.resource] if any(met.found.database_there for met in checked.bridges) else []
    passwords = Access(deployment.postgres, tuple(each.password for each in bridges), settings.isolated)
    access = databases_access(name, host, passwords, after(isolation, *slow))

    # Steps 9 to 14. The registrations, homeserver.yaml, and one restart of Synapse.
    registrations = [each.registration() for each in bridges]
    registrations.append(doublepuppet_appservice(name, host, deployment, secrets.doublepuppet, first))
    owner, in_place = checked.synapse_owner, after(access.resource, backup.resource)
    synapse = SynapseRegistration(name, host, deployment, registrations, owner, in_place)

    # At a destroy, first of all that is not a container: the archives.
    for each in bridges:
        each.archived(synapse.resource, isolation, install.resource)

    # Step 15, STOP-AND-CHECK: no container unless Synapse accepts its appservice beside MAS. Then, steps 16 to 18, its
    # data, the container, and the bridge that answers. All of them side by side, and none is held up by another's
    # failure.
    live = go_live(name, shared, bridges, install, after(synapse.resource, isolation, install.resource, *databases))

    # Steps 19 and 20. What is left for the operator, and a line for each bridge that did not go live; not where nothing
    # is made of it now.
    outputs = {
        own.deployment.key: own.outputs(access.result, now, met.status(now.ready))
        for own, now, met in zip(bridges, live, checked.bridges, strict=True)
    }
    failures = [] if checked.whole else [each.failure(now) for each, now in zip(checked.bridges, live, strict=True)]
    return Deployed(
        bridges=outputs,
        backups=backup.dumps,
        backup_cron=operator.backup_cron(deployment),
        doublepuppet_as_token=secrets.doublepuppet.apply(lambda tokens: tokens.as_token),
        failed=pulumi.Output.all(*failures).apply(lambda lines: not_live(lines, checked.leaving)),
    )
