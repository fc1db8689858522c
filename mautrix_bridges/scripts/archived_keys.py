"""The keys of a bridge whose database begins with an archive: the pickle key that the archived one needs, and a new
sender.

A secret as a whole, as those of scripts/generate.py, and apart from them: what it reads archives with is large.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mautrix_bridges.documents.credentials import SENDER_LENGTH, Keys
from mautrix_bridges.scripts import archives
from mautrix_bridges.scripts.common import run
from mautrix_bridges.scripts.generate import random_text


@dataclass(frozen=True)
class FromArchive:
    """The path of the archive that the database begins with."""

    archive: str


def keys(arguments: FromArchive) -> Keys:
    """ScriptError if the archive has none."""
    pickle_key = archives.pickle_key(Path(arguments.archive))
    return Keys(pickle_key=pickle_key, sender_localpart=random_text(SENDER_LENGTH))


VERBS = (keys,)

if __name__ == "__main__":
    run(*VERBS)
