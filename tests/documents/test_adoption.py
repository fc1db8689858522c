"""A bridge that would be taken over as another one: with other users in its rooms, without its key, or not at all."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from documents.bridge.adoption import HandMadeBridge, find_problems, read_hand_made_bridge
from documents.bridge.kinds import SIGNAL

CONFIG: dict[str, Any] = {
    "homeserver": {"domain": "echo6.co"},
    "appservice": {"id": "signal", "bot": {"username": "signalbot"}, "username_template": "signal_{{.}}"},
    "database": {"type": "postgres", "uri": "postgres://si%40gnal:p%2Fw@matrix-postgres:5432/signal?sslmode=disable"},
    "encryption": {"pickle_key": "a key"},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *above, last = path.split(".")
    node = config
    for key in above:
        node = node[key]
    node[last] = value
    return config


def test_what_an_archive_needs_is_read() -> None:
    assert list(find_problems(CONFIG, SIGNAL)) == []
    assert read_hand_made_bridge(CONFIG) == HandMadeBridge("echo6.co", "matrix-postgres", "si@gnal", "signal", "a key")
    assert "a key" not in repr(read_hand_made_bridge(CONFIG))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "appservice.id",
            "signal2",
            "appservice.id: is 'signal2', should be 'signal': its rooms have other",
        ),
        ("appservice.bot", {}, "appservice.bot.username: is '', should be 'signalbot'"),
        (
            "appservice.username_template",
            "sig_{{.}}",
            "appservice.username_template: is 'sig_{{.}}', should be 'signal_{{.}}'",
        ),
        ("homeserver", None, "homeserver.domain: is not set"),
        ("encryption.pickle_key", "generate", "encryption.pickle_key: holds no key"),
        ("encryption", {}, "encryption.pickle_key: holds no key"),
        (
            "database.type",
            "sqlite3-fk-wal",
            "database.type: is 'sqlite3-fk-wal', should be 'postgres': move the data there first",
        ),
        ("database.uri", "host=x user=y", "database.uri: should be like postgres://USER:PASSWORD@HOST/DATABASE"),
        ("database.uri", "postgres://[x/y", "database.uri: should be like postgres://"),
        ("database.uri", "postgres://user@host", "database.uri: should be like postgres://"),
    ],
)
def test_a_bridge_that_cannot_be_taken_over_has_one_line_for_each_reason(path: str, value: Any, words: str) -> None:
    (line,) = find_problems(changed(path, value), SIGNAL)
    assert line.startswith(words)
    assert "p%2Fw" not in line
