"""All secrets of one bridge, made once and kept, encrypted, in the stack's state."""

from __future__ import annotations

import pulumi

from components.host import LocalHost
from documents.credentials import Keys, Tokens
from scripts import generate


class BridgeSecrets(pulumi.ComponentResource):
    """`tokens` turn with the setting tokenGeneration, `keys` never do; the pickle key of a deployment that begins with
    an archived database comes out of that archive. Both are secrets as a whole."""

    tokens: pulumi.Output[Tokens]
    keys: pulumi.Output[Keys]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        generation: int,
        archive: generate.FromArchive,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Secrets", name, None, opts)
        tokens = generate.Generation(generation)
        self.tokens = host.made_once(f"{name}-tokens", tokens, generate.tokens, [generation], self).secret
        self.keys = host.made_once(f"{name}-keys", archive, generate.keys, None, self).secret
        self.register_outputs({})
