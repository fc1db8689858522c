"""The hosts that people really have (lab/flavours.py): on each the whole way there and back, or a refusal that says
what to set."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from lab.box import Lab
from lab.flavours import FLAVOURS, OTHER_TOKEN
from lab.snapshot import loaded_registrations
from tests.lab.conftest import Shared
from tests.lab.test_program import ping, snapshot

pytestmark = pytest.mark.e2e


@pytest.fixture
def flavoured(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab in the flavour that the test is parametrized with; plain again afterwards."""
    shared.deployed = False
    shared.lab.flavour = request.param
    shared.lab.reset()
    yield shared.lab
    shared.lab.flavour = "plain"
    shared.lab.reset()


def whoami(lab: Lab, token: str) -> int:
    request = urllib.request.Request(
        f"{lab.synapse_url}/_matrix/client/v3/account/whoami", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


OVER_TLS = """SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
WHERE usename = 'mautrix_signal'"""


def of_the_worker(lab: Lab) -> list[str]:
    """Ids of the appservices that the worker loaded at its last start."""
    name = lab.container("worker")
    started = lab.docker.inspect("container", [name])[name]["State"]["StartedAt"]
    log = lab.docker("logs", "--since", started, name)
    return loaded_registrations(log.stdout + log.stderr)


# What is said there to whoever left the setting at its default.
REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "workers": (
        {"synapseWorkers": [], "homeserverAddress": "http://synapse:8008"},
        (
            "-worker: runs a worker of mxlab-",
            "`pulumi config set --path 'synapseWorkers[0]' mxlab-",
            "homeserverAddress: http://synapse:8008 does not serve the client API with the media repository inside",
        ),
    ),
    "conf.d": (
        {"homeserverFile": ""},
        ("conf.d/appservices.yaml sets app_service_config_files, and Synapse takes all of it from the last",),
    ),
    "no-mas": ({"masContainer": "matrix-mas"}, ("but Synapse has its own logins",)),
    "file-mount": (
        {"homeserverFile": ""},
        ("synapse/homeserver.yaml: Synapse has another file, or none, in the place of it",),
    ),
}


@pytest.mark.parametrize("flavoured", [name for name in FLAVOURS if name != "plain"], indirect=True)
def test_a_refusal_says_what_to_set_and_then_it_goes_there_and_back(flavoured: Lab) -> None:
    lab, before = flavoured, snapshot(flavoured)
    if lab.flavour in REFUSED:
        changed, words = REFUSED[lab.flavour]
        lab.write_config(**changed)
        told = lab.pulumi("preview", check=False)
        said = " ".join((told.stdout + told.stderr).split())
        assert told.returncode != 0 and all(each in said for each in words), said
        assert snapshot(lab) == before
        lab.write_config()
    assert "PASS" in lab.pulumi("up", "--yes", "--skip-preview").stdout
    assert ping(lab) == 200
    if lab.flavour == "conf.d":
        assert whoami(lab, OTHER_TOKEN) == 200, "the other bridge is still loaded"
    if lab.flavour == "workers":
        assert of_the_worker(lab) == ["doublepuppet", "signal"], "it was restarted, too"
    if lab.flavour == "no-mas":
        assert lab.psql(OVER_TLS) == "t"
    assert "unchanged" in lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").stdout
    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert snapshot(lab) == before
    if lab.flavour == "workers":
        assert of_the_worker(lab) == []
