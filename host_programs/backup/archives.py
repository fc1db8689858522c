"""Archives of a bridge: its database, its key and its files in one private file.

`<bridge>-<UTC timestamp>.tar.gz` (0600) holds manifest.json (stack, domain, versions, and why the archive was made),
keys.json (the key that the database needs), database.sql, and the files under `files/` with their host paths. An
archive gets its name once it was read back. No secret is in any other file that others can read, or printed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Optional

from documents.places import Database
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres import dumps, measure, psql
from host_programs.wire import WireError, from_json, to_json
from verdicts.host_facts.archive import Manifest, Member

MANIFEST, DATABASE, KEYS = "manifest.json", "database.sql", "keys.json"
_VERSION = 3
_TRIES = 20  # to make a directory that other steps remove again
WRITABLE = "it should be a directory that can be written (setting archiveDir)"
_STAMP = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class BridgeData:
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


# writing ---------------------------------------------------------------------------------------------------------


def write_archive(data: BridgeData, reason: str, timestamp: Optional[str] = None, portable: bool = False) -> str:
    """Write a new archive; its path, or "" if the database is gone. `timestamp`: default now, as 20260131T235959Z.
    `portable`: any role can restore it. ScriptError, and no archive is left, if it cannot be complete."""
    stamp = timestamp or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    database, folder = data.database, Path(data.directory)
    for kind, value in (("bridge", data.bridge), ("database", database.database), ("role", database.role)):
        psql.check_name(kind, value)
    if measure.measure_database(database) is None:
        return ""
    final = folder / f"{data.bridge}-{stamp}.tar.gz"
    with _make_workplace(folder, f".{final.name}.") as part:
        if final.exists():
            raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
        packed = _pack(data, reason, stamp, portable, part)
        os.link(packed, final)  # never over an archive that is there
        _sync(folder)
    say(f"archived: {final}, {final.stat().st_size} bytes: the database {database.database} and its files")
    return str(final)


@contextmanager
def _make_workplace(folder: Path, prefix: str) -> Iterator[Path]:
    """A temporary private directory inside of `folder`. Missing directories of `folder` are made (0700), and removed at
    the end if they are still empty. Several bridges may be archived at the same time: they may use the directories that
    this one made, or remove them. ScriptError if the disk refuses something."""
    made: list[Path] = []
    try:
        part = _make_private_directory(folder, prefix, made)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ScriptError(
            f"{folder}: not archived, and nothing was removed: {error.strerror or error}: {WRITABLE}"
        ) from error
    finally:
        for directory in reversed(made):
            with suppress(OSError):
                directory.rmdir()


def _make_private_directory(folder: Path, prefix: str, made: list[Path]) -> Path:
    """`made` gets the directories that were missing, outermost first."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another bridge's step has removed one meanwhile
            for directory in (*reversed(folder.parents), folder):
                if not directory.exists():
                    with suppress(FileExistsError):
                        directory.mkdir(mode=0o700)
                        made.append(directory)
            check_directory(folder)
            return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))  # 0700
    raise FileNotFoundError(2, "goes away as often as it is made")


def _pack(data: BridgeData, reason: str, stamp: str, portable: bool, part: Path) -> Path:
    """Make the archive in the private directory `part`, and read it back; its path."""
    database, packed = data.database, part / "archive.tar.gz"
    dumps.make_dump(database, part / DATABASE, portable)
    write_private_file(part / KEYS, json.dumps({"pickle_key": data.pickle_key}).encode())
    members = {DATABASE: part / DATABASE, KEYS: part / KEYS}
    missing = sorted(name for name in data.files if not Path(name).is_file())
    for name in missing:
        say(f"note: {name}: is not there, so the archive goes without it")
    members |= {f"files{os.path.abspath(name)}": Path(name) for name in data.files if name not in missing}
    schema, schema_unknown = _read_schema(database)
    manifest = Manifest(
        version=_VERSION,
        created=stamp,
        reason=reason,
        stack=data.stack,
        domain=data.domain,
        bridge=data.bridge,
        image=data.image,
        schema=schema,
        database=database.database,
        role="" if portable else database.role,
        members=tuple(_describe_member(name, path) for name, path in members.items()),
        missing=tuple(missing),
        schema_unknown=schema_unknown,
    )
    write_private_file(part / MANIFEST, (json.dumps(to_json(manifest), indent=1, sort_keys=True) + "\n").encode())
    _write_tar(packed, {MANIFEST: part / MANIFEST, **members})
    with open_archive(packed) as (_, checked):
        if checked != manifest:
            raise ScriptError(f"{packed}: reads back differently from what was written: is the disk sound?")
    return packed


