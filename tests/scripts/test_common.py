"""A line that is so long that the command plugin stops reading, and `up` hangs for ever; text that is lost on the
way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mautrix_bridges.scripts import common

ROOT = Path(__file__).resolve().parents[2]
LONG = "ä" * 100_000


@given(st.text(alphabet=st.sampled_from("aä€😀\t "), max_size=6000), st.integers(1, 3))
def test_pieces_are_short_whole_and_nothing_is_lost(text: str, times: int) -> None:
    pieces = list(common._pieces(text * times))
    assert "".join(pieces) == text * times and pieces
    assert all(len(piece.encode()) <= common.LONGEST for piece in pieces)


def test_each_kind_of_end_ends_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    common.say("one\rtwo\r\nthree\n\nfour")
    assert capsys.readouterr().err == "one\ntwo\nthree\n\nfour\n"


RAISED = [
    ("common.ScriptError(LONG)", LONG),
    ("ValueError(LONG)", LONG),
    ("common.ScriptError('10%\\r' * 30000)", "10%" * 30000),
]


@pytest.mark.parametrize(("raised", "whole"), RAISED, ids=["an error", "a defect", "progress"])
def test_whatever_a_script_says_is_in_short_lines(raised: str, whole: str) -> None:
    program = f"""
from dataclasses import dataclass
from mautrix_bridges.scripts import common
LONG = "ä" * 100_000
@dataclass
class Nothing:
    pass
def verb(arguments: Nothing) -> Nothing:
    raise {raised}
common.run(verb)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "verb"], input="{}", capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert max(len(line.encode()) for line in done.stderr.split("\n")) <= 4096
    assert whole in done.stderr.replace("\n", "")
    assert ("Traceback" in done.stderr) == raised.startswith("ValueError")


CONTAINED = """
from dataclasses import dataclass
from mautrix_bridges.scripts import common
@dataclass
class Nothing:
    pass
def check(arguments: Nothing) -> Nothing:
    raise common.ScriptError("FAIL: it says no\\nand more")
def remove(arguments: Nothing) -> Nothing:
    return check(arguments)
def broken(arguments: Nothing) -> Nothing:
    raise ValueError("a defect")
common.run(check, remove, broken, contained=common.Contained(("check", "broken"), {mark!r}, 7))
"""


@pytest.mark.parametrize(("verb", "contained"), [("check", True), ("remove", False), ("broken", False)])
def test_a_failure_that_is_one_bridge_s_alone_is_a_result_and_noted(tmp_path: Path, verb: str, contained: bool) -> None:
    """Pulumi starts nothing more once a step failed; and asks nothing again that did not. A deletion that failed, or a
    defect of ours, ends the run."""
    mark = tmp_path / ".failed"
    program = CONTAINED.replace("{mark!r}", repr(str(mark)))
    done = subprocess.run(
        [sys.executable, "-c", program, verb], input="{}", capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == (0 if contained else 1)
    assert done.stdout == ('{"failed": "FAIL: it says no"}\n' if contained else "")
    assert mark.exists() == contained and (not contained or mark.read_text() == "7\n")
    assert ("and more" in done.stderr) == (verb != "broken")
