"""Secrets from the operating system's random generator, of letters and digits: safe in a URL, in YAML and in SQL.

tokens        makes what `tokenGeneration` turns of one bridge's.
doublepuppet  the same of what the bridges share.
keys          makes what never turns; that of a database that is restored is in its archive (scripts/archived_keys.py).

The result is a secret as a whole: a Command that runs one of these is made once and ignores every change but that of
its triggers, or an edit of this text would turn every token.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, fields

from mautrix_bridges.documents.credentials import SECRET_LENGTH, SENDER_LENGTH, TOKEN_LENGTH, DoublePuppet, Keys, Tokens
from mautrix_bridges.scripts.common import run


@dataclass(frozen=True)
class Generation:
    """`number` makes new tokens when it changes."""

    number: int


@dataclass(frozen=True)
class Nothing:
    """Nothing is needed for it."""


def random_text(length: int) -> str:
    """`length` letters and digits."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def tokens(arguments: Generation) -> Tokens:
    """Five new secrets."""
    lengths = {field.name: TOKEN_LENGTH if field.name.endswith("_token") else SECRET_LENGTH for field in fields(Tokens)}
    return Tokens(**{name: random_text(length) for name, length in lengths.items()})


def doublepuppet(arguments: Generation) -> DoublePuppet:
    """Two new tokens."""
    return DoublePuppet(as_token=random_text(TOKEN_LENGTH), hs_token=random_text(TOKEN_LENGTH))


def keys(arguments: Nothing) -> Keys:
    """A new pickle key, and a new sender."""
    return Keys(pickle_key=random_text(SECRET_LENGTH), sender_localpart=random_text(SENDER_LENGTH))


VERBS = (tokens, doublepuppet, keys)

if __name__ == "__main__":
    run(*VERBS)
