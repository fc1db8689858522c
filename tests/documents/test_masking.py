"""Pins the failure of a token that leaves in an error message: in any spelling, next to anything, cut anywhere."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.masking import clean, forms, masked

# Long and without repetition, as random tokens are, with such characters as need encoding
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/+=._-~"
secrets = st.permutations(ALPHABET).flatmap(lambda signs: st.integers(32, 64).map(lambda n: "".join(signs[:n])))


@given(st.text(), secrets, st.text())
def test_no_spelling_is_left(before: str, secret: str, after: str) -> None:
    around = before.encode() + secret.encode() + after.encode()
    spellings = {
        secret,
        quote(secret, safe=""),
        base64.b64encode(around).decode(),
        base64.urlsafe_b64encode(around).decode(),
    }
    for spelling in spellings:
        text = masked(f"{before}{spelling}{after}", [secret])
        assert secret not in text and quote(secret, safe="") not in text
        for start in range(0, len(spelling) - 40, 4):
            piece = spelling[start : start + 40]
            assert piece not in text or not _within(piece, secret)


def _within(piece: str, secret: str) -> bool:
    """Whether a base64 piece, wherever it begins, holds 24 bytes of the secret and nothing else."""
    return any(piece in form or form in piece for form in forms([secret]))


@given(secrets, st.integers(8, 31))
def test_a_token_that_is_cut_off(secret: str, length: int) -> None:
    text = masked("body " + secret[:length], [secret])
    assert secret[:8] not in text and text.startswith("body ")


@given(st.text(), st.lists(st.just("")))
def test_without_secrets_nothing_changes(text: str, none: list[str]) -> None:
    assert masked(text, none) == text


def test_the_longer_of_two_goes_first() -> None:
    short = "abcdefghijklmnopqrst"
    assert masked(f"{short} {short}uvwxyz01 ab", [short, f"{short}uvwxyz01"]) == "abcd… abcd… ab"
    assert masked("pw: hunter2", ["hunter2"]) == "pw: …"


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("\x1b[31mERR\x1b[0m x", "ERR x"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer …"),
        ("GET /sync?access_token=syt_bWF0dA_abcdefgh_123&since=1", "GET /sync?access_token=…&since=1"),
        ('{"as_token": "abcdefgh12345678"}', '{"as_token": "…"}'),
        ("postgres://mautrix_signal:p4ss@matrix-postgres:5432/x", "postgres://mautrix_signal:…@matrix-postgres:5432/x"),
        ("got mat_Ab12345678_x and mct_Ab12345678", "got mat_… and mct_…"),
        ("http://matrix-mas:8080/ at 10:00:00", "http://matrix-mas:8080/ at 10:00:00"),
        ("user @matt:echo6.co matched mat_short", "user @matt:echo6.co matched mat_short"),
    ],
)
def test_clean_hides_other_peoples_too(log: str, shown: str) -> None:
    assert clean(log, []) == shown
