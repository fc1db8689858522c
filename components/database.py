"""A bridge's role and database, as in the plan's section 3."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_postgresql as postgresql

from components.cleanup import bridge_parts
from components.host import HostCommand, MatrixHost
from documents.bridge.config import bridge_database_url
from documents.credentials import Tokens
from documents.places import BridgeDeployment
from host_programs.cleanup import bridge as cleanup
from host_programs.files import directory


@dataclass
class BridgeDatabaseArgs:
    """`tokens` hold the role's password; `isolated`: other databases that the role is kept out of."""

    host: MatrixHost
    bridge: BridgeDeployment
    tokens: pulumi.Input[Tokens]
    isolated: tuple[str, ...]


class BridgeDatabase(pulumi.ComponentResource):
    """`mautrix:bridge:Database`: the bridge's own directory on the host, its role and its database.

    Makes: the directory, whose mark says that role and database are this stack's, and which goes last of all, with
    whatever of the bridge is still there; the role, which may log in and nothing else; the database that it owns. The
    provider makes both and drops neither: it cannot drop what is gone, and would not ask whether the messages were
    archived. One that is there and ours, although the state does not hold it (a run was killed), is taken over.
    Outputs: `database`, its name; `url`, a secret.
    Errors: a directory, a role or a database that is somebody else's.
    """

    database: pulumi.Output[str]
    url: pulumi.Output[str]

    def __init__(self, name: str, args: BridgeDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:bridge:Database", name, None, opts)
        place, found = args.bridge.place.database, args.host.observed.bridges[args.bridge.key]
        own = self._directory(name, args)
        through = pulumi.ResourceOptions(
            parent=self,
            provider=args.host.postgres,
            retain_on_delete=True,
            depends_on=[own.resource],  # its mark says whose they are, should the run be killed between them
        )

        def known(physical: str, is_there: bool) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions.merge(through, pulumi.ResourceOptions(import_=physical if is_there else None))

        role = postgresql.Role(
            f"{name}-role",
            name=place.role,
            login=True,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=known(place.role, found.role_exists),
        )
        database = postgresql.Database(
            f"{name}-database",
            name=place.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=known(place.database, found.database_exists),
        )
        self.database = database.name
        both = pulumi.Output.all(database.name, args.tokens)
        self.url = pulumi.Output.secret(both.apply(lambda made: bridge_database_url(args.bridge, made[1])))
        self.register_outputs({"database": self.database, "url": self.url})

    def _directory(self, name: str, args: BridgeDatabaseArgs) -> HostCommand[directory.FileChanges]:
        parts = bridge_parts(args.bridge, args.isolated)
        return args.host.command(
            f"{name}-directory",
            parts,
            create=cleanup.claim_directory,
            delete=cleanup.cleanup_bridge,
            # No trigger, also if the directory changes: a replaced one would clean up a bridge that lives.
            opts=pulumi.ResourceOptions(parent=self),
        )
