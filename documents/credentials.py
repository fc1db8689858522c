"""A bridge's secrets, by the one name that each has from its making to the script that uses it."""

from __future__ import annotations

from dataclasses import dataclass, field

TOKEN_LENGTH = 64  # of as_token and hs_token, as the bridge's own `-g` makes them; letters and digits
SENDER_LENGTH = 32  # likewise of sender_localpart
SECRET_LENGTH = 64


@dataclass(frozen=True)
class Tokens:
    """What `tokenGeneration` turns."""

    database_password: str = field(repr=False)
    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)
    doublepuppet_as_token: str = field(repr=False)
    doublepuppet_hs_token: str = field(repr=False)
    provisioning_secret: str = field(repr=False)
    public_media_key: str = field(repr=False)


@dataclass(frozen=True)
class Keys:
    """What never turns: the key that the bridge's database is encrypted with, and the name of the appservice's sender
    (random, and never the bot's, for which Synapse answers /sync with 500)."""

    pickle_key: str = field(repr=False)
    sender_localpart: str
