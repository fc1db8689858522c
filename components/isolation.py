"""Who gets into which database: PUBLIC out, the roles' passwords, and the proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.host import MatrixHost
from documents.credentials import Tokens
from documents.places import Deployment
from host_programs.postgres import isolation
from host_programs.postgres.access import Access, AccessProof, RolePassword, prove_access
from host_programs.postgres.isolation import Isolation
from host_programs.wire import to_json


@dataclass
class DatabaseIsolationArgs:
    """`databases`: the names of the bridges' own, once they are made; `tokens`: of each bridge, by its name, which hold
    the passwords; `isolated`: the other databases that the bridges' roles are kept out of. `after`: what has to be done
    before the passwords are rotated."""

    host: MatrixHost
    deployment: Deployment
    databases: pulumi.Input[Any]
    tokens: Mapping[str, pulumi.Output[Tokens]]
    isolated: tuple[str, ...]
    after: Sequence[pulumi.Input[Any]] = ()


class DatabaseIsolation(pulumi.ComponentResource):
    """`mautrix:stack:DatabaseIsolation`: the bridges' roles reach their own databases, and no other.

    Makes: a step that takes CONNECT and TEMPORARY from PUBLIC, and gives back at the end what PUBLIC had; a step that
    sets each role's password and proves, by connecting as each role, where it gets in and where it is refused.
    Outputs: `proof`, what was seen; `proven`, True once it is.
    Errors: a role that gets in where it should not, or not where it should.
    """

    proof: pulumi.Output[AccessProof]
    proven: pulumi.Output[bool]

    def __init__(self, name: str, args: DatabaseIsolationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:DatabaseIsolation", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        deployment = args.deployment
        wanted = Isolation(deployment.stack, deployment.postgres, deployment.databases, args.isolated)
        public = args.host.command(
            f"{name}-public",
            pulumi.Output.from_input(args.databases).apply(lambda _: wanted),
            create=isolation.shut_public_out,
            update=isolation.renew_isolation,
            delete=isolation.give_public_back,
            opts=child,
        )

        def access(tokens: Mapping[str, Tokens]) -> Access:
            passwords = tuple(
                RolePassword(bridge.place.database, tokens[bridge.bridge.name].database_password)
                for bridge in deployment.bridges
            )
            return Access(deployment.postgres, passwords, args.isolated)

        tokens = pulumi.Output.all(pulumi.Output.all(**args.tokens), public.then(None), *args.after)
        proof = args.host.command(
            f"{name}-proof",
            tokens.apply(lambda values: access(values[0])),
            create=prove_access,
            shown=False,
            opts=child,
        )
        self.proof, self.proven = proof.result, proof.then(True)
        self.register_outputs({"proof": proof.result.apply(to_json), "proven": self.proven})
