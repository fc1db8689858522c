"""A bridge that was set up by hand, as its own config.yaml tells of it: what an archive of it needs, and what would not
be the same under this program. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from documents.bridges import Bridge


@dataclass(frozen=True)
class ByHand:
    """`host` is Postgres' as the bridge reaches it; `user` and `database` are the bridge's there."""

    domain: str
    host: str
    user: str
    database: str
    pickle_key: str = field(repr=False)


def problems(config: Mapping[str, Any], bridge: Bridge) -> Iterator[str]:
    """Why this bridge cannot come along, as `KEY: what: fix`."""
    for path, wanted in (
        ("appservice.id", bridge.appservice_id),
        ("appservice.bot.username", bridge.bot_localpart),
        ("appservice.username_template", bridge.username_template),
    ):
        found = _text(config, path)
        if found != wanted:
            yield (
                f"{path}: is {found!r}, and here it is {wanted!r}: its rooms have other users than this program's "
                "bridge would have, so it cannot come along"
            )
    if not _text(config, "homeserver.domain"):
        yield "homeserver.domain: is not set: name the config.yaml that the bridge runs with"
    if _text(config, "encryption.pickle_key") in ("", "generate"):
        yield (
            "encryption.pickle_key: is not there: name the config.yaml that the bridge runs with (it writes the key "
            "into it at its first start)"
        )
    kind = _text(config, "database.type")
    if kind != "postgres":
        yield (
            f"database.type: is {kind!r}: this program's bridges have their data in Postgres: move it there first "
            "(pgloader does that)"
        )
    elif _place(config) is None:
        yield "database.uri: should be like postgres://USER:PASSWORD@HOST/DATABASE"


def by_hand(config: Mapping[str, Any]) -> ByHand:
    """Of a config without `problems`."""
    place = _place(config)
    assert place is not None
    return ByHand(_text(config, "homeserver.domain"), *place, _text(config, "encryption.pickle_key"))


def _text(config: Mapping[str, Any], path: str) -> str:
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return "" if node is None else str(node)


def _place(config: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Host, user and database of the URL."""
    try:
        url = urlsplit(_text(config, "database.uri"))
        good = url.scheme in ("postgres", "postgresql") and url.hostname and url.username and url.path.strip("/")
    except ValueError:
        return None
    return (str(url.hostname), unquote(str(url.username)), unquote(url.path.strip("/"))) if good else None
