"""Pins: a namespace that claims another domain's users, a token that YAML changes, the bot as sender (Synapse answers
its /sync with 500), a key too many or too few.

That it equals what the bridge's own `-g` writes is tested with the real bridge, in tests/bridge_core.
"""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from documents.appservice import (
    BridgeRegistration,
    DoublePuppetRegistration,
    bridge_registration,
    doublepuppet_registration,
    quote_meta,
)
from documents.bridges import SIGNAL

BRIDGE = BridgeRegistration(
    bridge=SIGNAL,
    stack="contabo",
    domain="echo6.co",
    bridge_address="http://mautrix-signal:29328",
    sender_localpart="x" * 32,
    as_token="as" * 32,
    hs_token="hs" * 32,
)
PUPPET = DoublePuppetRegistration(stack="contabo", domain="echo6.co", as_token="as" * 32, hs_token="hs" * 32)


def test_the_bridges_registration() -> None:
    assert yaml.safe_load(bridge_registration(BRIDGE)) == {
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


def test_the_double_puppet_registration_is_section_8_of_the_plan() -> None:
    text = doublepuppet_registration(PUPPET)
    assert yaml.safe_load(text) == {
        "id": "doublepuppet",
        "url": None,
        "as_token": "as" * 32,
        "hs_token": "hs" * 32,
        "sender_localpart": "_doublepuppet",
        "rate_limited": False,
        "namespaces": {"users": [{"regex": r"@.*:echo6\.co", "exclusive": False}]},
    }


def test_each_file_names_its_owner_first_and_is_the_same_every_time() -> None:
    for text, again in (
        (bridge_registration(BRIDGE), bridge_registration(dataclasses.replace(BRIDGE))),
        (doublepuppet_registration(PUPPET), doublepuppet_registration(dataclasses.replace(PUPPET))),
    ):
        assert text == again
        assert re.match(r"# .*written by the Pulumi stack contabo\.\n# Do not edit", text)


@given(as_token=st.text(min_size=1), hs_token=st.text(min_size=1), address=st.text())
def test_any_token_comes_back(as_token: str, hs_token: str, address: str) -> None:
    ours = yaml.safe_load(
        bridge_registration(dataclasses.replace(BRIDGE, as_token=as_token, hs_token=hs_token, bridge_address=address))
    )
    assert (ours["as_token"], ours["hs_token"], ours["url"]) == (as_token, hs_token, address)
    puppet = yaml.safe_load(
        doublepuppet_registration(dataclasses.replace(PUPPET, as_token=as_token, hs_token=hs_token))
    )
    assert (puppet["as_token"], puppet["hs_token"]) == (as_token, hs_token)


@pytest.mark.parametrize("token", ["1e3", "0o17", "12345", "null", "yes"])
def test_a_token_that_looks_like_something_else_is_quoted(token: str) -> None:
    assert f'\nas_token: "{token}"\n' in bridge_registration(dataclasses.replace(BRIDGE, as_token=token))


@given(domain=st.text(min_size=1), other=st.text(min_size=1))
def test_namespaces_claim_this_domain_and_no_other(domain: str, other: str) -> None:
    """As Synapse uses them: re.match."""
    users = yaml.safe_load(bridge_registration(dataclasses.replace(BRIDGE, domain=domain)))["namespaces"]["users"]
    bot, ghost = (re.compile(entry["regex"]) for entry in users)
    assert bot.match(f"@signalbot:{domain}") and ghost.match(f"@signal_abc:{domain}")
    assert not bot.match(f"@signal_abc:{domain}") and not ghost.match(f"@signalbot:{domain}")
    # `$` also matches before one line feed at the end, and `.*` may hold a colon: neither is in a user id.
    if other != domain and other != f"{domain}\n" and not other.endswith(f":{domain}"):
        assert not bot.match(f"@signalbot:{other}")
        assert not ghost.match(f"@signal_abc:{other}")


def test_the_dots_of_the_domain_are_dots() -> None:
    users = yaml.safe_load(bridge_registration(BRIDGE))["namespaces"]["users"]
    puppets = yaml.safe_load(doublepuppet_registration(PUPPET))["namespaces"]["users"]
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


def test_the_bot_is_not_the_sender() -> None:
    with pytest.raises(ValueError, match="sender_localpart is the bot"):
        bridge_registration(dataclasses.replace(BRIDGE, sender_localpart="signalbot"))


@pytest.mark.parametrize("sender", ["", "a b", "ä", "a%b", "a:b", "x\n"])
def test_a_sender_that_synapse_refuses(sender: str) -> None:
    for render in (
        lambda: bridge_registration(dataclasses.replace(BRIDGE, sender_localpart=sender)),
        lambda: doublepuppet_registration(dataclasses.replace(PUPPET, sender_localpart=sender)),
    ):
        with pytest.raises(ValueError, match="it should be letters, digits"):
            render()


@pytest.mark.parametrize("token", ["as_token", "hs_token"])
def test_an_empty_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="signal is empty"):
        bridge_registration(dataclasses.replace(BRIDGE, **{token: ""}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="doublepuppet is empty"):
        doublepuppet_registration(dataclasses.replace(PUPPET, **{token: ""}))  # type: ignore[arg-type]


@pytest.mark.parametrize("template", ["signal", "{{.}}{{.}}"])
def test_a_record_without_a_place_for_the_ghosts_id_is_refused(template: str) -> None:
    bridge = dataclasses.replace(SIGNAL, username_template=template)
    with pytest.raises(ValueError, match="username template"):
        bridge_registration(dataclasses.replace(BRIDGE, bridge=bridge))


def test_a_second_stack_has_its_own_double_puppet() -> None:
    other = yaml.safe_load(
        doublepuppet_registration(
            dataclasses.replace(PUPPET, appservice_id="doublepuppet-two", sender_localpart="_doublepuppet_two")
        )
    )
    assert (other["id"], other["sender_localpart"]) == ("doublepuppet-two", "_doublepuppet_two")


def test_tokens_are_not_in_the_repr() -> None:
    for shown in (repr(BRIDGE), repr(PUPPET)):
        assert "asas" not in shown and "hshs" not in shown
