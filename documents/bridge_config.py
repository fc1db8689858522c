"""The bridge's config.yaml: a minimal one, which the bridge merges in memory over its built-in example.

The bridge runs with `-n` on a read-only file, so it cannot keep what it would generate itself. Every value that the
example has as `generate` and that matters between two starts is therefore set here: provisioning.shared_secret,
public_media.signing_key, encryption.pickle_key. The fourth, direct_media.server_key, is of no use while direct media
is off. Keys and types are those of mautrix-go 0.26.4 (bridgev2/matrix/mxmain/example-config.yaml); a wrong key is
dropped by the bridge without a word, so a test compares ours with the real bridge's.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from documents.credentials import Keys, Tokens
from documents.places import Deployment
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


def bridge_database_url(deployment: Deployment, tokens: Tokens) -> str:
    """The bridge's own database, as its container reaches it. It holds the password."""
    postgres, database = deployment.postgres, deployment.place.database
    server = (postgres.container, postgres.port)
    return database_url(database.role, tokens.database_password, *server, database.database, postgres.sslmode)


def bridge_config(deployment: Deployment, tokens: Tokens, keys: Keys) -> str:
    """Return the text of config.yaml. Raises ValueError for a value that the bridge would replace or refuse."""
    for name, secret in {**vars(tokens), **vars(keys)}.items():
        if secret in ("", "generate"):
            raise ValueError(f"{name} is empty or `generate`, which the bridge would replace at every start")
    if len(tokens.provisioning_secret) < _MIN_PROVISIONING_SECRET:
        raise ValueError(f"provisioning_secret is shorter than {_MIN_PROVISIONING_SECRET} characters")
    if deployment.synapse.domain == "example.com":
        raise ValueError("the domain is example.com, which the bridge takes for not configured")
    return render(
        _document(deployment, tokens, keys),
        f"{deployment.bridge.name}: written by the Pulumi stack {deployment.stack}.",
        "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
    )


def _document(deployment: Deployment, tokens: Tokens, keys: Keys) -> dict[str, object]:
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
        "database": {"type": "postgres", "uri": bridge_database_url(deployment, tokens)},
        "homeserver": {
            "address": deployment.synapse.address,
            "domain": domain,
            "software": "standard",
        },
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
        "public_media": {"enabled": False, "signing_key": tokens.public_media_key},
        "direct_media": {"enabled": False},
        "double_puppet": {
            # The example names a server of its own here, which would stay.
            "servers": {},
            "allow_discovery": False,
            "secrets": {domain: f"as_token:{tokens.doublepuppet_as_token}"},
        },
        "encryption": {
            "allow": True,
            "default": True,
            "require": True,
            "appservice": False,
            # Behind MAS the bridge cannot log in as an appservice; beside Synapse's own logins it does.
            "msc4190": deployment.mas is not None,
            "allow_key_sharing": True,
            "pickle_key": keys.pickle_key,
            "self_sign": True,
        },
        # At this level, the example's own, the log tells the steps of the bridge's start.
        "logging": {"min_level": "debug", "writers": [{"type": "stdout", "format": "json"}]},
    }
