"""Pins the difference between what Synapse is thought to answer and what it does: the stop-and-check against the
lab's Synapse and MAS, with the registrations right and in every way wrong that a file on the host can be.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.bridge.registrations import render_bridge_registration, render_doublepuppet_registration
from documents.credentials import DoublePuppet
from host_programs.synapse import stop_and_check
from lab.box import Lab
from tests import facts
from tests.host_programs.steps import run_step
from tests.lab.conftest import Shared, deployment_of
from verdicts.stop_and_check import Expected

pytestmark = pytest.mark.e2e

AS_TOKEN, PUPPET_TOKEN, OTHER = "asToken1" * 8, "dpToken2" * 8, "another3" * 8
BOTH = ("registration.yaml", "doublepuppet.yaml")


class Synapse:
    """The lab's homeserver with registrations of our choice, and the check that is run on it."""

    def __init__(self, lab: Lab, evidence_dir: Path) -> None:
        self.lab, self.evidence_dir = lab, evidence_dir
        self.data = lab.host_dir / "synapse"
        self.config = self.data / "homeserver.yaml"
        self.plain = self.config.read_text()
        self.deployment = deployment_of(lab).bridges[0]
        tokens = replace(facts.TOKENS, as_token=AS_TOKEN, hs_token="h" * 64)
        self.bridge = render_bridge_registration(self.deployment, tokens, facts.KEYS)
        self.puppet = render_doublepuppet_registration(self.deployment, DoublePuppet(PUPPET_TOKEN, "p" * 64))

    def load(self, *, bridge: str = "", puppet: str = "", listed: tuple[str, ...] = BOTH) -> None:
        """Write both files (other texts instead of the right ones), list some, restart."""
        for name, text in zip(BOTH, (bridge or self.bridge, puppet or self.puppet), strict=True):
            (self.data / name).write_text(text)
            os.chmod(self.data / name, 0o600)
            os.chown(self.data / name, self.config.stat().st_uid, self.config.stat().st_gid)
        entries = "".join(f"  - /data/{name}\n" for name in listed)
        self.config.write_text(f"{self.plain}\napp_service_config_files:\n{entries}")
        self.lab.docker("restart", self.lab.synapse)
        self.lab.wait_healthy()

    def check(self, admin: str = "@matt:echo6.co", **more: Any) -> subprocess.CompletedProcess[str]:
        mas = self.deployment.mas
        assert mas
        arguments = stop_and_check.StopAndCheckArguments(
            synapse=self.deployment.synapse,
            mas_container=mas.container,
            expected=Expected(
                bot=self.deployment.bot,
                appservice_id="signal",
                admin=admin,
                doublepuppet_id="doublepuppet",
                mas_hosts=mas.hosts,
                bridge_host=self.deployment.place.container,
            ),
            as_token=AS_TOKEN,
            doublepuppet_as_token=PUPPET_TOKEN,
            bridge=replace(self.deployment.place, directory=str(self.evidence_dir)),
            stack=self.deployment.stack,
            generation=1,
            fingerprint="",
        )
        return run_step("synapse stop-and-check", replace(arguments, **more), {**os.environ}, timeout=120)

    def passes(self) -> dict[str, Any]:
        done = self.check()
        assert done.returncode == 0, done.stderr
        assert not list(self.evidence_dir.iterdir())
        return dict(json.loads(done.stdout))

    def fails(self, step: str, rule: str, **more: Any) -> dict[str, Any]:
        """It fails by that rule; returns the evidence."""
        done = self.check(**more)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        assert f"FAIL: {step}: {rule}" in done.stderr, done.stderr
        assert f"the last 50 log lines of {self.lab.synapse}:" in done.stderr
        evidence = self.evidence_dir / "stop-and-check-failed.json"
        for token in (AS_TOKEN, PUPPET_TOKEN, OTHER):
            assert token not in done.stderr + evidence.read_text()
        return dict(json.loads(evidence.read_text()))


