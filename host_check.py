"""Looks at the host before anything is planned: stops with the list of all that is wrong, or says what will change."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.database import PostgresAccess
from components.host import Host, HostError, LocalHost, SshHost
from components.install import DockerMachine
from documents.bridges import GID, UID
from documents.places import Deployment
from scripts import facts
from scripts.readiness import Ready
from settings import Settings
from verdicts.host_facts import BridgeStatus, HostFacts, on_host
from verdicts.preflight import judge
from workstation.processes import destroying


@dataclass(frozen=True)
class CheckedHost:
    """What the components need to know of the host. `synapse_owner`: uid and gid of Synapse's process on it; `attempt`
    (the number of the container's label) and `restore` (what the database begins or began with) are those of
    verdicts/preflight.py."""

    facts: HostFacts
    postgres: PostgresAccess
    machine: DockerMachine
    synapse_owner: tuple[int, int]
    attempt: int
    restore: str

    def bridge_status(self, ready: pulumi.Output[Ready]) -> pulumi.Output[BridgeStatus]:
        """The bridge as this operation leaves it: as it was met, unless readiness has waited for it since."""
        waited = self.facts.ready_mark.split()[2:3]
        status: pulumi.Output[BridgeStatus] = ready.apply(
            lambda seen: self.facts.bridge if waited == [seen.wait] else seen.status
        )
        return status


def host_of(settings: Settings, deployment: Deployment) -> Host:
    """The machine with Docker: this one, or one behind SSH."""
    here, options = deployment.here, (settings.reapply, deployment.docker_host)
    if settings.ssh:
        return SshHost(settings.ssh, settings.local_port(here), here, *options)
    return LocalHost(here, *options)


def refuse_or_tell(host: Host, settings: Settings, deployment: Deployment) -> CheckedHost:
    """Raises pulumi.RunError, one line a problem, unless the plan may go on; a destroy always may."""
    destroys = destroying()
    try:
        seen = host.read(facts.read, facts.Look(deployment, settings.isolated, settings.ssh is not None))
    except HostError as error:
        raise pulumi.RunError(str(error)) from None
    findings = judge(seen, settings, deployment)
    if findings.problems and not destroys:
        count = len(findings.problems)
        head = f"the host is not ready; nothing was changed. {count} problem{'s' * (count > 1)}:"
        raise pulumi.RunError("\n".join([head, *(f"- {problem}" for problem in findings.problems)]))
    container = seen.postgres_container
    postgres = container.host_on(settings.network) if container else "", settings.postgres_port
    try:
        postgres = host.postgres(*postgres)
    except HostError as error:
        if not destroys:
            raise pulumi.RunError(str(error)) from None
        pulumi.log.warn(str(error))  # a destroy needs the provider only if it refreshes
    if pulumi.runtime.is_dry_run() and not destroys:
        for warning in findings.warnings:
            pulumi.log.warn(warning)
        for change in findings.changes:
            pulumi.log.info(f"up will make this change:\n{change}")
    return CheckedHost(
        facts=seen,
        postgres=PostgresAccess(
            *postgres,
            password=pulumi.Output.secret(settings.postgres_password or seen.superuser_password),
            role_there=findings.role_there,
            database_there=findings.database_there,
        ),
        machine=DockerMachine(host.docker(seen.docker_host), (on_host(UID, seen.uids), on_host(GID, seen.gids))),
        synapse_owner=_synapse_owner(seen),
        attempt=findings.attempt,
        restore=findings.restore,
    )


def _synapse_owner(seen: HostFacts) -> tuple[int, int]:
    """While Synapse is down: whose the registrations are that an earlier run wrote."""
    uids, gids = seen.uids, seen.gids
    written = [file for file in seen.registrations.values() if file] if seen.synapse.error else []
    if written:
        return written[0].uid, written[0].gid
    return on_host(seen.synapse.uid, uids), on_host(seen.synapse.gid, gids)
