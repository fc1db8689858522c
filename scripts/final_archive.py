"""The last word before the bridge goes: its database and its files in one private archive; and the way back.

begin    fills the new database from an archive, if there is one to restore.
archive  dumps the database, proves the dump, and writes `<bridge>-<UTC timestamp>.tar.gz` (0600, in a directory that
         is 0700 if it had to be made): manifest.json, database.sql, and the files under `files/` with their host
         paths. The archive is read back and compared with its manifest before it gets its name.

A restore checks every SHA-256 of the archive and runs its dump, as the role, in one transaction, in a database that
has to be empty. What is secret (tokens and keys in the files, messages in the dump) is in the 0600 archive alone;
neither in a temporary file that others can read nor in what is printed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Optional

from documents.places import Database
from scripts import dumps, postgres
from scripts.common import ScriptError, run, say
from scripts.wire import WireError, plain, typed

_MANIFEST, _DATABASE = "manifest.json", "database.sql"
_CHUNK = 1 << 20
_PICKLE_KEY = re.compile(r"""^ +pickle_key: ["']?([A-Za-z0-9_-]+)["']? *$""", re.MULTILINE)  # as we write it
_STAMP = re.compile(r"\d{8}T\d{6}Z")
NOTHING = "none"  # the setting restore: an empty database


@dataclass(frozen=True)
class Arguments:
    """`directory` holds the archives of `bridge`. `restore`: none, latest (the newest there by the timestamp in its
    name) or a path. `files` (host paths) go into the archive; one that is not there is left out with a note.
    `pickle_key` (secret) is the stack's own. `timestamp`: default now, as 20260131T235959Z."""

    directory: str
    bridge: str
    database: Database
    restore: str
    files: tuple[str, ...]
    pickle_key: str = field(repr=False)
    timestamp: Optional[str] = None


@dataclass(frozen=True)
class Member:
    """A file in an archive. `name` is its path there; `mode` is octal text."""

    name: str
    sha256: str
    bytes: int
    mode: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself. `created` is its timestamp; `missing`: files that were not there."""

    version: int
    created: str
    database: str
    role: str
    members: tuple[Member, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """`restored`: the archive that the database came from, "" if it began empty."""

    restored: str = ""
    tables: int = 0


@dataclass(frozen=True)
class Archived:
    """`path` is empty if the database was gone."""

    path: str = ""
    sha256: str = ""
    bytes: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def begin(arguments: Arguments) -> Begun:
    """ScriptError, with the database as it was, if the archive is damaged, belongs to another role, its keys are
    encrypted with another pickle key than the stack's, or the database is not empty."""
    path = chosen(arguments.directory, arguments.bridge, arguments.restore)
    if path is None:
        return Begun()
    container, database, role = arguments.database.container, arguments.database.database, arguments.database.role
    with _opened(path) as (tar, manifest):
        if manifest.role != role:
            raise ScriptError(
                f"{path}: its database belongs to the role {manifest.role!r}, and this one to {role!r}: "
                "use that role's name (setting bridgeRole)"
            )
        if _pickle_key(path, tar, manifest) != arguments.pickle_key:
            raise ScriptError(
                f"{path}: its keys are encrypted with another pickle key than this stack's, which was made before: "
                "nothing was restored; `pulumi destroy --run-program`, then `pulumi up` with restore set"
            )
        there = _objects(arguments.database)
        if there:
            raise ScriptError(
                f"{container}: database {database} is not empty ({there} tables, views, types or functions): "
                "an archive is restored only into an empty one; set restore to none, or drop the database first"
            )
        stream = tar.extractfile(_DATABASE)
        assert stream is not None
        dumps.restore(container, role, database, stream)
    tables = dumps.tables(container, role, database)
    say(f"restored: {path.name} of {manifest.created} into {database}: {tables} tables")
    return Begun(str(path), tables)


def keep(arguments: Arguments) -> Begun:
    """Nothing: a deployment begins once, and the archive is written when it ends."""
    return Begun()


def archive(arguments: Arguments) -> Archived:
    """ScriptError, and nothing is removed yet, if no whole archive can be written."""
    stamp = arguments.timestamp or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    database, directory = arguments.database, Path(arguments.directory)
    for what, value in (("bridge", arguments.bridge), ("database", database.database), ("role", database.role)):
        postgres.name(what, value)
    final = directory / f"{arguments.bridge}-{stamp}.tar.gz"
    with _directory(directory):
        if final.exists():
            raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=directory))  # 0700
        try:
            dump = part / _DATABASE
            if not dumps.make(database, dump):
                gone = f"{database.container}: there is no database {database.database} any more"
                say(f"warning: {gone}: nothing to archive")
                return Archived()
            present = [Path(name) for name in arguments.files if Path(name).is_file()]
            missing = tuple(sorted({*arguments.files} - {str(path) for path in present}))
            for name in missing:
                say(f"note: {name}: is not there, so the archive goes without it")
            members = [_member(_DATABASE, dump), *(_member(f"files{path.absolute()}", path) for path in present)]
            manifest = Manifest(1, stamp, database.database, database.role, tuple(members), missing)
            packed = part / "archive.tar.gz"
            _pack(packed, manifest, [dump, *present])
            with _opened(packed) as (_, checked):
                if checked != manifest:
                    raise ScriptError(f"{packed}: reads back differently from what was written: is the disk sound?")
            os.link(packed, final)  # never over an archive that is there
            _sync(directory)
        except OSError as error:
            raise ScriptError(f"{final}: not written, and nothing was removed: {error.strerror or error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    size = final.stat().st_size
    say(f"archived: {final}, {size} bytes: the database {database.database} and {len(present)} files")
    return Archived(str(final), dumps.sha256(final), size, tuple(str(path) for path in present), missing)


# writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def _directory(directory: Path) -> Iterator[None]:
    """The directory is there, 0700 where it had to be made; taken away again if the archive does not come to be."""
    made: list[Path] = []
    here = directory
    while not here.exists():
        made.append(here)
        here = here.parent
    try:
        for new in reversed(made):
            new.mkdir(mode=0o700)
        if not directory.is_dir():
            raise NotADirectoryError(20, "is not a directory")
        if directory.stat().st_mode & 0o022:
            raise ScriptError(
                f"{directory}: others may write into it: chmod go-w, or set archiveDir to a directory of root's own"
            )
        yield
    except BaseException as error:
        for new in made:
            if new.is_dir() and not any(new.iterdir()):
                new.rmdir()
        if isinstance(error, OSError):
            raise ScriptError(
                f"{directory}: {error.strerror or error}: "
                "it should be a directory that can be written (setting archiveDir)"
            ) from error
        raise


def _member(name: str, path: Path) -> Member:
    status = path.stat()
    mode = f"{status.st_mode & 0o7777:04o}"
    return Member(name, dumps.sha256(path), status.st_size, mode, status.st_uid, status.st_gid)


def _pack(target: Path, manifest: Manifest, paths: Sequence[Path]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            data = (json.dumps(plain(manifest), indent=1, sort_keys=True) + "\n").encode()
            head = tarfile.TarInfo(_MANIFEST)
            head.size, head.mode = len(data), 0o600
            tar.addfile(head, io.BytesIO(data))
            for member, path in zip(manifest.members, paths):
                with path.open("rb") as content:
                    tar.addfile(tar.gettarinfo(arcname=member.name, fileobj=content), content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# reading ---------------------------------------------------------------------------------------------------------


def chosen(directory: str, bridge: str, wanted: str) -> Optional[Path]:
    """The archive that the setting restore means; None for none. ScriptError if it is not there."""
    if wanted == NOTHING:
        return None
    if wanted != "latest":
        path = Path(wanted)
        if not path.is_file():
            raise ScriptError(f"{path}: there is no such archive (setting restore: none, latest, or an archive's path)")
        return path
    postgres.name("bridge", bridge)
    archives = Path(directory).glob(f"{bridge}-*.tar.gz")
    stamped = [path for path in archives if _STAMP.fullmatch(path.name[len(bridge) + 1 : -7])]
    if not stamped:
        raise ScriptError(
            f"{directory}: there is no archive {bridge}-….tar.gz to restore: "
            "set restore to none, or to an archive's path"
        )
    return max(stamped, key=lambda path: path.name)


def pickle_key(path: Path) -> str:
    """The key that the archived database's keys are encrypted with: a secret. ScriptError if it holds none."""
    with _opened(path) as (tar, manifest):
        return _pickle_key(path, tar, manifest)


def _pickle_key(path: Path, tar: tarfile.TarFile, manifest: Manifest) -> str:
    for member in manifest.members:
        stream = tar.extractfile(member.name) if member.name.endswith("/config.yaml") else None
        match = _PICKLE_KEY.search(stream.read().decode()) if stream else None
        if match:
            return match.group(1)
    raise ScriptError(f"{path}: holds no config.yaml with a pickle_key: without it the database's keys cannot be read")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """An archive and its manifest, every member's SHA-256 compared; ScriptError if it is not whole."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            head = tar.extractfile(_MANIFEST)
            manifest = typed(Manifest, json.load(head) if head else {}, _MANIFEST)
            listed = {member.name: member.sha256 for member in manifest.members}
            present = [info.name for info in tar.getmembers()]
            if sorted(present) != sorted([_MANIFEST, *listed]) or _DATABASE not in listed:
                raise ScriptError(f"{path}: damaged: its content is not what its manifest lists")
            for name, digest in listed.items():
                stream = tar.extractfile(name)
                if stream is None or _digest(stream) != digest:
                    raise ScriptError(f"{path}: damaged: {name} is not what was archived (its SHA-256 differs)")
            yield tar, manifest
    except (tarfile.TarError, EOFError, OSError, KeyError, WireError, ValueError) as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _objects(database: Database) -> int:
    """How many tables, views, sequences, types and functions there are that Postgres did not make itself."""
    rows = postgres.sql(
        database.container, database.role, database.database,
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace"
        " WHERE nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%')"
        " SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))"
        " + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0)"
        " + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM ours));\n",
    )  # fmt: skip
    return int(rows[0])


VERBS = (begin, keep, archive)

if __name__ == "__main__":
    run(*VERBS)
