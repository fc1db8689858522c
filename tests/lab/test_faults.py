"""A run that is killed and leaves something that no later run takes over, finishes or removes: a sample of `make
faults`, at the points that have failed, or would without something that is there for them alone."""

from __future__ import annotations

import os

import pytest

from lab.box import Lab
from lab.faults import Faults, Run, every, table
from lab.mishaps import Mishaps
from tests.lab.conftest import Shared

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        "LAB_PLUGINS" in os.environ,
        reason="LAB_FAULT, the point at which a run is killed, is known to the emulated plugins alone",
    ),
]

SAMPLE = [
    ("up", "create host-programs", "destroy"),  # the first thing on the host
    ("up", "create mautrix-signal-directory", "destroy"),
    ("up", "create mautrix-signal-config", "destroy"),  # it holds all secrets
    ("up", "create mautrix-signal-role", "up"),  # it is there, and the state does not know it
    ("up", "create backup-script", "destroy"),  # dumps that only a note in a directory names
    ("up", "create synapse-appservices", "destroy"),
    ("up", "create mautrix-signal-container", "destroy"),  # it would write on while it is archived
    ("rotation", "update synapse-appservices", "up"),
    ("upgrade", "update mautrix-signal-data", "up"),  # the old bridge is stopped, the new one is not there
    ("destroy", "delete mautrix-signal-data", "destroy"),
]


def test_the_next_run_converges(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    faults = Faults(lab)
    runs = [faults.at(*each) for each in SAMPLE]
    assert not [run for run in runs if run.wrong], table(runs)


@pytest.mark.parametrize(
    "name", ["the keys are made anew", "the disk is full in one bridge's step", "SSH is cut in synapse-appservices"]
)
def test_what_may_happen_is_told_and_refused_or_mended(lab: Lab, shared: Shared, name: str) -> None:
    shared.spoilt = True
    mishaps = Mishaps(Faults(lab), ["synapse-appservices"])
    assert mishaps.make_happen(name) == ""


def test_the_table_counts_what_went_well() -> None:
    runs = [Run("up", "create a", "up", "", 1.0), Run("destroy", "delete a", "destroy", "broken\nmore", 2.0)]
    assert table(runs).splitlines()[-1] == "1 of 2"
    assert list(every({"up": ["create a"], "destroy": ["delete a"]})) == [
        ("up", "create a", "up"), ("up", "create a", "destroy"), ("destroy", "delete a", "destroy"),
    ]  # fmt: skip
