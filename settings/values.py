"""One value of a setting: from the text that Pulumi keeps (lists and mappings as JSON) to its type.

Each function takes the text and returns the typed value. Its ValueError says what the value should be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from documents.bridge.kinds import IMAGE
from documents.places import AUTO, NO_ARCHIVE
from documents.ssh import SshAddress

LOCAL = "local"  # the setting host: this machine

_LOCALPART = r"[a-z0-9._=/+-]+"
_HOSTNAME = r"(?=.{1,230}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
_DOCKER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]+"
_LEVELS = ("block", "relay", "commands", "user", "admin")  # mautrix-go, bridgev2/bridgeconfig/permissions.go


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return check


def integer(low: int, high: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return check


def list_of(check: Callable[[str], str], expected: str) -> Callable[[str], tuple[str, ...]]:
    def check_list(value: str) -> tuple[str, ...]:
        items = _json(value)
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"a list: {expected}")
        for item in items:
            try:
                check(item)
            except ValueError as error:
                raise ValueError(f"a list: {expected}; {item!r} is not {error}") from None
        return tuple(items)

    return check_list


def boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def _json(value: str) -> Any:
    """The JSON value; None if the text is no JSON."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return None


# names, addresses and paths ----------------------------------------------------------------------------------------

server_name = matching(rf"{_HOSTNAME}(?::[0-9]{{1,5}})?", "a server_name like example.org")
user_id = matching(rf"@{_LOCALPART}:.+", "a user id like @name:domain")
network = matching(_DOCKER_NAME, "a Docker network's name: letters, digits, '_', '.', '-'")
container = matching(_DOCKER_NAME, "a container's name: letters, digits, '_', '.', '-'")
bridge_container = matching(
    r"[A-Za-z0-9][A-Za-z0-9.-]+",
    "a container's name that is a host name too (it is the host of the registration's url): letters, digits, '.', '-'",
)
image = matching(IMAGE, "an image with an exact tag, like dock.mau.dev/mautrix/signal:v0.2603.0")
docker_host = matching(
    r"auto|(?:unix:///|tcp://)[^\s'\"]+", "auto, or Docker's address like unix:///run/user/1000/docker.sock"
)
port = integer(1, 65535)
postgres_name = matching(
    r"[a-z_][a-z0-9_-]{0,62}",
    "a Postgres name in lower case: a letter or '_', then letters, digits, '_', '-'; at most 63",
)
yaml_name = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*\.yaml", "a file name that ends in .yaml, without a directory")
key_path = matching(r"[/~]\S+", "the path of a private key on this machine, like ~/.ssh/id_ed25519, or empty")


def host(value: str) -> str:
    return value if value == LOCAL else SshAddress.parse(value).url


def url(value: str) -> str:
    expected = "a URL like http://127.0.0.1:8008, without a path"
    try:
        parts = urlsplit(value)
        name, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(expected) from None
    more = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not name or more:
        raise ValueError(expected)
    return value


def url_or_auto(value: str) -> str:
    try:
        return value if value == AUTO else url(value)
    except ValueError as error:
        raise ValueError(f"auto, or {error}") from None


def directory(value: str) -> str:
    path = PurePosixPath(value)
    plain = path.is_absolute() and ".." not in path.parts and str(path) == value and value != "/"
    if not plain or re.search(r"[\s:,'\"]", value):
        raise ValueError("an absolute path on the host without a slash at its end, '..', quotes, ':' or spaces")
    return value


def script_or_none(value: str) -> str:
    try:
        return value if value == "none" else directory(value)
    except ValueError:
        raise ValueError(
            "none, or the absolute path of a script on the host, without '..', quotes, ':' or spaces"
        ) from None


def yaml_path(value: str) -> str:
    try:
        if value.endswith((".yaml", ".yml")):
            return directory(value)
    except ValueError:
        pass
    raise ValueError("an absolute path on the host that ends in .yaml, without '..', quotes, ':' or spaces; or empty")


def archive(value: str) -> str:
    if value.startswith("/") and value.endswith(".tar.gz"):
        return value
    raise ValueError("the absolute path of an archive (.tar.gz)")


def restore(value: str) -> str:
    try:
        return value if value in (NO_ARCHIVE, "latest") else archive(value)
    except ValueError as error:
        raise ValueError(f"none, latest or {error}") from None


# lists and mappings ------------------------------------------------------------------------------------------------


def permissions(value: str) -> dict[str, str]:
    levels = _json(value)
    if not isinstance(levels, dict) or not levels or any(level not in _LEVELS for level in levels.values()):
        raise ValueError(f"a mapping of users, domains or * to {', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}")
    return levels


def config_sections(value: str) -> dict[str, Any]:
    sections = _json(value)
    if not isinstance(sections, dict) or not all(isinstance(section, dict) for section in sections.values()):
        raise ValueError("a mapping of sections, as the bridge's own config.yaml has them")
    return sections


def bridge_entries(value: str) -> tuple[dict[str, Any], ...]:
    entries = _json(value)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("a list of bridges, at least one, each a mapping like {kind: signal}")
    return tuple(entries)
