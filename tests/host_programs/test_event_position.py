"""Pins old events that are skipped although an application service was served before: it would miss them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from documents.places import Postgres as Place
from host_programs.messages import ScriptError
from host_programs.synapse.event_position import EventPosition, read_position, skip_old_events
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

TABLES = """create table events (stream_ordering bigint);
create table appservice_stream_position (stream_ordering bigint);
create table application_services_state (as_id text);
insert into appservice_stream_position values (0); insert into events values (7), (4711);"""
SERVER = Place("matrix-postgres", 5432, "synapse")


@pytest.fixture
def server(bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A Synapse that never had an application service."""
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    bridge_database.sql(TABLES, "synapse")
    yield bridge_database
    bridge_database.sql("drop table events, appservice_stream_position, application_services_state;", "synapse")


def test_the_position_goes_behind_the_old_events_once(server: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_position(SERVER, "synapse") == EventPosition(0, 4711, never_pushed=True)
    skip_old_events(SERVER, "synapse")
    assert read_position(SERVER, "synapse") == EventPosition(4711, 4711)
    assert capsys.readouterr().err == "synapse: application services begin at event 4711: 4711 old events are skipped\n"
    server.sql("insert into events values (4720);", "synapse")
    skip_old_events(SERVER, "synapse")
    assert read_position(SERVER, "synapse") == EventPosition(4711, 4720), "now there may be one that waits for it"


@pytest.mark.parametrize(
    "before",
    [
        "update appservice_stream_position set stream_ordering = 7",
        "insert into application_services_state values ('irc')",
    ],
)
def test_where_an_application_service_was_served_nothing_is_skipped(
    server: Postgres, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    server.sql(f"{before};", "synapse")
    old = read_position(SERVER, "synapse")
    skip_old_events(SERVER, "synapse")
    assert read_position(SERVER, "synapse") == old
    assert "old events are not skipped: an application service was here before" in capsys.readouterr().err


def test_a_postgres_that_does_not_tell_stops_nothing(server: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    server.sql("alter table events rename to elsewhere;", "synapse")
    try:
        with pytest.raises(ScriptError, match=r'matrix-postgres: database synapse: .*"public.events" does not exist'):
            read_position(SERVER, "synapse")
        skip_old_events(SERVER, "synapse")
        assert "warning: appserviceCatchUp: skip: matrix-postgres: database synapse:" in capsys.readouterr().err
    finally:
        server.sql("alter table elsewhere rename to events;", "synapse")
