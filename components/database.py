"""The bridge's role and database, what they may not reach, the role's password, and the proof of it all."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_postgresql as postgresql

from components.host import Host, HostScript, later
from documents.places import Deployment
from scripts import isolation


@dataclass(frozen=True)
class PostgresAccess:
    """Where the provider reaches the server, and its superuser's password (a secret). `role_there`, `database_there`:
    whether the bridge's are there already, and are this stack's."""

    address: str
    port: int
    password: pulumi.Output[str]
    role_there: bool = False
    database_there: bool = False


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as in the plan's section 3, with PUBLIC shut out of both the bridge's and the stack's
    databases.

    Neither is dropped by the provider, which cannot drop what is gone already: scripts/leftovers.py does it. One that
    is there and ours, although the state does not hold it (a run was killed), is taken over.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: Deployment,
        access: PostgresAccess,
        isolated: isolation.Isolation,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Database", name, None, opts)
        postgres, ours = deployment.postgres, deployment.place.database
        server = postgresql.Provider(
            f"{name}-postgres",
            host=access.address,
            port=access.port,
            username=postgres.superuser,
            password=access.password,
            database="postgres",
            sslmode=postgres.sslmode,
            connect_timeout=15,
            superuser=False,  # it is one; so the provider does not ask for the role's password, which is not its own
            opts=pulumi.ResourceOptions(parent=self),
        )
        through = pulumi.ResourceOptions(parent=self, provider=server, retain_on_delete=True)

        def known(each: str, there: bool) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions.merge(through, pulumi.ResourceOptions(import_=each if there else None))

        role = postgresql.Role(
            f"{name}-role",
            name=ours.role,
            login=True,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=known(ours.role, access.role_there),
        )
        own = postgresql.Database(
            f"{name}-database",
            name=ours.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=known(ours.database, access.database_there),
        )
        host.script(
            f"{name}-isolation",
            isolated,
            create=isolation.isolate,
            update=isolation.renew,
            delete=isolation.restore,
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[own]),
        )
        self.register_outputs({})


def database_access(
    name: str,
    host: Host,
    isolated: isolation.Isolation,
    password: pulumi.Output[str],
    opts: pulumi.ResourceOptions,
) -> HostScript[isolation.Proof]:
    """The role's password, set as late as can be (a bridge that runs may have the one before), and the proof where the
    role gets in with it and where it is refused."""
    access = isolation.Access(isolated.postgres, isolated.bridge, later(password), isolated.databases)
    return host.script(f"{name}-access", access, create=isolation.prove, opts=opts)
