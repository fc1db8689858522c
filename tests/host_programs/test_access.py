"""A role that can connect where it must not, and is taken for isolated; a password that Postgres writes into its log.

The proof's connections need a network, which the end-to-end tests have. Here it is what becomes of each answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator

import pytest

from documents.credentials import scram_verifier
from documents.places import Database
from documents.places import Postgres as Place
from host_programs.messages import ScriptError
from host_programs.postgres import access
from host_programs.postgres.access import Access, RolePassword, RoleProof
from host_programs.postgres.psql import PsqlResult, Statement, run_as_superuser
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]


@pytest.fixture
def server(bridge_database: Postgres) -> Iterator[Postgres]:
    bridge_database.sql("CREATE ROLE mautrix_two LOGIN;")
    yield bridge_database
    bridge_database.sql("DROP ROLE mautrix_two;")


PASSWORD = "hunter2-hunter2-hunter2"
NONE = {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "rolreplication": False, "rolbypassrls": False}
REFUSED = 'FATAL:  permission denied for database "synapse"\nDETAIL:  User does not have CONNECT privilege.'
IN = "in as bridge\n"
OWN = f"{IN}may create: the role\n"
ROLE = RolePassword(Database("pg", "bridge_db", "bridge"), PASSWORD)
ACCESS = Access(Place("pg", 5432, "synapse"), (ROLE,), ("synapse", "mas"))
PASSED = RoleProof("bridge", ("bridge_db",), ("synapse", "mas"), NONE)


class Server:
    """Plays psql: the role's attributes, and what a connection of it gets."""

    def __init__(
        self, attributes: dict[str, bool] | None = None, may: tuple[str, ...] = (), verifier: str = "", **answers: str
    ) -> None:
        self.attributes, self.may, self.verifier = attributes, may, verifier
        self.answers = {"bridge_db": OWN, "synapse": REFUSED, "mas": REFUSED, **answers}
        self.asked: list[str] = []

    def sql(self, server: Place, statement: str, /, **_: object) -> list[str]:
        assert server == ACCESS.postgres
        self.asked.append(statement)
        if statement != access.ROLES:
            return []
        attributes = NONE if self.attributes is None else self.attributes
        role = {"attributes": attributes, "verifier": self.verifier, "may_connect": ["bridge_db", *self.may]}
        return [json.dumps({"bridge": role} if attributes else {})]

    def sessions(self, container: str, *lines: Statement) -> list[PsqlResult]:
        assert {(each.user, each.database) for each in lines} == {("synapse", "postgres")}
        texts = [each.sql for each in lines]
        self.asked += texts
        said = [next(answer for name, answer in self.answers.items() if f"dbname=''{name}''" in line) for line in texts]
        return [PsqlResult(text, "", True) if text.startswith(IN) else PsqlResult("", text, False) for text in said]


Play = Callable[[Server], Server]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    def start(server: Server) -> Server:
        monkeypatch.setattr(access, "run_as_superuser", server.sql)
        monkeypatch.setattr(access, "run_sessions", server.sessions)
        return server

    return start


def test_the_least_privileged_role_passes(play: Play) -> None:
    play(Server())
    assert access.prove_access(ACCESS).of("bridge") == PASSED


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
            Server(bridge_db=f"{IN}may create: the role PUBLIC\n"),
            "role bridge: it alone should create in the schema public of its database bridge_db: may create: the role "
            "PUBLIC: raise the setting reapply, and `pulumi up` makes it so",
        ),
        (
            Server(mas="FATAL:  sorry, too many clients already", may=("mas",)),
            "role bridge: mas neither let it in nor refused it: FATAL:  sorry, too many clients already",
        ),
    ],
)
def test_whatever_else_stops_the_deployment(play: Play, server: Server, message: str) -> None:
    play(server)
    with pytest.raises(ScriptError) as stopped:
        access.prove_access(ACCESS)
    said, _, state = str(stopped.value).partition(" (the role's password is set; ")
    assert said == message
    assert bool(state) == any("alter role" in sql for sql in server.asked), "what a running bridge has lost is told"


def test_a_server_in_another_language_is_asked_its_catalogue(play: Play) -> None:
    play(Server(mas="FATAL:  keine Berechtigung für Datenbank mas"))
    assert access.prove_access(ACCESS).of("bridge") == PASSED


def test_a_password_that_is_set_is_left(play: Play) -> None:
    """Another bridge is added: nothing of this one is touched."""
    asked = []
    for verifier in ("", scram_verifier("another", b"salt"), "md5" + 32 * "0", scram_verifier(PASSWORD, b"salt")):
        server = play(Server(verifier=verifier))
        access.prove_access(ACCESS)
        asked.append(any("alter role" in sql for sql in server.asked))
    assert asked == [True, True, True, False]


def test_the_password_is_in_stdin_alone_and_quoted_twice(play: Play) -> None:
    server = play(Server())
    access.prove_access(ACCESS)
    assert sum(PASSWORD in sql for sql in server.asked) == 3
    assert access._escape_for_psql(f"password='{access._escape_for_libpq(chr(39) + chr(92))}'") == (
        "password=''\\\\''\\\\\\\\''"
    )
    assert PASSWORD not in repr(ACCESS)


def test_postgres_gets_a_verifier_and_no_password(server: Postgres) -> None:
    """log_statement = ddl writes every ALTER ROLE into its log. The verifier is the one that Postgres would make."""
    verifier = scram_verifier("correcthorse", b"0123456789abcdef")
    server.sql(f"alter role mautrix_two password '{verifier}';")
    assert server.sql("select rolpassword from pg_authid where rolname = 'mautrix_two';") == [verifier]
    server.sql("alter role mautrix_two password 'correcthorse';")
    (theirs,) = server.sql("select rolpassword from pg_authid where rolname = 'mautrix_two';")
    salt = base64.b64decode(theirs.split("$")[1].partition(":")[2])
    assert scram_verifier("correcthorse", salt) == theirs


def test_what_the_catalogue_says_of_a_role(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may connect is not taken for one that was refused."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.sql("revoke connect on database mas from public; alter role mautrix_two createdb;")
    try:
        (row,) = run_as_superuser(Place("matrix-postgres", 5432, "synapse"), access.ROLES, roles="mautrix_two,gone")
    finally:
        server.sql("grant connect on database mas to public;")
    (role,) = json.loads(row).values()
    assert role["attributes"] == {**NONE, "rolcreatedb": True} and role["verifier"] == ""
    assert "synapse" in role["may_connect"] and "mas" not in role["may_connect"]
