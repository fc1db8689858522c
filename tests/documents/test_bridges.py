"""Pins: a Signal value that drifts from the bridge's own default, and a tag that is judged by its spelling."""

from __future__ import annotations

import dataclasses

import pytest

from documents.bridges import SIGNAL, can_link, image_tag


def test_the_plan_is_the_record() -> None:
    assert SIGNAL.image == "dock.mau.dev/mautrix/signal:v0.2603.0"
    assert SIGNAL.default_port == 29328
    assert SIGNAL.bot_user_id("echo6.co") == "@signalbot:echo6.co"
    assert SIGNAL.run_command() == ["/usr/bin/mautrix-signal", "-c", "/data/config.yaml", "-n"]


def test_login_is_bridgev2s_command_not_the_plans_old_one() -> None:
    assert SIGNAL.login_command == "login"


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
    ("tag", "expected"),
    [
        ("v0.2603.0", False),
        ("v0.2606.9", False),
        ("v0.2607.0", True),
        ("v0.2607.0-amd64", True),
        ("v0.10000.0", True),  # a number, not a text: "10000" < "2607" as text
        ("v1.0.0", True),
        ("v26.03", None),
        ("latest", None),
    ],
)
def test_which_releases_can_link(tag: str, expected: bool | None) -> None:
    assert can_link(SIGNAL, f"dock.mau.dev/mautrix/signal:{tag}") is expected


def test_a_digest_does_not_tell() -> None:
    assert can_link(SIGNAL, "signal@sha256:00ff") is None


def test_a_bridge_without_a_known_break_can_link() -> None:
    assert can_link(dataclasses.replace(SIGNAL, first_linking_tag=None), "x:latest") is True
