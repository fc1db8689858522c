"""The nightly dumps with the bridge's among them, proven before go-live; the archive before the end."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.host import Host
from documents.backup_script import Block


class DatabaseBackup(pulumi.ComponentResource):
    """pg_backup.sh changed, run once, and every dump proven; `dumps` says what was found."""

    dumps: pulumi.Output[list[dict[str, object]]]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        script: str,
        block: Block,
        superuser: str,
        bridge_database: str,
        databases: Sequence[str],
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Backup", name, None, opts)
        backup = host.script(
            f"{name}-script",
            "scripts.nightly_backup",
            {
                "file": script,
                "owner": block.owner,
                "container": block.container,
                "dumps": [{"database": dump.database, "role": dump.role} for dump in block.dumps],
                "all_databases": list(databases),
                "bridge_database": bridge_database,
                "superuser": superuser,
                "scratch_database": f"{bridge_database[:48]}_restore_check",
                "reapply": reapply,
            },
            create="apply",
            delete="remove",
            triggers=[script],
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.dumps = backup.plain().apply(lambda found: list(found["dumps"]))
        self.register_outputs({"dumps": self.dumps})
