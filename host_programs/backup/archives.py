"""Archives of a bridge: its database, its key and its files in one private file.

`<bridge>-<UTC timestamp>.tar.gz` (0600) holds manifest.json (stack, domain, versions, and why the archive was made),
keys.json (the key that the database needs), database.dump (pg_dump's custom format), and the files under `files/` with
their host paths. An archive gets its name once it is proven: it reads back as it was written, its dump restores, and
its key opens what the dump holds. No secret is in any other file that others can read, or printed.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Optional

from documents.bridge.pickle_key import find_key_fault, fingerprint_key
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, dumps, measure, psql
from host_programs.wire import WireError, from_json, to_json
from verdicts.host_facts.archive import Manifest, Member

MANIFEST, DATABASE, KEYS = "manifest.json", "database.dump", "keys.json"
_VERSION = 4
_UNFINISHED = ".part"  # the end of the name of an archive that is being written
_TRIES = 20  # to make a directory that other steps remove again
WRITABLE = "it should be a directory that can be written (setting archiveDir)"
_STAMP = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class BridgeData:
    """What to archive: the bridge of `stack` ("project/name"), which runs `image`; its archives are in `directory`; its
    `database` is in `postgres`. `files` (host paths) are archived, too; a missing file is left out with a note.
    `pickle_key` (secret) decrypts the keys in the database."""

    stack: str
    domain: str
    bridge: str
    image: str
    directory: str
    postgres: Postgres
    database: Database
    files: tuple[str, ...]
    pickle_key: str = field(repr=False)


# writing ---------------------------------------------------------------------------------------------------------


def write_archive(data: BridgeData, reason: str, timestamp: Optional[str] = None) -> str:
    """Write a new archive, and prove it; its path, or "" if the database is gone. `timestamp`: default now, as
    20260131T235959Z. ScriptError, and no archive is left, if it cannot be complete."""
    stamp = timestamp or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    database, folder = data.database, Path(data.directory)
    for kind, value in (("bridge", data.bridge), ("database", database.database), ("role", database.role)):
        psql.check_name(kind, value)
    measured = measure.measure_database(database)
    if measured is None:
        return ""
    final = folder / f"{data.bridge}-{stamp}.tar.gz"
    if final.exists():
        raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
    with _lock(data):
        _remove_unfinished(data)
        with _make_unfinished(final) as part:
            _write(data, reason, stamp, measured.key, part)
            os.link(part, final)  # never over an archive that is there
            _sync(folder)
    say(f"archived: {final}, {final.stat().st_size} bytes: the database {database.database} and its files")
    return str(final)


def require_key(database: Database, pickle_key: str, noted: str, accounts: Iterable[bytes]) -> None:
    """ScriptError unless the pickle key is the one of the database's content, as of `find_key_fault`."""
    if fault := find_key_fault(pickle_key, noted, accounts):
        raise ScriptError(
            f"{database.container}: database {database.database}: {fault} than the one at hand: an archive of both "
            "would be useless, so nothing was removed: was the state lost, or made anew? Bring the old one back "
            "(`pulumi stack import`)"
        )


def remove_unfinished(data: BridgeData) -> None:
    """Remove what a run that was killed has left of an archive of this bridge."""
    with _lock(data):
        _remove_unfinished(data)


def _lock(data: BridgeData) -> AbstractContextManager[None]:
    return host_lock.hold_lock(f"the archives of {data.bridge} in {data.directory}", data.stack)


def _remove_unfinished(data: BridgeData) -> None:
    for path in Path(data.directory).glob(f".{data.bridge}-*.tar.gz{_UNFINISHED}"):
        stamp = path.name[len(data.bridge) + 2 : -len(f".tar.gz{_UNFINISHED}")]
        if _STAMP.fullmatch(stamp):
            path.unlink()
            say(f"removed: {path}: a run that was killed had begun to write it")


@contextmanager
def _make_unfinished(final: Path) -> Iterator[Path]:
    """A new private file beside `final`, which is removed at the end. Missing directories are made (0700), and removed
    at the end if they are still empty. Several bridges may be archived at the same time: they may use the directories
    that this one made, or remove them. ScriptError if the disk refuses something."""
    made: list[Path] = []
    try:
        part = _make_private_file(final.with_name(f".{final.name}{_UNFINISHED}"), made)
        try:
            yield part
        finally:
            part.unlink()
    except OSError as error:
        raise ScriptError(
            f"{final.parent}: not archived, and nothing was removed: {error.strerror or error}: {WRITABLE}"
        ) from error
    finally:
        for directory in reversed(made):
            with suppress(OSError):
                directory.rmdir()


