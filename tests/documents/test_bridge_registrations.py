"""Pins: a namespace that claims another domain's users, a token that YAML changes, a key too many or too few.

That it equals what the bridge's own `-g` writes is tested with the real bridge, in tests/bridge_core.
"""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from documents.bridge.registrations import (
    doublepuppet_sender,
    quote_meta,
    render_bridge_registration,
    render_doublepuppet_registration,
)
from documents.credentials import DoublePuppet, Keys
from documents.places import BridgeDeployment
from tests import facts

DEPLOYMENT = facts.deployment()
TOKENS = dataclasses.replace(facts.TOKENS, as_token="as" * 32, hs_token="hs" * 32)
PUPPET = DoublePuppet(as_token="da" * 32, hs_token="dh" * 32)
KEYS = Keys(pickle_key="pk" * 32, sender_localpart="x" * 32)


def bridge(deployment: BridgeDeployment = DEPLOYMENT, /, sender_localpart: str = "x" * 32, **tokens: str) -> str:
    keys = dataclasses.replace(KEYS, sender_localpart=sender_localpart)
    return render_bridge_registration(deployment, dataclasses.replace(TOKENS, **tokens), keys)


def puppet(deployment: BridgeDeployment = DEPLOYMENT, /, **tokens: str) -> str:
    return render_doublepuppet_registration(deployment, dataclasses.replace(PUPPET, **tokens))


def of_domain(domain: str) -> BridgeDeployment:
    return dataclasses.replace(DEPLOYMENT, synapse=dataclasses.replace(DEPLOYMENT.synapse, domain=domain))


def test_the_bridges_registration() -> None:
    assert yaml.safe_load(bridge()) == {
        "id": "signal",
        "url": "http://mautrix-signal:29328",
        "as_token": "as" * 32,
        "hs_token": "hs" * 32,
        "sender_localpart": "x" * 32,
        "rate_limited": False,
        "namespaces": {
            "users": [
                {"regex": r"^@signalbot:echo6\.co$", "exclusive": True},
                {"regex": r"^@signal_.*:echo6\.co$", "exclusive": True},
            ]
        },
        "de.sorunome.msc2409.push_ephemeral": True,
        "receive_ephemeral": True,
        "io.element.msc4190": True,
    }


def test_without_mas_the_bridge_logs_in_as_an_appservice_does() -> None:
    plain = dataclasses.replace(DEPLOYMENT, mas=None)
    assert "io.element.msc4190" not in yaml.safe_load(bridge(plain))


def test_the_double_puppet_registration_is_section_8_of_the_plan() -> None:
    assert yaml.safe_load(puppet()) == {
        "id": "doublepuppet",
        "url": None,
        "as_token": "da" * 32,
        "hs_token": "dh" * 32,
        "sender_localpart": "_doublepuppet",
        "rate_limited": False,
        "namespaces": {"users": [{"regex": r"@.*:echo6\.co", "exclusive": False}]},
    }


def test_each_file_names_its_owner_first_and_is_the_same_every_time() -> None:
    for make in (bridge, puppet):
        assert make() == make(dataclasses.replace(DEPLOYMENT))
        assert re.match(r"# .*written by the Pulumi stack mautrix-signal/contabo\.\n# Do not edit", make())


@given(as_token=st.text(min_size=1), hs_token=st.text(min_size=1), container=st.text())
def test_any_token_comes_back(as_token: str, hs_token: str, container: str) -> None:
    place = dataclasses.replace(DEPLOYMENT.place, container=container)
    named = dataclasses.replace(DEPLOYMENT, place=place)
    ours = yaml.safe_load(bridge(named, as_token=as_token, hs_token=hs_token))
    assert (ours["as_token"], ours["hs_token"], ours["url"]) == (as_token, hs_token, f"http://{container}:29328")
    theirs = yaml.safe_load(puppet(as_token=as_token, hs_token=hs_token))
    assert (theirs["as_token"], theirs["hs_token"]) == (as_token, hs_token)


@pytest.mark.parametrize("token", ["1e3", "0o17", "12345", "null", "yes"])
def test_a_token_that_looks_like_something_else_is_quoted(token: str) -> None:
    assert f'\nas_token: "{token}"\n' in bridge(as_token=token)


@given(domain=st.text(min_size=1), other=st.text(min_size=1))
def test_namespaces_claim_this_domain_and_no_other(domain: str, other: str) -> None:
    """As Synapse uses them: re.match."""
    users = yaml.safe_load(bridge(of_domain(domain)))["namespaces"]["users"]
    bot, ghost = (re.compile(entry["regex"]) for entry in users)
    assert bot.match(f"@signalbot:{domain}") and ghost.match(f"@signal_abc:{domain}")
    assert not bot.match(f"@signal_abc:{domain}") and not ghost.match(f"@signalbot:{domain}")
    # `$` also matches before one line feed at the end, and `.*` may hold a colon: neither is in a user id.
    if other != domain and other != f"{domain}\n" and not other.endswith(f":{domain}"):
        assert not bot.match(f"@signalbot:{other}")
        assert not ghost.match(f"@signal_abc:{other}")


def test_the_dots_of_the_domain_are_dots() -> None:
    users = yaml.safe_load(bridge())["namespaces"]["users"]
    puppets = yaml.safe_load(puppet())["namespaces"]["users"]
    for entry in users:
        assert not re.match(entry["regex"], "@signalbot:echo6xco")
        assert not re.match(entry["regex"], "@signal_a:echo6xco")
    assert re.match(puppets[0]["regex"], "@matt:echo6.co")
    assert not re.match(puppets[0]["regex"], "@matt:echo6xco")


@given(st.text())
def test_an_escaped_text_matches_itself(text: str) -> None:
    assert re.fullmatch(quote_meta(text), text)


def test_escaping_is_gos_not_pythons() -> None:
    assert quote_meta("a-b.c:8448") == r"a-b\.c:8448"
    assert quote_meta("[::1]") == r"\[::1\]"


def test_a_second_stack_has_its_own_double_puppet() -> None:
    other = yaml.safe_load(puppet(dataclasses.replace(DEPLOYMENT, doublepuppet_id="doublepuppet-two")))
    assert (other["id"], other["sender_localpart"]) == ("doublepuppet-two", "_doublepuppet-two")
    assert other["sender_localpart"] == doublepuppet_sender("doublepuppet-two")
