"""STOP-AND-CHECK, the plan's step 15: does Synapse accept the appservice beside MAS?"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.host import HostCommand, MatrixHost
from components.registration import Registered
from documents.places import BridgeDeployment
from host_programs.synapse import stop_and_check as program
from verdicts.stop_and_check import Expected


@dataclass
class StopAndCheckArgs:
    """`registered` and `doublepuppet_as_token`: known once Synapse runs with them; `version`: the container's: whatever
    replaces the container has the check run again before; `generation`: of the tokens."""

    host: MatrixHost
    bridge: BridgeDeployment
    registered: pulumi.Input[Registered]
    doublepuppet_as_token: pulumi.Input[str]
    version: pulumi.Input[str]
    generation: int


def stop_and_check(
    name: str, args: StopAndCheckArgs, opts: pulumi.ResourceOptions | None = None
) -> HostCommand[program.StopAndCheckResult]:
    """The Command that fails unless Synapse answers all five questions as it should (verdicts/stop_and_check.py). It
    changes nothing. What depends on it is then neither made nor replaced; a container that runs goes on as it is."""
    bridge = args.bridge
    values = pulumi.Output.all(args.registered, args.doublepuppet_as_token, args.version)
    return args.host.command(
        f"{name}-stop-and-check",
        values.apply(
            lambda values: program.StopAndCheckArguments(
                synapse=bridge.synapse,
                mas_container=bridge.mas.container if bridge.mas else "",
                expected=Expected(
                    bot=bridge.bot,
                    appservice_id=bridge.bridge.appservice_id,
                    admin=bridge.admin_user,
                    doublepuppet_id=bridge.doublepuppet_id,
                    mas_hosts=bridge.mas.hosts if bridge.mas else (),
                    bridge_host=bridge.place.container,
                ),
                as_token=values[0].as_token,
                doublepuppet_as_token=values[1],
                bridge=bridge.place,
                stack=bridge.stack,
                generation=args.generation,
                fingerprint=values[2],
            )
        ),
        create=program.stop_and_check,
        opts=opts,
    )
