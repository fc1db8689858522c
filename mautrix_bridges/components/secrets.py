"""All secrets, made once and kept, encrypted, in the stack's state."""

from __future__ import annotations

import pulumi

from mautrix_bridges.components.host import Host
from mautrix_bridges.documents.credentials import DoublePuppet, Keys, Tokens
from mautrix_bridges.documents.places import NOTHING
from mautrix_bridges.scripts import archived_keys


class BridgeSecrets:
    """`tokens` turn with the setting tokenGeneration. `keys` belong to what the database begins with (`restore`: none,
    or an archive's path, which holds the pickle key) and never turn once it has. Both are secrets as a whole."""

    tokens: pulumi.Output[Tokens]
    keys: pulumi.Output[Keys]

    def __init__(
        self, name: str, host: Host, generation: int, restore: str, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        self.tokens = host.generated(f"{name}-tokens", Tokens, [generation], opts).secret
        if restore == NOTHING:
            self.keys = host.generated(f"{name}-keys", Keys, [restore], opts).secret
        else:
            archive = archived_keys.FromArchive(restore)
            self.keys = host.made_once(f"{name}-keys", archive, archived_keys.keys, [restore], opts).secret


def doublepuppet_tokens(
    name: str, host: Host, generation: int, opts: pulumi.ResourceOptions | None = None
) -> pulumi.Output[DoublePuppet]:
    """The secrets that the stack's bridges share, a secret as a whole; they turn with tokenGeneration."""
    return host.generated(f"{name}-doublepuppet-tokens", DoublePuppet, [generation], opts).secret
