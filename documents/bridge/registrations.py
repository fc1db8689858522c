"""The two appservice registrations that Synapse reads: the bridge's and the one for double puppeting.

This program writes the bridge's registration, not the bridge's own `-g`, so that registration.yaml and config.yaml get
the same token from the state. It equals, key by key, what `-g` writes for the same config (mautrix-go 0.26.4,
bridgev2/bridgeconfig/appservice.go and appservice/registration.go). A test runs the real bridge and compares.
"""

from __future__ import annotations

import re

from documents.credentials import DoublePuppet, Keys, Tokens
from documents.places import BridgeDeployment, StackConfig
from documents.yaml_text import render_yaml

# What Go's regexp.QuoteMeta escapes. Python's re.escape escapes more (`-`, `~`): the same meaning, another text.
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
# Synapse refuses a sender whose localpart changes when it is percent-quoted (synapse/config/appservice.py).
_LOCALPART = re.compile(r"[A-Za-z0-9_.~/-]+\Z")


def quote_meta(text: str) -> str:
    """Escape `text` for a regular expression exactly as Go's regexp.QuoteMeta does; Python reads it the same."""
    return _META.sub(lambda match: "\\" + match.group(), text)


def render_bridge_registration(deployment: BridgeDeployment, tokens: Tokens, keys: Keys) -> str:
    """The text of the bridge's registration.yaml. Raises ValueError for a value that Synapse or the bridge refuses."""
    bridge = deployment.bridge
    if keys.sender_localpart == bridge.bot_localpart:
        raise ValueError(f"sender_localpart is the bot {bridge.bot_localpart}; it should be a random name of its own")
    before, after = bridge.username_template.split("{{.}}")
    domain = quote_meta(deployment.synapse.domain)
    address = deployment.place.address
    document = _head(bridge.appservice_id, address, tokens.as_token, tokens.hs_token, keys.sender_localpart)
    document["namespaces"] = {
        "users": [
            {"regex": f"^@{quote_meta(bridge.bot_localpart)}:{domain}$", "exclusive": True},
            {"regex": f"^@{quote_meta(before)}.*{quote_meta(after)}:{domain}$", "exclusive": True},
        ]
    }
    document["de.sorunome.msc2409.push_ephemeral"] = True
    document["receive_ephemeral"] = True
    if deployment.mas:
        document["io.element.msc4190"] = True
    return render_yaml(document, *_header(f"{bridge.name}: appservice registration", deployment.stack))


def render_doublepuppet_registration(deployment: StackConfig, doublepuppet: DoublePuppet) -> str:
    """The text of doublepuppet.yaml, section 8 of the plan: no URL, every user of the domain, not exclusive.

    Synapse refuses to start when two registrations have the same id or token. A second stack on the homeserver needs
    another `doublepuppet_id`. Raises ValueError as render_bridge_registration does.
    """
    appservice_id = deployment.doublepuppet_id
    tokens = (doublepuppet.as_token, doublepuppet.hs_token)
    document = _head(appservice_id, None, *tokens, doublepuppet_sender(appservice_id))
    document["namespaces"] = {
        "users": [{"regex": f"@.*:{quote_meta(deployment.synapse.domain)}", "exclusive": False}],
    }
    return render_yaml(document, *_header("appservice registration for double puppeting", deployment.stack))


def doublepuppet_sender(appservice_id: str) -> str:
    """The sender_localpart of the double puppet's registration."""
    return f"_{appservice_id}"


def _head(
    appservice_id: str, url: str | None, as_token: str, hs_token: str, sender_localpart: str
) -> dict[str, object]:
    if not appservice_id:
        raise ValueError("the appservice id is empty")
    if not as_token or not hs_token:
        raise ValueError(f"a token of the appservice {appservice_id} is empty")
    if not _LOCALPART.match(sender_localpart):
        raise ValueError(
            f"sender_localpart of the appservice {appservice_id} is {sender_localpart!r}; "
            "it should be letters, digits and any of _ . ~ / -"
        )
    return {
        "id": appservice_id,
        "url": url,
        "as_token": as_token,
        "hs_token": hs_token,
        "sender_localpart": sender_localpart,
        "rate_limited": False,
    }


def _header(title: str, stack: str) -> tuple[str, str]:
    return (
        f"{title}, written by the Pulumi stack {stack}.",
        "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
    )
