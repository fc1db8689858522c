"""The MAS stop-and-check: the plan's step 15, which gates the container."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.host import Host


class AuthCheck(pulumi.ComponentResource):
    """Asks Synapse, as the appservices, whether it accepts them beside MAS; a FAIL stops the deployment.

    `fingerprint` is the container's own: whatever replaces the container has the check run again before.
    """

    verdict: pulumi.Output[str]
    table: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        synapse_url: str,
        domain: str,
        bot_localpart: str,
        appservice_id: str,
        as_token: pulumi.Input[str],
        doublepuppet_id: str,
        doublepuppet_token: pulumi.Input[str],
        admin_user: str,
        mas_hosts: Sequence[str],
        synapse_container: str,
        mas_container: str,
        evidence_dir: str,
        fingerprint: pulumi.Input[str],
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:AuthCheck", name, None, opts)
        check = host.script(
            f"{name}-check",
            "scripts.stop_and_check",
            {
                "synapse_url": synapse_url,
                "domain": domain,
                "bot_localpart": bot_localpart,
                "appservice_id": appservice_id,
                "as_token": as_token,
                "doublepuppet_id": doublepuppet_id,
                "doublepuppet_token": doublepuppet_token,
                "admin_user": admin_user,
                "mas_hosts": list(mas_hosts),
                "synapse_container": synapse_container,
                "mas_container": mas_container,
                "evidence_dir": evidence_dir,
                "request_timeout": 10,
                "deadline": 60,
                "fingerprint": fingerprint,
                "reapply": reapply,
            },
            create="check",
            delete="remove",
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        result = check.plain()
        self.verdict = result.apply(lambda found: str(found["verdict"]))
        self.table = result.apply(lambda found: str(found["table"]))
        self.register_outputs({"verdict": self.verdict, "table": self.table})
