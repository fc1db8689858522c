"""The bridge's role and database, what they may not reach, and the proof of it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_postgresql as postgresql

from components.host import LocalHost, later
from documents.places import Deployment
from scripts import isolation


@dataclass(frozen=True)
class PostgresAccess:
    """The server's address as the Pulumi program reaches it, and its superuser's password (a secret)."""

    address: str
    password: pulumi.Output[str]


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as in the plan's section 3; PUBLIC shut out of both the bridge's and the stack's databases.

    `proof` says where the role got in and where it was refused; whoever needs the role to be as small as planned
    depends on this component.
    """

    proof: pulumi.Output[isolation.Proof]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        deployment: Deployment,
        access: PostgresAccess,
        password: pulumi.Output[str],
        isolated: tuple[str, ...],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`password` is the role's; `isolated` are the databases that it must not get into."""
        super().__init__("mautrix:bridge:Database", name, None, opts)
        postgres, ours = deployment.postgres, deployment.place.database
        server = postgresql.Provider(
            f"{name}-postgres",
            host=access.address,
            port=postgres.port,
            username=postgres.superuser,
            password=access.password,
            database="postgres",
            sslmode="disable",
            connect_timeout=15,
            opts=pulumi.ResourceOptions(parent=self),
        )
        through = pulumi.ResourceOptions(parent=self, provider=server)
        role = postgresql.Role(
            f"{name}-role",
            name=ours.role,
            login=True,
            password=password,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=through,
        )
        own = postgresql.Database(
            f"{name}-database",
            name=ours.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=through,
        )
        proven = host.script(
            f"{name}-isolation",
            isolation.Isolation(postgres, ours, later(password), isolated, deployment.place.directory),
            create=isolation.isolate,
            delete=isolation.restore,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[own]),
        )
        self.proof = proven.result
        self.register_outputs({})
