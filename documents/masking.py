"""Secrets out of a text before anybody reads it: as they are, URL-encoded and in base64.

A server may give a token back in a Location header, in a Basic header or in an error's text; logs hold other
people's tokens. What is masked here can go into an error message or an evidence file.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

_SHORT = 8  # below this many characters, base64 pieces and cut-off beginnings are too short to be told from words
_STRANGERS = (
    (re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}"), r"\1…"),
    (re.compile(r"(?i)(\b(?:access_token|as_token|hs_token|refresh_token|client_secret|password)[\"']?\s*[=:]\s*[\"']?)"
                r"[^\s\"'&,}…]{8,}"), r"\1…"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@/]+@"), r"\1…@"),
    (re.compile(r"\b(syt|syl|syr|mat|mar|mct|mcr)_[A-Za-z0-9_-]{8,}"), r"\1_…"),  # Synapse's and MAS's own tokens
)  # fmt: skip
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def forms(secrets: Iterable[str]) -> list[str]:
    """Every spelling of every secret that has to go, the longest first. In base64 a secret inside a longer text has
    three spellings, by where it begins; the characters that depend on its neighbours are left out."""
    spellings: set[str] = set()
    for secret in filter(None, secrets):
        spellings |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret)}
        data = secret.encode()
        if len(data) < _SHORT:
            continue
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + data).decode()
            core = coded[(0, 2, 3)[before] : (before + len(data)) * 8 // 6]
            spellings |= {core, core.replace("+", "-").replace("/", "_")}
    return sorted(spellings, key=lambda form: (-len(form), form))


def _cover(form: str) -> str:
    return f"{form[:4]}…" if len(form) >= 16 else "…"


def masked(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets (of 16 characters and more the first four stay, to tell one from another), and
    without what is cut off at its end: a body is read up to a limit, which may fall into a token."""
    spellings = forms(secrets)
    for form in spellings:
        text = text.replace(form, _cover(form))
    for form in spellings:
        for length in range(min(len(form) - 1, len(text)), _SHORT - 1, -1):
            if text.endswith(form[:length]):
                return text[:-length] + _cover(form)
    return text


def clean(text: str, secrets: Iterable[str]) -> str:
    """A log for a person: no colour codes, neither our secrets nor what looks like somebody else's (bearer tokens,
    passwords in addresses, tokens of Synapse and MAS)."""
    text = masked(_COLOUR.sub("", text), secrets)
    for pattern, instead in _STRANGERS:
        text = pattern.sub(instead, text)
    return text
