"""The MAS stop-and-check: the plan's step 15, which gates the container."""

from __future__ import annotations

import pulumi

from components.host import LocalHost
from scripts import stop_and_check


class AuthCheck(pulumi.ComponentResource):
    """Asks Synapse, as the appservices, whether it accepts them beside MAS; a FAIL stops the deployment.

    The question's `fingerprint` is the container's own: whatever replaces the container has the check run again before.
    """

    verdict: pulumi.Output[str]
    table: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        question: stop_and_check.Arguments,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The tokens and the fingerprint of `question` may be outputs."""
        super().__init__("mautrix:bridge:AuthCheck", name, None, opts)
        check = host.script(
            f"{name}-auth-check",
            question,
            create=stop_and_check.check,
            delete=stop_and_check.remove,
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.verdict = check.result.apply(lambda checked: checked.verdict)
        self.table = check.result.apply(lambda checked: checked.table)
        self.register_outputs({"verdict": self.verdict, "table": self.table})
