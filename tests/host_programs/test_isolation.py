"""A role that can connect where it must not and is taken for isolated; rights that PUBLIC does not get back, or gets
back while another bridge still needs it to be out.

What is taken, noted and given back is run against a real Postgres. The proof's connections need a network: the
end-to-end tests have one, here it is what the script makes of each answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from documents.credentials import scram_verifier
from documents.marks import owner_comment, parse_owner_comment
from documents.places import Database
from documents.places import Postgres as Place
from host_programs.common import ScriptError
from host_programs.postgres import isolation
from host_programs.postgres.isolation import Access, Isolation, Proof, RolePassword
from host_programs.postgres.postgres import Line, Said
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

PLACE = Place("matrix-postgres", 5432, "synapse")
ONE = Database("matrix-postgres", "mautrix_signal", "mautrix_signal")
TWO = Database("matrix-postgres", "mautrix_two", "mautrix_two")
FIRST = Isolation("p/a", PLACE, (ONE,), ("synapse", "mas"))
SECOND = Isolation("p/b", PLACE, (TWO,), ("synapse", "mas"))
DEFAULT = ["CONNECT", "TEMPORARY"]


@pytest.fixture
def server(bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """The server with the roles and databases of two bridges; PUBLIC may only connect to mas."""
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    bridge_database.sql("CREATE ROLE mautrix_two LOGIN;")
    bridge_database.sql("CREATE DATABASE mautrix_two OWNER mautrix_two;")
    bridge_database.sql("REVOKE TEMPORARY ON DATABASE mas FROM PUBLIC;")
    yield bridge_database
    bridge_database.sql("DROP DATABASE mautrix_two;")
    bridge_database.sql("DROP ROLE mautrix_two;")
    bridge_database.sql("GRANT CONNECT, TEMPORARY ON DATABASE synapse, mas TO PUBLIC;")


def public(server: Postgres, database: str) -> list[str]:
    """What PUBLIC may in the database."""
    return server.sql(
        "select privilege_type from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        f" where datname = '{database}' and grantee = 0 order by 1;"
    )


def on_role(server: Postgres, role: str) -> dict[str, object]:
    (text,) = server.sql(f"select shobj_description(oid, 'pg_authid') from pg_roles where rolname = '{role}';")
    return dict(parse_owner_comment(text))


def on_database(server: Postgres) -> str:
    sql = "select shobj_description(oid, 'pg_database') from pg_database where datname = 'mautrix_signal';"
    return server.sql(sql)[0]


def test_public_is_shut_out_and_gets_back_exactly_what_it_had(server: Postgres) -> None:
    made = isolation.isolate(FIRST)
    assert made.public == {"synapse": tuple(DEFAULT), "mas": ("CONNECT",)}
    assert [public(server, name) for name in ("synapse", "mas", "mautrix_signal")] == [[], [], []]
    assert isolation.renew(FIRST) == made, "again: what was noted first counts"
    assert set(isolation.restore(FIRST).databases) == {"mas", "synapse"}
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])
    assert isolation.restore(FIRST).databases == (), "a run that was killed after it"


def test_role_and_database_name_their_stack_and_another_s_are_left_alone(server: Postgres) -> None:
    isolation.isolate(FIRST)
    assert (
        parse_owner_comment(on_database(server)) == {"stack": "p/a"}
        and on_role(server, "mautrix_signal")["stack"] == "p/a"
    )
    with pytest.raises(ScriptError, match="role mautrix_signal: belongs to the stack p/a: set another"):
        isolation.isolate(replace(FIRST, stack="p/b"))


def test_what_the_database_began_with_stays_in_its_comment(server: Postgres) -> None:
    says = owner_comment("p/a", began="none")
    server.sql(f"comment on database mautrix_signal is '{says}';")
    isolation.isolate(FIRST)
    assert on_database(server) == says


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)], ids=["first one first", "second one first"])
def test_of_two_stacks_the_last_one_to_go_opens_it(
    server: Postgres, order: tuple[Isolation, Isolation], capsys: pytest.CaptureFixture[str]
) -> None:
    isolation.isolate(FIRST)
    isolation.isolate(SECOND)
    assert isolation.restore(order[0]).databases == ()
    assert "PUBLIC stays out, as long as another bridge is isolated from it" in capsys.readouterr().err
    assert (public(server, "synapse"), public(server, "mas")) == ([], [])
    isolation.renew(order[1])
    isolation.restore(order[1])
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


BOTH = replace(FIRST, bridges=(ONE, TWO))


def test_two_bridges_of_one_stack_are_isolated_together(server: Postgres) -> None:
    made = isolation.isolate(BOTH)
    assert made.public == {"synapse": tuple(DEFAULT), "mas": ("CONNECT",)}
    names = ("synapse", "mas", "mautrix_signal", "mautrix_two")
    assert [public(server, name) for name in names] == [[], [], [], []]
    assert on_role(server, "mautrix_two") == on_role(server, "mautrix_signal")
    assert isolation.renew(BOTH) == made
    isolation.restore(BOTH)
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


def test_a_bridge_that_comes_later_or_goes_alone_opens_nothing(server: Postgres) -> None:
    """What it finds is not what PUBLIC had; what the one that goes has noted, the others have, too."""
    made = isolation.isolate(FIRST)
    assert isolation.renew(BOTH) == made
    assert isolation.renew(replace(BOTH, bridges=(TWO,))) == made
    server.sql("comment on role mautrix_signal is null;")  # gone with it
    assert (public(server, "synapse"), public(server, "mas")) == ([], [])
    isolation.restore(replace(BOTH, bridges=(TWO,)))
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


def test_a_database_that_is_no_longer_named_is_opened_again(server: Postgres) -> None:
    isolation.isolate(FIRST)
    isolation.renew(replace(FIRST, databases=("synapse",)))
    assert (public(server, "synapse"), public(server, "mas")) == ([], ["CONNECT"])
    isolation.restore(replace(FIRST, databases=("synapse",)))
    assert public(server, "synapse") == DEFAULT


def test_note_and_change_are_one_transaction(server: Postgres) -> None:
    """Killed in between, the next run would note that PUBLIC had nothing."""
    with pytest.raises(ScriptError, match='database "gone" does not exist'):
        isolation.isolate(replace(FIRST, databases=("synapse", "gone")))
    assert public(server, "synapse") == DEFAULT and on_role(server, "mautrix_signal") == {}


def test_a_database_that_is_gone_stops_no_destroy(server: Postgres) -> None:
    server.sql("CREATE DATABASE other;")
    isolation.isolate(replace(FIRST, databases=("synapse", "other")))
    server.sql("DROP DATABASE other;")
    isolation.restore(replace(FIRST, databases=("synapse", "other")))
    assert public(server, "synapse") == DEFAULT


@pytest.mark.parametrize("renewed", [False, True])
def test_without_its_note_postgres_default_is_given_and_said(
    server: Postgres, renewed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is read after the change is not what PUBLIC had: it had its way in, whatever it is now."""
    isolation.isolate(FIRST)
    server.sql("comment on role mautrix_signal is null;")
    if renewed:
        isolation.renew(FIRST)
        assert "what PUBLIC could do in synapse before is not noted any more" in capsys.readouterr().err
    isolation.restore(FIRST)
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, DEFAULT)
    assert renewed or "the comment on the role mautrix_signal is gone" in capsys.readouterr().err