def _make_private_file(path: Path, made: list[Path]) -> Path:
    """Make an empty file. `made` gets the directories that were missing, outermost first."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another bridge's step has removed one meanwhile
            for directory in reversed(path.parents):
                if not directory.exists():
                    with suppress(FileExistsError):
                        directory.mkdir(mode=0o700)
                        made.append(directory)
            check_directory(path.parent)
            write_private_file(path, b"")
            return path
    raise FileNotFoundError(2, "goes away as often as it is made")


def _write(data: BridgeData, reason: str, stamp: str, noted: str, part: Path) -> None:
    """Write the archive into the file `part`, and prove it."""
    with tempfile.TemporaryFile(dir=part.parent) as dump:  # without a name: it goes with this process
        dumps.make_dump(data.database, dump, *dump_restore.ARCHIVED)
        try:
            dump.seek(0)
            trial = try_restore(data, dump_restore.Dump(dump, is_plain=False))
        except ScriptError as error:
            raise ScriptError(f"{error}: an archive of it would be useless, so nothing was removed") from None
        require_key(data.database, data.pickle_key, noted, trial.accounts)
        if why := trial.schema_unknown:
            name = data.database.database
            say(f"note: {name}: its schema versions cannot be read, so the archive goes without them: {why}")
        own = part.stat()
        keys = json.dumps({"pickle_key": data.pickle_key}).encode()
        contents = {DATABASE: _Content(dump, own), KEYS: _Content(io.BytesIO(keys), own)}
        missing = []
        for name in data.files:
            content = safe_files.read_file(Path(name), foreign=True)
            if content is None:
                missing.append(name)
                say(f"note: {name}: is not there, so the archive goes without it")
            else:
                contents[f"files{os.path.abspath(name)}"] = _Content(io.BytesIO(content.data), content.status)
        manifest = Manifest(
            version=_VERSION,
            created=stamp,
            reason=reason,
            stack=data.stack,
            domain=data.domain,
            bridge=data.bridge,
            image=data.image,
            schema=trial.schema,
            database=data.database.database,
            key=fingerprint_key(data.pickle_key),
            members=tuple(_describe_member(name, content) for name, content in contents.items()),
            missing=tuple(sorted(missing)),
            schema_unknown=trial.schema_unknown,
        )
        _write_tar(part, manifest, contents)
    with open_archive(part) as (_, checked):
        if checked != manifest:
            raise ScriptError(f"{part}: reads back differently from what was written: is the disk sound?")


@dataclass(frozen=True)
class _Content:
    """What a member of an archive is made of; `status` has its mode and owner."""

    stream: IO[bytes]
    status: os.stat_result


@dataclass(frozen=True)
class Trial:
    """What a dump holds: the versions of its schema by table, or why they are unknown (an archive may lack them), and
    the accounts of `measure.ACCOUNTS`, none of a crypto store of another form."""

    schema: dict[str, int]
    schema_unknown: str
    accounts: tuple[bytes, ...]


def try_restore(data: BridgeData, dump: dump_restore.Dump) -> Trial:
    """Restore the dump into a scratch database. ScriptError if that fails."""
    questions = (" ".join(measure.SCHEMA.split()), measure.ACCOUNTS)
    schema, accounts = dump_restore.try_restore(data.postgres, data.stack, data.database, dump, *questions)
    versions = json.loads(schema.stdout) if schema.succeeded else {}
    return Trial(
        {table: version for table, (version, _) in versions.items()},
        "" if schema.succeeded else schema.stderr.strip().partition("\n")[0],
        measure.parse_accounts(accounts.stdout.splitlines()),
    )


def check_directory(path: Path) -> None:
    """ScriptError if the path is no directory, or if others than root could change what is in it."""
    if fault := safe_files.find_fault(path, makes_parents=True):
        raise ScriptError(f"{fault} (setting archiveDir)")


def write_private_file(path: Path, data: bytes) -> None:
    """Make a new file, 0600."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _describe_member(name: str, content: _Content) -> Member:
    content.stream.seek(0)
    digest, size, status = dumps.hash_stream(content.stream), content.stream.tell(), content.status
    return Member(name, digest, size, f"{status.st_mode & 0o7777:04o}", status.st_uid, status.st_gid)


def _write_tar(target: Path, manifest: Manifest, contents: Mapping[str, _Content]) -> None:
    """Write the members to the disk, in this order, the manifest first."""
    text = (json.dumps(to_json(manifest), indent=1, sort_keys=True) + "\n").encode()
    with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {MANIFEST: _Content(io.BytesIO(text), target.stat()), **contents}.items():
            info = tarfile.TarInfo(name)
            info.size = content.stream.seek(0, os.SEEK_END)
            info.mode = content.status.st_mode & 0o7777
            info.uid, info.gid = content.status.st_uid, content.status.st_gid
            info.mtime = int(content.status.st_mtime)
            content.stream.seek(0)
            tar.addfile(info, content.stream)
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


def list_archives(
    directory: str, bridge: str, owner: Optional[str] = None, strict: bool = False
) -> Iterator[tuple[Path, Manifest]]:
    """A bridge's archives in a directory, those of one deployment or all, the newest first by the timestamp in the
    name. An unreadable one is left out, with a note; if `strict`, it is a ScriptError."""
    psql.check_name("bridge", bridge)
    for name in reversed(safe_files.list_directory(Path(directory), foreign=True)):
        if not re.fullmatch(rf"{re.escape(bridge)}-{_STAMP.pattern}\.tar\.gz", name):
            continue
        path = Path(directory) / name
        try:
            manifest = read_manifest(path)
        except ScriptError as error:
            if strict:
                raise
            say(f"note: {error}")
            continue
        if owner in (None, manifest.archive_owner):
            yield path, manifest


def is_key_archived(directory: str, bridge: str, key: str) -> bool:
    """Whether an archive of the bridge, of any deployment, is whole and holds the pickle key of this fingerprint."""
    return any(manifest.key == key and is_whole(path) for path, manifest in list_archives(directory, bridge))


def is_whole(path: Path) -> bool:
    """Whether an archive is there, and all of it is as it was written. If not, why is told."""
    try:
        with open_archive(path):
            return True
    except ScriptError as error:
        say(f"note: {error}")
        return False


def list_earlier_archives(directory: str, bridge: str, owner: str) -> Iterator[tuple[Path, Manifest]]:
    """The archives that one deployment made before a change, the newest first."""
    return (item for item in list_archives(directory, bridge, owner) if item[1].before_a_change)


def read_archived_key(path: Path) -> str:
    """The archive's pickle key, a secret. ScriptError if the archive holds none."""
    with open_archive(path) as (tar, _):
        return extract_pickle_key(path, tar)


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


_UNREADABLE = (tarfile.TarError, zlib.error, EOFError, OSError, KeyError, WireError, ValueError)


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
