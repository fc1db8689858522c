"""The pickle keys of databases that live. They are in the state. Where it was lost or made anew, they come from the
host: a bridge's config.yaml holds its key, and the comment on its database tells which key is the one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from documents.backup.plain_dump import is_nightly_dump
from documents.bridge.pickle_key import explain_missing_key, find_key_fault, fingerprint_key, opens_pickle
from documents.credentials import PermanentSeed
from documents.places import NO_ARCHIVE
from host_programs.backup.archives import read_archived_key
from host_programs.files.directory import CONFIG, list_configs, read_config_key
from host_programs.messages import ScriptError
from host_programs.secrets import NoArguments, make_seed


@dataclass(frozen=True)
class KeyPlace:
    """Where the key of a `bridge` (by name) may be: the configs in its `directory`; the `source` (a path, or none) that
    its database begins or began with, if that is an archive; if it is a nightly dump, the state, as `state_key` (a
    secret), which has to open the `accounts` (hex) in the dump. `fingerprint`: of the key that the `database`, or what
    it begins with, is encrypted with; "" if that is not known."""

    bridge: str
    database: str
    fingerprint: str
    directory: str
    source: str
    accounts: tuple[str, ...] = ()
    state_key: str = field(default="", repr=False)


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
    """The key of the database; of one without content, that of the archive or nightly dump. ScriptError if it is not
    found."""
    for key in _list_keys(place):
        if place.fingerprint in ("", fingerprint_key(key)):
            return FoundKey(key)
    content = f"database {place.database}" if place.fingerprint else place.source
    raise ScriptError(explain_missing_key(content, place.directory))


def _list_keys(place: KeyPlace) -> Iterator[str]:
    if place.fingerprint:
        yield from _read_config_keys(Path(place.directory)).values()
    if is_nightly_dump(place.source):
        if not find_key_fault(place.state_key, "", map(bytes.fromhex, place.accounts)):
            yield place.state_key
    elif place.source != NO_ARCHIVE:
        yield read_archived_key(Path(place.source))


def find_config_keys(directory: Path) -> dict[str, Path]:
    """The configs in a bridge's directory by the fingerprints of their keys."""
    return {fingerprint_key(key): path for path, key in _read_config_keys(directory).items()}


def find_key_of_accounts(directory: Path, accounts: Iterable[bytes]) -> str:
    """The fingerprint of the key in a bridge's configs that opens the accounts of a dump; "" if none does."""
    keys = {*_read_config_keys(directory).values()}
    fitting = (key for account in accounts for key in keys if opens_pickle(key, account))
    return next(map(fingerprint_key, fitting), "")


def _read_config_keys(directory: Path) -> dict[Path, str]:
    keys = {folder / CONFIG: read_config_key(folder) for folder in list_configs(directory)}
    return {path: key for path, key in keys.items() if key}
