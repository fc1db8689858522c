"""The pickle keys of databases that live. They are in the state. Where it was lost or made anew, they come from the
host: a bridge's config.yaml holds its key, and the comment on its database tells which key is the one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from documents.bridge.pickle_key import fingerprint_key
from documents.credentials import PermanentSeed
from documents.places import NO_ARCHIVE
from host_programs.backup.archives import read_archived_key
from host_programs.files.directory import CONFIG, list_configs, read_config_key
from host_programs.messages import ScriptError
from host_programs.secrets import NoArguments, make_seed


@dataclass(frozen=True)
class KeyPlace:
    """Where the key of a `bridge` (by name) may be: the configs in its `directory`, and the `archive` (a path, or none)
    that its database begins or began with. `fingerprint`: of the key that the `database` is encrypted with; "" if
    that has no content yet."""

    bridge: str
    database: str
    fingerprint: str
    directory: str
    archive: str


@dataclass(frozen=True)
class KeyPlaces:
    """Of all bridges."""

    places: tuple[KeyPlace, ...]


@dataclass(frozen=True)
class FoundKey:
    """The key of a database, a secret."""

    pickle_key: str = field(repr=False)


def make_permanent_seed(arguments: KeyPlaces) -> PermanentSeed:
    """A new seed, and the keys of the databases that have content. ScriptError if one of these keys is not found: what
    is encrypted with it could never be read again."""
    keys = {place.bridge: find_key(place).pickle_key for place in arguments.places if place.fingerprint}
    return PermanentSeed(make_seed(NoArguments()).seed, keys)


def find_key(place: KeyPlace) -> FoundKey:
    """The key of the database; of one without content, the archive's. ScriptError if it is not found."""
    for key in _list_keys(place):
        if place.fingerprint in ("", fingerprint_key(key)):
            return FoundKey(key)
    raise ScriptError(
        f"database {place.database}: its pickle key is neither in this state nor in a config.yaml in "
        f"{place.directory}: nothing was changed"
    )


def _list_keys(place: KeyPlace) -> Iterator[str]:
    if place.fingerprint:
        yield from _read_config_keys(Path(place.directory)).values()
    if place.archive != NO_ARCHIVE:
        yield read_archived_key(Path(place.archive))


def find_config_keys(directory: Path) -> dict[str, Path]:
    """The configs in a bridge's directory by the fingerprints of their keys."""
    return {fingerprint_key(key): path for path, key in _read_config_keys(directory).items()}


def _read_config_keys(directory: Path) -> dict[Path, str]:
    keys = {folder / CONFIG: read_config_key(folder) for folder in list_configs(directory)}
    return {path: key for path, key in keys.items() if key}
