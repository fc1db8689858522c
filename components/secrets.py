"""All secrets of one bridge, made once and kept, encrypted, in the stack's state."""

from __future__ import annotations

import pulumi

from components.host import LocalHost
from documents.credentials import Keys, Tokens
from documents.places import Deployment
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
        deployment: Deployment,
        generation: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Secrets", name, None, opts)
        turn = generate.Generation(generation)
        archive = generate.FromArchive(deployment.archive.directory, deployment.bridge.name, deployment.archive.restore)
        self.tokens = host.made_once(f"{name}-tokens", turn, generate.tokens, [generation], self).secret
        self.keys = host.made_once(f"{name}-keys", archive, generate.keys, None, self).secret
        self.register_outputs({})
