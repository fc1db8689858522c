"""The kinds of bridges, as data: another mautrix bridge (bridgev2, Go) is one more record and no code.

The values are the defaults that the bridge writes into its example config (`-e`), and those of its image. A test
compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# The same in every bridge that is built on mautrix-go's bridgev2.
CONFIG_PATH = "/data/config.yaml"
TEMPORARY_PATH = "/tmp"  # where Go's os.CreateTemp writes; no image of these sets TMPDIR
READY_PATH = "/_matrix/mau/ready"  # 200 once it has reached the homeserver and been reached by it, else 500
UID = 1337
GID = 1337


@dataclass(frozen=True)
class Bridge:
    """One mautrix bridge. Its names are the bridge's own defaults, or follow from the name that it was given."""

    network_name: str  # for people
    appservice_id: str  # the names of bot, ghosts, container and database begin with it, too
    # Examples as in a ghost's localpart, one of each shape of id. Upper-case letters of an id are written as _a, _b, …,
    # an underscore as __ (mautrix-go, id/userid.go, EncodeUserLocalpart).
    ghost_ids: tuple[str, ...]
    default_port: int
    command_prefix: str
    login_hint: str  # what a user does to link an account, behind `PREFIX login`
    binary: str  # path in the image
    image: str  # default image with its tag: one that is known to be a release on bridgev2
    source: str  # where these values are from
    needs: tuple[str, ...] = ()  # keys of its config.yaml without which it does not start

    @property
    def name(self) -> str:
        """The default name of container and data directory."""
        return f"mautrix-{self.appservice_id}"

    @property
    def bot_localpart(self) -> str:
        return f"{self.appservice_id}bot"

    @property
    def username_template(self) -> str:
        """Go template of a ghost's localpart; {{.}} is the id on the network."""
        return f"{self.appservice_id}_{{{{.}}}}"

    @property
    def database(self) -> str:
        """Default name of the database and of its role."""
        return self.name.replace("-", "_")

    @property
    def registration_file(self) -> str:
        """Default name of the registration's file; Signal's is the plan's."""
        return "registration.yaml" if self.appservice_id == "signal" else f"{self.name}-registration.yaml"

    def bot_user_id(self, domain: str) -> str:
        return f"@{self.bot_localpart}:{domain}"

    def run_command(self) -> list[str]:
        """The container's command: the bridge itself. With -n it never writes its config file."""
        return [self.binary, "-c", CONFIG_PATH, "-n"]

    def with_name(self, name: str) -> Bridge:
        """A second bridge of the kind on one homeserver: everything that has to differ follows from the name."""
        return replace(self, appservice_id=name)


def _released(
    appservice_id: str,
    network_name: str,
    port: int,
    prefix: str,
    tag: str,
    ghost_ids: tuple[str, ...],
    login_hint: str,
    **more: Any,
) -> Bridge:
    """A bridge of github.com/mautrix at this tag.

    Name, port and prefix are those of its GetName (connector.go), the login is that of its login flows. The rest is
    bridgev2's own rule (mautrix-go, bridgev2/matrix/mxmain/example-config.yaml), or in `more`. The repository's
    Dockerfile.ci makes every image: it copies the program to /usr/bin/mautrix-REPOSITORY, and docker-run.sh beside it.
    """
    repository, folder = more.pop("repository", appservice_id), more.pop("folder", "pkg/connector")
    tree = f"https://github.com/mautrix/{repository}/tree/{tag.replace('ig-', '')}"
    return Bridge(
        network_name=network_name,
        appservice_id=appservice_id,
        ghost_ids=ghost_ids,
        default_port=port,
        command_prefix=prefix,
        login_hint=login_hint,
        binary=f"/usr/bin/mautrix-{repository}",
        image=f"dock.mau.dev/mautrix/{repository}:{tag}",
        source=f"{tree}/{folder}",
        **more,
    )


_COOKIES = "with the cookies of a browser that is logged in at {}"

SIGNAL = _released(
    "signal", "Signal", 29328, "!signal", "v0.2603.0",
    # An account, a phone number's identity (pni_UUID, in a localpart with the underscore doubled), and the number that
    # older releases took.
    ("0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94", "pni__0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94", "4915112345678"),
    "scan the code with Signal on the phone (Settings, Linked devices)",
)  # fmt: skip

