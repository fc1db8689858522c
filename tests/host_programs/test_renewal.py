"""A role or a database that somebody removed, while Pulumi's state says that it is there: a bridge in a restart loop,
and every `up` fails. With a real Postgres, behind a stub `docker exec`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from documents.bridge.config import bridge_database_url, render_bridge_config
from documents.bridge.written_config import names_database
from documents.marks import owner_comment
from documents.places import Database
from documents.places import Postgres as Place
from host_programs.cleanup.bridge import BridgeParts, renew_bridge
from host_programs.files.directory import ClaimedDirectory
from host_programs.postgres import renewal
from host_programs.postgres.measure import count_foreign
from host_programs.postgres.renewal import renew_database
from tests.facts import DOUBLEPUPPET, KEYS, STACK, TOKENS, deployment
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

SERVER, PLACE = (
    Place("matrix-postgres", 5432, "synapse"),
    Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),
)
ROLE = "select rolcanlogin, rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = 'mautrix_signal';"
DATABASE = (
    "select pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype "
    "from pg_database where datname = 'mautrix_signal';"
)
AS_MADE = (["t|f|f|f"], ["mautrix_signal|UTF8|C|C"])


@pytest.fixture
def server(bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    comment = owner_comment(STACK)
    bridge_database.sql(f"comment on role mautrix_signal is '{comment}';")
    bridge_database.sql(f"comment on database mautrix_signal is '{comment}';")
    yield bridge_database
    bridge_database.sql("drop database if exists mautrix_signal with (force);")
    bridge_database.sql("drop role if exists mautrix_signal;")


def present(server: Postgres) -> tuple[list[str], list[str]]:
    return server.sql(ROLE), server.sql(DATABASE)


def test_what_is_as_up_made_it_stays_as_it_is(server: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert present(server) == AS_MADE and server.sql("select count(*) from portal;", "mautrix_signal") == ["500"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("both", [True, False])
def test_what_is_gone_is_made_again_as_the_provider_makes_it(server: Postgres, both: bool) -> None:
    server.sql("drop database mautrix_signal;")
    if both:
        server.sql("drop role mautrix_signal;")
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert present(server) == AS_MADE


def test_the_bridge_is_stopped_before_its_database_is_made_again(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker started it again and again: it filled the new database before last night's content could come."""
    stopped: list[tuple[str, str, list[str]]] = []
    monkeypatch.setattr(
        renewal, "stop_container", lambda name, stack: stopped.append((name, stack, server.sql(DATABASE)))
    )
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert stopped == [], "it lives"
    server.sql("drop database mautrix_signal;")
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert stopped == [("mautrix-signal", STACK, [])]


@pytest.mark.parametrize(
    "change",
    [
        "alter role mautrix_signal nologin superuser createdb createrole replication bypassrls;",
        "alter database mautrix_signal owner to synapse;",
        "revoke connect on database mautrix_signal from public, mautrix_signal;",
    ],
)
def test_what_was_changed_is_changed_back(server: Postgres, change: str) -> None:
    server.sql(change)
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert present(server) == AS_MADE
    allowed = "select has_database_privilege('mautrix_signal', 'mautrix_signal', 'CONNECT');"
    assert server.sql(allowed) == ["t"]


def test_what_a_superuser_restored_is_the_bridge_s_again(server: Postgres) -> None:
    """Neither the bridge nor an archive got at it."""
    server.sql(
        "create schema extra; create type extra.mood as enum ('a'); create domain public.short as text; "
        "create function public.one() returns int language sql as 'select 1'; create view public.v as select 1; "
        'create table public."a b" (id serial, at extra.mood); alter table portal owner to synapse;',
        "mautrix_signal",
    )
    (count,) = server.sql(count_foreign("'mautrix_signal'"), "mautrix_signal")
    assert int(count) >= 7
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert server.sql(count_foreign("'mautrix_signal'"), "mautrix_signal") == ["0"]
    assert server.sql(
        'insert into "a b" (at) values (null); select count(*) from portal;', "mautrix_signal", "mautrix_signal"
    ) == ["500"]
    server.sql("comment on database mautrix_signal is 'mine'; ")
    server.sql("alter table portal owner to synapse;", "mautrix_signal")
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert server.sql(count_foreign("'mautrix_signal'"), "mautrix_signal") == ["1"], "a database that is not ours"


def test_what_is_not_known_as_ours_is_not_changed(server: Postgres) -> None:
    server.sql("alter role mautrix_signal createdb; comment on role mautrix_signal is null;")
    server.sql("alter database mautrix_signal owner to synapse; comment on database mautrix_signal is 'mine';")
    renew_database(SERVER, STACK, PLACE, "mautrix-signal")
    assert present(server) == (["t|f|t|f"], ["synapse|UTF8|C|C"])


def test_a_bridge_whose_config_names_no_such_database_gets_none(server: Postgres, tmp_path: Path) -> None:
    """Another role or database in the settings: the provider makes it, and would fail if it were there."""
    parts = BridgeParts(
        ClaimedDirectory(str(tmp_path / "bridge"), STACK, "directory"), "mautrix-signal", "", "", "", "",
        SERVER, PLACE, (), deployment().synapse, "",
    )  # fmt: skip
    server.sql("drop database mautrix_signal;")
    renew_bridge(parts)
    assert server.sql(DATABASE) == []
    plan = deployment()
    text = render_bridge_config(plan, bridge_database_url(plan, TOKENS), TOKENS, KEYS, DOUBLEPUPPET)
    assert names_database(text, PLACE) and not names_database(text, Database("matrix-postgres", "other", "other"))
    config = tmp_path / "bridge/config-0123456789ab/config.yaml"
    config.parent.mkdir()
    config.write_text(text)
    renew_bridge(parts)
    assert present(server) == AS_MADE
