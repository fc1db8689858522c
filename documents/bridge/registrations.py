"""The two appservice registrations that Synapse reads: the bridge's and the one for double puppeting.

This program writes the bridge's registration, not the bridge's own `-g`, so that registration.yaml and config.yaml get
the same token from the state. It equals, key by key, what `-g` writes for the same config (mautrix-go 0.26.4,
bridgev2/bridgeconfig/appservice.go and appservice/registration.go). A test runs the real bridge and compares.
"""

from __future__ import annotations

import re
from typing import Any

from documents.credentials import DoublePuppet, Keys, Tokens
from documents.marks import seal
from documents.places import BridgeDeployment, StackConfig
from documents.yaml_text import render_yaml

# What Go's regexp.QuoteMeta escapes. Python's re.escape escapes more (`-`, `~`): the same meaning, another text.
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def quote_meta(text: str) -> str:
    """Escape `text` for a regular expression exactly as Go's regexp.QuoteMeta does; Python reads it the same."""
    return _META.sub(r"\\\g<0>", text)


def render_bridge_registration(deployment: BridgeDeployment, tokens: Tokens, keys: Keys) -> str:
    """The text of the bridge's registration.yaml."""
    bridge = deployment.bridge
    before, after = (quote_meta(part) for part in bridge.username_template.split("{{.}}"))
    domain = quote_meta(deployment.synapse.domain)
    users = [
        {"regex": f"^@{quote_meta(bridge.bot_localpart)}:{domain}$", "exclusive": True},
        {"regex": f"^@{before}.*{after}:{domain}$", "exclusive": True},
    ]
    document = {
        "id": bridge.appservice_id,
        "url": deployment.place.address,
        "as_token": tokens.as_token,
        "hs_token": tokens.hs_token,
        "sender_localpart": keys.sender_localpart,
        "rate_limited": False,
        "namespaces": {"users": users},
        "de.sorunome.msc2409.push_ephemeral": True,
        "receive_ephemeral": True,
    }
    if deployment.mas:
        document["io.element.msc4190"] = True
    return _render(document, f"{bridge.name}: appservice registration", deployment.stack)


def render_doublepuppet_registration(deployment: StackConfig, doublepuppet: DoublePuppet) -> str:
    """The text of doublepuppet.yaml, section 8 of the plan: no URL, every user of the domain, not exclusive.

    Synapse refuses to start when two registrations have the same id or token. A second stack on the homeserver needs
    another `doublepuppet_id`.
    """
    document = {
        "id": deployment.doublepuppet_id,
        "url": None,
        "as_token": doublepuppet.as_token,
        "hs_token": doublepuppet.hs_token,
        "sender_localpart": doublepuppet_sender(deployment.doublepuppet_id),
        "rate_limited": False,
        "namespaces": {"users": [{"regex": f"@.*:{quote_meta(deployment.synapse.domain)}", "exclusive": False}]},
    }
    return _render(document, "appservice registration for double puppeting", deployment.stack)


def doublepuppet_sender(appservice_id: str) -> str:
    """The sender_localpart of the double puppet's registration."""
    return f"_{appservice_id}"


def _render(document: dict[str, Any], title: str, stack: str) -> str:
    return seal(
        render_yaml(
            document,
            f"{title}, written by the Pulumi stack {stack}.",
            "Do not edit: the next `pulumi up` that changes it writes it anew. It holds secrets.",
        )
    )
