"""The bridge's config.yaml: a minimal one, which the bridge merges in memory over its built-in example.

The bridge runs with `-n` on a read-only file, so it cannot keep what it would generate itself. Every value that the
example has as `generate` and that matters between two starts is therefore set here: provisioning.shared_secret,
public_media.signing_key, encryption.pickle_key. The fourth, direct_media.server_key, is of no use while direct media
is off. Keys and types are those of mautrix-go 0.26.4 (bridgev2/matrix/mxmain/example-config.yaml); a wrong key is
dropped by the bridge without a word, so a test compares ours with the real bridge's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from documents.appservice import doublepuppet_sender
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.places import BridgeDeployment
from documents.yaml_text import render

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\Z")

# Below this the provisioning API is off (bridgev2/matrix/provisioning.go).
_MIN_PROVISIONING_SECRET = 16


def database_url(role: str, password: str, host: str, port: int, database: str, sslmode: str = "disable") -> str:
    """Return the Postgres URL of the plan, each part percent-escaped, so that any password is safe in it.

    `host` is a name or an IP address (IPv6 without brackets). Raises ValueError, never showing the password.
    """
    for what, value in (("role", role), ("password", password), ("database name", database), ("sslmode", sslmode)):
        if not value or "\0" in value:
            raise ValueError(f"the {what} of the database URL is empty or holds a NUL character")
    if not _HOST.match(host):
        raise ValueError(f"the host of the database URL is {host!r}; it should be a host name or an IP address")
    if not 1 <= port <= 65535:
        raise ValueError(f"the port of the database URL is {port}; it should be 1 to 65535")
    place = f"[{host}]" if ":" in host else host
    user, secret, name, mode = (quote(part, safe="") for part in (role, password, database, sslmode))
    return f"postgres://{user}:{secret}@{place}:{port}/{name}?sslmode={mode}"


def bridge_database_url(deployment: BridgeDeployment, tokens: Tokens) -> str:
    """The bridge's own database, as its container reaches it. It holds the password."""
    postgres, database = deployment.postgres, deployment.place.database
    server = (postgres.container, postgres.port)
    return database_url(database.role, tokens.database_password, *server, database.database, postgres.sslmode)


def bridge_config(
    deployment: BridgeDeployment, url: str, tokens: Tokens, keys: Keys, doublepuppet: DoublePuppet
) -> str:
    """Return the text of config.yaml, with the `url` of the bridge's database. Raises ValueError for a value that the
    bridge would replace or refuse."""
    for name, secret in (
        *vars(tokens).items(),
        *vars(keys).items(),
        ("doublepuppet's as_token", doublepuppet.as_token),
    ):
        if secret in ("", "generate"):
            raise ValueError(f"{name} is empty or `generate`, which the bridge would replace at every start")
    if len(tokens.provisioning_secret) < _MIN_PROVISIONING_SECRET:
        raise ValueError(f"provisioning_secret is shorter than {_MIN_PROVISIONING_SECRET} characters")
    if deployment.synapse.domain == "example.com":
        raise ValueError("the domain is example.com, which the bridge takes for not configured")
    config = merged(merged(CHOICES, _needed(deployment, url, tokens, keys, doublepuppet)), deployment.config)
    # Nobody's account, but it invites the bot (host_programs/synapse/delivery.py): to refuse is least work, and quiet.
    permissions = _at(config, ("bridge", "permissions"))
    if isinstance(permissions, Mapping):  # a bridgeConfig may say anything, until the bridge is asked
        sender = f"@{doublepuppet_sender(deployment.doublepuppet_id)}:{deployment.synapse.domain}"
        config["bridge"]["permissions"] = {**permissions, sender: "block"}
    return render(
        config,
        f"{deployment.bridge.name}: written by the Pulumi stack {deployment.stack}.",
        "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
    )


# What safety, or another part of the deployment, depends on; each with all that is below it.
OURS = (
    "database.type", "database.uri", "homeserver.address", "homeserver.domain", "appservice.address",
    "appservice.hostname", "appservice.port", "appservice.id", "appservice.bot.username", "appservice.ephemeral_events",
    "appservice.as_token", "appservice.hs_token", "appservice.username_template", "provisioning.shared_secret",
    "public_media.signing_key", "direct_media", "double_puppet.secrets", "encryption.appservice", "encryption.msc4190",
    "encryption.pickle_key", "encryption.self_sign", "logging.writers", "env_config_prefix",
)  # fmt: skip
# Mappings whose keys are a person's to choose: taken as they are, not joined with ours.
WHOLE = ("bridge.permissions", "double_puppet.servers")


Path = tuple[str, ...]  # keys may hold dots: bridge.relay.message_formats has m.text


