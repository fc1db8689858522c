"""A line that is so long that the command plugin stops reading, and `up` hangs for ever; text that is lost on the way;
an answer of Docker's that is taken for another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_programs import common
from host_programs.common import ScriptError
from tests.host_programs.stub_docker import StubDocker, out


@given(st.text(alphabet=st.sampled_from("aä€😀\t "), max_size=6000), st.integers(1, 3))
def test_pieces_are_short_whole_and_nothing_is_lost(text: str, times: int) -> None:
    pieces = list(common._pieces(text * times))
    assert "".join(pieces) == text * times and pieces
    assert all(len(piece.encode()) <= common.LONGEST for piece in pieces)


def test_each_kind_of_end_ends_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    common.say("one\rtwo\r\nthree\n\nfour")
    assert capsys.readouterr().err == "one\ntwo\nthree\n\nfour\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    stub = StubDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", stub.environment["PATH"])
    return stub


def test_a_failure_of_docker_s_is_in_its_own_words(docker: StubDocker) -> None:
    docker.on("pull --quiet a:1 b", out("half", err="Error: manifest unknown\n", code=1))
    docker.on("version", out(code=3))
    with pytest.raises(ScriptError, match=r"^docker pull --quiet a:1: Error: manifest unknown$"):
        common.docker("pull", "--quiet", "a:1", "b")
    with pytest.raises(ScriptError, match=r"^docker version: exit code 3$"):
        common.docker("version")
    done = common.docker("pull", "--quiet", "a:1", "b", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("half", "Error: manifest unknown\n", 1)


def test_a_docker_that_hangs_or_is_not_there_is_said(docker: StubDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    docker.on("version", out(sleep=30))
    for call in (common.docker, common.docker_bytes):
        with pytest.raises(ScriptError, match=r"^docker version: no answer in 0 s$"):
            call("version", timeout=0.3)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ScriptError, match="install Docker Engine and its client"):
        common.docker("version")