# the proof --------------------------------------------------------------------------------------------------------

PASSWORD = "hunter2-hunter2-hunter2"
NONE = {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "rolreplication": False, "rolbypassrls": False}
REFUSED = 'FATAL:  permission denied for database "synapse"\nDETAIL:  User does not have CONNECT privilege.'
IN = "in as bridge\n"
ROLE = RolePassword(Database("pg", "bridge_db", "bridge"), PASSWORD)
ACCESS = Access(Place("pg", 5432, "synapse"), (ROLE,), ("synapse", "mas"))
PASSED = Proof("bridge", ("bridge_db",), ("synapse", "mas"), NONE)


class Server:
    """Plays psql: the role's attributes, and what a connection of it gets."""

    def __init__(
        self, attributes: dict[str, bool] | None = None, may: str = "f", verifier: str = "", **answers: str
    ) -> None:
        self.attributes, self.may, self.verifier = attributes, may, verifier
        self.answers = {"bridge_db": IN, "synapse": REFUSED, "mas": REFUSED, **answers}
        self.asked: list[str] = []

    def sql(self, container: str, user: str, database: str, statement: str, /, **_: object) -> list[str]:
        assert (container, user, database) == ("pg", "synapse", "postgres")
        self.asked.append(statement)
        if statement == isolation.VERIFIERS:
            return [json.dumps({"bridge": self.verifier})]
        if statement == isolation.ATTRIBUTES:
            known = NONE if self.attributes is None else self.attributes
            return [json.dumps({"bridge": known} if known else {})]
        return [self.may] if "has_database_privilege" in statement else []

    def sessions(self, container: str, *lines: Line) -> list[Said]:
        assert {(each.user, each.database) for each in lines} == {("synapse", "postgres")}
        texts = [each.text for each in lines]
        self.asked += texts
        said = [next(answer for name, answer in self.answers.items() if f"dbname=''{name}''" in line) for line in texts]
        return [Said(answer, "", True) if answer == IN else Said("", answer, False) for answer in said]


Play = Callable[[Server], Server]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    def start(server: Server) -> Server:
        monkeypatch.setattr(isolation, "sql", server.sql)
        monkeypatch.setattr(isolation, "sessions", server.sessions)
        return server

    return start


def test_the_least_privileged_role_passes(play: Play) -> None:
    play(Server())
    assert isolation.prove(ACCESS).of("bridge") == PASSED


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
def test_whatever_else_stops_the_deployment(play: Play, server: Server, message: str) -> None:
    play(server)
    with pytest.raises(ScriptError) as stopped:
        isolation.prove(ACCESS)
    said, _, state = str(stopped.value).partition(" (the role's password is set; ")
    assert said == message
    assert bool(state) == any("alter role" in sql for sql in server.asked), "what a running bridge has lost is told"


def test_a_server_in_another_language_is_asked_its_catalogue(play: Play) -> None:
    play(Server(mas="FATAL:  keine Berechtigung für Datenbank mas", may="f"))
    assert isolation.prove(ACCESS).of("bridge") == PASSED


def test_a_password_that_is_set_is_left(play: Play) -> None:
    """Another bridge is added: nothing of this one is touched."""
    asked = []
    for verifier in ("", scram_verifier("another", b"salt"), "md5" + 32 * "0", scram_verifier(PASSWORD, b"salt")):
        server = play(Server(verifier=verifier))
        isolation.prove(ACCESS)
        asked.append(any("alter role" in sql for sql in server.asked))
    assert asked == [True, True, True, False]


def test_the_password_is_in_stdin_alone_and_quoted_twice(play: Play) -> None:
    server = play(Server())
    isolation.prove(ACCESS)
    assert sum(PASSWORD in sql for sql in server.asked) == 3
    assert isolation._escape_psql(f"password='{isolation._escape(chr(39) + chr(92))}'") == (
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
