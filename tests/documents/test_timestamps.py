"""A time that is read as another one: an age that is hours off, or a dump that is taken for none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.timestamps import file_name_seconds, rfc3339_seconds

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-24T12:00:00Z", NOON),
        ("2026-11-24T12:00:00.250000001Z", NOON + 0.25),
        ("2026-11-24T13:30:00+01:30", NOON),
        ("2026-11-24T07:00:00.5-05:00", NOON + 0.5),
        ("2026-11-24 12:00:00Z", NOON),
        ("2026-11-24T12:00:00", None),
        ("2026-13-24T12:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_docker_s_and_the_bridges_times(text: str, seconds: float | None) -> None:
    assert rfc3339_seconds(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-5))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20261124T120000Z", NOON), ("20261324T120000Z", None), ("20261124T120000", None), ("x20261124T120000Z", None)],
)
def test_the_times_in_names_of_dumps_and_archives(text: str, seconds: float | None) -> None:
    assert file_name_seconds(text) == seconds


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))
def test_a_time_that_is_written_is_read_back(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    assert file_name_seconds(moment.strftime("%Y%m%dT%H%M%SZ")) == moment.replace(microsecond=0).timestamp()
    assert rfc3339_seconds(moment.isoformat()) == pytest.approx(moment.timestamp(), abs=1e-5)
