"""Pins: a password that breaks the database URL, a token that YAML reads as a number, a setting of the plan that is
missing, a secret that shows in an error.

What the real bridge makes of the text is in tests/bridge_core.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from documents.bridge.config import (
    PROGRAM_KEYS,
    UNMERGED_KEYS,
    bridge_database_url,
    extract_bridge_config,
    find_forbidden_keys,
    find_rejected_settings,
    merge,
    render_bridge_config,
)
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.places import BridgeDeployment
from tests.facts import deployment

DEPLOYMENT = deployment()
TOKENS = Tokens(
    database_password="pa55",
    as_token="as" * 32,
    hs_token="hs" * 32,
    provisioning_secret="ps" * 32,
    public_media_key="pm" * 32,
)
KEYS = Keys(pickle_key="pk" * 32, sender_localpart="x" * 32)
PUPPET = DoublePuppet(as_token="dp" * 32, hs_token="dh" * 32)
SENDER = "@_doublepuppet:echo6.co"
SECRETS = [*(each.name for each in dataclasses.fields(Tokens)), "pickle_key", "doublepuppet"]


def text(deployment: BridgeDeployment = DEPLOYMENT, /, **changed: str) -> str:
    """config.yaml with some secrets changed."""
    keys = {name: changed.pop(name) for name in list(changed) if name in ("pickle_key", "sender_localpart")}
    puppet = dataclasses.replace(PUPPET, as_token=changed.pop("doublepuppet", PUPPET.as_token))
    tokens = dataclasses.replace(TOKENS, **changed)
    url = bridge_database_url(deployment, TOKENS)
    return render_bridge_config(deployment, url, tokens, dataclasses.replace(KEYS, **keys), puppet)


def parsed(deployment: BridgeDeployment = DEPLOYMENT, /, **changed: str) -> dict[str, dict[str, object]]:
    document = yaml.safe_load(text(deployment, **changed))
    assert isinstance(document, dict)
    return document


def of_domain(domain: str) -> BridgeDeployment:
    synapse = dataclasses.replace(DEPLOYMENT.synapse, domain=domain)
    return dataclasses.replace(DEPLOYMENT, synapse=synapse, admin_user=f"@matt:{domain}")


def test_the_whole_document_of_the_plan() -> None:
    assert parsed() == {
        "bridge": {
            "command_prefix": "!signal",
            "permissions": {"*": "relay", "echo6.co": "user", "@matt:echo6.co": "admin", SENDER: "block"},
        },
        "database": {
            "max_open_conns": 5,
            "max_idle_conns": 1,
            "type": "postgres",
            "uri": "postgres://mautrix_signal:pa55@matrix-postgres:5432/mautrix_signal?sslmode=disable",
        },
        "homeserver": {"address": "http://matrix-synapse:8008", "domain": "echo6.co", "software": "standard"},
        "appservice": {
            "address": "http://mautrix-signal:29328",
            "hostname": "0.0.0.0",
            "port": 29328,
            "id": "signal",
            "bot": {"username": "signalbot"},
            "ephemeral_events": True,
            "as_token": "as" * 32,
            "hs_token": "hs" * 32,
            "username_template": "signal_{{.}}",
        },
        "provisioning": {"shared_secret": "ps" * 32},
        "public_media": {"enabled": False, "signing_key": "pm" * 32},
        "direct_media": {"enabled": False},
        "double_puppet": {
            "servers": {},
            "allow_discovery": False,
            "secrets": {"echo6.co": "as_token:" + "dp" * 32},
        },
        # Section 5a of the plan, with the pickle key kept instead of generated.
        "encryption": {
            "allow": True,
            "default": True,
            "require": True,
            "appservice": False,
            "msc4190": True,
            "allow_key_sharing": True,
            "pickle_key": "pk" * 32,
            "self_sign": True,
        },
        "logging": {"min_level": "debug", "writers": [{"type": "stdout", "format": "json"}]},
    }


def test_without_mas_the_bridge_logs_in_as_an_appservice_does() -> None:
    plain = dataclasses.replace(DEPLOYMENT, mas=None)
    assert parsed(plain)["encryption"]["msc4190"] is False


def test_the_same_parameters_give_the_same_text_and_it_names_its_owner() -> None:
    assert text() == text(dataclasses.replace(DEPLOYMENT))
    assert text().startswith("# mautrix-signal: written by the Pulumi stack mautrix-signal/contabo.\n")


@pytest.mark.parametrize("token", ["1e3", "0o17", "0x1F", "12345", "1_000", "null", "true", "~", "2026-11-24", ".inf"])
def test_a_token_that_looks_like_something_else_is_quoted(token: str) -> None:
    made = text(as_token=token)
    assert f'  as_token: "{token}"\n' in made
    assert yaml.safe_load(made)["appservice"]["as_token"] == token


@given(st.fixed_dictionaries({name: st.text(min_size=16) for name in SECRETS}))
def test_any_secret_comes_back_from_the_yaml(secrets: dict[str, str]) -> None:
    secrets["database_password"] = "pa55"  # its own law is below
    document = parsed(**secrets)
    assert document["appservice"]["as_token"] == secrets["as_token"]
    assert document["appservice"]["hs_token"] == secrets["hs_token"]
    assert document["encryption"]["pickle_key"] == secrets["pickle_key"]
    assert document["provisioning"]["shared_secret"] == secrets["provisioning_secret"]
    assert document["public_media"]["signing_key"] == secrets["public_media_key"]
    assert document["double_puppet"]["secrets"] == {"echo6.co": f"as_token:{secrets['doublepuppet']}"}


@given(st.text(min_size=1))
def test_any_domain_comes_back_from_the_yaml(domain: str) -> None:
    document = parsed(of_domain(domain))
    assert document["homeserver"]["domain"] == domain
    admin, sender = f"@matt:{domain}", f"@_doublepuppet:{domain}"
    assert document["bridge"]["permissions"] == {"*": "relay"} | {domain: "user"} | {admin: "admin", sender: "block"}
    assert document["double_puppet"]["secrets"] == {domain: "as_token:" + "dp" * 32}


@given(password=st.text(min_size=1))
def test_any_password_comes_back_from_the_url(password: str) -> None:
    place = DEPLOYMENT.place
    database = dataclasses.replace(place.database, database="_a-b_1", role="r_-2")
    changed = dataclasses.replace(
        DEPLOYMENT,
        place=dataclasses.replace(place, database=database),
        postgres=dataclasses.replace(DEPLOYMENT.postgres, container="My_db.2-x", port=65535, sslmode="require"),
    )
    url = urlsplit(bridge_database_url(changed, dataclasses.replace(TOKENS, database_password=password)))
    assert (url.scheme, url.username, url.hostname, url.port) == ("postgres", "r_-2", "my_db.2-x", 65535)
    assert unquote(url.password or "") == password
    assert (url.path, url.query, url.fragment) == ("/_a-b_1", "sslmode=require", "")


@pytest.mark.parametrize("stack", ["a\nb: c", "a\rb", "a\x85b", "a\u2028b", "a\0b"])
def test_a_stack_name_cannot_leave_its_comment(stack: str) -> None:
    with pytest.raises(ValueError, match="not printable"):
        text(dataclasses.replace(DEPLOYMENT, stack=stack))


def test_secrets_are_not_in_the_repr() -> None:
    shown = repr(TOKENS) + repr(KEYS) + repr(PUPPET)
    for secret in (*vars(TOKENS).values(), *vars(PUPPET).values(), KEYS.pickle_key):
        assert secret not in shown


def test_the_database_s_url_is_the_one_in_the_config() -> None:
    assert bridge_database_url(DEPLOYMENT, TOKENS) == parsed()["database"]["uri"]


# ---- the setting bridgeConfig


CHOSEN = st.dictionaries(
    st.sampled_from(["bridge", "permissions", "encryption", "pickle_key", "relay", "network", "appservice", "port"]),
    st.recursive(
        st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a"]) | st.lists(st.integers(0, 1), max_size=2),
        lambda below: st.dictionaries(st.sampled_from(["permissions", "port", "bot", "pickle_key", "x"]), below),
    ),
)


def values(node: Any, above: str = "") -> dict[str, Any]:
    if isinstance(node, dict) and node and above not in UNMERGED_KEYS:
        return {path: value for key, below in node.items()
                for path, value in values(below, f"{above}.{key}".lstrip(".")).items()}  # fmt: skip
    return {above: node}


@pytest.mark.law
@given(CHOSEN, CHOSEN)
def test_what_is_chosen_counts_and_all_else_stays(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    together = merge(ours, theirs)
    assert find_rejected_settings(theirs, together) == []
    assert merge(ours, {}) == ours and merge({}, theirs) == theirs and merge(together, theirs) == together
    chosen = values(theirs)
    for path, value in values(ours).items():
        if path and not any(f"{path}.".startswith(f"{each}.") or f"{each}.".startswith(f"{path}.") for each in chosen):
            assert values(together)[path] == value


@pytest.mark.law
@given(CHOSEN)
def test_what_is_ours_is_refused_with_all_that_is_above_and_below(theirs: dict[str, Any]) -> None:
    told, chosen = find_forbidden_keys(theirs), values(theirs)
    for path in PROGRAM_KEYS:
        touched = [each for each in chosen if f"{each}.".startswith(f"{path}.") or f"{path}.".startswith(f"{each}.")]
        touched = [each for each in touched if each and chosen[each] != {}]
        assert (path in told) == bool(touched), (path, touched)


def test_permissions_are_taken_as_they_are_and_the_sender_of_the_proof_has_none() -> None:
    """With some it would have the bot join its room, make that its management room, and greet it."""
    config = dataclasses.replace(
        DEPLOYMENT, config={"bridge": {"permissions": {"@me:echo6.co": "admin"}, "relay": {"a": 1}}}
    )
    document = parsed(config)
    assert document["bridge"] == {
        "command_prefix": "!signal", "permissions": {"@me:echo6.co": "admin", SENDER: "block"}, "relay": {"a": 1},
    }  # fmt: skip


def test_all_that_we_write_is_either_ours_or_free_to_choose() -> None:
    """A new setting of ours needs a decision."""
    free = {
        "bridge.command_prefix", "bridge.permissions", "homeserver.software", "public_media.enabled",
        "database.max_open_conns", "database.max_idle_conns",
        "double_puppet.servers", "double_puppet.allow_discovery", "encryption.allow", "encryption.default",
        "encryption.require", "encryption.allow_key_sharing", "logging.min_level",
    }  # fmt: skip
    written = set(values(parsed()))
    ours = {path for path in written if any(f"{path}.".startswith(f"{each}.") for each in PROGRAM_KEYS)}
    assert written == ours | free and not ours & free


@pytest.mark.parametrize(
    ("theirs", "line"),
    [
        ({"bridge": {"typo": 1}}, "bridgeConfig.bridge.typo: is no setting of this bridge's"),
        ({"bridge": {"on": "yes"}}, "bridgeConfig.bridge.on: is a text, and should be true or false"),
        ({"bridge": {"on": 1}}, "bridgeConfig.bridge.on: is a whole number, and should be true or false"),
        ({"bridge": {"limit": None}}, "bridgeConfig.bridge.limit: is empty, and should be a whole number"),
        ({"bridge": {"limit": {"a": 1}}}, "bridgeConfig.bridge.limit.a: is no setting of this bridge's"),
        ({"network": {"x": 1}}, "bridgeConfig.network.x: is no setting of this bridge's"),
        (
            {"bridge": {"formats": {"m.text": "a", "m.x": "b"}}},
            "bridgeConfig.bridge.formats.m.x: is no setting of this bridge's",
        ),
    ],
)
def test_what_the_bridge_does_not_take_is_named_without_its_value(theirs: dict[str, Any], line: str) -> None:
    assert find_rejected_settings(
        theirs, {"bridge": {"on": True, "limit": 1, "formats": {"m.text": "a"}}, "network": None}
    ) == [line]


EXAMPLE: dict[str, Any] = {
    "network": {"displayname": "{{.Name}}"},
    "bridge": {"command_prefix": "!signal", "permissions": {"example.com": "user"}, "relay": {"enabled": False}},
    "double_puppet": {"servers": {"another.example.org": "https://x"}, "secrets": {}},
    "encryption": {"allow": False, "default": False, "pickle_key": "generate"},
    "appservice": {"port": 29328, "bot": {"username": "signalbot", "displayname": "Signal bridge bot"}},
}


def test_the_choices_of_a_hand_made_bridge_are_extracted() -> None:
    theirs = {
        "bridge": {"permissions": {"@me:echo6.co": "admin"}, "relay": {"enabled": True}},
        "appservice": {"port": 1, "bot": {"username": "other", "displayname": "Hugo"}},
        "encryption": {"allow": True, "pickle_key": "secret"},
        "database": {"uri": "postgres://secret"},
    }
    assert extract_bridge_config(merge(EXAMPLE, theirs), EXAMPLE) == {
        "bridge": theirs["bridge"],
        "appservice": {"bot": {"displayname": "Hugo"}},
        "encryption": {"default": False},  # where our own bridges encrypt
    }
    assert find_forbidden_keys(extract_bridge_config(merge(EXAMPLE, theirs), EXAMPLE)) == []


def test_an_example_comes_along_as_one_that_does_not_encrypt() -> None:
    assert extract_bridge_config(EXAMPLE, EXAMPLE) == {"encryption": {"allow": False, "default": False}}
