"""All secrets: made once, and kept, encrypted, in the stack's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import pulumi

from components.host import MatrixHost
from documents.credentials import DoublePuppet, Keys, Seed, Tokens
from documents.places import NO_ARCHIVE
from host_programs.backup import archives
from host_programs.secrets import NoArguments, make_seed
from host_programs.wire import to_json

T = TypeVar("T")


@dataclass
class StackSecretsArgs:
    """`restores`: what the database of each bridge begins with, by the bridge's name: none, or the path of an archive,
    which holds its pickle key. Another `generation` rotates what may rotate."""

    host: MatrixHost
    restores: Mapping[str, str]
    generation: int


class StackSecrets(pulumi.ComponentResource):
    """`mautrix:stack:Secrets`: two random seeds, of which every secret is made (documents/credentials.py).

    Makes: the seed of the tokens, which the generation rotates; the seed of the keys, which never rotates; for a bridge
    whose database begins with an archive, the pickle key out of that.
    Outputs, all secret: `doublepuppet`; `tokens` and `keys` of each bridge, by its name.
    """

    doublepuppet: pulumi.Output[DoublePuppet]
    tokens: dict[str, pulumi.Output[Tokens]]
    keys: dict[str, pulumi.Output[Keys]]

    def __init__(self, name: str, args: StackSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:Secrets", name, None, opts)
        host, child = args.host, pulumi.ResourceOptions(parent=self)
        rotating = host.secret_once(
            f"{name}-rotating-seed", NoArguments(), make_seed, triggers=[args.generation], opts=child
        ).secret
        permanent = host.secret_once(f"{name}-permanent-seed", NoArguments(), make_seed, triggers=[], opts=child).secret
        self.doublepuppet = rotating.apply(lambda seed: seed.derive_secrets(DoublePuppet, ""))
        self.tokens = {bridge: _derive(rotating, Tokens, bridge) for bridge in args.restores}
        self.keys = {bridge: _derive(permanent, Keys, bridge) for bridge in args.restores}
        for bridge, archive in args.restores.items():
            if archive != NO_ARCHIVE:
                archived = host.secret_once(
                    f"{bridge}-archived-key",
                    archives.ArchivePath(archive),
                    archives.read_archived_key,
                    triggers=[archive],
                    opts=child,
                ).secret
                self.keys[bridge] = pulumi.Output.all(self.keys[bridge], archived).apply(
                    lambda both: replace(both[0], pickle_key=both[1].pickle_key)
                )
        self.register_outputs(
            {
                "doublepuppet": self.doublepuppet.apply(to_json),
                "tokens": pulumi.Output.all(**self.tokens).apply(to_json),
                "keys": pulumi.Output.all(**self.keys).apply(to_json),
            }
        )


def _derive(seed: pulumi.Output[Seed], kind: type[T], bridge: str) -> pulumi.Output[T]:
    return seed.apply(lambda value: value.derive_secrets(kind, bridge))
