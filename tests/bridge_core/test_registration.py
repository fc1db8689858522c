"""Pins: a registration of ours that differs from the one that the bridge would have made for the same config."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml

from documents.bridge.config import bridge_database_url, render_bridge_config
from documents.bridge.kinds import SIGNAL, Bridge
from documents.bridge.registrations import render_bridge_registration
from documents.credentials import LENGTH, SENDER_LENGTH
from documents.places import BridgeDeployment
from tests.bridge_core.conftest import Core
from tests.bridge_core.test_config import DEPLOYMENT, KEYS, PUPPET, TOKENS

RANDOM = ("as_token", "hs_token", "sender_localpart")


def generated(core: Core, deployment: BridgeDeployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bridge's own registration for a config, and the config as it is afterwards."""
    url = bridge_database_url(deployment, TOKENS)
    path = core.write("config.yaml", render_bridge_config(deployment, url, TOKENS, KEYS, PUPPET))
    done = core.run("-c", str(path), "-g", "-r", "registration.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    written = core.directory / "registration.yaml"
    assert written.stat().st_mode & 0o777 == 0o600
    return yaml.safe_load(written.read_text()), yaml.safe_load(path.read_text())


def ours(deployment: BridgeDeployment) -> dict[str, Any]:
    document = yaml.safe_load(render_bridge_registration(deployment, TOKENS, KEYS))
    assert isinstance(document, dict)
    return document


OTHER = SIGNAL.with_name("signal-2")


@pytest.mark.parametrize("domain", ["echo6.co", "a-b.c_d.example.org:8448", "[2001:db8::1]:8448", "localhost"])
@pytest.mark.parametrize("bridge", [SIGNAL, OTHER], ids=["signal", "other"])
def test_equal_key_by_key_and_in_order(core: Core, bridge: Bridge, domain: str) -> None:
    synapse = dataclasses.replace(DEPLOYMENT.synapse, domain=domain)
    deployment = dataclasses.replace(DEPLOYMENT, bridge=bridge, synapse=synapse, admin_user=f"@matt:{domain}")
    theirs, _ = generated(core, deployment)
    mine = ours(deployment)
    assert list(mine) == list(theirs)
    for key in mine:
        if key not in RANDOM:
            assert mine[key] == theirs[key], key


def test_random_values_have_the_length_and_letters_that_we_give_ours(core: Core) -> None:
    theirs, _ = generated(core, DEPLOYMENT)
    for key, length in zip(RANDOM, (LENGTH, LENGTH, SENDER_LENGTH), strict=True):
        assert re.fullmatch(rf"[0-9A-Za-z]{{{length}}}", theirs[key]), key
    assert theirs["sender_localpart"] != SIGNAL.bot_localpart


def test_g_always_makes_new_tokens_which_is_why_we_never_use_it(core: Core) -> None:
    theirs, config = generated(core, DEPLOYMENT)
    assert theirs["as_token"] != TOKENS.as_token
    assert config["appservice"]["as_token"] == theirs["as_token"]
