"""Looks at the host before anything is planned: stops with the list of all that is wrong, or says what will change."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.database import PostgresAccess
from components.host import HostError, LocalHost
from components.install import DockerMachine
from documents.bridges import GID, UID
from documents.places import Deployment
from scripts import facts
from scripts.readiness import Ready
from settings import Settings
from verdicts import cli
from verdicts.host_facts import BridgeStatus, HostFacts, on_host
from verdicts.preflight import judge


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


def refuse_or_tell(host: LocalHost, settings: Settings, deployment: Deployment) -> CheckedHost:
    """Raises pulumi.RunError, one line a problem, unless the plan may go on; a destroy always may."""
    destroys = destroying()
    try:
        seen = host.read(facts.read, facts.Look(deployment, settings.isolated))
    except HostError as error:
        raise pulumi.RunError(str(error)) from None
    findings = judge(seen, settings, deployment)
    if findings.problems and not destroys:
        count = len(findings.problems)
        head = f"the host is not ready; nothing was changed. {count} problem{'s' * (count > 1)}:"
        raise pulumi.RunError("\n".join([head, *(f"- {problem}" for problem in findings.problems)]))
    if pulumi.runtime.is_dry_run() and not destroys:
        for warning in findings.warnings:
            pulumi.log.warn(warning)
        for change in findings.changes:
            pulumi.log.info(f"up will make this change:\n{change}")
    postgres = seen.postgres_container
    return CheckedHost(
        facts=seen,
        postgres=PostgresAccess(
            address=postgres.host_on(settings.network) if postgres else "",
            password=pulumi.Output.secret(settings.postgres_password or seen.superuser_password),
            role_there=findings.role_there,
            database_there=findings.database_there,
        ),
        machine=DockerMachine(seen.docker_host, (on_host(UID, seen.uids), on_host(GID, seen.gids))),
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


def destroying() -> bool:
    """Whether `pulumi destroy --run-program` runs this program. Pulumi does not tell (pkg/v3 v3.259.0: the run request
    has no such field), so the command line of the CLI above this process does."""
    process = os.getppid()
    while process > 1:
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return False  # no /proc, or the process is gone
        if re.fullmatch(r"pulumi(-v?\d.*)?", Path(words[0]).name):  # and not its plugins
            return cli.destroys(words[1:])
        process = int(status.rpartition(")")[2].split()[1])
    return False
