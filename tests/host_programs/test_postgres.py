"""A step that waits for ever: for a lock of the operator's, for a server that hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_programs.common import ScriptError
from host_programs.postgres import postgres
from tests.host_programs.private_postgres import Postgres
from tests.host_programs.private_postgres import postgres as private
from tests.host_programs.stub_docker import StubDocker, out

__all__ = ["private"]


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


def test_each_line_has_a_session_of_its_own_whatever_becomes_of_the_others(
    private: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in private.environment().items():
        monkeypatch.setenv(name, value)
    texts = ["select 'a' || chr(10) || 'b';", "select nothing;", "select current_setting('statement_timeout');"]
    lines = [*(postgres.Line("synapse", "postgres", text) for text in texts), postgres.Line("nobody", "x", "select 1;")]
    first, second, third, last = postgres.sessions("matrix-postgres", *lines)
    assert (first.out, first.errors, first.well) == ("a\nb\n", "", True)
    assert 'column "nothing" does not exist' in second.errors and not second.well
    assert third.out == "1min\n", "what hangs is ended"
    assert (last.out, last.well) == ("", False) and "nobody" in last.errors
    assert postgres.sessions("matrix-postgres") == []
    with pytest.raises(ScriptError, match="elsewhere: psql as synapse: Error: No such container: elsewhere"):
        postgres.sessions("elsewhere", lines[0])
