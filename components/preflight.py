"""The look at the host before anything is registered: it stops with the list of all that is wrong, or tells what will
change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi

from documents.bridge.kinds import GID, UID
from documents.places import Deployment
from host_programs.facts.host import FactsRequest, observe
from host_programs.program_file import build_program_file
from settings.fields import Settings
from verdicts.host_facts.docker import id_on_host
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.findings import BridgeFindings, preflight
from verdicts.status.evaluation import find_doubts, find_status_warnings
from workstation.machine import (
    PUT_BACK,
    DockerAddress,
    LocalMachine,
    Machine,
    MachineError,
    PostgresAddress,
    SshMachine,
)


@dataclass(frozen=True)
class PostgresAccess:
    """Where Pulumi's provider reaches the server, and as which superuser. The password is a secret."""

    address: PostgresAddress
    superuser: str
    password: pulumi.Output[str]


@dataclass(frozen=True)
class ObservedHost:
    """What the components need to know of the host. `synapse_owner`, `bridge_owner`: uid and gid that Synapse's process
    and a bridge's user have there; `selinux`: whether Docker confines containers by that; `scheduler`: what runs
    programs by the clock there (documents/backup/schedule.py); `bridges`: what was found of each, by its key;
    `deployed`: whether a bridge of this stack has a database there already; `doubts`: by a bridge's key and an
    output's name, why a proof of the last `up` cannot stand; `began`: when the look did (documents/timestamps.py,
    now)."""

    docker: DockerAddress
    postgres: PostgresAccess
    synapse_owner: tuple[int, int]
    bridge_owner: tuple[int, int]
    selinux: bool
    scheduler: str
    bridges: dict[str, BridgeFindings]
    doubts: dict[str, dict[str, str]]
    began: str

    @property
    def deployed(self) -> bool:
        return any(found.database_exists for found in self.bridges.values())

    @property
    def rotates(self) -> bool:
        """Whether a bridge that is there gets new tokens and a new password."""
        return any(found.rotates for found in self.bridges.values())


def machine_of(settings: Settings, deployment: Deployment) -> Machine:
    """This machine, or the one behind SSH."""
    program, project = build_program_file(deployment.stack), Path.cwd()
    if settings.ssh is None:
        return LocalMachine(program, deployment.docker_host, project)
    port = settings.local_port(deployment.deployment_id)
    return SshMachine(settings.ssh, port, program, deployment.docker_host, project)


def observe_host(machine: Machine, settings: Settings, deployment: Deployment) -> ObservedHost:
    """Raises pulumi.RunError, one line a problem, if the host is not ready. At preview it tells the warnings, and what
    will change as diffs."""
    try:
        request = FactsRequest(
            deployment,
            settings.isolated,
            settings.postgres_password,
            over_ssh=settings.ssh is not None,
        )
        facts = machine.run(observe, request)
        seen = facts.host
        findings = preflight(seen, settings, deployment)
        if findings.problems:
            count = len(findings.problems)
            head = f"the host is not ready; nothing was changed. {count} problem{'s' * (count > 1)}:"
            raise pulumi.RunError("\n".join([head, *(f"- {problem}" for problem in findings.problems)]))
        container = seen.postgres_container
        address = container.host_on(settings.network) if container else ""
        postgres = machine.postgres(PostgresAddress(address, settings.postgres_port, settings.postgres_sslmode))
    except MachineError as error:
        raise pulumi.RunError(str(error)) from None
    if pulumi.runtime.is_dry_run():
        for warning in (*findings.warnings, *(find_status_warnings(facts.health) if facts.health else ())):
            pulumi.log.warn(warning)
        if facts.lost_program_file:
            pulumi.log.warn(f"{facts.lost_program_file}: is gone, and the steps of a destroy are in it: {PUT_BACK}")
        for change in findings.changes:
            pulumi.log.info(f"up will make this change:\n{change}")
    return ObservedHost(
        docker=machine.docker(seen.docker_host),
        postgres=PostgresAccess(
            postgres,
            superuser=settings.postgres_superuser,
            password=pulumi.Output.secret(seen.postgres.superuser_password),
        ),
        synapse_owner=_synapse_owner(seen),
        bridge_owner=(id_on_host(UID, seen.uids), id_on_host(GID, seen.gids)),
        selinux=seen.selinux,
        scheduler=seen.schedule.scheduler,
        bridges={bridge.key: found for bridge, found in zip(deployment.bridges, findings.bridges, strict=True)},
        doubts={
            bridge.key: {
                **(find_doubts(facts.health, bridge.place.container) if facts.health else {}),
                **found.doubts,
            }
            for bridge, found in zip(deployment.bridges, findings.bridges, strict=True)
        },
        began=seen.began,
    )


def _synapse_owner(seen: HostFacts) -> tuple[int, int]:
    """uid and gid of Synapse's process. While Synapse is down: of the registrations that an earlier run wrote."""
    uids, gids = seen.uids, seen.gids
    files = [seen.doublepuppet, *(bridge.registration for bridge in seen.bridges)] if seen.synapse.error else []
    written = [file for file in files if file]
    if written:
        return written[0].uid, written[0].gid
    return id_on_host(seen.synapse.uid, uids), id_on_host(seen.synapse.gid, gids)
