"""Makes dumps of databases as files on the host, reads them and proves that they are intact."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from documents.backup.dump_script import CLOSING_LINE
from documents.places import Database
from host_programs.docker import run_docker, run_docker_bytes, stream_to_docker
from host_programs.messages import ScriptError

_READERS = {b"\x1f\x8b": ["gzip", "-dc"], b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}
_READERS |= {b"BZh": ["bzip2", "-dc"]}
_CUSTOM, _PLAIN = b"PGDMP", b"-- PostgreSQL database"
_CLOSING = (f"-- {CLOSING_LINE}".encode(), b"-- PostgreSQL database cluster dump complete")  # pg_dump, pg_dumpall
_CHUNK = 1 << 20
DUMP_TIMEOUT = 6 * 3600.0  # seconds for one dump, or one restore


@contextmanager
def open_dump(path: Path) -> Iterator[IO[bytes]]:
    """Open a dump, and unpack it as its first bytes demand. At the end, ScriptError if the unpacking failed (a cut or
    damaged file), unless the body ended with an exception."""
    with path.open("rb") as file:
        start = file.read(6)
    reader = next((command for magic, command in _READERS.items() if start.startswith(magic)), None)
    if reader is None:
        with path.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen([*reader, str(path)], stdout=subprocess.PIPE, stderr=errors)
        except FileNotFoundError:
            raise ScriptError(f"{path}: cannot be read: {reader[0]} is not on the host: install it") from None
        assert process.stdout is not None
        try:
            with process.stdout:
                yield process.stdout
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip()
            raise ScriptError(f"{path}: damaged: {reason or f'{reader[0]} ended with exit code {code}'}")


def make_dump(database: Database, target: Path, portable: bool = False) -> None:
    """Dump a database into a new file (0600), uncompressed. `portable`: without owners and rights. ScriptError if the
    dump is not complete."""
    options = ("--no-owner", "--no-privileges") if portable else ()
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        done = run_docker_bytes(*_dump_command(database), *options, stdout=file, timeout=DUMP_TIMEOUT)
    _require_success(database, done.returncode, done.stderr.decode(errors="replace"))
    prove_dump(target, database.container)


def check_dumpable(database: Database) -> None:
    """ScriptError unless pg_dump can read every table's definition. That is quick: no data is read."""
    done = run_docker(*_dump_command(database), "--schema-only", "-f", "/dev/null", check=False)
    _require_success(database, done.returncode, done.stderr)


def _dump_command(database: Database) -> list[str]:
    return ["exec", database.container, "pg_dump", "-w", "-U", database.role, "-d", database.database]


def _require_success(database: Database, code: int, errors: str) -> None:
    if code:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{(errors.strip().splitlines() or [f'exit code {code}'])[0]}"
        )


class NoDump(ScriptError):
    """A file does not begin as a dump of Postgres does."""


class DumpTooSlow(ScriptError):
    """A dump could not be read to its end in time."""


def prove_dump(path: Path, container: str, seconds: float = math.inf) -> None:
    """ScriptError unless the dump can be unpacked to its end and is complete. A plain dump has pg_dump's closing line
    among its last ten lines; pg_restore can list the content of a dump in the custom format. DumpTooSlow if that takes
    longer than `seconds`; NoDump if the file holds something else."""
    tail, start, deadline = b"", b"", time.monotonic() + seconds
    with open_dump(path) as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            if time.monotonic() > deadline:
                raise DumpTooSlow(f"{path}: not read to its end in {seconds:g} s")
            start = start or chunk[:512]
            if not start.startswith(_CUSTOM) and _PLAIN not in start:
                raise NoDump(f"{path}: not a whole dump: it does not begin as one of Postgres")
            tail = (tail + chunk)[-8192:]
    if start.startswith(_CUSTOM):
        with open_dump(path) as stream:
            chunks = iter(lambda: stream.read(_CHUNK), b"")
            error = stream_to_docker(
                "exec", "-i", container, "pg_restore", "--list", pieces=chunks, timeout=DUMP_TIMEOUT
            )
            for _ in chunks:  # the program that unpacks the dump must not be cut off
                pass
        if error:
            raise ScriptError(f"{path}: not a whole dump: pg_restore: {error}")
    elif not {line.rstrip(b"\r") for line in tail.split(b"\n")[-11:]} & {*_CLOSING}:
        raise ScriptError(f"{path}: not a whole dump: pg_dump's closing line is not at its end")
