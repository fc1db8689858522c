"""The bridge's config.yaml: a minimal one, which the bridge merges in memory over its built-in example.

The bridge runs with `-n` on a read-only file, so it cannot keep a value that it generates. Every value that is
`generate` in the example and that has to stay the same between two starts is therefore set here:
provisioning.shared_secret, public_media.signing_key, encryption.pickle_key. The fourth, direct_media.server_key, is not
used while direct media is off. Keys and types are those of mautrix-go 0.26.4
(bridgev2/matrix/mxmain/example-config.yaml). The bridge drops a wrong key without a warning, so a test compares these
with the real bridge's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from documents.bridge.registrations import doublepuppet_sender
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.marks import seal
from documents.places import BridgeDeployment
from documents.yaml_text import render_yaml


def bridge_database_url(deployment: BridgeDeployment, tokens: Tokens) -> str:
    """The URL of the bridge's database, as its container reaches it. It holds the password. The settings allow names
    that need no escape."""
    postgres, database = deployment.postgres, deployment.place.database
    login = f"{database.role}:{quote(tokens.database_password, safe='')}"
    server = f"{postgres.container}:{postgres.port}"
    return f"postgres://{login}@{server}/{database.database}?sslmode={postgres.sslmode}"


def render_bridge_config(
    deployment: BridgeDeployment, url: str, tokens: Tokens, keys: Keys, doublepuppet: DoublePuppet
) -> str:
    """The text of config.yaml. `url` is that of the bridge's database."""
    ours = merge(PROGRAM_DEFAULTS, _program_values(deployment, url, tokens, keys, doublepuppet))
    config = merge(ours, deployment.config)
    # The double puppet's sender invites the bot (host_programs/synapse/delivery.py) and is nobody's account: the bot
    # ignores it.
    permissions = _value_at(config, ("bridge", "permissions"))
    if isinstance(permissions, Mapping):  # the bridge has not checked bridgeConfig yet
        sender = f"@{doublepuppet_sender(deployment.doublepuppet_id)}:{deployment.synapse.domain}"
        config["bridge"]["permissions"] = {**permissions, sender: "block"}
    return seal(
        render_yaml(
            config,
            f"{deployment.bridge.name}: written by the Pulumi stack {deployment.stack}.",
            "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
        )
    )


# Keys that this program sets, with all below them: safety or another part of the deployment depends on them.
PROGRAM_KEYS = (
    "database.type", "database.uri", "homeserver.address", "homeserver.domain", "appservice.address",
    "appservice.hostname", "appservice.port", "appservice.id", "appservice.bot.username", "appservice.ephemeral_events",
    "appservice.as_token", "appservice.hs_token", "appservice.username_template", "provisioning.shared_secret",
    "public_media.signing_key", "direct_media", "double_puppet.secrets", "encryption.appservice", "encryption.msc4190",
    "encryption.pickle_key", "encryption.self_sign", "logging.writers", "env_config_prefix",
)  # fmt: skip
# Mappings whose keys a person chooses: taken as they are, not merged.
UNMERGED_KEYS = ("bridge.permissions", "double_puppet.servers")


Path = tuple[str, ...]  # keys may hold dots: bridge.relay.message_formats has m.text


def find_forbidden_keys(bridge_config: Mapping[str, Any]) -> list[str]:
    """Those of PROGRAM_KEYS that the setting bridgeConfig would change."""
    paths = [path for path, _ in _leaves(bridge_config)]
    return [key for key in PROGRAM_KEYS if any(_overlaps(path, key) for path in paths)]


def _overlaps(path: Path, key: str) -> bool:
    """Whether the path is the key, or above or below it."""
    return all(name == other for name, other in zip(path, key.split(".")))


