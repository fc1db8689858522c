"""The MAS stop-and-check: the plan's step 15, which gates the container."""

from __future__ import annotations

import pulumi

from components.container import Start
from components.host import Host, later
from documents.credentials import Tokens
from documents.places import Deployment
from scripts import stop_and_check


class AuthCheck(pulumi.ComponentResource):
    """Asks Synapse, as the appservices, whether it accepts them beside MAS; a FAIL stops the deployment.

    `fingerprint` is the container's version: whatever replaces the container has the check run again before.
    """

    verdict: pulumi.Output[str]
    table: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: Deployment,
        tokens: pulumi.Output[Tokens],
        start: Start,
        fingerprint: pulumi.Output[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:AuthCheck", name, None, opts)
        check = host.script(
            f"{name}-auth-check",
            stop_and_check.Arguments(
                synapse=deployment.synapse,
                mas=deployment.mas,
                bot=deployment.bot,
                appservice_id=deployment.bridge.appservice_id,
                as_token=later(tokens.apply(lambda known: known.as_token)),
                doublepuppet_id=deployment.doublepuppet_id,
                doublepuppet_as_token=later(tokens.apply(lambda known: known.doublepuppet_as_token)),
                admin_user=deployment.admin_user,
                bridge=deployment.place,
                stack=deployment.stack,
                generation=start.tokens,
                fingerprint=later(fingerprint),
            ),
            create=stop_and_check.check,
            delete=stop_and_check.remove,
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.verdict = check.result.apply(lambda checked: checked.verdict)
        self.table = check.result.apply(lambda checked: checked.table)
        self.register_outputs({"verdict": self.verdict, "table": self.table})
