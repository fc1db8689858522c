"""A new release of Synapse, Postgres or a bridge that ends the way there or back. All rows: `make versions`."""

from __future__ import annotations

import pytest

from lab import versions

pytestmark = pytest.mark.e2e


def test_there_and_back_on_the_newest_of_all_neighbours() -> None:
    with versions.open_lab(versions.NEWEST) as lab:
        result = versions.try_row(versions.NEWEST, lab)
    assert result.wrong == ""
    postgres, synapse, bridge = result.ran
    assert postgres.startswith("18.") and (synapse, bridge) == (versions.NEWEST_SYNAPSE, "v0.2608.0")
