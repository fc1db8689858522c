"""The last word before the bridge goes: its database and its files in one private archive; and the way back.

archive  dumps the database, proves the dump, and writes `<bridge>-<UTC timestamp>.tar.gz` (0600, in a directory that
         is 0700 if it had to be made): manifest.json, database.sql, and the files under `files/` with their host
         paths. The archive is read back and compared with its manifest before it gets its name.
restore  checks every SHA-256 of an archive and runs its dump, as the role, in one transaction, in a database that has
         to be empty.
pickle_key  tells the key that the archived database needs.

What is secret (tokens and keys in the files, messages in the dump) is in the 0600 archive alone; neither in a
temporary file that others can read nor in what is printed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from scripts import dumps, postgres
from scripts.common import ScriptError, run, say

_MANIFEST, _DATABASE = "manifest.json", "database.sql"
_CHUNK = 1 << 20
_PICKLE_KEY = re.compile(r"""^ +pickle_key: ["']?([A-Za-z0-9_-]+)["']? *$""", re.MULTILINE)  # as we write it
_STAMP = re.compile(r"\d{8}T\d{6}Z")


def archive(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: archive_dir, container, database, role, files (host paths; one that is not there is left out with a
    note), bridge (the archive's first name; default: the database's with dashes), timestamp (default: now, as
    20260131T235959Z). Result: archive (path), sha256, bytes, files (paths in it), missing (paths);
    archive is null if the database is gone."""
    container, role = arguments["container"], postgres.name("role", arguments["role"])
    database = postgres.name("database", arguments["database"])
    stamp = arguments.get("timestamp") or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if not _STAMP.fullmatch(stamp):
        raise ScriptError(f"timestamp {stamp!r}: it should be like 20260131T235959Z")
    directory = Path(arguments["archive_dir"])
    final = directory / f"{_bridge(arguments)}-{stamp}.tar.gz"
    with _directory(directory):
        if final.exists():
            raise ScriptError(f"{final}: is there already: nothing was archived or removed; try again in a second")
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=directory))  # 0700
        try:
            dump = part / _DATABASE
            if not _dump(container, role, database, dump):
                say(f"warning: {container}: there is no database {database} any more: nothing to archive")
                return {"archive": None}
            present = [Path(name) for name in arguments["files"] if Path(name).is_file()]
            missing = sorted({*arguments["files"]} - {str(path) for path in present})
            for name in missing:
                say(f"note: {name}: is not there, so the archive goes without it")
            members = [_member(_DATABASE, dump), *(_member(f"files{path.absolute()}", path) for path in present)]
            manifest = {
                "version": 1,
                "created": stamp,
                "database": database,
                "role": role,
                "members": members,
                "missing": missing,
            }
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
    say(f"archived: {final}, {size} bytes: the database {database} and {len(present)} files")
    return {
        "archive": str(final),
        "sha256": dumps.sha256(final),
        "bytes": size,
        "files": [str(path) for path in present],
        "missing": missing,
    }


def restore(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: archive (a path, or `latest`: the newest of archive_dir by the timestamp in its name), archive_dir,
    bridge, container, database, role. Result: archive, sha256, database, tables, created (the archive's timestamp).
    ScriptError, with the database as it was, if the archive is damaged or the database is not empty."""
    container, role = arguments["container"], postgres.name("role", arguments["role"])
    database = postgres.name("database", arguments["database"])
    path = _chosen(arguments)
    digest = dumps.sha256(path) if path.is_file() else ""
    with _opened(path) as (tar, manifest):
        if manifest.get("role") != role:
            raise ScriptError(
                f"{path}: its database belongs to the role {manifest.get('role')!r}, and this one to {role!r}: "
                "use that role's name (setting bridgeRole)"
            )
        there = _objects(container, role, database)
        if there:
            raise ScriptError(
                f"{container}: database {database} is not empty ({there} tables, views, types or functions): "
                "an archive is restored only into an empty one; set restore to none, or drop the database first"
            )
        stream = tar.extractfile(_DATABASE)
        assert stream is not None
        dumps.restore(container, role, database, stream)
    tables = dumps.tables(container, role, database)
    say(f"restored: {path.name} of {manifest['created']} into {database}: {tables} tables")
    return {
        "archive": str(path),
        "sha256": digest,
        "database": database,
        "tables": tables,
        "created": manifest["created"],
    }


def pickle_key(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: archive, archive_dir, bridge. Result: pickle_key, the one that the archived database's keys are
    encrypted with, out of the archived config.yaml. It is a secret."""
    path = _chosen(arguments)
    with _opened(path) as (tar, manifest):
        for member in manifest["members"]:
            stream = tar.extractfile(member["name"]) if member["name"].endswith("/config.yaml") else None
            found = _PICKLE_KEY.search(stream.read().decode()) if stream else None
            if found:
                return {"pickle_key": found.group(1)}
    raise ScriptError(f"{path}: holds no config.yaml with a pickle_key: without it the database's keys cannot be read")


def keep(arguments: dict[str, Any]) -> dict[str, Any]:
    """Nothing, for now: the archive is written when it is deleted."""
    return {}


# writing ---------------------------------------------------------------------------------------------------------


def _bridge(arguments: Mapping[str, Any]) -> str:
    return postgres.name("bridge", arguments.get("bridge") or arguments["database"].replace("_", "-"))


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


def _dump(container: str, role: str, database: str, target: Path) -> bool:
    """Dump and prove it; False if there is no such database (somebody dropped it: a destroy must still go on)."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, tempfile.TemporaryFile() as errors:
        try:
            code = subprocess.call(
                ["docker", "exec", container, "pg_dump", "-w", "-U", role, "-d", database],
                stdin=subprocess.DEVNULL, stdout=file, stderr=errors,
            )  # fmt: skip
        except FileNotFoundError:
            raise ScriptError("docker: command not found on the host: install Docker Engine and its client") from None
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if code and any(f'database "{database}" does not exist' in line for line in said):
        return False
    if code:
        raise ScriptError(
            f"{container}: database {database} could not be dumped, and nothing was removed: "
            f"{said[-1] if said else f'exit code {code}'}"
        )
    dumps.prove(target, container)
    return True


def _member(name: str, path: Path) -> dict[str, Any]:
    status = path.stat()
    return {
        "name": name,
        "sha256": dumps.sha256(path),
        "bytes": status.st_size,
        "mode": f"{status.st_mode & 0o7777:04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _pack(target: Path, manifest: Mapping[str, Any], paths: Sequence[Path]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
            data = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
            head = tarfile.TarInfo(_MANIFEST)
            head.size, head.mode = len(data), 0o600
            tar.addfile(head, io.BytesIO(data))
            for member, path in zip(manifest["members"], paths):
                info = tarfile.TarInfo(member["name"])
                info.size, info.mode = member["bytes"], int(member["mode"], 8)
                info.uid, info.gid, info.mtime = member["uid"], member["gid"], int(path.stat().st_mtime)
                with path.open("rb") as content:
                    tar.addfile(info, content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# reading ---------------------------------------------------------------------------------------------------------


def _chosen(arguments: Mapping[str, Any]) -> Path:
    wanted = arguments["archive"]
    if wanted != "latest":
        path = Path(wanted)
        if not path.is_file():
            raise ScriptError(f"{path}: there is no such archive (setting restore: none, latest, or an archive's path)")
        return path
    directory, bridge = Path(arguments["archive_dir"]), _bridge(arguments)
    found = [path for path in directory.glob(f"{bridge}-*.tar.gz") if _STAMP.fullmatch(path.name[len(bridge) + 1 : -7])]
    if not found:
        raise ScriptError(
            f"{directory}: there is no archive {bridge}-….tar.gz to restore: "
            "set restore to none, or to an archive's path"
        )
    return max(found, key=lambda path: path.name)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tarfile.TarFile, dict[str, Any]]]:
    """An archive and its manifest, every member's SHA-256 compared; ScriptError if it is not whole."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            head = tar.extractfile(_MANIFEST)
            manifest: dict[str, Any] = json.load(head) if head else {}
            listed = {member["name"]: member["sha256"] for member in manifest["members"]}
            present = [info.name for info in tar.getmembers()]
            if sorted(present) != sorted([_MANIFEST, *listed]) or _DATABASE not in listed:
                raise ScriptError(f"{path}: damaged: its content is not what its manifest lists")
            for name, digest in listed.items():
                stream = tar.extractfile(name)
                if stream is None or _digest(stream) != digest:
                    raise ScriptError(f"{path}: damaged: {name} is not what was archived (its SHA-256 differs)")
            yield tar, manifest
    except (tarfile.TarError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        raise ScriptError(f"{path}: damaged, or no archive of a bridge: {error}") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _objects(container: str, role: str, database: str) -> int:
    """How many tables, views, sequences, types and functions there are that Postgres did not make itself."""
    rows = postgres.sql(
        container, role, database,
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace"
        " WHERE nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%')"
        " SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))"
        " + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0)"
        " + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM ours));\n",
    )  # fmt: skip
    return int(rows[0])


VERBS = (archive, restore, pickle_key, keep)

if __name__ == "__main__":
    run(*VERBS)
