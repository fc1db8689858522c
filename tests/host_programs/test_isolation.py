"""Rights that PUBLIC does not get back, or gets back while another bridge still needs it to be out; against a real
Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile

import pytest

from documents.marks import owner_comment, parse_owner_comment
from documents.places import Database
from documents.places import Postgres as Place
from host_programs.messages import ScriptError
from host_programs.postgres import access, dump_restore, dumps, isolation
from host_programs.postgres.isolation import Isolation
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
    made = isolation.shut_public_out(FIRST)
    assert made.public == {"synapse": tuple(DEFAULT), "mas": ("CONNECT",)}
    assert [public(server, name) for name in ("synapse", "mas", "mautrix_signal")] == [[], [], []]
    assert isolation.renew_isolation(FIRST) == made, "again: what was noted first counts"
    assert set(isolation.give_public_back(FIRST).public) == {"mas", "synapse"}
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])
    assert isolation.give_public_back(FIRST).public == {}, "a run that was killed after it"


def test_role_and_database_name_their_stack_and_another_s_are_left_alone(server: Postgres) -> None:
    isolation.shut_public_out(FIRST)
    assert (
        parse_owner_comment(on_database(server)) == {"stack": "p/a"}
        and on_role(server, "mautrix_signal")["stack"] == "p/a"
    )
    with pytest.raises(ScriptError, match="role mautrix_signal: belongs to the stack p/a: set another"):
        isolation.shut_public_out(replace(FIRST, stack="p/b"))


def test_what_the_database_began_with_stays_in_its_comment(server: Postgres) -> None:
    says = owner_comment("p/a", began="none")
    server.sql(f"comment on database mautrix_signal is '{says}';")
    isolation.shut_public_out(FIRST)
    assert on_database(server) == says


@pytest.mark.parametrize("order", [(FIRST, SECOND), (SECOND, FIRST)], ids=["first one first", "second one first"])
def test_of_two_stacks_the_last_one_to_go_opens_it(
    server: Postgres, order: tuple[Isolation, Isolation], capsys: pytest.CaptureFixture[str]
) -> None:
    isolation.shut_public_out(FIRST)
    isolation.shut_public_out(SECOND)
    assert isolation.give_public_back(order[0]).public == {}
    assert "PUBLIC stays out, as long as another bridge is isolated from it" in capsys.readouterr().err
    assert (public(server, "synapse"), public(server, "mas")) == ([], [])
    isolation.renew_isolation(order[1])
    isolation.give_public_back(order[1])
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


BOTH = replace(FIRST, bridges=(ONE, TWO))


def test_two_bridges_of_one_stack_are_isolated_together(server: Postgres) -> None:
    made = isolation.shut_public_out(BOTH)
    assert made.public == {"synapse": tuple(DEFAULT), "mas": ("CONNECT",)}
    names = ("synapse", "mas", "mautrix_signal", "mautrix_two")
    assert [public(server, name) for name in names] == [[], [], [], []]
    assert on_role(server, "mautrix_two") == on_role(server, "mautrix_signal")
    assert isolation.renew_isolation(BOTH) == made
    isolation.give_public_back(BOTH)
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


def test_a_bridge_that_comes_later_or_goes_alone_opens_nothing(server: Postgres) -> None:
    """What it finds is not what PUBLIC had; what the one that goes has noted, the others have, too."""
    made = isolation.shut_public_out(FIRST)
    assert isolation.renew_isolation(BOTH) == made
    assert isolation.renew_isolation(replace(BOTH, bridges=(TWO,))) == made
    server.sql("comment on role mautrix_signal is null;")  # gone with it
    assert (public(server, "synapse"), public(server, "mas")) == ([], [])
    isolation.give_public_back(replace(BOTH, bridges=(TWO,)))
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, ["CONNECT"])


def test_a_database_that_is_no_longer_named_is_opened_again(server: Postgres) -> None:
    isolation.shut_public_out(FIRST)
    isolation.renew_isolation(replace(FIRST, databases=("synapse",)))
    assert (public(server, "synapse"), public(server, "mas")) == ([], ["CONNECT"])
    isolation.give_public_back(replace(FIRST, databases=("synapse",)))
    assert public(server, "synapse") == DEFAULT


def test_note_and_change_are_one_transaction(server: Postgres) -> None:
    """Killed in between, the next run would note that PUBLIC had nothing."""
    with pytest.raises(ScriptError, match='database "gone" does not exist'):
        isolation.shut_public_out(replace(FIRST, databases=("synapse", "gone")))
    assert public(server, "synapse") == DEFAULT and on_role(server, "mautrix_signal") == {}


def test_a_database_that_is_gone_stops_no_destroy(server: Postgres) -> None:
    server.sql("CREATE DATABASE other;")
    isolation.shut_public_out(replace(FIRST, databases=("synapse", "other")))
    server.sql("DROP DATABASE other;")
    isolation.give_public_back(replace(FIRST, databases=("synapse", "other")))
    assert public(server, "synapse") == DEFAULT


AS_BEFORE_15 = "alter schema public owner to synapse; grant create on schema public to public;"
AS_FROM_15 = "pg_database_owner|{pg_database_owner=UC/pg_database_owner,=U/pg_database_owner}"
SCHEMA = "select pg_get_userbyid(nspowner), nspacl from pg_namespace where nspname = 'public';"


def may_create(server: Postgres, role: str) -> str:
    return server.sql(access.CREATORS, "mautrix_signal", role)[0]


@pytest.mark.parametrize("plain", [False, True])
def test_before_15_public_may_no_longer_create_and_a_dump_restores(server: Postgres, plain: bool) -> None:
    """There the role may create as everybody else may. It goes on, through a restore too, and nobody else does; no dump
    holds what another Postgres would refuse."""
    server.sql(AS_BEFORE_15, "mautrix_signal")
    server.sql("grant connect on database mautrix_signal to mautrix_two;")
    assert may_create(server, "mautrix_signal") == "may create: the role PUBLIC"
    isolation.shut_public_out(FIRST)
    assert may_create(server, "mautrix_signal") == "may create: the role"
    assert may_create(server, "mautrix_two") == "may create:"
    assert server.sql(SCHEMA, "mautrix_signal") == [AS_FROM_15]
    with TemporaryFile() as dump:
        dumps.make_dump(ONE, dump, *(() if plain else dump_restore.ARCHIVED))
        server.sql(dump_restore.DROP_CONTENT, "mautrix_signal", "mautrix_signal")
        dump.seek(0)
        dump_restore.restore_dump(ONE, dump_restore.Dump(dump, plain))
    assert server.sql("select count(*) from portal;", "mautrix_signal") == ["500"]
    server.sql("drop owned by mautrix_two;")


def test_from_15_on_the_schema_public_stays_as_it_is(server: Postgres) -> None:
    made = server.sql(SCHEMA, "mautrix_signal")
    isolation.shut_public_out(BOTH)
    assert server.sql(SCHEMA, "mautrix_signal") == server.sql(SCHEMA, "mautrix_two") == made


@pytest.mark.parametrize("renewed", [False, True])
def test_without_its_note_postgres_default_is_given_and_said(
    server: Postgres, renewed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is read after the change is not what PUBLIC had: it had its way in, whatever it is now."""
    isolation.shut_public_out(FIRST)
    server.sql("comment on role mautrix_signal is null;")
    if renewed:
        isolation.renew_isolation(FIRST)
        assert "what PUBLIC could do in synapse before is not noted any more" in capsys.readouterr().err
    isolation.give_public_back(FIRST)
    assert (public(server, "synapse"), public(server, "mas")) == (DEFAULT, DEFAULT)
    assert renewed or "the comment on the role mautrix_signal is gone" in capsys.readouterr().err
