"""A line that is so long that the command plugin stops reading, and `up` hangs for ever; text that is lost on the
way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_programs import common

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
from host_programs import common
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


EACH = """
from dataclasses import dataclass
from host_programs import common
@dataclass
class Told:
    says: str
def check(arguments: Told) -> Told:
    if arguments.says == "no":
        raise common.ScriptError("FAIL: it says no\\nand more")
    if arguments.says == "broken":
        raise ValueError("a defect")
    common.say("all well")
    return arguments
each = {name: common.Contained(f"{folder}/{name}", 7) for name in ("a", "b", "lost/c")}
common.run(check, each=each)
"""


def side_by_side(folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    stdin = json.dumps({name.replace("_", "/"): {"says": says} for name, says in told.items()})
    program = f"folder = {str(folder)!r}\n{EACH}"
    return subprocess.run(
        [sys.executable, "-c", program, "check"], input=stdin, capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_a_failure_that_is_one_bridge_s_alone_is_a_result_and_noted(tmp_path: Path) -> None:
    """Pulumi starts nothing more once a step failed; and asks nothing again that did not."""
    done = side_by_side(tmp_path, a="no", b="yes")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"a": {"failed": "FAIL: it says no"}, "b": {"says": "yes"}}
    assert (tmp_path / "a").read_text() == "7\n" and not (tmp_path / "b").exists()
    assert sorted(done.stderr.splitlines()) == ["a | FAIL: it says no", "a | and more", "b | all well"]


def test_of_one_bridge_alone_nothing_says_which(tmp_path: Path) -> None:
    assert side_by_side(tmp_path, b="yes").stderr == "all well\n"
    assert side_by_side(tmp_path).stdout == "{}\n", "all of them failed before"


@pytest.mark.parametrize(("told", "line"), [({"a": "broken"}, "ValueError: a defect"), ({"lost_c": "no"}, "lost/c: ")])
def test_a_defect_of_ours_or_a_failure_that_cannot_be_noted_ends_the_run(
    tmp_path: Path, told: dict[str, str], line: str
) -> None:
    done = side_by_side(tmp_path, b="yes", **told)
    assert (done.returncode, done.stdout) == (1, "") and line in done.stderr


class Asked:
    """Answers with the number of its questions so far; the first one waits until `others` names are wanted next."""

    def __init__(self, others: int) -> None:
        self.questions: list[list[str]] = []
        self.together = common.Together(self.ask)
        self.others = others

    def ask(self, wanted: Sequence[str]) -> dict[str, int]:
        self.questions.append([*wanted])
        while len(self.questions) == 1 and len(self.together._next.wanted) < self.others:
            time.sleep(0.001)
        if "broken" in wanted:
            raise common.ScriptError("it is")
        return dict.fromkeys([each for each in wanted if each != "unknown"], len(self.questions))

    def all(self, *wanted: tuple[str, ...]) -> list[dict[str, int] | str]:
        """What each of as many threads is told; the first one asks before the others."""

        def one(each: tuple[str, ...]) -> dict[str, int] | str:
            while each is not wanted[0] and not self.questions:
                time.sleep(0.001)
            try:
                return self.together(*each)
            except common.ScriptError as error:
                return str(error)

        with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
            return [*pool.map(one, wanted)]


def test_what_many_want_to_know_while_one_is_answered_is_asked_in_one() -> None:
    """A process of Docker's for each of twenty bridges would be most of what they wait for."""
    asked = Asked(others=4)
    told = asked.all(("a",), ("a",), ("b", "unknown"), ("b", "c"))
    assert told == [{"a": 1}, {"a": 2}, {"b": 2}, {"b": 2, "c": 2}], "no answer is older than its question"
    assert [sorted(each) for each in asked.questions] == [["a"], ["a", "b", "c", "unknown"]]
    assert asked.together("a") == {"a": 3}


def test_a_failure_is_that_of_all_who_wait_and_of_nobody_after_them() -> None:
    asked = Asked(others=1)
    assert asked.all(("broken",), ("a",)) == ["it is", "it is"]
    assert asked.together("b") == {"b": 2}
    assert asked.questions == [["broken"], ["b"]], "what those who were told so wanted is not asked for them later"
