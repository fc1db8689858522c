"""The bridge's config.yaml: a minimal one, which the bridge merges in memory over its built-in example.

The bridge runs with `-n` on a read-only file, so it cannot keep what it would generate itself. Every value that the
example has as `generate` and that matters between two starts is therefore set here: provisioning.shared_secret,
public_media.signing_key, encryption.pickle_key. The fourth, direct_media.server_key, is of no use while direct media
is off. Keys and types are those of mautrix-go 0.26.4 (bridgev2/matrix/mxmain/example-config.yaml); a wrong key is
dropped by the bridge without a word, so a test compares ours with the real bridge's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from documents.bridges import Bridge
from documents.yaml_text import render

LogFormat = Literal["json", "pretty"]
LogLevel = Literal["trace", "debug", "info", "warn", "error"]

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\Z")

# Below this the provisioning API is off (bridgev2/matrix/provisioning.go).
_MIN_PROVISIONING_SECRET = 16


@dataclass(frozen=True)
class BridgeConfig:
    """Everything that config.yaml is made of. Secrets are kept out of repr()."""

    bridge: Bridge
    stack: str  # the Pulumi stack that owns the file, for its first line
    domain: str  # server_name
    admin_user: str  # full user id, @local:domain
    homeserver_address: str  # the homeserver's URL as the bridge reaches it
    bridge_address: str  # the bridge's URL as the homeserver reaches it
    port: int  # where the bridge listens
    database_url: str = field(repr=False)
    as_token: str = field(repr=False)
    hs_token: str = field(repr=False)
    doublepuppet_as_token: str = field(repr=False)
    pickle_key: str = field(repr=False)
    provisioning_secret: str = field(repr=False)  # at least 16 characters
    public_media_key: str = field(repr=False)
    log_format: LogFormat = "json"
    log_level: LogLevel = "debug"  # the example's own; the steps of the start are only told at this level


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


def bridge_config(config: BridgeConfig) -> str:
    """Return the text of config.yaml. Raises ValueError for a value that the bridge would replace or refuse."""
    _check(config)
    return render(
        _document(config),
        f"{config.bridge.name}: written by the Pulumi stack {config.stack}.",
        "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
    )


def _document(config: BridgeConfig) -> dict[str, object]:
    bridge = config.bridge
    return {
        "bridge": {
            "command_prefix": bridge.command_prefix,
            "permissions": {
                "*": "relay",
                config.domain: "user",
                config.admin_user: "admin",
            },
        },
        "database": {"type": "postgres", "uri": config.database_url},
        "homeserver": {
            "address": config.homeserver_address,
            "domain": config.domain,
            "software": "standard",
        },
        "appservice": {
            "address": config.bridge_address,
            "hostname": "0.0.0.0",
            "port": config.port,
            "id": bridge.appservice_id,
            "bot": {"username": bridge.bot_localpart},
            "ephemeral_events": True,
            "as_token": config.as_token,
            "hs_token": config.hs_token,
            "username_template": bridge.username_template,
        },
        "provisioning": {"shared_secret": config.provisioning_secret},
        "public_media": {"enabled": False, "signing_key": config.public_media_key},
        "direct_media": {"enabled": False},
        "double_puppet": {
            # The example names a server of its own here, which would stay.
            "servers": {},
            "allow_discovery": False,
            "secrets": {config.domain: f"as_token:{config.doublepuppet_as_token}"},
        },
        "encryption": {
            "allow": True,
            "default": True,
            "require": True,
            "appservice": False,
            "msc4190": True,
            "allow_key_sharing": True,
            "pickle_key": config.pickle_key,
            "self_sign": True,
        },
        "logging": {
            "min_level": config.log_level,
            "writers": [{"type": "stdout", "format": config.log_format}],
        },
    }


def _check(config: BridgeConfig) -> None:
    for name in (
        "as_token",
        "hs_token",
        "doublepuppet_as_token",
        "pickle_key",
        "provisioning_secret",
        "public_media_key",
    ):
        secret = getattr(config, name)
        if not secret or secret == "generate":
            raise ValueError(f"{name} is empty or `generate`, which the bridge would replace at every start")
    if len(config.provisioning_secret) < _MIN_PROVISIONING_SECRET:
        raise ValueError(f"provisioning_secret is shorter than {_MIN_PROVISIONING_SECRET} characters")
    if not 1 <= config.port <= 65535:
        raise ValueError(f"the bridge's port is {config.port}; it should be 1 to 65535")
    if config.domain == "example.com":
        raise ValueError("the domain is example.com, which the bridge takes for not configured")
    if not config.admin_user.startswith("@") or not config.admin_user.endswith(f":{config.domain}"):
        raise ValueError(f"the admin user is {config.admin_user!r}; it should be @name:{config.domain}")