def refused(theirs: Mapping[str, Any]) -> list[str]:
    """Those of OURS that the setting bridgeConfig would change."""
    paths = [path for path, _ in _leaves(theirs)]
    return [ours for ours in OURS if any(_touches(path, ours) for path in paths)]


def _touches(path: Path, ours: str) -> bool:
    """Whether it is that one of OURS, or above or below it."""
    return all(one == other for one, other in zip(path, ours.split("."), strict=False))


def _leaves(node: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in node.items():
        path = (*above, key)
        if isinstance(value, Mapping) and ".".join(path) not in WHOLE:
            yield from _leaves(value, path)
        else:
            yield path, value


def _at(node: Any, path: Path) -> Any:
    for key in path:
        node = node.get(key, _ABSENT) if isinstance(node, Mapping) else _ABSENT
    return node


def has(theirs: Mapping[str, Any], key: str) -> bool:
    """Whether the setting bridgeConfig has a value at KEY.KEY."""
    return _at(theirs, tuple(key.split("."))) not in (_ABSENT, None, "")


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Ours, with what theirs say over it."""
    together = dict(ours)
    for key, value in theirs.items():
        below, path = together.get(key), f"{above}{key}"
        joined = isinstance(value, Mapping) and isinstance(below, Mapping) and path not in WHOLE
        together[key] = merged(below, value, f"{path}.") if joined else value  # type: ignore[arg-type]
    return together


def not_taken(theirs: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What of bridgeConfig is not in `config`, the bridge's own reading of it: `KEY: why`, without a value."""
    lines = []
    for path, value in _leaves(theirs):
        node, name = _at(config, path), f"bridgeConfig.{'.'.join(path)}"
        if node is _ABSENT:
            lines.append(f"{name}: is no setting of this bridge's")
        elif node != value or isinstance(node, bool) is not isinstance(value, bool):
            lines.append(f"{name}: is {_kind(value)}, and should be {_kind(node)}")
    return lines


_ABSENT = object()


def _kind(value: object) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    return "empty" if value is None else kinds.get(type(value), "a mapping")


# What we choose otherwise than the bridge's own example, and anybody may choose again.
CHOICES: dict[str, dict[str, Any]] = {
    "homeserver": {"software": "standard"},
    "public_media": {"enabled": False},
    # The example names a server of its own here, which would stay.
    "double_puppet": {"servers": {}, "allow_discovery": False},
    "encryption": {"allow": True, "default": True, "require": True, "allow_key_sharing": True},
    # At this level, the example's own, the log tells the steps of the bridge's start.
    "logging": {"min_level": "debug"},
}


def chosen(config: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """The bridgeConfig that has a bridge of ours behave as `config`, a whole one: what differs from the bridge's
    `example` and our choices, but for what is ours."""
    usual, found = merged(example, CHOICES), dict[str, Any]()
    for path, value in _leaves(config):
        nobody_s = value == _at(example, path) and path[0] != "encryption"  # there, to leave it as it is is a choice
        if not nobody_s and not any(_touches(path, ours) for ours in OURS) and _at(usual, path) != value:
            below = found
            for key in path[:-1]:
                below = below.setdefault(key, {})
            below[path[-1]] = value
    return found


def _needed(
    deployment: BridgeDeployment, url: str, tokens: Tokens, keys: Keys, doublepuppet: DoublePuppet
) -> dict[str, Any]:
    bridge, place, domain = deployment.bridge, deployment.place, deployment.synapse.domain
    return {
        "bridge": {
            "command_prefix": bridge.command_prefix,
            "permissions": {
                "*": "relay",
                domain: "user",
                deployment.admin_user: "admin",
            },
        },
        "database": {"type": "postgres", "uri": url},
        "homeserver": {"address": deployment.synapse.address, "domain": domain},
        "appservice": {
            "address": place.address,
            "hostname": "0.0.0.0",
            "port": place.port,
            "id": bridge.appservice_id,
            "bot": {"username": bridge.bot_localpart},
            "ephemeral_events": True,
            "as_token": tokens.as_token,
            "hs_token": tokens.hs_token,
            "username_template": bridge.username_template,
        },
        "provisioning": {"shared_secret": tokens.provisioning_secret},
        "public_media": {"signing_key": tokens.public_media_key},
        "direct_media": {"enabled": False},
        "double_puppet": {"secrets": {domain: f"as_token:{doublepuppet.as_token}"}},
        "encryption": {
            "appservice": False,
            # Behind MAS the bridge cannot log in as an appservice; beside Synapse's own logins it does.
            "msc4190": deployment.mas is not None,
            "pickle_key": keys.pickle_key,
            "self_sign": True,
        },
        "logging": {"writers": [{"type": "stdout", "format": "json"}]},
    }
