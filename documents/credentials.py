"""The secrets by name, and how each is derived from one of two random seeds and from its purpose (HMAC-SHA256). So two
resources are enough for any number of bridges, and no secret reveals another."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, fields, replace
from typing import TypeVar

T = TypeVar("T")

# Lengths in characters, as the bridge's own `-g` makes them.
LENGTH = 64
SENDER_LENGTH = 32


@dataclass(frozen=True)
class Tokens:
    """The secrets of one bridge that another `tokenGeneration` rotates."""

    database_password: str = field(repr=False)
    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)
    provisioning_secret: str = field(repr=False)
    public_media_key: str = field(repr=False)


@dataclass(frozen=True)
class DoublePuppet:
    """The shared tokens of the appservice for double puppeting. Another `tokenGeneration` rotates them."""

    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """What is never rotated: the key that encrypts parts of the bridge's database, and the name of the appservice's
    sender (random, and never the bot's: Synapse would answer its /sync with 500)."""

    pickle_key: str = field(repr=False)
    sender_localpart: str


@dataclass(frozen=True)
class Seed:
    """The random text from which secrets are derived; it lives as long as they do."""

    seed: str = field(repr=False)

    def derive_secrets(self, kind: type[T], bridge: str) -> T:
        """The secrets of a class for a bridge by name ("": shared), in hex: safe in a URL, in YAML and in SQL."""
        names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        return kind(**{name: self._derive(f"{kind.__name__}.{name} {bridge}", name) for name in names})

    def _derive(self, purpose: str, name: str) -> str:
        text = hmac.digest(self.seed.encode(), purpose.encode(), "sha256").hex()
        return text[: SENDER_LENGTH if name == "sender_localpart" else LENGTH]


@dataclass(frozen=True)
class PermanentSeed(Seed):
    """The seed of what is never rotated. `pickle_keys`: by bridge, the keys of databases that were there before it."""

    pickle_keys: dict[str, str] = field(repr=False)

    def derive_keys(self, bridge: str) -> Keys:
        """Those of a bridge by name."""
        keys = self.derive_secrets(Keys, bridge)
        return replace(keys, pickle_key=self.pickle_keys.get(bridge, keys.pickle_key))


def scram_verifier(password: str, salt: bytes) -> str:
    """What Postgres stores of a password of letters and digits (others need a normalization first).

    Postgres computes the same (RFC 5803; src/common/scram-common.c), and stores it unchanged if it gets it in place of
    the password.
    """
    rounds = 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${rounds}:{}${}:{}".format(*coded, rounds=rounds)


def matches_verifier(verifier: str, password: str) -> bool:
    """Whether the verifier is the one of this password."""
    salt = verifier.partition(":")[2].partition("$")[0]
    try:
        return hmac.compare_digest(verifier, scram_verifier(password, base64.b64decode(salt, validate=True)))
    except ValueError:
        return False  # it is no SCRAM verifier
