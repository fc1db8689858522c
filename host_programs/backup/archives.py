"""Archives of a bridge: its database, its key and its files in one private file.

`<bridge>-<UTC timestamp>.tar.gz` (0600; its directory is 0700 if this program made it) holds: manifest.json (stack,
domain, versions, and why the archive was made), keys.json (the key that the database needs), database.sql, and the
files under `files/` with their host paths. Before an archive gets its name, it is read back and compared with its
manifest. Every reader compares all SHA-256s. Secrets (tokens, keys, messages in the dump) are in the archive alone: no
other user can read a temporary file, and nothing secret is printed.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Optional

from documents.places import Database
from host_programs.messages import ScriptError, say
from host_programs.postgres import dumps, psql
from host_programs.wire import WireError, plain, typed
from verdicts.host_facts.archive import Manifest, Member

MANIFEST, DATABASE, KEYS = "manifest.json", "database.sql", "keys.json"
_VERSION = 3
_CHUNK = 1 << 20
_TRIES = 20  # to make a directory that other steps remove again
WRITABLE = "it should be a directory that can be written (setting archiveDir)"
_STAMP = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Subject:
    """What to archive: the bridge of `stack` ("project/name"), which runs `image`; its archives are in `directory`.
    `files` (host paths) are archived, too; a missing file is left out with a note. `pickle_key` (secret) decrypts the
    keys in the database."""

    stack: str
    domain: str
    bridge: str
    image: str
    directory: str
    database: Database
    files: tuple[str, ...]
    pickle_key: str = field(repr=False)


@dataclass(frozen=True)
class WrittenArchive:
    """`path`: "" if the database was gone, so that there is no archive. `missing`: files that it lacks."""

    path: str = ""
    sha256: str = ""
    bytes: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


# writing ---------------------------------------------------------------------------------------------------------


def write_archive(
    subject: Subject, reason: str, timestamp: Optional[str] = None, portable: bool = False
) -> WrittenArchive:
    """Write a new archive. `timestamp`: default now, as 20260131T235959Z. `portable`: any role can restore it.
    ScriptError, and no archive is left, if it cannot be complete."""
    stamp = timestamp or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    database, folder = subject.database, Path(subject.directory)
    for kind, value in (("bridge", subject.bridge), ("database", database.database), ("role", database.role)):
        psql.check_name(kind, value)
    final = folder / f"{subject.bridge}-{stamp}.tar.gz"
    with _make_workplace(folder, f".{final.name}.") as part:
        if final.exists():
            raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
        dump, keys = part / DATABASE, part / KEYS
        if not dumps.make_dump(database, dump, portable):
            gone = f"{database.container}: there is no database {database.database} any more"
            say(f"warning: {gone}: nothing to archive")
            return WrittenArchive()
        write_private_file(keys, json.dumps({"pickle_key": subject.pickle_key}).encode())
        present = [Path(name) for name in subject.files if Path(name).is_file()]
        missing = tuple(sorted({*subject.files} - {str(path) for path in present}))
        for name in missing:
            say(f"note: {name}: is not there, so the archive goes without it")
        members = [_describe_member(DATABASE, dump), _describe_member(KEYS, keys)]
        members += [_describe_member(f"files{path.absolute()}", path) for path in present]
        schema, schema_unknown = _read_schema(database)
        manifest = Manifest(
            version=_VERSION,
            created=stamp,
            reason=reason,
            stack=subject.stack,
            domain=subject.domain,
            bridge=subject.bridge,
            image=subject.image,
            schema=schema,
            database=database.database,
            role="" if portable else database.role,
            members=tuple(members),
            missing=missing,
            schema_unknown=schema_unknown,
        )
        packed = part / "archive.tar.gz"
        _pack(packed, manifest, [dump, keys, *present])
        with open_archive(packed) as (_, checked):
            if checked != manifest:
                raise ScriptError(f"{packed}: reads back differently from what was written: is the disk sound?")
        os.link(packed, final)  # never over an archive that is there
        _sync_directory(folder)
    size = final.stat().st_size
    say(f"archived: {final}, {size} bytes: the database {database.database} and {len(present)} files")
    return WrittenArchive(str(final), dumps.hash_file(final), size, tuple(str(path) for path in present), missing)


def _read_schema(database: Database) -> tuple[dict[str, int], str]:
    """The versions of the database's schema, and why they are unknown: an archive may lack them."""
    try:
        rows = psql.run_sql(database.container, database.role, database.database, psql.SCHEMA)
    except ScriptError as error:
        say(f"note: {database.database}: its schema versions cannot be read, so the archive goes without them: {error}")
        return {}, str(error)
    return {table: version for table, (version, _) in json.loads("".join(rows)).items()}, ""


@contextmanager
def _make_workplace(path: Path, prefix: str) -> Iterator[Path]:
    """A temporary private directory inside of `path`. Missing directories of `path` are made (0700), and removed at the
    end if they are still empty. Several bridges may be archived at the same time: they may use the directories that
    this one made, or remove them."""
    made: list[Path] = []
    try:
        part = _make_private_directory(path, prefix, made)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ScriptError(
            f"{path}: not archived, and nothing was removed: {error.strerror or error}: {WRITABLE}"
        ) from error
    finally:
        for new in reversed(made):
            with suppress(OSError):
                new.rmdir()


