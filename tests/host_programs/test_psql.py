"""A step that waits for ever: for a lock of the operator's, for a server that hangs; or that gives up too early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from documents.places import Database
from documents.places import Postgres as Place
from host_programs.messages import ScriptError
from host_programs.postgres import dump_restore, psql
from tests.host_programs.private_postgres import Postgres
from tests.host_programs.private_postgres import postgres as private
from tests.host_programs.steps import ROOT
from tests.host_programs.stub_docker import StubDocker, out

__all__ = ["private"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [(out(sleep=60), "no answer in 0.1 s"), (out(err="FATAL: no\n", code=2), "FATAL: no")],
)
def test_a_restore_that_ends_early_or_never_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, object], words: str
) -> None:
    docker = StubDocker(tmp_path / "bin")
    docker.on("exec -i -u 65534:65534 pg psql -X -q -w -v ON_ERROR_STOP=1 -U me -d mine", answer)
    monkeypatch.setenv("PATH", docker.environment["PATH"])
    timeout = 0.1 if answer["sleep"] else 60
    assert psql.run_unprivileged(Database("pg", "mine", "me"), [b"select 1;\n"] * 9999, timeout) == words


def test_the_scratch_database_has_ten_minutes_to_be_made_and_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both had two: each waits for a checkpoint, and on a busy disk the proof of a sound dump failed."""
    asked: list[tuple[bool, float]] = []

    def answer(*_: str, stdin: str, timeout: float, **__: object) -> subprocess.CompletedProcess[str]:
        asked.append(("DROP DATABASE" in stdin, timeout))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(psql, "run_docker", answer)
    monkeypatch.setattr(dump_restore, "_restore_plain", lambda *_: None)
    (tmp_path / "dump").touch()
    dump_restore.prove_restores(Place("pg", 5432, "synapse"), "p/a", {Database("pg", "mine", "me"): tmp_path / "dump"})
    assert asked == [(False, 120), (True, 600), (False, 120), (True, 600)]


def test_a_python_without_lzma_and_bz2_can_still_make_and_prove_dumps(tmp_path: Path) -> None:
    """One that was built without their headers could run no step that dumps."""
    dump = tmp_path / "a.sql"
    dump.write_text("-- PostgreSQL database dump\n-- PostgreSQL database dump complete\n")
    program = f"""
import pathlib, sys
sys.modules["lzma"] = sys.modules["bz2"] = None
from host_programs.postgres import dumps
dumps.prove_dump(pathlib.Path({str(dump)!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_statement_runs_in_a_session_of_its_own_also_when_another_one_fails(
    private: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in private.environment().items():
        monkeypatch.setenv(name, value)
    texts = ["select 'a' || chr(10) || 'b';", "select nothing;", "select current_setting('statement_timeout');"]
    statements = [psql.Statement("synapse", "postgres", text) for text in texts]
    statements.append(psql.Statement("nobody", "x", "select 1;"))
    first, second, third, last = psql.run_sessions("matrix-postgres", *statements)
    assert (first.stdout, first.stderr, first.succeeded) == ("a\nb\n", "", True)
    assert 'column "nothing" does not exist' in second.stderr and not second.succeeded
    assert third.stdout == "1min\n", "what hangs is ended"
    assert (last.stdout, last.succeeded) == ("", False) and "nobody" in last.stderr
    assert psql.run_sessions("matrix-postgres") == []
    with pytest.raises(ScriptError, match="elsewhere: psql as synapse: Error: No such container: elsewhere"):
        psql.run_sessions("elsewhere", statements[0])
