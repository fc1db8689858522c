"""The sources of a database's content: an archive of the bridge, or one of its nightly dumps.

An archive brings the pickle key that its content needs. A dump needs the one at hand. What is in an archive was proven
when it was written; a dump is only what its name says, and so lies where nobody but root can change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from documents.backup import plain_dump
from documents.bridge.pickle_key import find_key_fault
from documents.places import Database
from documents.refusal import Refused
from host_programs.backup import archives
from host_programs.backup.archives import BridgeData
from host_programs.files import safe_files
from host_programs.messages import ScriptError
from host_programs.postgres import dump_restore, dumps
from host_programs.postgres.dump_restore import Dump


@dataclass(frozen=True)
class Source:
    """An open source: its `dump`; and an archive's `pickle_key`, a secret ("": a nightly dump has none)."""

    dump: Dump
    pickle_key: str = field(repr=False)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open an archive or a nightly dump. ScriptError if it is missing, damaged, or can be changed by others."""
    if plain_dump.is_nightly_dump(str(path)):
        with _open_nightly_dump(path) as stream:
            yield Source(Dump(stream, is_plain=True), "")
    else:
        with archives.open_archive(path) as (tar, _):
            stream = archives.open_member(tar, archives.DATABASE)
            yield Source(Dump(stream, is_plain=False), archives.extract_pickle_key(path, tar))


@contextmanager
def _open_nightly_dump(path: Path) -> Iterator[IO[bytes]]:
    try:
        with safe_files.open_own_file(path) as file, dumps.unpack_dump(path, file) as stream:
            yield stream
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_nightly_dump(path: Path) -> tuple[bytes, ...]:
    """What the pickle key encrypts in a nightly dump, as of `plain_dump.read_accounts`. ScriptError unless the dump is
    whole."""
    with _open_nightly_dump(path) as stream:
        try:
            return plain_dump.read_accounts(stream)
        except Refused as refused:
            raise ScriptError("; ".join(refused.lines(str(path)))) from None


def prove_source(data: BridgeData, path: Path, fix: str) -> None:
    """ScriptError, with the `fix`, unless the source is whole, its dump restores, and this pickle key is an archive's
    own and opens what the dump holds."""
    if plain_dump.is_nightly_dump(str(path)):
        read_nightly_dump(path)  # whole; archives have sums
    with open_source(path) as source:
        if source.pickle_key not in ("", data.pickle_key):
            raise ScriptError(
                f"{path}: its keys are encrypted with another pickle key than this stack's, which was made before: "
                f"nothing was restored; {fix}"
            )
        try:
            trial = archives.try_restore(data, source.dump)
        except ScriptError as error:
            raise ScriptError(f"{path}: {error}: nothing was restored; {fix}") from None
        if fault := find_key_fault(data.pickle_key, "", trial.accounts):
            compared = "than the one in the archive" if source.pickle_key else "than this stack's"
            raise ScriptError(f"{path}: {fault} {compared}: nothing was restored; {fix}")


def restore_source(database: Database, path: Path) -> None:
    """Restore a proven source into the empty database. ScriptError, and that is still empty, if that fails."""
    with open_source(path) as source:
        dump_restore.restore_dump(database, source.dump)
