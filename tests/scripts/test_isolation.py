"""A role that can connect where it must not and is taken for isolated; rights that PUBLIC does not get back.

The end-to-end tests run the same script on a real Postgres; here it is what it makes of each answer.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from documents.places import Database, Postgres
from scripts import isolation
from scripts.common import ScriptError
from scripts.isolation import Isolation, Proof

PASSWORD = "hunter2-hunter2-hunter2"
NONE = {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "rolreplication": False, "rolbypassrls": False}
REFUSED = 'FATAL:  permission denied for database "synapse"\nDETAIL:  User does not have CONNECT privilege.'
IN = "in as bridge\n"


class Server:
    """Plays psql: what PUBLIC may in each database, the role's attributes, and what a connection of it gets."""

    def __init__(self, attributes: dict[str, bool] | None = None, may: str = "f", **answers: str) -> None:
        self.attributes, self.may = attributes, may
        self.answers = {"bridge_db": IN, "synapse": REFUSED, "mas": REFUSED, **answers}
        self.public = {"synapse": ["CONNECT", "TEMPORARY"], "mas": ["CONNECT"], "bridge_db": ["CONNECT", "TEMPORARY"]}
        self.asked: list[str] = []
        self.dies_at = ""

    def sql(self, container: str, user: str, database: str, statement: str, /, **given: object) -> list[str]:
        assert (container, user, database) == ("pg", "synapse", "postgres")
        name = str(given.get("database", ""))
        self.asked.append(f"{statement} {name}")
        if self.dies_at and self.dies_at in f"{statement} {name}":
            raise KeyboardInterrupt
        if statement == isolation.PUBLIC:
            return [json.dumps({each: self.public[each] for each in str(given["databases"]).split(",")})]
        if statement == isolation.ATTRIBUTES:
            return [json.dumps(NONE if self.attributes is None else self.attributes)] if self.attributes != {} else []
        if "has_database_privilege" in statement:
            return [self.may]
        if statement.startswith("revoke connect, temporary"):
            self.public |= {str(each): [] for each in given.values() if each != 60}
        elif granted := re.match(r"grant (.*) on database", statement):
            self.public[name] = granted[1].split(", ")
        elif "count(*)" in statement:
            return ["1" if name in self.public else "0"]
        return []

    def psql(
        self, container: str, user: str, database: str, statement: str, /, **_: object
    ) -> subprocess.CompletedProcess[str]:
        self.asked.append(statement)
        answer = next(answer for name, answer in self.answers.items() if f"dbname=''{name}''" in statement)
        return subprocess.CompletedProcess([], 0, answer if answer == IN else "", "" if answer == IN else answer)


Play = Callable[[Server], Server]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    def start(server: Server) -> Server:
        monkeypatch.setattr(isolation, "sql", server.sql)
        monkeypatch.setattr(isolation, "psql", server.psql)
        return server

    return start


@pytest.fixture
def wanted(tmp_path: Path) -> Isolation:
    own = Database("pg", "bridge_db", "bridge")
    return Isolation(Postgres("pg", 5432, "synapse"), own, PASSWORD, ("synapse", "mas"), str(tmp_path))


def test_the_least_privileged_role_passes(play: Play, wanted: Isolation) -> None:
    server = play(Server())
    assert isolation.isolate(wanted) == Proof("bridge", ("bridge_db",), ("synapse", "mas"), NONE)
    assert server.public == {"synapse": [], "mas": [], "bridge_db": []}


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (Server({}), "role bridge: not there"),
        (
            Server({**NONE, "rolcreatedb": True}),
            "role bridge: has rolcreatedb, should have none: it may do more than its own database",
        ),
        (Server(mas=IN), "role bridge: can connect to the database mas: the bridge is not isolated from it"),
        (
            Server(bridge_db='FATAL:  password authentication failed for user "bridge"'),
            "role bridge: cannot connect to its own database bridge_db: FATAL:  password authentication failed for "
            'user "bridge"',
        ),
        (
            Server(mas="FATAL:  sorry, too many clients already", may="t"),
            "role bridge: mas neither let it in nor refused it: FATAL:  sorry, too many clients already",
        ),
    ],
)
def test_whatever_else_stops_the_deployment(play: Play, wanted: Isolation, server: Server, message: str) -> None:
    play(server)
    with pytest.raises(ScriptError) as stopped:
        isolation.isolate(wanted)
    assert str(stopped.value) == message


def test_a_server_in_another_language_is_asked_its_catalogue(play: Play, wanted: Isolation) -> None:
    play(Server(mas="FATAL:  keine Berechtigung für Datenbank mas", may="f"))
    assert isolation.isolate(wanted).refused == ("synapse", "mas")


def test_the_password_is_in_stdin_alone_and_quoted_twice(play: Play, wanted: Isolation) -> None:
    server = play(Server())
    isolation.isolate(wanted)
    assert sum(PASSWORD in sql for sql in server.asked) == 3
    assert isolation._escape_psql(f"password='{isolation._escape(chr(39) + chr(92))}'") == (
        "password=''\\\\''\\\\\\\\''"
    )
    assert PASSWORD not in repr(wanted)


def test_public_gets_back_exactly_what_it_had(play: Play, wanted: Isolation) -> None:
    server = play(Server())
    server.public["synapse"] = []
    isolation.isolate(wanted)
    isolation.isolate(wanted)  # again: what was noted first counts
    assert isolation.restore(wanted).databases == ("mas", "synapse")
    assert server.public == {"synapse": [], "mas": ["CONNECT"], "bridge_db": []}
    assert list(Path(wanted.directory).iterdir()) == []


def test_a_database_that_is_no_longer_named_is_opened_again(play: Play, wanted: Isolation) -> None:
    server = play(Server())
    isolation.isolate(wanted)
    isolation.isolate(replace(wanted, databases=("synapse",)))
    assert server.public == {"synapse": [], "mas": ["CONNECT"], "bridge_db": []}
    isolation.restore(replace(wanted, databases=("synapse",)))
    assert server.public["synapse"] == ["CONNECT", "TEMPORARY"]


@pytest.mark.parametrize("at", ["revoke", "ATTRIBUTES"])
def test_a_run_that_is_cut_off_forgets_nothing(play: Play, wanted: Isolation, at: str) -> None:
    """What PUBLIC had is noted before it is taken, or the next run would note that it had nothing."""
    server = play(Server())
    server.dies_at = at.replace("ATTRIBUTES", isolation.ATTRIBUTES)
    with pytest.raises(KeyboardInterrupt):
        isolation.isolate(wanted)
    server.dies_at = ""
    isolation.isolate(wanted)
    isolation.restore(wanted)
    assert (server.public["synapse"], server.public["mas"]) == (["CONNECT", "TEMPORARY"], ["CONNECT"])


def test_a_database_that_is_gone_stops_no_destroy(play: Play, wanted: Isolation) -> None:
    server = play(Server())
    isolation.isolate(wanted)
    del server.public["mas"]
    isolation.restore(wanted)
    assert server.public["synapse"] == ["CONNECT", "TEMPORARY"]


def test_without_its_note_postgres_default_is_given_and_said(
    play: Play, wanted: Isolation, capsys: pytest.CaptureFixture[str]
) -> None:
    server = play(Server())
    isolation.isolate(wanted)
    for note in Path(wanted.directory).iterdir():
        note.unlink()
    isolation.restore(wanted)
    assert server.public["mas"] == ["CONNECT", "TEMPORARY"]
    assert "is gone: PUBLIC gets Postgres' default in synapse, mas" in capsys.readouterr().err
