"""Pins: a Signal value that drifts from the bridge's own default, and a tag that is judged by its spelling."""

from __future__ import annotations

import dataclasses
import re

import pytest

from documents.bridge.kinds import KINDS, SIGNAL, image_tag, make_bridge, release_numbers


def test_the_plan_is_the_record() -> None:
    assert SIGNAL.image == "dock.mau.dev/mautrix/signal:v0.2603.0"
    assert SIGNAL.default_port == 29328
    assert SIGNAL.bot_user_id("echo6.co") == "@signalbot:echo6.co"
    assert SIGNAL.run_command() == ["/usr/bin/mautrix-signal", "-c", "/data/config.yaml", "-n"]


def test_a_second_one_of_a_kind_has_names_of_its_own_and_the_same_program() -> None:
    second = SIGNAL.with_name("signal-two")
    assert (second.name, second.appservice_id, second.database) == (
        "mautrix-signal-two", "signal-two", "mautrix_signal_two",
    )  # fmt: skip
    assert second.bot_user_id("echo6.co") == "@signal-twobot:echo6.co"
    assert second.username_template == "signal-two_{{.}}"
    assert (second.binary, second.image, second.command_prefix) == (SIGNAL.binary, SIGNAL.image, SIGNAL.command_prefix)


def test_the_program_in_an_image_is_named_as_the_image_is_made() -> None:
    """Instagram's exited with 127. Each Dockerfile.ci at the tag: COPY $EXECUTABLE /usr/bin/mautrix-…"""
    assert {kind: bridge.binary.removeprefix("/usr/bin/mautrix-") for kind, bridge in KINDS.items()} == {
        "signal": "signal", "whatsapp": "whatsapp", "telegram": "telegram", "slack": "slack", "messenger": "meta",
        "instagram": "meta", "gmessages": "gmessages", "twitter": "twitter", "bluesky": "bluesky",
        "linkedin": "linkedin", "gvoice": "gvoice",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_whole(kind: str) -> None:
    bridge = KINDS[kind]
    assert release_numbers(bridge.image), "an exact tag, which can be compared"
    assert bridge.source.startswith("https://github.com/mautrix/") and "/v0.2" in bridge.source
    assert bridge.binary.startswith("/usr/bin/mautrix-") and bridge.command_prefix.startswith("!")
    assert all(re.fullmatch(r"[a-z0-9._=/+-]+", each) for each in bridge.ghost_ids), "as a localpart has it"
    assert make_bridge({"kind": kind}) == bridge


def test_no_two_kinds_meet_on_one_homeserver() -> None:
    for value in ("appservice_id", "default_port", "name", "command_prefix"):
        assert len({getattr(bridge, value) for bridge in KINDS.values()}) == len(KINDS), value


CUSTOM_ENTRY = {
    "kind": "custom", "name": "irc", "network": "IRC", "image": "example.org/irc:v1.2.3", "port": 29343,
    "binary": "/usr/bin/mautrix-irc",
}  # fmt: skip


def test_a_bridge_without_a_record_is_one_from_the_setting() -> None:
    bridge = make_bridge(CUSTOM_ENTRY)
    assert (bridge.name, bridge.bot_localpart, bridge.command_prefix) == ("mautrix-irc", "ircbot", "!irc")
    assert make_bridge({**CUSTOM_ENTRY, "login": "ask"}).login_hint == "ask"


def test_a_record_cannot_be_changed_in_passing() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SIGNAL.default_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("dock.mau.dev/mautrix/signal:v0.2603.0", "v0.2603.0"),
        ("registry:5000/signal", None),
        ("registry:5000/signal:v0.2607.0", "v0.2607.0"),
        ("signal@sha256:00ff", None),
        ("signal:v0.2607.0@sha256:00ff", "v0.2607.0"),
    ],
)
def test_the_tag_of_an_image(image: str, tag: str | None) -> None:
    assert image_tag(image) == tag


@pytest.mark.parametrize(
    ("tag", "numbers"),
    [
        ("v0.2603.0", (0, 2603, 0)),
        ("v0.2607.0-amd64", (0, 2607, 0)),
        ("ig-v0.2608.0", (0, 2608, 0)),
        ("v0.10000.0", (0, 10000, 0)),  # numbers, not a text: "10000" < "2607" as text
        ("v26.03", None),
        ("latest", None),
    ],
)
def test_the_numbers_of_a_release(tag: str, numbers: tuple[int, ...] | None) -> None:
    assert release_numbers(f"dock.mau.dev/mautrix/signal:{tag}") == numbers


def test_a_digest_does_not_tell_the_release() -> None:
    assert release_numbers("signal@sha256:00ff") is None
