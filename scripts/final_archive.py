"""The last word before the bridge goes: its database, its key and its files in one private archive; and the way back.

begin    gives the new database its beginning: empty, or what an archive holds.
check    before the bridge's container goes: can the archive be made?
archive  dumps the database, proves the dump, and writes `<bridge>-<UTC timestamp>.tar.gz` (0600, in a directory that
         is 0700 if it had to be made): manifest.json (what it is of: stack, domain, versions), keys.json (the key that
         the database needs), database.sql, and the files under `files/` with their host paths. The archive is read back
         and compared with its manifest before it gets its name.

A restore checks every SHA-256 of the archive and runs its dump, as the role, in one transaction, in a database that
has to be empty. What the database began with is noted in its comment, in the same transaction: it begins once. What is
secret (tokens and keys, messages in the dump) is in the 0600 archive alone; neither in a temporary file that others can
read nor in what is printed.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Optional

from documents.fingerprint import fingerprint
from documents.marks import comment, commented
from documents.places import Database
from scripts import dumps, postgres
from scripts.common import ScriptError, run, say
from scripts.container import look, remove_own
from scripts.wire import WireError, plain, typed
from verdicts.host_facts import Manifest, Member

_MANIFEST, _DATABASE, _KEYS = "manifest.json", "database.sql", "keys.json"
_VERSION = 2
_CHUNK = 1 << 20
_STAMP = re.compile(r"\d{8}T\d{6}Z")
NOTHING = "none"  # the setting restore: an empty database
COMMENT = (
    "select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = current_database();"
)


@dataclass(frozen=True)
class Arguments:
    """The archives of `stack` ("project/name"), its bridge and domain, are in `directory`. `restore`: none, or the path
    of the archive that the database begins with. `image` and `container` are the bridge's. `files` (host paths) go
    into the archive; one that is not there is left out with a note. `pickle_key` (secret) is the stack's own.
    `timestamp`: default now, as 20260131T235959Z."""

    stack: str
    domain: str
    bridge: str
    image: str
    container: str
    directory: str
    database: Database
    restore: str
    files: tuple[str, ...]
    pickle_key: str = field(repr=False)
    timestamp: Optional[str] = None


@dataclass(frozen=True)
class Check:
    """What an archive of `database` in `directory` needs."""

    directory: str
    database: Database


@dataclass(frozen=True)
class Checked:
    """`bytes`: of the database; 0 if it is gone, so that there is nothing to archive."""

    bytes: int = 0


@dataclass(frozen=True)
class Begun:
    """`began`: none, or the archive that the database came from."""

    began: str


@dataclass(frozen=True)
class Archived:
    """`path` is empty if the database was gone."""

    path: str = ""
    sha256: str = ""
    bytes: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def begin(arguments: Arguments) -> Begun:
    """Once; afterwards it is seen that the key is still the database's. ScriptError, with the database as it was, if
    the archive is damaged, belongs to another role, its keys are encrypted with another pickle key than the stack's, it
    holds what no dump does, or the database is not empty."""
    known, key = _known(arguments.database), fingerprint(arguments.pickle_key)[:16]
    if known.get("began"):
        if known.get("key") != key:
            raise ScriptError(
                f"{arguments.database.container}: the keys in the database {arguments.database.database} are encrypted "
                "with another pickle key than this state's: was the state lost, or made anew? Bring the old one back "
                "(`pulumi stack import`), or begin with an archive, which holds its key (setting restore)"
            )
        if "archived" in known:  # a destroy that stopped behind its archive: from now on that is an old one
            _sql(arguments.database, _comment(arguments, began=known["began"], key=key))
        return Begun(str(known["began"]))
    statement = _comment(arguments, began=arguments.restore, key=key)
    if arguments.restore == NOTHING:
        _sql(arguments.database, statement)
        return Begun(NOTHING)
    path = Path(arguments.restore)
    container, database, role = arguments.database.container, arguments.database.database, arguments.database.role
    with _opened(path) as (tar, manifest):
        if manifest.role != role:
            raise ScriptError(
                f"{path}: its database belongs to the role {manifest.role!r}, and this one to {role!r}: "
                "use that role's name (setting bridgeRole)"
            )
        if _pickle_key(path, tar) != arguments.pickle_key:
            raise ScriptError(
                f"{path}: its keys are encrypted with another pickle key than this stack's, which was made before: "
                "nothing was restored; `pulumi destroy --run-program`, then `pulumi up` with restore set"
            )
        there = dumps.objects(container, role, database)
        if there:
            raise ScriptError(
                f"{container}: database {database} is not empty ({there} tables, views, types or functions), and an "
                "archive is restored into an empty one only: nothing was restored; set restore to none to go on with "
                "what is there, or `pulumi destroy --run-program`, which archives it"
            )
        dumps.refuse_commands(_member_of(tar, _DATABASE), f"{path}: {_DATABASE}")
        dumps.restore(container, role, database, _member_of(tar, _DATABASE), last=statement)
    tables = dumps.tables(container, role, database)
    say(f"restored: {path.name} of {manifest.created} into {database}: {tables} tables")
    return Begun(str(path))


def keep(arguments: Check) -> Checked:
    """Nothing: the check is for the end."""
    return Checked()


def check(arguments: Check) -> Checked:
    """ScriptError, and nothing is removed yet, if it is clear that the archive could not be made: Postgres is not
    there, the database cannot be dumped, the directory cannot be written, or has no room."""
    database, directory = arguments.database, Path(arguments.directory)
    container = look(database.container)
    if container is None or not container.running:
        state = container.status if container else "not there"
        raise ScriptError(
            f"container {database.container}: is {state}: without it the bridge's database cannot be archived, so "
            f"nothing was removed: start it (docker start {database.container}), then run this again"
        )
    size = dumps.size(database)
    if size is None:
        say(f"warning: {database.container}: there is no database {database.database} any more: nothing to archive")
        return Checked()
    with _directory(directory, stays=False):
        free = shutil.disk_usage(directory).free
    needed = size + size // 2  # the dump as it is, and compressed
    if free < needed:
        raise ScriptError(
            f"{directory}: {free >> 20} MiB free, and the archive may need {needed >> 20} MiB: nothing was removed: "
            "make room, or set archiveDir to another disk (`pulumi up`, then destroy)"
        )
    dumps.dumpable(database)
    return Checked(size)


def archive(arguments: Arguments) -> Archived:
    """ScriptError, and nothing but the container is removed yet, if no whole archive can be written."""
    stamp = arguments.timestamp or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    database, directory = arguments.database, Path(arguments.directory)
    # One that is still there, since the state did not know it (a run was killed), must not write any more.
    for gone in remove_own(arguments.container, arguments.stack):
        say(f"removed: {gone}")
    for what, value in (("bridge", arguments.bridge), ("database", database.database), ("role", database.role)):
        postgres.name(what, value)
    final = directory / f"{arguments.bridge}-{stamp}.tar.gz"
    with _directory(directory):
        if final.exists():
            raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=directory))  # 0700
        try:
            dump, keys = part / _DATABASE, part / _KEYS
            if not dumps.make(database, dump):
                gone = f"{database.container}: there is no database {database.database} any more"
                say(f"warning: {gone}: nothing to archive")
                return Archived()
            _private(keys, json.dumps({"pickle_key": arguments.pickle_key}).encode())
            present = [Path(name) for name in arguments.files if Path(name).is_file()]
            missing = tuple(sorted({*arguments.files} - {str(path) for path in present}))
            for name in missing:
                say(f"note: {name}: is not there, so the archive goes without it")
            members = [_member(_DATABASE, dump), _member(_KEYS, keys)]
            members += [_member(f"files{path.absolute()}", path) for path in present]
            manifest = Manifest(
                version=_VERSION,
                created=stamp,
                stack=arguments.stack,
                domain=arguments.domain,
                bridge=arguments.bridge,
                image=arguments.image,
                schema=_schema(database),
                database=database.database,
                role=database.role,
                members=tuple(members),
                missing=missing,
            )
            packed = part / "archive.tar.gz"
            _pack(packed, manifest, [dump, keys, *present])
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
    _sql(database, _comment(arguments, **{**_known(database), "archived": str(final)}))
    say(f"archived: {final}, {size} bytes: the database {database.database} and {len(present)} files")
    return Archived(str(final), dumps.sha256(final), size, tuple(str(path) for path in present), missing)


def _sql(database: Database, statement: str) -> list[str]:
    return postgres.sql(database.container, database.role, database.database, statement)


def _comment(arguments: Arguments, **values: object) -> str:
    mark = comment(arguments.stack, **values)
    return f"comment on database {postgres.quoted(arguments.database.database)} is {postgres.literal(mark)};\n"


def _known(database: Database) -> Mapping[str, Any]:
    """What the database's comment says, by name: `began`, the fingerprint of its `key`, and `archived` once it is."""
    values = commented("\n".join(_sql(database, COMMENT)))
    return {key: value for key, value in values.items() if key != "stack"}


