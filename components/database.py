"""The bridge's role and database, what they may not reach, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_postgresql as postgresql

from components.host import LocalHost, later
from documents.places import Database, Postgres
from scripts import isolation


@dataclass(frozen=True)
class PostgresAccess:
    """The server, its address as the Pulumi program reaches it, and its superuser's password (a secret)."""

    server: Postgres
    address: str
    password: pulumi.Output[str]


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as in the plan's section 3; PUBLIC shut out of both the bridge's and the stack's databases.

    `proof` says where the role got in and where it was refused; whoever needs the role to be as small as planned
    depends on this component.
    """

    role: pulumi.Output[str]
    database: pulumi.Output[str]
    proof: pulumi.Output[isolation.Proof]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        access: PostgresAccess,
        isolate: isolation.Isolation,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`isolate.password` is the role's, and may be an output."""
        super().__init__("mautrix:bridge:Database", name, None, opts)
        server = postgresql.Provider(
            f"{name}-postgres",
            host=access.address,
            port=access.server.port,
            username=access.server.superuser,
            password=access.password,
            database="postgres",
            sslmode="disable",
            connect_timeout=15,
            opts=pulumi.ResourceOptions(parent=self),
        )
        through = pulumi.ResourceOptions(parent=self, provider=server)
        role = postgresql.Role(
            f"{name}-role",
            name=isolate.bridge.role,
            login=True,
            password=isolate.password,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=through,
        )
        own = postgresql.Database(
            f"{name}-database",
            name=isolate.bridge.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=through,
        )
        proven = host.script(
            f"{name}-isolation",
            isolate,
            create=isolation.isolate,
            delete=isolation.restore,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[own]),
        )
        self.role, self.database, self.proof = role.name, own.name, proven.result
        self.register_outputs({"role": self.role, "database": self.database})
