"""Facts of files and directories on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class File:
    """A file of the operator's. `text` is None if it is not UTF-8; `error` is why it cannot be read; `writable`:
    whether it can be replaced in its directory."""

    text: Optional[str] = None
    error: str = ""
    writable: bool = False


@dataclass(frozen=True)
class Directory:
    """A directory, which may not exist yet.

    `entries` are the names in it; `stack` is its owner, by the file `.stack` in it (None if there is none). `writable`
    and `free` (bytes) are those of the nearest directory above, if it does not exist.
    """

    entries: tuple[str, ...]
    stack: Optional[str]
    writable: bool
    free: int


@dataclass(frozen=True)
class OwnFile:
    """A file that should be ours. `stack` is the one that its first line names ("": none); `uid` and `gid` own it."""

    stack: str
    uid: int
    gid: int
