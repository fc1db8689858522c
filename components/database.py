"""A bridge's role and database, as in the plan's section 3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_postgresql as postgresql

from components.cleanup import bridge_parts
from components.host import MatrixHost
from documents.bridge.config import bridge_database_url
from documents.credentials import Tokens
from documents.places import BridgeDeployment
from host_programs.cleanup import bridge as cleanup


@dataclass
class BridgeDatabaseArgs:
    """`tokens` hold the role's password; `isolated`: other databases that the role is kept out of; `after`: what has to
    be known before anything is changed."""

    host: MatrixHost
    bridge: BridgeDeployment
    tokens: pulumi.Input[Tokens]
    isolated: tuple[str, ...]
    after: pulumi.Input[Any] = None


class BridgeDatabase(pulumi.ComponentResource):
    """`mautrix:bridge:Database`: the bridge's own directory on the host, its role and its database.

    Makes: the directory, which notes that a role and a database of these names are this stack's; the role, which may
    log in and nothing else; the database that it owns. The provider makes both, believes its state, and drops neither.
    So the directory's step makes again what somebody removed (setting `reapply`), and its deletion, the last of all,
    drops them with whatever else of the bridge is still there. A role or a database of ours that the state does not
    hold is imported.
    Outputs: `claimed`, True once the directory is this stack's; `database`, its name; `url`, a secret.
    Errors: a directory, a role or a database that is somebody else's.
    """

    claimed: pulumi.Output[bool]
    database: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(self, name: str, args: BridgeDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:bridge:Database", name, None, opts)
        place, found = args.bridge.place.database, args.host.observed.bridges[args.bridge.key]
        directory = args.host.command(
            f"{name}-directory",
            pulumi.Output.from_input(args.after).apply(lambda _: bridge_parts(args.bridge, args.isolated)),
            create=cleanup.claim_directory,
            update=cleanup.renew_bridge,
            delete=cleanup.cleanup_bridge,
            # No trigger, also if the directory changes: a replaced one would clean up a bridge that lives.
            opts=pulumi.ResourceOptions(parent=self),
        )

        def options(physical: str, exists: bool) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(
                parent=self,
                provider=args.host.postgres,
                retain_on_delete=True,
                import_=physical if exists else None,
                depends_on=[directory.resource],  # its note says whose they are, should the run be killed between them
            )

        role = postgresql.Role(
            f"{name}-role",
            name=place.role,
            login=True,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=options(place.role, found.role_exists),
        )
        database = postgresql.Database(
            f"{name}-database",
            name=place.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=options(place.database, found.database_exists),
        )
        self.claimed, self.database = directory.then(True), database.name
        both = pulumi.Output.all(database.name, args.tokens)
        self.url = pulumi.Output.secret(both.apply(lambda values: bridge_database_url(args.bridge, values[1])))
        self.register_outputs({"claimed": self.claimed, "database": self.database, "url": self.url})
