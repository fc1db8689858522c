"""The final archive that a destroy makes before it removes anything, and the way back from it."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components.host import Host

NOTHING = "none"  # the setting restore: an empty database


class FinalArchive(pulumi.ComponentResource):
    """Once the database is there it is filled from the archive `restore`, if that says so, and once only; whoever uses
    the database waits for this. Its deletion, which comes before that of what it depends on, writes the archive.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        directory: str,
        container: str,
        role: pulumi.Input[str],
        database: pulumi.Input[str],
        files: Sequence[pulumi.Input[str]],
        restore: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Archive", name, None, opts)
        place = {
            "archive_dir": directory,
            "container": container,
            "role": role,
            "database": database,
            "bridge": name,
        }
        back = host.script(
            f"{name}-restore",
            "scripts.archive",
            {**place, "archive": restore},
            create="keep" if restore == NOTHING else "restore",
            shown=True,
            triggers=[restore],
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["create", "update", "stdin"]),
        )
        host.script(
            f"{name}-archive",
            "scripts.archive",
            {**place, "files": list(files)},
            create="keep",
            delete="archive",
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[back.resource]),
        )
        self.register_outputs({})
