"""One short name for several texts: it changes when any of them does, and reveals nothing of them."""

from __future__ import annotations

import hashlib


def fingerprint(*texts: str) -> str:
    """SHA-256 (64 hex characters) of the texts in their order; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()
