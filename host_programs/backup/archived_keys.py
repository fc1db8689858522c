"""The pickle key of a bridge whose database is restored from an archive: the archived database needs that key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from host_programs.backup import archives


@dataclass(frozen=True)
class ArchivePath:
    """`archive`: the path of the archive from which the database is restored."""

    archive: str


@dataclass(frozen=True)
class ArchivedKey:
    """The key in the archive."""

    pickle_key: str = field(repr=False)


def read_archived_key(arguments: ArchivePath) -> ArchivedKey:
    """Read the archive's pickle key. ScriptError if the archive holds none."""
    return ArchivedKey(archives.read_pickle_key(Path(arguments.archive)))
