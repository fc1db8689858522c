"""The bridge's directory on the host: ours by the name of the stack in it."""

from __future__ import annotations

import pulumi

from components.host import Host
from documents.bridges import GID, UID


class BridgeDirectory(pulumi.ComponentResource):
    """Claims `directory` before anything else is made, and takes it away last."""

    path: pulumi.Output[str]

    def __init__(
        self, name: str, host: Host, *, directory: str, stack: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("mautrix:bridge:Directory", name, None, opts)
        claim = host.script(
            f"{name}-claim",
            "scripts.files",
            {"directory": directory, "stack": stack, "uid": UID, "gid": GID, "mode": 0o755},
            create="claim",
            delete="release",
            triggers=[directory],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.path = claim.plain().apply(lambda made: str(made["directory"]))
        self.register_outputs({"path": self.path})