def _schema(database: Database) -> dict[str, int]:
    """The versions of the database's schema, as the bridge keeps them: a table `version`, or `…_version`, for each part
    (go.mau.fi/util/dbutil)."""
    tables = _sql(
        database,
        "select table_name from information_schema.columns where table_schema = 'public' and column_name = 'version'"
        " and (table_name = 'version' or table_name like '%\\_version') order by 1;\n",
    )
    versions = {
        table: _sql(database, f"select max(version) from public.{postgres.quoted(table)};\n") for table in tables
    }
    return {table: int(rows[0]) for table, rows in versions.items() if rows}


# writing ---------------------------------------------------------------------------------------------------------


@contextmanager
def _directory(directory: Path, stays: bool = True) -> Iterator[None]:
    """The directory is there, 0700 where it had to be made; taken away again if the archive does not come to be, or
    without `stays`."""
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
        if not stays:
            _unmake(made)
    except BaseException as error:
        _unmake(made)
        if isinstance(error, OSError):
            raise ScriptError(
                f"{directory}: {error.strerror or error}: "
                "it should be a directory that can be written (setting archiveDir)"
            ) from error
        raise


def _unmake(made: Sequence[Path]) -> None:
    for new in made:
        if new.is_dir() and not any(new.iterdir()):
            new.rmdir()


