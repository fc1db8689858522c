"""Which of our entries homeserver.yaml lacks, told in Synapse's container: the parser of the file is there (PyYAML)."""

from __future__ import annotations

from dataclasses import dataclass, field

from documents.places import Deployment


@dataclass(frozen=True)
class WantedEntries:
    """The file's `text`, and whose entries it should hold."""

    text: str = field(repr=False)
    deployment: Deployment


@dataclass(frozen=True)
class MissingEntries:
    """`refused`: why the file cannot be read, as `LINE: reason: fix`."""

    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def find_missing(wanted: WantedEntries) -> MissingEntries:
    """Those that are not there, whoever put the others there."""
    from documents.homeserver.entries import Entries
    from documents.homeserver.meaning import find_missing_entries
    from documents.refusal import Refused

    try:
        return MissingEntries(find_missing_entries(wanted.text, Entries.of(wanted.deployment)))
    except Refused as refused:
        return MissingEntries(refused=refused.lines())