def _read_schema(database: Database) -> tuple[dict[str, int], str]:
    """The versions of the database's schema, and why they are unknown: an archive may lack them."""
    try:
        rows = psql.run_sql(database.container, database.role, database.database, measure.SCHEMA)
    except ScriptError as error:
        say(f"note: {database.database}: its schema versions cannot be read, so the archive goes without them: {error}")
        return {}, str(error)
    return {table: version for table, (version, _) in json.loads("".join(rows)).items()}, ""


def check_directory(path: Path) -> None:
    """ScriptError if the path is no directory, or if others than root could change what is in it."""
    if fault := safe_files.find_fault(path, makes_parents=True):
        raise ScriptError(f"{fault} (setting archiveDir)")


def write_private_file(path: Path, data: bytes) -> None:
    """Make a new file, 0600."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _describe_member(name: str, path: Path) -> Member:
    status = path.stat()
    mode = f"{status.st_mode & 0o7777:04o}"
    with path.open("rb") as file:
        return Member(name, dumps.hash_stream(file), status.st_size, mode, status.st_uid, status.st_gid)


def _write_tar(target: Path, members: Mapping[str, Path]) -> None:
    """Write the members to the disk, in this order, as a private file."""
    target.touch(mode=0o600)
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT, dereference=True) as tar:
        for name, path in members.items():
            tar.add(path, arcname=name, recursive=False)
    _sync(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# reading ---------------------------------------------------------------------------------------------------------


def read_manifest(path: Path) -> Manifest:
    """The archive's manifest; its other members are not read. ScriptError if the file is no archive of a bridge."""
    try:
        with safe_files.open_file(path, foreign=True) as file, tarfile.open(fileobj=file, mode="r:gz") as tar:
            return _parse_manifest(path, tar)
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def list_archives(directory: str, bridge: str, owner: Optional[str] = None) -> Iterator[tuple[Path, Manifest]]:
    """A bridge's archives in a directory, those of one deployment or all, the newest first by the timestamp in the
    name. An unreadable one is left out, with a note."""
    psql.check_name("bridge", bridge)
    for name in reversed(safe_files.list_directory(Path(directory), foreign=True)):
        if not re.fullmatch(rf"{re.escape(bridge)}-{_STAMP.pattern}\.tar\.gz", name):
            continue
        path = Path(directory) / name
        try:
            manifest = read_manifest(path)
        except ScriptError as error:
            say(f"note: {error}")
            continue
        if owner in (None, manifest.archive_owner):
            yield path, manifest


def list_earlier_archives(directory: str, bridge: str, owner: str) -> Iterator[tuple[Path, Manifest]]:
    """The archives that one deployment made before a change, the newest first."""
    return (item for item in list_archives(directory, bridge, owner) if item[1].before_a_change)


@dataclass(frozen=True)
class ArchivePath:
    """`archive`: the path of the archive from which the database is restored."""

    archive: str


@dataclass(frozen=True)
class ArchivedKey:
    """The secret that decrypts the keys in the archived database."""

    pickle_key: str = field(repr=False)


def read_archived_key(arguments: ArchivePath) -> ArchivedKey:
    """Read the archive's pickle key. ScriptError if the archive holds none."""
    path = Path(arguments.archive)
    with open_archive(path) as (tar, _):
        return ArchivedKey(extract_pickle_key(path, tar))


def extract_pickle_key(path: Path, tar: tarfile.TarFile) -> str:
    """The pickle key in an open archive."""
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
    return from_json(Manifest, values, MANIFEST)


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open an archive whose members all match their SHA-256 in the manifest; ScriptError if one does not."""
    try:
        with safe_files.open_file(path, foreign=True) as file, tarfile.open(fileobj=file, mode="r:gz") as tar:
            manifest = _parse_manifest(path, tar)
            listed = {member.name: member.sha256 for member in manifest.members}
            present = [info.name for info in tar.getmembers()]
            if sorted(present) != sorted([MANIFEST, *listed]) or not {DATABASE, KEYS} <= {*listed}:
                raise ScriptError(f"{path}: damaged: its content is not what its manifest lists")
            for name, digest in listed.items():
                stream = tar.extractfile(name)
                if stream is None or dumps.hash_stream(stream) != digest:
                    raise ScriptError(f"{path}: damaged: {name} is not what was archived (its SHA-256 differs)")
            yield tar, manifest
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error
