"""The final archive that a destroy makes before it removes anything, and the way back from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from components.host import Host

NOTHING = "none"  # the setting restore: an empty database


class FinalArchive(pulumi.ComponentResource):
    """Once the database is there it is filled from the archive `restore`, if that says so, and once only; whoever uses
    the database waits for this. Its deletion, which comes before that of what it depends on, writes the archive.

    `new_keys` is where the database is, if it began empty: the bot's keys of an earlier one are lost then, and the
    homeserver may still have them.
    """

    new_keys: Mapping[str, pulumi.Input[str]] | None

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
            "scripts.final_archive",
            {**place, "archive": restore},
            create="keep" if restore == NOTHING else "restore",
            update="keep",
            shown=True,
            triggers=[restore],
            opts=pulumi.ResourceOptions(parent=self),
        )
        host.script(
            f"{name}-archive",
            "scripts.final_archive",
            {**place, "files": list(files)},
            create="keep",
            delete="archive",
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[back.resource]),
        )
        self.new_keys = {"container": container, "role": role, "database": database} if restore == NOTHING else None
        self.register_outputs({})
