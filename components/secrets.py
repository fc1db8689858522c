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

T = TypeVar("T")


@dataclass
class StackSecretsArgs:
    """`restores`: what the database of each bridge begins with, by the bridge's name: none, or the path of an archive,
    which holds its pickle key. Another `generation` turns what may turn."""

    host: MatrixHost
    restores: Mapping[str, str]
    generation: int


class StackSecrets(pulumi.ComponentResource):
    """`mautrix:stack:Secrets`: two random seeds, of which every secret is made (documents/credentials.py), so that
    twenty bridges have no more resources with secrets than one.

    Makes: the seed of the tokens, which turns with the generation; the seed of the keys, which never turns; for a
    bridge whose database begins with an archive, the pickle key out of that.
    Outputs, all secret: `doublepuppet`; `tokens` and `keys` of each bridge, by its name.
    """

    doublepuppet: pulumi.Output[DoublePuppet]
    tokens: dict[str, pulumi.Output[Tokens]]
    keys: dict[str, pulumi.Output[Keys]]

    def __init__(self, name: str, args: StackSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:Secrets", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        rotating = args.host.secret_once(
            f"{name}-rotating-seed", NoArguments(), make_seed, triggers=[args.generation], opts=child
        ).secret
        permanent = args.host.secret_once(
            f"{name}-permanent-seed", NoArguments(), make_seed, triggers=[], opts=child
        ).secret
        self.doublepuppet = rotating.apply(lambda seed: seed.derive_secrets(DoublePuppet, ""))
        self.tokens = {bridge: _of_bridge(rotating, Tokens, bridge) for bridge in args.restores}
        self.keys = {bridge: _of_bridge(permanent, Keys, bridge) for bridge in args.restores}
        for bridge, archive in args.restores.items():
            if archive != NO_ARCHIVE:
                found = args.host.secret_once(
                    f"{bridge}-archived-key",
                    archives.ArchivePath(archive),
                    archives.read_archived_key,
                    triggers=[archive],
                    opts=child,
                ).secret
                both = pulumi.Output.all(self.keys[bridge], found)
                self.keys[bridge] = both.apply(lambda known: replace(known[0], pickle_key=known[1].pickle_key))
        self.register_outputs({})


def _of_bridge(seed: pulumi.Output[Seed], kind: type[T], bridge: str) -> pulumi.Output[T]:
    return seed.apply(lambda known: known.derive_secrets(kind, bridge))
