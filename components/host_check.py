"""Looks at the host before anything is planned: stops with the list of all that is wrong, or says what will change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.bridge import Live
from components.database import PostgresAccess
from components.host import DockerAddress, Host, HostError, LocalHost, SshHost
from components.install import own_directory
from components.start import Start
from documents.bridge.kinds import GID, UID
from documents.places import BridgeDeployment, Deployment
from host_programs import facts
from host_programs.bridge.gate import Admitted
from host_programs.bridge.readiness import Ready
from host_programs.wire import Failed
from settings.fields import Settings
from verdicts.host_facts.bridge import BridgeFacts, BridgeStatus
from verdicts.host_facts.docker import id_on_host
from verdicts.host_facts.host import HostFacts
from verdicts.preflight.findings import BridgeFindings, preflight
from verdicts.versions import go_back_advice
from workstation.processes import destroying, making


@dataclass(frozen=True)
class CheckedBridge:
    """What the components need to know of one bridge: its settings, the look at it, and what that means
    (verdicts/preflight/)."""

    deployment: BridgeDeployment
    facts: BridgeFacts
    found: BridgeFindings

    def start(self, settings: Settings) -> Start:
        """How its container is started."""
        found, turn = self.found, settings.token_generation
        return Start(found.attempt, found.failures, settings.ready_timeout, turn, found.restore)

    def status(self, ready: pulumi.Output[Ready | Failed]) -> pulumi.Output[BridgeStatus]:
        """The bridge as this operation leaves it: as it was met, unless readiness has waited for it since."""
        waited = self.facts.ready_mark.split()[2:3]
        status: pulumi.Output[BridgeStatus] = ready.apply(
            lambda seen: self.facts.status if isinstance(seen, Failed) or waited == [seen.wait] else seen.status
        )
        return status

    def failure(self, live: Live) -> pulumi.Output[str]:
        """Why the bridge did not go live, in one line, with the way back if there is one; "" if it did."""

        def line(admitted: Admitted | Failed, ready: Ready | Failed) -> str:
            if not isinstance(ready, Failed):
                return ""
            back = isinstance(admitted, Admitted) and go_back_advice(
                self.facts, self.deployment, admitted.begun.previous, admitted.begun.previous_image
            )
            more = f" Or go back, the database as it is now being archived first: `{back}`" if back else ""
            return f"{self.deployment.bridge.name}: {ready.failed}{more}"

        text: pulumi.Output[str] = pulumi.Output.all(live.admitted, live.ready).apply(lambda seen: line(*seen))
        return text


@dataclass(frozen=True)
class CheckedHost:
    """What the components need to know of the host. `synapse_owner`: uid and gid of Synapse's process on it; `docker`:
    its address, `bridge_owner`: uid and gid that a bridge's user in its container has on it. `programs`: whether it
    has those of the steps; `whole`: as in components/bridge.py, Shared; `leaving`: as HostFacts."""

    postgres: PostgresAccess
    docker: DockerAddress
    bridge_owner: tuple[int, int]
    synapse_owner: tuple[int, int]
    programs: bool
    whole: bool
    bridges: tuple[CheckedBridge, ...]
    leaving: tuple[str, ...]


def not_live(failures: Sequence[str], leaving: Sequence[str] = ()) -> str:
    """What is said of the bridges that did not go live, a line each; "" if all did. `failures` are of all bridges, each
    "" or one line; `leaving`: the containers of those that are taken from the settings."""
    failed = [line for line in failures if line]
    if not failed:
        return ""
    left = [
        f"{name}: is stopped and out of homeserver.yaml, since it is in the settings no more; its container, database "
        "and registration file are still there: the next `pulumi up` that succeeds archives and removes them"
        for name in leaving
    ]
    head = f"{len(failed)} of {len(failures)} bridges did not go live:"
    return "\n".join([head, *(f"- {line}" for line in [*failed, *left])])


def host_of(settings: Settings, deployment: Deployment) -> Host:
    """The machine with Docker: this one, or one behind SSH."""
    here = deployment.deployment_id
    own = here, own_directory(deployment), settings.reapply, deployment.docker_host
    return SshHost(settings.ssh, settings.local_port(here), *own) if settings.ssh else LocalHost(*own)


def refuse_or_tell(host: Host, settings: Settings, deployment: Deployment) -> CheckedHost:
    """Raises pulumi.RunError, one line a problem, unless the plan may go on; a destroy always may."""
    destroys, makes = destroying(), making()
    try:
        look = facts.Look(deployment, settings.isolated, settings.ssh is not None, host.programs)
        seen = host.run(facts.read, look)
    except HostError as error:
        raise pulumi.RunError(str(error)) from None
    findings = preflight(seen, settings, deployment)
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
        postgres=PostgresAccess(
            *postgres,
            superuser=settings.postgres_superuser,
            password=pulumi.Output.secret(settings.postgres_password or seen.superuser_password),
            sslmode=settings.postgres_sslmode,
        ),
        docker=host.docker(seen.docker_host),
        bridge_owner=(id_on_host(UID, seen.uids), id_on_host(GID, seen.gids)),
        synapse_owner=_synapse_owner(seen),
        programs=seen.programs,
        whole=pulumi.runtime.is_dry_run() or not makes,
        bridges=tuple(map(CheckedBridge, deployment.bridges, seen.bridges, findings.bridges)),
        leaving=seen.leaving,
    )


def _synapse_owner(seen: HostFacts) -> tuple[int, int]:
    """While Synapse is down: whose the registrations are that an earlier run wrote."""
    uids, gids = seen.uids, seen.gids
    files = [seen.doublepuppet, *(each.registration for each in seen.bridges)] if seen.synapse.error else []
    written = [file for file in files if file]
    if written:
        return written[0].uid, written[0].gid
    return id_on_host(seen.synapse.uid, uids), id_on_host(seen.synapse.gid, gids)
