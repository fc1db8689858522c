"""Pins: a changed text, or one that moved to its neighbour, which keeps the old container."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from documents.fingerprint import fingerprint

TEXTS = st.lists(st.text(), max_size=4)


@given(TEXTS, TEXTS)
def test_equal_exactly_when_the_texts_are(one: list[str], other: list[str]) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


def test_a_text_that_moves_to_its_neighbour_counts() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
    assert fingerprint("1:a", "") != fingerprint("", "1:a")


def test_a_fingerprint_reveals_nothing_of_its_texts() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", fingerprint("secret"))
