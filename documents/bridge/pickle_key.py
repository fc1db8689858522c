"""The key that encrypts parts of a bridge's database (encryption.pickle_key in its config): is it the right one?

mautrix-go keeps its account in crypto_account.account, pickled as libolm does it: base64 (without padding) of
AES-256-CBC and the first 8 bytes of an HMAC-SHA256, whose keys are HKDF-SHA256 of the pickle key with the info
"Pickle" (crypto/goolm/libolmpickle, crypto/goolm/aessha2; mautrix-go 0.26.4 and 0.32.0). The HMAC alone shows whether
a key is the right one.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from typing import Optional

from documents.fingerprint import fingerprint

_MAC, _BLOCK = 8, 16  # bytes


def fingerprint_key(pickle_key: str) -> str:
    """A short name of the key, which reveals nothing of it: in the database's comment, and in archives."""
    return fingerprint(pickle_key)[:16]


def find_key_fault(pickle_key: str, noted: str, pickles: Iterable[bytes]) -> str:
    """Why the key is not that of a database; "" if it is. `pickles`: the accounts in the database; if it has none in
    the form that we know, what counts is `noted`, the fingerprint in its comment ("": none)."""
    opened = {opens_pickle(pickle_key, pickle) for pickle in pickles} - {None}
    if opened:
        return "" if True in opened else "its keys are encrypted with another pickle key"
    return "" if noted in ("", fingerprint_key(pickle_key)) else "it began with another pickle key"


def explain_missing_key(content: str, directory: str) -> str:
    """That the pickle key of the `content` (a database, a dump) is not at hand, and how it gets into the bridge's
    directory."""
    return (
        f"{content}: its pickle key is neither in this state nor in a config.yaml in {directory}: nothing was changed; "
        f"if it is this bridge's, {explain_put_back(directory)}"
    )


def explain_put_back(directory: str) -> str:
    """How a key gets into the bridge's directory."""
    place = f"{directory}/config-old"
    return f"put the bridge's config.yaml, which each of its archives holds, into {place}, and run this again"


def opens_pickle(pickle_key: str, pickle: bytes) -> Optional[bool]:
    """Whether the key decrypts the pickle; None if it is no pickle of this form."""
    try:
        data = base64.b64decode(pickle + b"=" * (-len(pickle) % 4), validate=True)
    except ValueError:
        return None
    if len(data) < _BLOCK + _MAC or (len(data) - _MAC) % _BLOCK:
        return None
    extracted = hmac.digest(bytes(32), pickle_key.encode(), "sha256")
    aes_key = hmac.digest(extracted, b"Pickle\x01", "sha256")
    mac_key = hmac.digest(extracted, aes_key + b"Pickle\x02", "sha256")
    return hmac.compare_digest(hmac.digest(mac_key, data[:-_MAC], "sha256")[:_MAC], data[-_MAC:])
