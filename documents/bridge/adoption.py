"""A bridge that was set up by hand, as its own config.yaml describes it: what an archive of it needs, and what prevents
that this program takes it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from documents.bridge.kinds import Bridge


@dataclass(frozen=True)
class HandMadeBridge:
    """`host` is Postgres' address as the bridge reaches it; `user` and `database` are the bridge's in that Postgres."""

    domain: str
    host: str
    user: str
    database: str
    pickle_key: str = field(repr=False)


def find_problems(config: Mapping[str, Any], bridge: Bridge) -> Iterator[str]:
    """Why this program cannot take the bridge over, as `KEY: what: fix`."""
    for path, wanted in (
        ("appservice.id", bridge.appservice_id),
        ("appservice.bot.username", bridge.bot_localpart),
        ("appservice.username_template", bridge.username_template),
    ):
        value = _text(config, path)
        if value != wanted:
            yield (
                f"{path}: is {value!r}, should be {wanted!r}: its rooms have other users than this program's bridge "
                "would have, so it cannot be taken over"
            )
    if not _text(config, "homeserver.domain"):
        yield "homeserver.domain: is not set: name the config.yaml that the bridge runs with"
    if _text(config, "encryption.pickle_key") in ("", "generate"):
        yield (
            "encryption.pickle_key: holds no key: name the config.yaml that the bridge runs with (it writes the key "
            "into it at its first start)"
        )
    kind = _text(config, "database.type")
    if kind != "postgres":
        yield (f"database.type: is {kind!r}, should be 'postgres': move the data there first (pgloader does that)")
    elif _parse_database_url(config) is None:
        yield "database.uri: should be like postgres://USER:PASSWORD@HOST/DATABASE"


def read_hand_made_bridge(config: Mapping[str, Any]) -> HandMadeBridge:
    """The bridge of a config in which `find_problems` found none."""
    database = _parse_database_url(config)
    assert database is not None
    return HandMadeBridge(_text(config, "homeserver.domain"), *database, _text(config, "encryption.pickle_key"))


def _text(config: Mapping[str, Any], path: str) -> str:
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return "" if node is None else str(node)


def _parse_database_url(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Host, user and database of the URL in `database.uri`; None if it is no such URL."""
    try:
        url = urlsplit(_text(config, "database.uri"))
        good = url.scheme in ("postgres", "postgresql") and url.hostname and url.username and url.path.strip("/")
    except ValueError:
        return None
    return (str(url.hostname), unquote(str(url.username)), unquote(url.path.strip("/"))) if good else None
