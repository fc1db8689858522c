"""Pins: a bridge that is gone at 3 a.m. with a bare number. That no code of the source is missing is tested in
tests/bridge_core."""

from __future__ import annotations

import pytest

from verdicts.exit_codes import EXIT_CODES, NEEDS_A_CHANGE, explain_exit_code


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (10, "config"),
        (11, "config"),
        (12, "logging"),
        (13, "could not reach the bridge"),
        (14, "database settings"),
        (15, "refuses the role or its password"),
        (16, "as_token"),
        (17, "another user"),
        (18, "too old"),
        (20, "registration"),
        (21, "registration"),
        (22, "registration"),
        (23, "listen"),
        (33, "keys"),
        (34, "cross-signing"),
        (50, "encryption"),
        (51, "/sync"),
        (137, "out of memory"),
    ],
)
def test_a_known_code_says_what_happened(code: int, word: str) -> None:
    assert word in explain_exit_code(code).meaning


def test_each_is_one_line_with_number_and_mend() -> None:
    for code, known in EXIT_CODES.items():
        assert known.code == code
        assert str(known) == f"exit code {code}: {known.meaning}; {known.fix}"
        assert known.meaning and known.fix and "\n" not in str(known)


def test_an_unknown_code_still_gets_an_answer() -> None:
    assert "not known" in explain_exit_code(99).meaning
    assert "signal 6" in explain_exit_code(134).meaning
    assert explain_exit_code(99).fix


def test_only_known_codes_are_called_hopeless() -> None:
    assert set(EXIT_CODES) >= NEEDS_A_CHANGE
    assert not NEEDS_A_CHANGE & {0, 13, 15, 33, 51, 137}  # these can heal by themselves
