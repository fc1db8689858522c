"""How a deployment's database begins, and the archive that a destroy makes before it removes anything."""

from __future__ import annotations

import pulumi

from components.host import LocalHost
from scripts import final_archive


class FinalArchive(pulumi.ComponentResource):
    """Once the database is there it is filled from the archive `restore`, if that says so, and once only; whoever uses
    the database waits for this. Its deletion, which comes before that of what it depends on, writes the archive."""

    def __init__(
        self,
        name: str,
        host: LocalHost,
        archive: final_archive.Arguments,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`archive.files` and its pickle key may be outputs."""
        super().__init__("mautrix:bridge:Archive", name, None, opts)
        host.script(
            f"{name}-archive",
            archive,
            create=final_archive.begin,
            update=final_archive.keep,
            delete=final_archive.archive,
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
