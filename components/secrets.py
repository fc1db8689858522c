"""All secrets: made once, and kept, encrypted, in the stack's state."""

from __future__ import annotations

from dataclasses import replace

import pulumi

from components.host import Host
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.places import NO_ARCHIVE
from host_programs.backup import archived_keys


class StackSecrets:
    """What all secrets of a stack are made of. The setting tokenGeneration (`generation`) turns those that it may.
    `doublepuppet`: what the bridges share."""

    def __init__(
        self,
        name: str,
        host: Host,
        generation: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        self._host = host
        self._turned = host.seed(f"{name}-tokens", [generation], opts).secret
        self._kept = host.seed(f"{name}-keys", [], opts).secret
        self.doublepuppet = self._turned.apply(lambda seed: seed.derive_secrets(DoublePuppet, ""))

    def tokens(self, bridge: str) -> pulumi.Output[Tokens]:
        """Those of the bridge of that name."""
        return self._turned.apply(lambda seed: seed.derive_secrets(Tokens, bridge))

    def keys(
        self, bridge: str, name: str, restore: str, opts: pulumi.ResourceOptions | None = None
    ) -> pulumi.Output[Keys]:
        """They belong to what the database begins with and never turn once it has: `restore` is none, or the path of an
        archive, which holds the pickle key. `name` begins the name of the resource that reads it there."""
        own = self._kept.apply(lambda seed: seed.derive_secrets(Keys, bridge))
        if restore == NO_ARCHIVE:
            return own
        archive = archived_keys.FromArchive(restore)
        there = self._host.made_once(f"{name}-keys", archive, archived_keys.keys, [restore], opts).secret
        return pulumi.Output.all(own, there).apply(lambda both: replace(both[0], pickle_key=both[1].pickle_key))