@pytest.fixture(scope="module")
def synapse(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Synapse:
    shared.deployed = False
    shared.lab.reset()
    return Synapse(shared.lab, tmp_path_factory.mktemp("evidence"))


@pytest.fixture
def mas_stopped(running_lab: Lab) -> Iterator[None]:
    running_lab.docker("stop", running_lab.mas)
    yield
    running_lab.docker("start", running_lab.mas)


def replaced(text: str, line: str, instead: str) -> str:
    changed, count = re.subn(line, instead, text, flags=re.MULTILINE)
    assert count, f"no {line} in\n{text}"
    return changed


def assert_another_domain(synapse: Synapse) -> None:
    synapse.load(bridge=replaced(synapse.bridge, r"echo6\\+\.co", r"other\\\\.org"))
    evidence = synapse.fails("register bot", "@signalbot:echo6.co is not in the namespace of signal")
    assert evidence["steps"][1]["rule"] == "403: the user is outside the namespace of signal"
    assert [bool(step["fix"]) for step in evidence["steps"]] == [True, True, False, False, False]


def test_another_domain_before_the_bot_exists(synapse: Synapse) -> None:
    assert_another_domain(synapse)


def test_right_twice(synapse: Synapse) -> None:
    synapse.load()
    assert "registered @signalbot:echo6.co" in synapse.passes()["table"]
    again = synapse.passes()
    came = [row.partition(" <- ")[2].split(" {")[0] for row in again["table"].splitlines()[1:]]
    assert [*came[:2], *came[3:]] == [
        "400 M_USER_IN_USE User ID already taken.",
        "200",
        "200",
        "400 M_URL_NOT_SET The application service does not have a URL set",
    ]
    assert came[2].startswith("502 M_CONNECTION_FAILED ")


def test_right_with_mas_stopped(synapse: Synapse, mas_stopped: None) -> None:
    """The plan's assumption: appservices do not need MAS."""
    synapse.load()
    synapse.passes()


def test_registration_missing(synapse: Synapse) -> None:
    synapse.load(listed=BOTH[1:])
    evidence = synapse.fails("register bot", "401 M_UNKNOWN_TOKEN: no appservice's token")
    assert [bool(step["fix"]) for step in evidence["steps"]] == [True, True, True, False, False]
    assert evidence["steps"][1]["rule"].endswith(", and MAS, which Synapse then asked, knows it neither")


def test_registration_missing_with_mas_stopped(synapse: Synapse, mas_stopped: None) -> None:
    synapse.load(listed=BOTH[1:])
    evidence = synapse.fails("register bot", "401 M_UNKNOWN_TOKEN: no appservice's token")
    for step in evidence["steps"][1:3]:  # registration does not ask MAS, the others do
        assert step["rule"] == "503: no appservice's token, and MAS, which Synapse then asked, is down"


def test_another_token(synapse: Synapse) -> None:
    synapse.load(bridge=synapse.bridge.replace(AS_TOKEN, OTHER))
    synapse.fails("register bot", "401 M_UNKNOWN_TOKEN")


def test_another_id(synapse: Synapse) -> None:
    synapse.load(bridge=replaced(synapse.bridge, r"^id: .*$", "id: whatsapp"))
    synapse.fails("ping", "403: this as_token is not that of the registration signal")


def test_another_domain_when_the_bot_exists(synapse: Synapse) -> None:
    synapse.load()
    synapse.passes()
    assert_another_domain(synapse)


def test_doublepuppet_missing(synapse: Synapse) -> None:
    synapse.load(listed=BOTH[:1])
    evidence = synapse.fails("whoami as admin", "401 M_UNKNOWN_TOKEN")
    assert [bool(step["fix"]) for step in evidence["steps"]] == [False, False, False, True, True]


def test_doublepuppet_with_a_url(synapse: Synapse) -> None:
    synapse.load(puppet=replaced(synapse.puppet, r"^url:.*$", "url: http://127.0.0.1:9"))
    synapse.fails("puppet ping", "the loaded registration doublepuppet has a url")


def test_an_admin_who_is_not_there(synapse: Synapse) -> None:
    synapse.load()
    synapse.fails("whoami as admin", "403: Synapse has no such user", admin="@nobody:echo6.co")


def test_it_waits_for_a_synapse_that_starts(synapse: Synapse) -> None:
    synapse.load()
    synapse.lab.docker("stop", synapse.lab.synapse)
    evidence = synapse.fails("register bot", "Synapse is not there: connection refused", deadline=1.0)
    assert evidence["exchanges"][0]["fault"] == "refused"
    synapse.lab.docker("start", synapse.lab.synapse)
    synapse.lab.wait_healthy()
    synapse.passes()
