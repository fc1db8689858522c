"""Facts of the sources of a database's content: a bridge's archives, and its nightly dumps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from documents.places import archive_owner


@dataclass(frozen=True)
class Member:
    """A file in an archive. `name` is its path there; `mode` is octal text."""

    name: str
    sha256: str
    bytes: int
    mode: str
    uid: int
    gid: int


_BEFORE = "before "


def reason_before(change: str) -> str:
    """The reason of an archive that is made before a change."""
    return _BEFORE + change


@dataclass(frozen=True)
class Manifest:
    """What an archive records of itself.

    `created` is its timestamp; `reason` is destroy or from `reason_before`; `stack` is "project/name"; `image` and
    `schema` (version by table) are the bridge's; `schema_unknown` is why the versions could not be read ("": they
    could); `key` is the fingerprint of its pickle key; `missing` are files that did not exist.
    """

    version: int
    created: str
    reason: str
    stack: str
    domain: str
    bridge: str
    image: str
    schema: dict[str, int]
    database: str
    key: str
    members: tuple[Member, ...]
    missing: tuple[str, ...]
    schema_unknown: str = ""

    @property
    def archive_owner(self) -> str:
        """As StackConfig.archive_owner."""
        return archive_owner(self.stack, self.domain)

    @property
    def before_a_change(self) -> bool:
        """Whether the bridge went on after the archive."""
        return self.reason.startswith(_BEFORE)


@dataclass(frozen=True)
class SourceFacts:
    """An archive, or a nightly dump, that a setting names. `error` is why it is not to be used.

    `manifest`: of an archive, which brings its key. A dump brings none: `accounts` (hex) are what the right key opens
    in it (documents/bridge/pickle_key.py), and `key` is that key's fingerprint, if a config on the host holds it.
    """

    path: str = ""
    manifest: Optional[Manifest] = None
    error: str = ""
    accounts: tuple[str, ...] = ()
    key: str = ""