KINDS: Mapping[str, Bridge] = {
    "signal": SIGNAL,
    "whatsapp": _released(
        "whatsapp", "WhatsApp", 29318, "!wa", "v0.2608.0", ("4915112345678", "lid-123456789012345", "bot-13135550002"),
        "scan the code with WhatsApp on the phone (Settings, Linked devices), or take the code for a phone number",
    ),
    "telegram": _released(
        "telegram", "Telegram", 29317, "!tg", "v0.2608.0", ("123456789", "channel-1234567890"),
        "it asks for the phone number and the code that Telegram sends, or shows a code to scan",
        needs=("network.api_id", "network.api_hash"),  # pkg/connector/config.go, PostProcess
    ),
    "slack": _released(
        "slack", "Slack", 29335, "!slack", "v0.2608.0", ("t0123abcd-u0123abcd",),
        "it asks for an e-mail address, or takes the token of a browser that is logged in",
    ),
    # One image repository with two programs since v0.2607.0: Messenger's no longer includes Instagram.
    "messenger": _released(
        "facebook", "Facebook Messenger", 29319, "!fb", "v0.2608.0", ("100001234567890",),
        _COOKIES.format("facebook.com or messenger.com"), repository="meta",
    ),
    "instagram": _released(
        "instagram", "Instagram", 29330, "!ig", "ig-v0.2608.0", ("100001234567890",),
        _COOKIES.format("instagram.com"), repository="meta", folder="pkg/igconnector",
    ),
    "gmessages": _released(
        "gmessages", "Google Messages", 29336, "!gm", "v0.2602.0", ("1.12",),
        "it asks for a Google account, and has the phone confirm it",
    ),
    "twitter": _released(
        "twitter", "Twitter", 29327, "!twitter", "v0.2608.0", ("1234567890123456789",), _COOKIES.format("x.com"),
    ),
    "bluesky": _released(
        "bluesky", "Bluesky", 29340, "!bsky", "v0.2510.0", ("plc-abcdefghijklmnopqrstuvwx", "web-example.org"),
        "it asks for the handle and an app password",
    ),
    "linkedin": _released(
        "linkedin", "LinkedIn", 29341, "!linkedin", "v0.2604.0", ("_a_co_a_a_b12345",), _COOKIES.format("linkedin.com"),
    ),
    "gvoice": _released(
        "gvoice", "Google Voice", 29338, "!gv", "v0.2605.0", ("1.+15551234567",), _COOKIES.format("voice.google.com"),
    ),
}  # fmt: skip

CUSTOM = "custom"
"""The kind of a bridge on bridgev2 that has no record here. Its entry in the settings holds the values."""


def make_bridge(entry: Mapping[str, Any]) -> Bridge:
    """The bridge of an entry of the setting `bridges`, checked, by key. Kind custom has name, network, image, port and
    binary."""
    kind, name = entry.get("kind", "signal"), entry.get("name", "")
    if kind == CUSTOM:
        bridge = Bridge(
            network_name=entry["network"],
            appservice_id=name,
            ghost_ids=("1",),
            default_port=entry["port"],
            command_prefix=f"!{name}",
            login_hint="it says how",
            binary=entry["binary"],
            image=entry["image"],
            source="the setting bridges",
        )
    else:
        bridge = KINDS[kind].with_name(name) if name else KINDS[kind]
    fields = {"network": "network_name", "binary": "binary", "login": "login_hint"}
    return replace(bridge, **{field: entry[key] for key, field in fields.items() if key in entry})


def image_tag(image: str) -> str | None:
    """The tag of an image reference, or None if it has none (`host:5000/name`, `name@sha256:...`)."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] if ":" in name else None


def release_numbers(image: str) -> tuple[int, ...] | None:
    """The numbers in the tag of a release, in an order that compares; None if the tag is no release (`latest`)."""
    match = re.match(r"(?:ig-)?v(\d+)\.(\d+)\.(\d+)(-[a-z0-9]+)?\Z", image_tag(image) or "")
    return tuple(int(part) for part in match.group(1, 2, 3)) if match else None
