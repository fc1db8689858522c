"""Makes dumps of databases as files on the host, reads them and proves that they are intact."""

from __future__ import annotations

import hashlib
import math
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import IO

from documents.backup.dump_script import CLOSING_LINE
from documents.places import Database
from host_programs.docker import run_docker, run_docker_bytes, stream_to_docker
from host_programs.files import safe_files
from host_programs.messages import ScriptError

# Python's modules, imported when a file needs them: a Python that was built without its headers lacks some.
_UNPACKERS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "lzma", b"BZh": "bz2"}
_CUSTOM, _PLAIN = b"PGDMP", b"-- PostgreSQL database"
_CLOSING = (f"-- {CLOSING_LINE}".encode(), b"-- PostgreSQL database cluster dump complete")  # pg_dump, pg_dumpall
_DUMP_NAME = re.compile(r"\.(?:sql|pg_?dump|dump)(?:\.(?:gz|xz|bz2))?\Z")
CHUNK = 1 << 20  # bytes
DUMP_TIMEOUT = 6 * 3600.0  # seconds for one dump, or one restore


def hash_stream(stream: IO[bytes]) -> str:
    """The SHA-256 of what follows in the stream, in hex."""
    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def open_dump(path: Path) -> Iterator[IO[bytes]]:
    """Open a dump, and unpack it. Errors as of `unpack_dump`."""
    with safe_files.open_file(path, foreign=True) as file, unpack_dump(path, file) as stream:
        yield stream


@contextmanager
def unpack_dump(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Unpack an open dump as its first bytes demand. ScriptError if it cannot be unpacked (a cut or damaged file);
    NoDump if this Python cannot unpack such a file."""
    start = file.read(6)
    file.seek(0)
    name = next((name for magic, name in _UNPACKERS.items() if start.startswith(magic)), "")
    with _unpack(path, file, name) if name else nullcontext(file) as stream:
        yield stream


@contextmanager
def _unpack(path: Path, file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The unpacked stream, by Python's module of that name."""
    try:
        module = import_module(name)
    except ImportError:
        raise NoDump(f"{path}: cannot be read: python3 on the host lacks its module {name}: install it") from None
    try:
        with module.open(file, "rb") as stream:
            yield stream
    except (EOFError, OSError, zlib.error, getattr(module, "LZMAError", OSError)) as error:
        raise ScriptError(f"{path}: damaged: {error}") from None


def make_dump(database: Database, file: IO[bytes], *options: str) -> None:
    """Dump a database into a file, as its role; with other `options`, in another form. ScriptError if pg_dump fails."""
    done = run_docker_bytes(*_dump_command(database, *options), stdout=file, timeout=DUMP_TIMEOUT)
    _require_success(database, done.returncode, done.stderr.decode(errors="replace"))


def check_dumpable(database: Database) -> None:
    """ScriptError unless pg_dump can read every table's definition. That is quick: no data is read."""
    done = run_docker(*_dump_command(database, "--schema-only", "-f", "/dev/null"), check=False)
    _require_success(database, done.returncode, done.stderr)


def _dump_command(database: Database, *options: str) -> list[str]:
    return ["exec", database.container, "pg_dump", *options, "-w", "-U", database.role, "-d", database.database]


def _require_success(database: Database, code: int, errors: str) -> None:
    if code:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{(errors.strip().splitlines() or [f'exit code {code}'])[0]}"
        )


def promises_dump(path: Path) -> bool:
    """Whether the name ends as that of a dump that we can read: not if it was encrypted, or holds a checksum."""
    return _DUMP_NAME.search(path.name) is not None


class NoDump(ScriptError):
    """A file does not begin as a dump of Postgres does, as far as we can read it."""


class DumpTooSlow(ScriptError):
    """A dump could not be read to its end in time."""


def prove_dump(path: Path, container: str, seconds: float = math.inf) -> None:
    """ScriptError unless the dump can be unpacked to its end and is complete. A plain dump has pg_dump's closing line
    among its last ten lines; pg_restore can list the content of a dump in the custom format. DumpTooSlow if that takes
    longer than `seconds`; NoDump if the file holds something else: an empty one counts by its name."""
    tail, deadline = b"", time.monotonic() + seconds
    with open_dump(path) as stream:
        start = chunk = stream.read(512)
        is_custom = start.startswith(_CUSTOM)
        if not is_custom and _PLAIN not in start and (start or not promises_dump(path)):
            raise NoDump(f"{path}: not a whole dump: it does not begin as one of Postgres")
        while chunk:
            if time.monotonic() > deadline:
                raise DumpTooSlow(f"{path}: not read to its end in {seconds:g} s")
            tail = (tail + chunk)[-8192:]
            chunk = stream.read(CHUNK)
    if is_custom:
        with open_dump(path) as stream:
            chunks = iter(lambda: stream.read(CHUNK), b"")
            error = stream_to_docker(
                "exec", "-i", container, "pg_restore", "--list", pieces=chunks, timeout=DUMP_TIMEOUT
            )
        if error:
            raise ScriptError(f"{path}: not a whole dump: pg_restore: {error}")
    elif not {line.rstrip(b"\r") for line in tail.split(b"\n")[-11:]} & {*_CLOSING}:
        raise ScriptError(f"{path}: not a whole dump: pg_dump's closing line is not at its end")
