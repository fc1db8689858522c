"""What one stack needs in homeserver.yaml: the two keys of Synapse's, and the entries under them."""

from __future__ import annotations

from dataclasses import dataclass

from documents.places import Deployment

OWNER = r"[A-Za-z0-9][A-Za-z0-9._/@+-]*"  # what a comment can hold: "mautrix-signal/contabo"
# Plan, section 5b; not needed while encryption.appservice is false, see docs/design.md.
EXPERIMENTAL_FEATURES = ("msc3202_transaction_extensions", "msc2409_to_device_messages_enabled")
REGISTRATIONS = "app_service_config_files"
FEATURES = "experimental_features"
KEYS = (REGISTRATIONS, FEATURES)


@dataclass(frozen=True)
class Entries:
    """`owner` names the stack in the comments, as "mautrix-signal/contabo"; `registrations` are paths as Synapse sees
    them, as "/data/registration.yaml"; `experimental_features` are flags that must be true."""

    owner: str
    registrations: tuple[str, ...] = ()
    experimental_features: tuple[str, ...] = ()

    @classmethod
    def of(cls, deployment: Deployment) -> Entries:
        names = (*(bridge.registration_file for bridge in deployment.bridges), deployment.doublepuppet_file)
        return cls(
            deployment.stack,
            tuple(map(deployment.synapse.path_inside, names)),
            EXPERIMENTAL_FEATURES if deployment.experimental_features else (),
        )

    def under(self, key: str) -> tuple[str, ...]:
        """The entries under one of the two keys, without repetition."""
        return tuple(dict.fromkeys(self.registrations if key == REGISTRATIONS else self.experimental_features))
