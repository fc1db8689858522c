"""One value of a setting: from the text that Pulumi keeps (lists and mappings as JSON) to its type.

Each function takes the text and returns the typed value. Its ValueError says what the value should be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from documents.bridge.kinds import CUSTOM, KINDS
from documents.ssh import SshAddress

LOCAL = "local"  # the setting host: this machine

_LOCALPART = r"[a-z0-9._=/+-]+"
_HOSTNAME = r"(?=.{1,230}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
_PATH = r"(?:/(?!\.\.?(?:/|$))[^/\s:,'\"]+)+"
_URL = r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"


def matching(pattern: str, expected: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return check


def line(longest: int, expected: str) -> Callable[[str], str]:
    return matching(rf"[^\x00-\x1f]{{1,{longest}}}", expected)


def integer(low: int, high: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return check


def json_value(accepts: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def check(value: str) -> Any:
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = None
        if not accepts(parsed):
            raise ValueError(expected)
        return parsed

    return check


def list_of(check: Callable[[str], str], expected: str) -> Callable[[str], tuple[str, ...]]:
    check_list = json_value(lambda v: isinstance(v, list) and all(isinstance(item, str) for item in v), expected)

    def check_items(value: str) -> tuple[str, ...]:
        items = check_list(value)
        for item in items:
            try:
                check(item)
            except ValueError as error:
                raise ValueError(f"{expected}; {item!r} is not {error}") from None
        return tuple(items)

    return check_items


def boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def host(value: str) -> str:
    return value if value == LOCAL else SshAddress.parse(value).url


# The bridge takes example.com for not configured, and does not start.
server_name = matching(rf"(?!example\.com$){_HOSTNAME}(?::[0-9]{{1,5}})?", "a server_name like example.org")
user_id = matching(rf"@{_LOCALPART}:.+", "a user id like @name:domain")
docker_name = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]+", "a name in Docker: letters, digits, '_', '.', '-'")
bridge_container = matching(
    r"[A-Za-z0-9][A-Za-z0-9.-]+",
    "a container's name that is a host name too (it is the host of the registration's url): letters, digits, '.', '-'",
)
image = matching(  # an upgrade is a decision
    r"(?!.*:latest$)[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    "an image with an exact tag, like dock.mau.dev/mautrix/signal:v0.2603.0",
)
docker_host = matching(
    r"auto|(?:unix:///|tcp://)[^\s'\"]+", "auto, or Docker's address like unix:///run/user/1000/docker.sock"
)
port = integer(1, 65535)
postgres_name = matching(
    r"[a-z_][a-z0-9_-]{0,62}",
    "a Postgres name in lower case: a letter or '_', then letters, digits, '_', '-'; at most 63",
)
url = matching(_URL, "a URL like http://127.0.0.1:8008, without a path")
url_or_auto = matching(f"auto|{_URL}", "auto, or a URL like http://127.0.0.1:8008, without a path")
yaml_name = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*\.yaml", "a file name that ends in .yaml, without a directory")
key_path = matching(r"[/~]\S+", "the path of a private key on this machine, like ~/.ssh/id_ed25519, or empty")
directory = matching(_PATH, "an absolute path on the host without a slash at its end, '..', quotes, ':' or spaces")
script_or_none = matching(
    f"none|{_PATH}", "none, or the absolute path of a script on the host, without '..', quotes, ':' or spaces"
)
yaml_path = matching(
    rf"(?=.*\.ya?ml$){_PATH}",
    "an absolute path on the host that ends in .yaml, without '..', quotes, ':' or spaces; or empty",
)
# What a database's content comes from. What backupFilter made of a dump, nobody but the operator can undo.
_SOURCE = r"/.*\.(?:tar|sql)\.gz"
_SOURCE_EXPECTED = (
    "the absolute path of an archive (.tar.gz) or of a nightly dump (.sql.gz; undo what backupFilter did to it, into a "
    "directory that only root may enter)"
)
source = matching(_SOURCE, _SOURCE_EXPECTED)
restore = matching(f"none|latest|{_SOURCE}", f"none, latest or {_SOURCE_EXPECTED}")

# Of an entry of `bridges`.
kind = matching("|".join([*KINDS, CUSTOM]), f"one of {', '.join(KINDS)}, {CUSTOM}")
program_path = matching(r"/[A-Za-z0-9._/-]+", "the path of the program in the image")
bridge_name = matching(
    r"[a-z][a-z0-9-]{0,30}", "a name for ids, containers and databases: lower-case letters, digits, '-'"
)
config_sections = json_value(
    lambda v: isinstance(v, dict) and all(isinstance(section, dict) for section in v.values()),
    "a mapping of sections, as the bridge's own config.yaml has them",
)
bridge_entries = json_value(
    lambda v: isinstance(v, list) and bool(v) and all(isinstance(entry, dict) for entry in v),
    "a list of bridges, at least one, each a mapping like {kind: signal}",
)
