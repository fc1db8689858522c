"""Stack outputs: the plan's own names at the top for one bridge, one object a bridge for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import pulumi

from components.backup import DatabaseBackup
from components.container import BridgeContainer
from components.database import BridgeDatabase
from components.host import HostCommand
from components.isolation import DatabaseIsolation
from components.preflight import ObservedHost
from documents import operator
from documents.backup.schedule import format_cron_line
from documents.credentials import Tokens
from documents.places import BridgeDeployment, Deployment
from host_programs.synapse.stop_and_check import StopAndCheckResult


class Proof(Protocol):
    """What a step proved, and when (documents/timestamps.py, now)."""

    @property
    def at(self) -> str: ...


P = TypeVar("P", bound=Proof)


def show_proof(proof: pulumi.Output[P], show: Callable[[P], Any], doubt: str, doubted_at: str) -> pulumi.Output[Any]:
    """What `show` makes of the proof; instead of it the `doubt` ("": none) that this run began with, unless the proof
    was made anew since."""
    return proof.apply(lambda seen: show(seen) if not doubt or seen.at > doubted_at else f"not proven now: {doubt}")


def bridge_outputs(
    observed: ObservedHost,
    bridge: BridgeDeployment,
    check: HostCommand[StopAndCheckResult],
    container: BridgeContainer,
    database: BridgeDatabase,
    isolation: DatabaseIsolation,
    tokens: pulumi.Output[Tokens],
) -> dict[str, Any]:
    """What the operator gets of one bridge. Tokens and the database's URL are secrets."""
    doubts, role = observed.doubts[bridge.key], bridge.place.database.role

    def shown(proof: pulumi.Output[P], show: Callable[[P], Any], name: str) -> pulumi.Output[Any]:
        return show_proof(proof, show, doubts.get(name, ""), observed.began)

    return {
        "asToken": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.as_token)),
        "hsToken": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.hs_token)),
        "provisioningSecret": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.provisioning_secret)),
        "databaseUrl": database.url,
        "verdict": shown(check.result, lambda seen: seen.verdict, "verdict"),
        "stopAndCheck": shown(check.result, lambda seen: seen.table, "verdict"),
        "isolation": shown(isolation.proof, lambda seen: seen.of(role), "isolation"),
        "ready": shown(container.ready, lambda seen: seen, "ready"),
        "previousVersion": container.origin.apply(lambda seen: seen.previous),
        "bot": bridge.bot,
        "nextSteps": operator.describe_next_steps(bridge),
        "servicesEntry": operator.format_services_entry(bridge),
    }


def export(
    observed: ObservedHost,
    deployment: Deployment,
    outputs: Mapping[str, Mapping[str, Any]],
    backup: DatabaseBackup,
    doublepuppet_as_token: pulumi.Output[str],
) -> None:
    """Export the outputs of the bridges, by their keys, and those of the stack."""
    if len(outputs) == 1:
        (bridge,) = outputs.values()
        for key, value in bridge.items():
            pulumi.export(key, value)
    else:
        for key, bridge in outputs.items():
            pulumi.export(key, bridge)
    pulumi.export("doublepuppetAsToken", pulumi.Output.secret(doublepuppet_as_token))
    pulumi.export("backups", backup.dumps)
    pulumi.export("backupCron", "" if deployment.backup.script or observed.scheduler else format_cron_line(deployment))
