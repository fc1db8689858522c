"""What is one bridge's own, as data: another mautrix bridge (bridgev2, Go) is one more record and no code.

The values are the defaults that the bridge itself writes into its example config (`-e`), which a test compares, and
those of its image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

# The same in every bridge that is built on mautrix-go's bridgev2.
CONFIG_PATH = "/data/config.yaml"
LIVE_PATH = "/_matrix/mau/live"  # 200 as soon as the bridge listens
READY_PATH = "/_matrix/mau/ready"  # 200 once it has reached the homeserver and been reached by it, else 500
UID = 1337
GID = 1337


@dataclass(frozen=True)
class Bridge:
    """One mautrix bridge. Names are as the bridge's own defaults have them."""

    name: str  # of the program; also the default name of container and data directory
    network_name: str  # for people
    network_id: str  # the part that bot, ghosts and appservice id are made of
    appservice_id: str
    bot_localpart: str
    username_template: str  # Go template of a ghost's localpart; {{.}} is the id on the network
    ghost_ids: tuple[str, ...]  # ids on the network, one of each shape that the bridge makes ghosts of
    default_port: int
    command_prefix: str
    login_command: str  # behind the prefix: what a user sends to the bot to link an account
    binary: str  # path in the image
    image: str  # default image with its tag, the plan's
    database: str  # default name of the database and of its role
    first_linking_tag: Optional[str]  # older releases can no longer link an account; None: none such is known
    first_linking_source: Optional[str]

    def bot_user_id(self, domain: str) -> str:
        return f"@{self.bot_localpart}:{domain}"

    def run_command(self) -> list[str]:
        """The container's command: the bridge itself, which with -n never writes its config file."""
        return [self.binary, "-c", CONFIG_PATH, "-n"]


SIGNAL = Bridge(
    name="mautrix-signal",
    network_name="Signal",
    network_id="signal",
    appservice_id="signal",
    bot_localpart="signalbot",
    username_template="signal_{{.}}",
    # An account, a phone number's identity (pni), and the number that older releases took.
    ghost_ids=(
        "0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94",
        "pni_0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94",
        "4915112345678",
    ),
    default_port=29328,
    command_prefix="!signal",
    login_command="login",
    binary="/usr/bin/mautrix-signal",
    image="dock.mau.dev/mautrix/signal:v0.2603.0",
    database="mautrix_signal",
    first_linking_tag="v0.2607.0",
    first_linking_source="https://github.com/mautrix/signal/issues/654",
)


def image_tag(image: str) -> str | None:
    """The tag of an image reference, or None if it has none (`host:5000/name`, `name@sha256:...`)."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] if ":" in name else None


def can_link(bridge: Bridge, image: str) -> bool | None:
    """Whether this image's release can still link an account; None if its tag does not tell (`latest`, a digest)."""
    if bridge.first_linking_tag is None:
        return True
    have, need = release(image), _numbers(bridge.first_linking_tag)
    if have is None or need is None:
        return None
    return have >= need


def release(image: str) -> tuple[int, ...] | None:
    """The numbers of a release's tag, to compare; None if it is no such tag."""
    return _numbers(image_tag(image) or "")


def _numbers(tag: str) -> tuple[int, ...] | None:
    match = re.match(r"v(\d+)\.(\d+)\.(\d+)(-[a-z0-9]+)?\Z", tag)
    return tuple(int(part) for part in match.group(1, 2, 3)) if match else None
