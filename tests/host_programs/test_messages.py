"""A line that is so long that the command plugin stops reading, and `up` hangs for ever; text that is lost on the
way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_programs import messages


@given(st.text(alphabet=st.sampled_from("aä€😀\t "), max_size=6000), st.integers(1, 3))
def test_pieces_are_short_whole_and_nothing_is_lost(text: str, times: int) -> None:
    pieces = list(messages._split_line(text * times))
    assert "".join(pieces) == text * times and pieces
    assert all(len(piece.encode()) <= messages.LONGEST_LINE for piece in pieces)


def test_each_kind_of_end_ends_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    messages.say("one\rtwo\r\nthree\n\nfour")
    assert capsys.readouterr().err == "one\ntwo\nthree\n\nfour\n"