def _private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


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


def manifest_of(path: Path) -> Manifest:
    """What an archive says of itself; its members are not looked at. ScriptError if it is none of ours."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            return _manifest(path, tar)
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def archives(directory: Path, bridge: str) -> Iterator[tuple[Path, Manifest]]:
    """The readable archives of a bridge in a directory, the newest first by the timestamp in its name."""
    postgres.name("bridge", bridge)
    named = (path for path in directory.glob(f"{bridge}-*.tar.gz") if _STAMP.fullmatch(path.name[len(bridge) + 1 : -7]))
    for path in sorted(named, key=lambda path: path.name, reverse=True):
        try:
            yield path, manifest_of(path)
        except ScriptError as error:
            say(f"note: {error}")


def pickle_key(path: Path) -> str:
    """The key that the archived database's keys are encrypted with: a secret. ScriptError if it holds none."""
    with _opened(path) as (tar, _):
        return _pickle_key(path, tar)


def _pickle_key(path: Path, tar: tarfile.TarFile) -> str:
    key = json.load(_member_of(tar, _KEYS)).get("pickle_key")
    if not isinstance(key, str) or not key:
        raise ScriptError(f"{path}: its {_KEYS} holds no pickle_key: without it the database's keys cannot be read")
    return key


def _member_of(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream


_UNREADABLE = (tarfile.TarError, EOFError, OSError, KeyError, WireError, ValueError)


def _manifest(path: Path, tar: tarfile.TarFile) -> Manifest:
    head = tar.next()  # it is the first, so that nobody has to unpack the rest for it
    stream = tar.extractfile(head) if head is not None and head.name == _MANIFEST else None
    values = json.load(stream) if stream else {}
    version = values.get("version") if isinstance(values, dict) else None
    if version != _VERSION:
        raise ScriptError(f"{path}: is an archive of version {version}, and this reads version {_VERSION} alone")
    return typed(Manifest, values, _MANIFEST)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """An archive and its manifest, every member's SHA-256 compared; ScriptError if it is not whole."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            manifest = _manifest(path, tar)
            listed = {member.name: member.sha256 for member in manifest.members}
            present = [info.name for info in tar.getmembers()]
            if sorted(present) != sorted([_MANIFEST, *listed]) or not {_DATABASE, _KEYS} <= {*listed}:
                raise ScriptError(f"{path}: damaged: its content is not what its manifest lists")
            for name, digest in listed.items():
                stream = tar.extractfile(name)
                if stream is None or _digest(stream) != digest:
                    raise ScriptError(f"{path}: damaged: {name} is not what was archived (its SHA-256 differs)")
            yield tar, manifest
    except _UNREADABLE as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


VERBS = (begin, archive, keep, check)

if __name__ == "__main__":
    run(*VERBS)
