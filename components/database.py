"""The bridge's role and database, what they may not reach, and the proof of it."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_postgresql as postgresql

from components.host import Host


class BridgeDatabase(pulumi.ComponentResource):
    """Role and database as in the plan's section 3; PUBLIC shut out of both the bridge's and the stack's databases.

    `proof` is what the proof found (a dict: role, connects, refused, attributes); whoever needs the role to be as
    small as planned depends on this component.
    """

    role: pulumi.Output[str]
    database: pulumi.Output[str]
    proof: pulumi.Output[dict[str, object]]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        address: str,
        port: int,
        superuser: str,
        superuser_password: pulumi.Input[str],
        container: str,
        role: str,
        database: str,
        password: pulumi.Input[str],
        isolated: Sequence[str],
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Database", name, None, opts)
        server = postgresql.Provider(
            f"{name}-server",
            host=address,
            port=port,
            username=superuser,
            password=superuser_password,
            database="postgres",
            sslmode="disable",
            connect_timeout=15,
            opts=pulumi.ResourceOptions(parent=self),
        )
        through = pulumi.ResourceOptions(parent=self, provider=server)
        account = postgresql.Role(
            f"{name}-role",
            name=role,
            login=True,
            password=password,
            superuser=False,
            create_database=False,
            create_role=False,
            opts=through,
        )
        own = postgresql.Database(
            f"{name}-database",
            name=database,
            owner=account.name,
            template="template0",
            encoding="UTF8",
            lc_collate="C",
            lc_ctype="C",
            opts=through,
        )
        closed: list[pulumi.Resource] = [
            postgresql.Grant(
                f"{name}-public",
                database=own.name,
                role="public",
                object_type="database",
                privileges=[],
                opts=through,
            )
        ]
        inside = {"container": container, "superuser": superuser}
        for other in isolated:
            # What PUBLIC could do before us is read once and kept, for the delete to give back exactly that.
            before = host.script(
                f"{name}-before-{other}",
                "scripts.isolation",
                {**inside, "database": other},
                create="read",
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["create", "update", "delete", "stdin"]),
            )
            closed.append(
                host.script(
                    f"{name}-isolation-{other}",
                    "scripts.isolation",
                    {**inside, "database": other, "before": before.stdout, "reapply": reapply},
                    create="revoke",
                    delete="restore",
                    opts=pulumi.ResourceOptions(parent=self),
                ).resource
            )
        proof = host.script(
            f"{name}-proof",
            "scripts.isolation",
            {
                **inside,
                "host": container,
                "port": port,
                "role": account.name,
                "password": password,
                "own": own.name,
                "refused": list(isolated),
                "reapply": reapply,
            },
            create="prove",
            opts=pulumi.ResourceOptions(parent=self, depends_on=closed),
        )
        self.role, self.database, self.proof = account.name, own.name, proof.plain()
        self.register_outputs({"role": self.role, "database": self.database, "proof": self.proof})
