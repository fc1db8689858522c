"""The pickle key of a bridge whose database begins with an archive: the one that the archived database needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from host_programs.backup import archives


@dataclass(frozen=True)
class ArchivePath:
    """The path of the archive that the database begins with."""

    archive: str


@dataclass(frozen=True)
class ArchivedKey:
    """What is in it."""

    pickle_key: str = field(repr=False)


def read_archived_key(arguments: ArchivePath) -> ArchivedKey:
    """ScriptError if the archive has none."""
    return ArchivedKey(archives.read_pickle_key(Path(arguments.archive)))
