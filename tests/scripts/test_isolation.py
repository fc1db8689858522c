"""A role that can connect where it must not and is taken for isolated; rights that PUBLIC does not get back.

The end-to-end tests run the same script on a real Postgres; here it is what it makes of each answer.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts import isolation
from scripts.common import ScriptError

PROOF = {
    "container": "pg",
    "superuser": "synapse",
    "role": "bridge",
    "password": "hunter2-hunter2-hunter2",
    "own": "bridge_db",
    "refused": ["synapse", "mas"],
    "host": "pg",
    "port": 5432,
}
NONE = {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "rolreplication": False, "rolbypassrls": False}
REFUSED = 'FATAL:  permission denied for database "synapse"\nDETAIL:  User does not have CONNECT privilege.'


class Postgres:
    """Answers psql: `attributes`, and for each database what a connection gets."""

    def __init__(self, attributes: dict[str, bool] | None, answers: dict[str, str], may: str = "f") -> None:
        self.attributes, self.answers, self.may = attributes, answers, may
        self.asked: list[str] = []

    def __call__(self, arguments: dict[str, Any], sql: str, check: bool = True, **variables: str) -> str:
        self.asked.append(sql)
        if sql == isolation.ATTRIBUTES:
            return json.dumps(self.attributes) if self.attributes is not None else ""
        if "has_database_privilege" in sql:
            return self.may
        return next(answer for name, answer in self.answers.items() if f"dbname=''{name}''" in sql)


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(postgres: Postgres) -> dict[str, Any]:
        monkeypatch.setattr(isolation, "_psql", postgres)
        return isolation.prove(PROOF)

    return run


def good(**changed: str) -> dict[str, str]:
    return {"bridge_db": "in as bridge\n", "synapse": REFUSED, "mas": REFUSED, **changed}


def test_the_least_privileged_role_passes(prove: Any) -> None:
    found = prove(Postgres(NONE, good()))
    assert (found["connects"], found["refused"]) == (["bridge_db"], ["synapse", "mas"])


@pytest.mark.parametrize(
    ("postgres", "message"),
    [
        (Postgres(None, good()), "role bridge: not there"),
        (
            Postgres({**NONE, "rolcreatedb": True}, good()),
            "role bridge: has rolcreatedb, should have none: it may do more than its own database",
        ),
        (
            Postgres(NONE, good(mas="in as bridge\n")),
            "role bridge: can connect to the database mas: the bridge is not isolated from it",
        ),
        (
            Postgres(NONE, good(bridge_db='FATAL:  password authentication failed for user "bridge"')),
            "role bridge: cannot connect to its own database bridge_db: FATAL:  password authentication failed for "
            'user "bridge"',
        ),
        (
            Postgres(NONE, good(mas="FATAL:  sorry, too many clients already"), may="t"),
            "role bridge: mas neither let it in nor refused it: FATAL:  sorry, too many clients already",
        ),
    ],
)
def test_whatever_else_stops_the_deployment(prove: Any, postgres: Postgres, message: str) -> None:
    with pytest.raises(ScriptError) as stopped:
        prove(postgres)
    assert str(stopped.value) == message


def test_a_server_in_another_language_is_asked_its_catalogue(prove: Any) -> None:
    assert prove(Postgres(NONE, good(mas="FATAL:  keine Berechtigung für Datenbank mas"), may="f"))


def test_the_password_is_in_stdin_alone_and_quoted_twice(prove: Any) -> None:
    postgres = Postgres(NONE, good())
    prove(postgres)
    assert sum(PROOF["password"] in sql for sql in postgres.asked) == 3
    assert isolation._escape_psql(f"password='{isolation._escape(chr(39) + chr(92))}'") == (
        "password=''\\\\''\\\\\\\\''"
    )


def test_public_gets_back_exactly_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def psql(arguments: dict[str, Any], sql: str, check: bool = True, **variables: str) -> str:
        asked.append(sql)
        return "1"

    monkeypatch.setattr(isolation, "_psql", psql)
    arguments = {"container": "pg", "superuser": "synapse", "database": "mas"}
    isolation.restore({**arguments, "before": '{"public": ["TEMPORARY"]}'})
    assert asked[1:] == ['grant TEMPORARY on database :"database" to public;']
    asked.clear()
    isolation.restore({**arguments, "before": '{"public": []}'})
    assert len(asked) == 1, "it had nothing: it gets nothing"
