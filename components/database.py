"""A bridge's role and database, what the bridges' roles may not reach, a role's password, and the proof of it all."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_postgresql as postgresql

from components.host import Host, HostScript
from documents.places import Database
from host_programs.postgres import isolation
from host_programs.postgres.access import Access, AccessProof, prove_access


@dataclass(frozen=True)
class PostgresAccess:
    """Where the provider reaches the server, and as which superuser; the password is a secret, None: none is needed;
    `sslmode` is disable or require."""

    address: pulumi.Input[str]
    port: pulumi.Input[int]
    superuser: pulumi.Input[str]
    password: pulumi.Input[str] | None
    sslmode: pulumi.Input[str]


def postgres_provider(
    name: str, access: PostgresAccess, opts: pulumi.ResourceOptions | None = None
) -> postgresql.Provider:
    """As the superuser."""
    return postgresql.Provider(
        f"{name}-postgres",
        host=access.address,
        port=access.port,
        username=access.superuser,
        password=access.password,
        database="postgres",
        sslmode=access.sslmode,
        connect_timeout=15,
        superuser=False,  # it is one; so the provider does not ask for the role's password, which is not its own
        opts=opts,
    )


class BridgeDatabase:
    """Role and database as in the plan's section 3.

    Neither is dropped by the provider, which cannot drop what is gone already: bridge/leftovers.py does it. One that
    is there and ours, although the state does not hold it (a run was killed), is taken over.
    """

    def __init__(
        self,
        name: str,
        ours: Database,
        server: postgresql.Provider | None = None,
        role_there: bool = False,
        database_there: bool = False,
        password: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`server`: if it is not the provider of `opts`; `role_there`, `database_there`: whether the bridge's are there
        already, and are this stack's; `password`: the role's, if nothing else sets it (`databases_access`)."""
        through = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(provider=server, retain_on_delete=True))

        def known(each: str, there: bool) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions.merge(through, pulumi.ResourceOptions(import_=each if there else None))

        role = postgresql.Role(
            f"{name}-role",
            name=ours.role,
            login=True,
            superuser=False,
            create_database=False,
            create_role=False,
            password=password,
            opts=known(ours.role, role_there),
        )
        self.database = postgresql.Database(
            f"{name}-database",
            name=ours.database,
            owner=role.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=known(ours.database, database_there),
        )


def databases_isolated(
    name: str, host: Host, isolated: isolation.Isolation, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    """PUBLIC shut out of both the bridges' and the stack's databases."""
    return host.script(
        f"{name}-isolation",
        isolated,
        create=isolation.shut_public_out,
        update=isolation.renew_isolation,
        delete=isolation.give_public_back,
        shown=True,
        opts=opts,
    ).resource


def databases_access(name: str, host: Host, access: Access, opts: pulumi.ResourceOptions) -> HostScript[AccessProof]:
    """The roles' passwords, set as late as can be (a bridge that runs may have the one before), and the proof where
    each role gets in with it and where it is refused."""
    return host.script(f"{name}-access", access, create=prove_access, opts=opts)
