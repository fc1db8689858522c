"""Makes dumps of databases as files on the host, reads them and proves that they are intact."""

from __future__ import annotations

import gzip
import hashlib
import math
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from documents.backup.dump_script import CLOSING_LINE
from documents.places import Database
from host_programs.docker import run_docker, run_docker_bytes
from host_programs.files import safe_files
from host_programs.messages import ScriptError

_CLOSING = f"-- {CLOSING_LINE}".encode()
CHUNK = 1 << 20  # bytes
DUMP_TIMEOUT = 6 * 3600.0  # seconds for one dump, or one restore
LOCK_WAIT = "--lock-wait-timeout=60s"  # a forgotten session that holds a table is an error, not a run without an end


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
    """Unpack an open dump if it is compressed. ScriptError if it cannot be unpacked (a cut or damaged file)."""
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_packed:
        yield file
        return
    try:
        with gzip.open(file) as stream:
            yield cast(IO[bytes], stream)
    except (EOFError, OSError, zlib.error) as error:
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
    name, role = database.database, database.role
    return ["exec", database.container, "pg_dump", *options, LOCK_WAIT, "-w", "-U", role, "-d", name]


def _require_success(database: Database, code: int, errors: str) -> None:
    if code:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{(errors.strip().splitlines() or [f'exit code {code}'])[0]}"
        )


class DumpTooSlow(ScriptError):
    """A dump could not be read to its end in time."""


def prove_dump(path: Path, seconds: float = math.inf) -> None:
    """ScriptError unless the dump can be unpacked to its end and has pg_dump's closing line among its last ten lines.
    DumpTooSlow if that takes longer than `seconds`."""
    tail, deadline = b"", time.monotonic() + seconds
    with open_dump(path) as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            if time.monotonic() > deadline:
                raise DumpTooSlow(f"{path}: not read to its end in {seconds:g} s")
            tail = (tail + chunk)[-8192:]
    if _CLOSING not in [line.rstrip(b"\r") for line in tail.split(b"\n")[-11:]]:
        raise ScriptError(f"{path}: not a whole dump: pg_dump's closing line is not at its end")
