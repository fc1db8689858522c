"""Stack outputs: the plan's own names at the top for one bridge, one object a bridge for several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.backup import DatabaseBackup
from components.container import BridgeContainer
from components.database import BridgeDatabase
from components.host import HostCommand
from components.isolation import DatabaseIsolation
from documents import operator
from documents.credentials import Tokens
from documents.places import BridgeDeployment, Deployment
from host_programs.synapse.stop_and_check import StopAndCheckResult


def bridge_outputs(
    bridge: BridgeDeployment,
    check: HostCommand[StopAndCheckResult],
    container: BridgeContainer,
    database: BridgeDatabase,
    isolation: DatabaseIsolation,
    tokens: pulumi.Output[Tokens],
) -> dict[str, Any]:
    """What the operator gets of one bridge. Tokens and the database's URL are secrets."""
    return {
        "asToken": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.as_token)),
        "hsToken": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.hs_token)),
        "provisioningSecret": pulumi.Output.secret(tokens.apply(lambda secrets: secrets.provisioning_secret)),
        "databaseUrl": database.url,
        "verdict": check.result.apply(lambda seen: seen.verdict),
        "stopAndCheck": check.result.apply(lambda seen: seen.table),
        "isolation": isolation.proof.apply(lambda seen: seen.of(bridge.place.database.role)),
        "ready": container.ready,
        "previousVersion": container.origin.apply(lambda seen: seen.previous),
        "bot": bridge.bot,
        "nextSteps": operator.describe_next_steps(bridge),
        "servicesEntry": operator.format_services_entry(bridge),
    }


def export(
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
    pulumi.export("backupCron", operator.format_cron_line(deployment))
