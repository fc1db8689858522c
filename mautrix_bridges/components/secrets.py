"""All secrets, made once and kept, encrypted, in the stack's state."""

from __future__ import annotations

import pulumi

from mautrix_bridges.components.host import Host
from mautrix_bridges.documents.credentials import DoublePuppet, Keys, Tokens
from mautrix_bridges.documents.places import NOTHING
from mautrix_bridges.scripts import archived_keys, generate


class BridgeSecrets(pulumi.ComponentResource):
    """`tokens` turn with the setting tokenGeneration. `keys` belong to what the database begins with (`restore`: none,
    or an archive's path, which holds the pickle key) and never turn once it has. Both are secrets as a whole."""

    tokens: pulumi.Output[Tokens]
    keys: pulumi.Output[Keys]

    def __init__(
        self,
        name: str,
        host: Host,
        generation: int,
        restore: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Secrets", name, None, opts)
        turn = generate.Generation(generation)
        own = pulumi.ResourceOptions(parent=self)
        self.tokens = host.made_once(f"{name}-tokens", turn, generate.tokens, [generation], own).secret
        if restore == NOTHING:
            keys = host.made_once(f"{name}-keys", generate.Nothing(), generate.keys, [restore], own)
        else:
            archive = archived_keys.FromArchive(restore)
            keys = host.made_once(f"{name}-keys", archive, archived_keys.keys, [restore], own)
        self.keys = keys.secret
        self.register_outputs({})


def doublepuppet_tokens(
    name: str, host: Host, generation: int, opts: pulumi.ResourceOptions
) -> pulumi.Output[DoublePuppet]:
    """The secrets that the stack's bridges share, a secret as a whole; they turn with tokenGeneration."""
    turn = generate.Generation(generation)
    return host.made_once(f"{name}-doublepuppet-tokens", turn, generate.doublepuppet, [generation], opts).secret
