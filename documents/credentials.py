"""The secrets, by the one name that each has from its making to the script that uses it.

A stack keeps two random seeds, and each secret is made of one of them and of what it is for (HMAC-SHA256): however many
bridges there are, two resources hold what all their secrets come from, and none tells another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, fields
from typing import TypeVar

T = TypeVar("T")

# Characters, as the bridge's own `-g` makes them.
LENGTH = 64
SENDER_LENGTH = 32


@dataclass(frozen=True)
class Tokens:
    """What `tokenGeneration` turns of one bridge's."""

    database_password: str = field(repr=False)
    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)
    provisioning_secret: str = field(repr=False)
    public_media_key: str = field(repr=False)


@dataclass(frozen=True)
class DoublePuppet:
    """What `tokenGeneration` turns of what the bridges share: the tokens of the appservice for double puppeting."""

    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """What never turns: the key that the bridge's database is encrypted with, and the name of the appservice's sender
    (random, and never the bot's, for which Synapse answers /sync with 500)."""

    pickle_key: str = field(repr=False)
    sender_localpart: str


@dataclass(frozen=True)
class Seed:
    """What other secrets are made of; as long as what is made of it."""

    seed: str = field(repr=False)

    def secrets(self, kind: type[T], whose: str) -> T:
        """Those of a class of secrets for the one of that name, in hex: safe in a URL, in YAML and in SQL."""
        names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
        return kind(**{name: self._secret(f"{kind.__name__}.{name} {whose}", name) for name in names})

    def _secret(self, purpose: str, name: str) -> str:
        text = hmac.digest(self.seed.encode(), purpose.encode(), "sha256").hex()
        return text[: SENDER_LENGTH if name == "sender_localpart" else LENGTH]


def scram_verifier(password: str, salt: bytes) -> str:
    """What Postgres keeps of a password of letters and digits (others would have to be normalized first), as it makes
    it itself (RFC 5803; src/common/scram-common.c): given in place of the password, it is taken as it is."""
    rounds = 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    coded = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${rounds}:{}${}:{}".format(*coded, rounds=rounds)


def verifies(verifier: str, password: str) -> bool:
    """Whether that is what Postgres keeps of this very password."""
    salt = verifier.partition(":")[2].partition("$")[0]
    try:
        return hmac.compare_digest(verifier, scram_verifier(password, base64.b64decode(salt, validate=True)))
    except ValueError:
        return False  # none, or one that is no SCRAM verifier
