"""The MAS stop-and-check: the plan's step 15, which gates the container."""

from __future__ import annotations

import pulumi

from mautrix_bridges.components.host import Host, HostScript, later
from mautrix_bridges.components.start import Start
from mautrix_bridges.documents.places import BridgeDeployment
from mautrix_bridges.scripts import stop_and_check
from mautrix_bridges.scripts.stop_and_check import Checked


def auth_check(
    name: str,
    host: Host,
    deployment: BridgeDeployment,
    as_tokens: tuple[pulumi.Output[str], pulumi.Output[str]],
    start: Start,
    version: pulumi.Output[str],
    opts: pulumi.ResourceOptions | None = None,
) -> HostScript[Checked]:
    """Asks Synapse, as the appservices, whether it accepts them beside MAS; on a FAIL, which is an outcome, the
    bridge's container is not to be made.

    `as_tokens`: the bridge's, and the one for double puppeting; `version`: the container's: whatever replaces the
    container has the check run again before.
    """
    as_token, doublepuppet_as_token = as_tokens
    return host.script(
        f"{name}-auth-check",
        stop_and_check.Arguments(
            synapse=deployment.synapse,
            mas=deployment.mas,
            bot=deployment.bot,
            appservice_id=deployment.bridge.appservice_id,
            as_token=later(as_token),
            doublepuppet_id=deployment.doublepuppet_id,
            doublepuppet_as_token=later(doublepuppet_as_token),
            admin_user=deployment.admin_user,
            bridge=deployment.place,
            stack=deployment.stack,
            generation=start.tokens,
            fingerprint=later(version.apply(lambda text: f"{text} {start.failures}")),
        ),
        create=stop_and_check.check,
        delete=stop_and_check.remove,
        shown=True,
        attempt=start.attempt_at(deployment),
        opts=opts,
    )
