"""The first bridge of a homeserver that has 300,000 events already: Synapse goes through all of them, or begins behind
them, and `up` ends with an event that arrives. It ended with "is not handed events within 90 s", and blamed a back-off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared

pytestmark = pytest.mark.e2e

EVENTS = 300_000
# Events of a room that nobody is in. Without a body in event_json they cost Synapse less than others.
MAKE_EVENTS = f"""insert into events (topological_ordering, event_id, type, room_id, processed, outlier, depth, sender,
  origin_server_ts, received_ts, instance_name, stream_ordering)
select n, '$old' || n, 'm.room.message', '!old:echo6.co', true, true, n, '@matt:echo6.co', 0, 0, 'master',
  nextval('events_stream_seq') from generate_series(1, {EVENTS}) as n"""
POSITION = "select coalesce(max(stream_ordering), 0) from appservice_stream_position"
NEWEST = "select max(stream_ordering) from events"


@pytest.fixture
def grown(lab: Lab, shared: Shared) -> Iterator[Lab]:
    """The lab after years of use without a bridge."""
    shared.spoilt = True
    lab.docker("stop", lab.synapse)
    lab.psql(MAKE_EVENTS, "synapse")
    lab.docker("start", lab.synapse)
    lab.wait_healthy()
    assert lab.psql(POSITION, "synapse").strip() == "0"
    yield lab
    lab.write_config()


def behind(lab: Lab) -> int:
    return int(lab.psql(NEWEST, "synapse")) - int(lab.psql(POSITION, "synapse"))


def test_up_tells_and_waits_as_long_as_synapse_goes_through_old_events(grown: Lab) -> None:
    """Its limit is shorter than Synapse needs."""
    grown.write_config(readyTimeout=20)
    preview = grown.pulumi("preview").stdout
    assert re.search(
        r"Synapse goes through 3000\d\d old events for its application services .*\(about 4 min, at", preview
    )
    assert "or `pulumi config set appserviceCatchUp skip`, and it begins behind them" in preview
    done = grown.pulumi("up", "--yes", "--skip-preview", timeout=580)
    assert grown.outputs()["ready"]["event_ms"] > 0
    assert behind(grown) < 1000
    assert re.search(r"Synapse goes through old events first: \d+ left, about \d+ s", done.stdout)


def test_up_has_synapse_begin_behind_them(grown: Lab) -> None:
    grown.write_config(appserviceCatchUp="skip", readyTimeout=20)
    preview = grown.pulumi("preview").stdout
    assert re.search(r"appserviceCatchUp: skip: 3000\d\d old events go to no bridge", preview)
    done = grown.pulumi("up", "--yes", "--skip-preview")
    assert re.search(r"application services begin at event 3000\d\d: 3000\d\d old events are skipped", done.stdout)
    assert "goes through old events first" not in done.stdout
    assert behind(grown) < 1000 and grown.outputs()["ready"]["event_ms"] > 0
    grown.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    grown.pulumi("destroy", "--yes", "--skip-preview")
    at = int(grown.psql(POSITION, "synapse"))
    grown.pulumi("up", "--yes", "--skip-preview")
    assert int(grown.psql(POSITION, "synapse")) >= at, "an application service was here before: nothing is skipped"
