"""Seeds: what all secrets of a stack are made of (documents/credentials.py)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from documents.credentials import LENGTH, Seed


@dataclass(frozen=True)
class NoArguments:
    """A seed is made of nothing."""


def make_seed(_: NoArguments) -> Seed:
    """A new seed from the operating system's random generator."""
    return Seed(secrets.token_hex(LENGTH // 2))
