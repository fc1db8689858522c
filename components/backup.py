"""The nightly dumps with the bridge's among them, proven before go-live."""

from __future__ import annotations

import pulumi

from components.host import LocalHost
from scripts import nightly_backup


class DatabaseBackup(pulumi.ComponentResource):
    """Our dump script installed, the operator's script with a call of it, one run, and every dump proven; `dumps` says
    what was seen."""

    dumps: pulumi.Output[tuple[nightly_backup.ProvenDump, ...]]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        backup: nightly_backup.Arguments,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Backup", name, None, opts)
        script = host.script(
            f"{name}-backup-script",
            backup,
            create=nightly_backup.apply,
            delete=nightly_backup.remove,
            triggers=[backup.script, backup.dump_script_path],
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.dumps = script.result.apply(lambda proven: proven.dumps)
        self.register_outputs({})
