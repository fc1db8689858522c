"""The stack's settings: every config key, read once, typed and validated.

`Pulumi.yaml` describes the keys and holds their defaults; this is the one place that reads them. Each bad value is one
line that names the key, the value and what it should be; all of them are reported together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

_LOCALPART = r"[a-z0-9._=/+-]+"
_HOSTNAME = r"(?=.{1,230}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
_DOCKER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]+"
_IDENTIFIER = r"[a-z_][a-z0-9_]{0,62}"
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]*\.yaml"
_IMAGE = r"[a-z0-9][a-z0-9._:/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


@dataclass(frozen=True)
class Settings:
    """What `Pulumi.yaml` describes, key by key, in the config's order; `postgres_password` is empty when not set."""

    domain: str
    admin_user: str
    network: str
    synapse_container: str
    synapse_dir: str
    synapse_data_mount: str
    synapse_url: str
    homeserver_address: str
    synapse_deadline: int
    mas_container: str
    mas_hosts: tuple[str, ...]
    postgres_container: str
    postgres_port: int
    postgres_superuser: str
    synapse_database: str
    mas_database: str
    mas_role: str
    isolated_databases: tuple[str, ...]
    accept_locked_out: tuple[str, ...]
    backup_script: str
    archive_dir: str
    restore: str
    image: str
    keep_image: bool
    bridge_container: str
    bridge_dir: str
    bridge_port: int
    bridge_database: str
    bridge_role: str
    registration_file: str
    doublepuppet_file: str
    doublepuppet_id: str
    experimental_features: bool
    ready_timeout: int
    token_generation: int
    reapply: int
    postgres_password: str

    @property
    def homeserver_file(self) -> str:
        """homeserver.yaml on the host."""
        return f"{self.synapse_dir}/homeserver.yaml"

    @property
    def registration_files(self) -> list[str]:
        """Both registrations on the host."""
        return [f"{self.synapse_dir}/{name}" for name in (self.registration_file, self.doublepuppet_file)]

    def seen_by_synapse(self, file: str) -> str:
        """The path of a file of `synapse_dir` inside Synapse's container."""
        return f"{self.synapse_data_mount}/{file}"


class BadSettings(Exception):
    """Its text is one line for each bad setting."""


def key_of(field: str) -> str:
    """The config key of a field of Settings: `admin_user` -> `adminUser`."""
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(what)
        return value

    return check


def _directory(value: str) -> str:
    path = PurePosixPath(value)
    if (
        not path.is_absolute()
        or ".." in path.parts
        or str(path) != value
        or value == "/"
        or re.search(r"[\s:,'\"]", value)
    ):
        raise ValueError("an absolute path on the host without a slash at its end, '..', quotes, ':' or spaces")
    return value


def _url(value: str) -> str:
    what = "a URL like http://127.0.0.1:8008, without a path"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(what) from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ValueError(what)
    return value


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def _integer(low: int, high: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return check


def _each(check: Callable[[str], str], what: str) -> Callable[[str], tuple[str, ...]]:
    def check_all(value: str) -> tuple[str, ...]:
        try:
            items = json.loads(value)
        except json.JSONDecodeError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"a list: {what}")
        for item in items:
            try:
                check(item)
            except ValueError as error:
                raise ValueError(f"a list: {what}; {item!r} is not {error}") from None
        return tuple(items)

    return check_all


def _restore(value: str) -> str:
    if value in ("none", "latest") or (value.startswith("/") and value.endswith(".tar.gz")):
        return value
    raise ValueError("none, latest or the absolute path of an archive (.tar.gz)")


_container = _matching(_DOCKER_NAME, "a container's name: letters, digits, '_', '.', '-'")
_identifier = _matching(
    _IDENTIFIER, "a Postgres name in lower case: a letter or '_', then letters, digits, '_'; at most 63"
)
_port = _integer(1, 65535)
_file = _matching(_FILE, "a file name that ends in .yaml, without a directory")

