"""A step that waits for ever: for a lock of the operator's, for a server that hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mautrix_bridges.scripts import postgres
from mautrix_bridges.scripts.common import ScriptError
from tests.scripts.stub_docker import StubDocker, out


@pytest.mark.parametrize(
    ("answer", "words"),
    [(out(sleep=60), "pg: as me: no answer in 0.1 s"), (out(err="FATAL: no\n", code=2), "pg: as me: FATAL: no")],
)
def test_a_session_that_ends_early_or_never_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object], words: str
) -> None:
    docker = StubDocker(tmp_path / "bin")
    docker.on("exec -i pg psql -X -q -w -v ON_ERROR_STOP=1 -A -t -U me -d postgres", answer)
    monkeypatch.setenv("PATH", docker.environment["PATH"])
    with postgres.Session("pg", "me") as session, pytest.raises(ScriptError) as failed:
        session.sql("select 1;", timeout=0.1 if answer["sleep"] else 60)
    assert str(failed.value) == words
