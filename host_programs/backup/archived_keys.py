"""The pickle key of a bridge whose database begins with an archive: the one that the archived database needs.

A secret as a whole, as what host_programs/generate.py makes, and apart from it: what it reads archives with is large.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from host_programs.backup import archives
from host_programs.common import run


@dataclass(frozen=True)
class FromArchive:
    """The path of the archive that the database begins with."""

    archive: str


@dataclass(frozen=True)
class ArchivedKeys:
    """What is in it."""

    pickle_key: str = field(repr=False)


def keys(arguments: FromArchive) -> ArchivedKeys:
    """ScriptError if the archive has none."""
    return ArchivedKeys(archives.pickle_key(Path(arguments.archive)))


VERBS = (keys,)

if __name__ == "__main__":
    run(*VERBS)