def _leaves(node: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, value in node.items():
        path = (*above, key)
        if isinstance(value, Mapping) and ".".join(path) not in UNMERGED_KEYS:
            yield from _leaves(value, path)
        else:
            yield path, value


def _value_at(node: Any, path: Path) -> Any:
    for key in path:
        node = node.get(key, _ABSENT) if isinstance(node, Mapping) else _ABSENT
    return node


def has_value(bridge_config: Mapping[str, Any], key: str) -> bool:
    """Whether the setting bridgeConfig has a value at `key`, as bridge.permissions."""
    return _value_at(bridge_config, tuple(key.split("."))) not in (_ABSENT, None, "")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`base` with the values of `changes` in their places."""
    result = dict(base)
    for key, value in changes.items():
        old, path = result.get(key), f"{above}{key}"
        both_mappings = isinstance(value, Mapping) and isinstance(old, Mapping) and path not in UNMERGED_KEYS
        result[key] = merge(old, value, f"{path}.") if both_mappings else value  # type: ignore[arg-type]
    return result


def find_rejected_settings(bridge_config: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Settings of bridgeConfig that the bridge did not take into its `config`, as `KEY: why`, without a value."""
    lines = []
    for path, value in _leaves(bridge_config):
        node, name = _value_at(config, path), f"bridgeConfig.{'.'.join(path)}"
        if node is _ABSENT:
            lines.append(f"{name}: is no setting of this bridge's")
        elif node != value or isinstance(node, bool) is not isinstance(value, bool):
            lines.append(f"{name}: is {_type_name(value)}, and should be {_type_name(node)}")
    return lines


_ABSENT = object()


def _type_name(value: object) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}
    return "empty" if value is None else kinds.get(type(value), "a mapping")


MAX_CONNECTIONS = 5  # to Postgres

# Defaults of this program that differ from the bridge's own. bridgeConfig may change them.
PROGRAM_DEFAULTS: dict[str, dict[str, Any]] = {
    "homeserver": {"software": "standard"},
    # The example's. Without them the bridge takes as many of Postgres' connections as it likes.
    "database": {"max_open_conns": MAX_CONNECTIONS, "max_idle_conns": 1},
    "public_media": {"enabled": False},
    # The example names a server of its own here, which a merge would keep.
    "double_puppet": {"servers": {}, "allow_discovery": False},
    "encryption": {"allow": True, "default": True, "require": True, "allow_key_sharing": True},
    # The example's level: the log shows the steps of the bridge's start.
    "logging": {"min_level": "debug"},
}


def extract_bridge_config(config: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    """The bridgeConfig that reproduces `config`, a bridge's whole config.

    It has all that differs from the defaults (the bridge's `example` and PROGRAM_DEFAULTS), except PROGRAM_KEYS.
    """
    defaults, result = merge(example, PROGRAM_DEFAULTS), dict[str, Any]()
    for path, value in _leaves(config):
        # For encryption, an unchanged default is kept as an explicit choice.
        unchanged = value == _value_at(example, path) and path[0] != "encryption"
        ours = any(_overlaps(path, key) for key in PROGRAM_KEYS)
        if not unchanged and not ours and _value_at(defaults, path) != value:
            section = result
            for key in path[:-1]:
                section = section.setdefault(key, {})
            section[path[-1]] = value
    return result


def _program_values(
    deployment: BridgeDeployment, url: str, tokens: Tokens, keys: Keys, doublepuppet: DoublePuppet
) -> dict[str, Any]:
    bridge, place, domain = deployment.bridge, deployment.place, deployment.synapse.domain
    return {
        "bridge": {
            "command_prefix": bridge.command_prefix,
            "permissions": {"*": "relay", domain: "user", deployment.admin_user: "admin"},
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
            # With MAS the bridge cannot log in as an appservice. With Synapse's own logins it can.
            "msc4190": deployment.mas is not None,
            "pickle_key": keys.pickle_key,
            "self_sign": True,
        },
        "logging": {"writers": [{"type": "stdout", "format": "json"}]},
    }