CHECKS: dict[str, Callable[[str], Any]] = {
    "domain": _matching(rf"{_HOSTNAME}(?::[0-9]{{1,5}})?", "a server_name like example.org"),
    "admin_user": _matching(rf"@{_LOCALPART}:.+", "a user id like @name:domain"),
    "network": _matching(_DOCKER_NAME, "a Docker network's name: letters, digits, '_', '.', '-'"),
    "synapse_container": _container,
    "synapse_dir": _directory,
    "synapse_data_mount": _directory,
    "synapse_url": _url,
    "homeserver_address": _url,
    "synapse_deadline": _integer(5, 3600),
    "mas_container": _container,
    "mas_hosts": _each(_matching(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?", "a host or host:port"), "host or host:port names"),
    "postgres_container": _container,
    "postgres_port": _port,
    "postgres_superuser": _identifier,
    "synapse_database": _identifier,
    "mas_database": _identifier,
    "mas_role": _identifier,
    "isolated_databases": _each(_identifier, "names of databases"),
    "accept_locked_out": _each(_matching(r"[^\"\\\x00]{1,63}", "a Postgres role's name"), "names of Postgres roles"),
    "backup_script": _directory,
    "archive_dir": _directory,
    "restore": _restore,
    "image": _matching(_IMAGE, "an image with an exact tag, like dock.mau.dev/mautrix/signal:v0.2603.0"),
    "keep_image": _boolean,
    "bridge_container": _container,
    "bridge_dir": _directory,
    "bridge_port": _port,
    "bridge_database": _identifier,
    "bridge_role": _identifier,
    "registration_file": _file,
    "doublepuppet_file": _file,
    "doublepuppet_id": _matching(
        r"[a-z0-9][a-z0-9._-]*", "an appservice id: lower-case letters, digits, '.', '_', '-'"
    ),
    "experimental_features": _boolean,
    "ready_timeout": _integer(5, 3600),
    "token_generation": _integer(1, 10**6),
    "reapply": _integer(0, 10**6),
    "postgres_password": str,
}


def parse(values: Mapping[str, str | None]) -> Settings:
    """Settings from raw config values by key, as Pulumi keeps them: text, lists as JSON.

    Raises BadSettings with a line for each key that is missing or bad. A secret's value is never in a line.
    """
    parsed: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields(Settings):
        key = key_of(field.name)
        raw = values.get(key)
        if raw is None or (raw == "" and field.name != "postgres_password"):
            problems.append(f"{key}: not set; set it with `pulumi config set {key} …`")
            continue
        try:
            parsed[field.name] = CHECKS[field.name](raw)
        except ValueError as error:
            problems.append(f"{key}: {raw!r} should be {error}")
    problems += _contradictions(parsed)
    if problems:
        raise BadSettings("\n".join(problems))
    return Settings(**parsed)


def _contradictions(parsed: Mapping[str, Any]) -> list[str]:
    """Values that are each fine but not together; keys that are already reported are passed over."""
    problems = []
    domain, admin, image = parsed.get("domain"), parsed.get("admin_user"), parsed.get("image")
    if domain and admin and not admin.endswith(f":{domain}"):
        problems.append(f"adminUser: {admin!r} should be a user of the domain {domain!r}, like @name:{domain}")
    if image and image.endswith(":latest"):
        problems.append(f"image: {image!r} should be an image with an exact tag, so that an upgrade is a decision")
    if parsed.get("bridge_database") in {
        *parsed.get("isolated_databases", ()),
        parsed.get("synapse_database"),
        parsed.get("mas_database"),
    }:
        problems.append(f"bridgeDatabase: {parsed['bridge_database']!r} should be a database of the bridge's own")
    if parsed.get("bridge_role") in {parsed.get("postgres_superuser"), parsed.get("mas_role")}:
        problems.append(f"bridgeRole: {parsed['bridge_role']!r} should be a role of the bridge's own")
    names = [parsed.get(f"{each}_container") for each in ("synapse", "mas", "postgres")]
    if parsed.get("bridge_container") in names:
        problems.append(f"bridgeContainer: {parsed['bridge_container']!r} should be a name of the bridge's own")
    if parsed.get("registration_file") and parsed.get("registration_file") == parsed.get("doublepuppet_file"):
        problems.append(f"doublepuppetFile: {parsed['doublepuppet_file']!r} should differ from registrationFile")
    directory, synapse = parsed.get("bridge_dir"), parsed.get("synapse_dir")
    if directory and synapse and (directory == synapse or synapse.startswith(f"{directory}/")):
        problems.append(
            f"bridgeDir: {directory!r} should be a directory of the bridge's own, not Synapse's or above it"
        )
    return problems


def read() -> Settings:
    """The running stack's settings. Raises BadSettings."""
    import pulumi

    config = pulumi.Config()
    settings = parse({key_of(field.name): config.get(key_of(field.name)) for field in fields(Settings)})
    if settings.postgres_password and not pulumi.runtime.is_config_secret(config.full_key("postgresPassword")):
        raise BadSettings(
            "postgresPassword: is in plain text in the stack's config; "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    return settings