def _make_private_directory(path: Path, prefix: str, made: list[Path]) -> Path:
    for _ in range(_TRIES):
        for new in (*reversed(path.parents), path):
            if not new.exists():
                with suppress(FileExistsError, FileNotFoundError):
                    new.mkdir(mode=0o700)
                    made.append(new)
        with suppress(FileNotFoundError):
            check_directory(path)
            return Path(tempfile.mkdtemp(prefix=prefix, dir=path))  # 0700
    raise FileNotFoundError(2, "goes away as often as it is made")


def check_directory(path: Path) -> None:
    """ScriptError if the path is no directory, or if other users may write into it."""
    if not path.is_dir() and path.exists():
        raise ScriptError(f"{path}: is not a directory: {WRITABLE}")
    if path.stat().st_mode & 0o022:
        raise ScriptError(
            f"{path}: others may write into it: chmod go-w, or set archiveDir to a directory of root's own"
        )


def write_private_file(path: Path, data: bytes) -> None:
    """Make a new file, 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _describe_member(name: str, path: Path) -> Member:
    status = path.stat()
    mode = f"{status.st_mode & 0o7777:04o}"
    return Member(name, dumps.hash_file(path), status.st_size, mode, status.st_uid, status.st_gid)


def _pack(target: Path, manifest: Manifest, paths: Sequence[Path]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            data = (json.dumps(plain(manifest), indent=1, sort_keys=True) + "\n").encode()
            head = tarfile.TarInfo(MANIFEST)
            head.size, head.mode = len(data), 0o600
            tar.addfile(head, io.BytesIO(data))
            for member, path in zip(manifest.members, paths):
                with path.open("rb") as content:
                    tar.addfile(tar.gettarinfo(arcname=member.name, fileobj=content), content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# reading ---------------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> Manifest:
    """The archive's manifest; its other members are not read. ScriptError if the file is no archive of a bridge."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            return _parse_manifest(path, tar)
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def list_archives(directory: Path, bridge: str) -> Iterator[tuple[Path, Manifest]]:
    """A bridge's archives in a directory, the newest first by the timestamp in the name. An unreadable one is left out,
    with a note."""
    psql.check_name("bridge", bridge)
    named = (path for path in directory.glob(f"{bridge}-*.tar.gz") if _STAMP.fullmatch(path.name[len(bridge) + 1 : -7]))
    for path in sorted(named, key=lambda path: path.name, reverse=True):
        try:
            yield path, read_manifest(path)
        except ScriptError as error:
            say(f"note: {error}")


def list_own_archives(directory: str, bridge: str, owner: str) -> Iterator[tuple[Path, Manifest]]:
    """The archives that one deployment made, the newest first."""
    for path, manifest in list_archives(Path(directory), bridge):
        if manifest.archive_owner == owner:
            yield path, manifest


def list_earlier_archives(directory: str, bridge: str, owner: str) -> Iterator[tuple[Path, Manifest]]:
    """The archives that one deployment made before a change, the newest first."""
    for path, manifest in list_own_archives(directory, bridge, owner):
        if manifest.before_a_change:
            yield path, manifest


def read_pickle_key(path: Path) -> str:
    """The secret that decrypts the keys in the archived database. ScriptError if the archive holds none."""
    with open_archive(path) as (tar, _):
        return extract_pickle_key(path, tar)


def extract_pickle_key(path: Path, tar: tarfile.TarFile) -> str:
    key = json.load(open_member(tar, KEYS)).get("pickle_key")
    if not isinstance(key, str) or not key:
        raise ScriptError(f"{path}: its {KEYS} holds no pickle_key: without it the database's keys cannot be read")
    return key


def open_member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream


_UNREADABLE = (tarfile.TarError, EOFError, OSError, KeyError, WireError, ValueError)


def _parse_manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    head = tar.next()  # the manifest comes first: to read it, nothing else is unpacked
    stream = tar.extractfile(head) if head is not None and head.name == MANIFEST else None
    values = json.load(stream) if stream else {}
    version = values.get("version") if isinstance(values, dict) else None
    if version != _VERSION:
        raise ScriptError(f"{path}: is an archive of version {version}, and this reads version {_VERSION} alone")
    return typed(Manifest, values, MANIFEST)


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open an archive whose members all match their SHA-256 in the manifest; ScriptError if one does not."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            manifest = _parse_manifest(path, tar)
            listed = {member.name: member.sha256 for member in manifest.members}
            present = [info.name for info in tar.getmembers()]
            if sorted(present) != sorted([MANIFEST, *listed]) or not {DATABASE, KEYS} <= {*listed}:
                raise ScriptError(f"{path}: damaged: its content is not what its manifest lists")
            for name, digest in listed.items():
                stream = tar.extractfile(name)
                if stream is None or _hash_stream(stream) != digest:
                    raise ScriptError(f"{path}: damaged: {name} is not what was archived (its SHA-256 differs)")
            yield tar, manifest
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def _hash_stream(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()
