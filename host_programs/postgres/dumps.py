"""Makes dumps of databases as files on the host, reads them and proves that they are intact."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from documents.backup.dump_script import CLOSING_LINE
from documents.places import Database
from host_programs.docker import NO_DOCKER, run_docker
from host_programs.messages import ScriptError

_READERS = {b"\x1f\x8b": ["gzip", "-dc"], b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}
_READERS |= {b"BZh": ["bzip2", "-dc"]}
_CUSTOM = b"PGDMP"
_CLOSING = (f"-- {CLOSING_LINE}".encode(), b"-- PostgreSQL database cluster dump complete")  # pg_dump, pg_dumpall
_DUMP_NAME = re.compile(r"\.(?:sql|dump|pgdump|pg_dump)(?:\.(?:gz|xz|zst|bz2))?\Z")
_CHUNK = 1 << 20


def hash_file(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


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
            said = errors.read().decode(errors="replace").strip()
            raise ScriptError(f"{path}: damaged: {said or f'{reader[0]} ended with exit code {code}'}")


def make_dump(database: Database, target: Path, portable: bool = False) -> bool:
    """Dump a database into a new file (0600), uncompressed, and prove it. `portable`: without owners and rights. False
    if there is no such database. ScriptError if the dump is not complete."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    command = ["docker", *_dump_command(database), *(["--no-owner", "--no-privileges"] if portable else [])]
    with os.fdopen(descriptor, "wb") as file, tempfile.TemporaryFile() as errors:
        try:
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=file, stderr=errors)
        except FileNotFoundError:
            raise ScriptError(NO_DOCKER) from None
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if code and says_absent(database, "\n".join(said)):
        return False
    if code:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{said[-1] if said else f'exit code {code}'}"
        )
    prove_dump(target, database.container)
    return True


def looks_like_dump(path: Path) -> bool:
    """Whether a file is a dump of Postgres: its name or the beginning of its content says so."""
    if _DUMP_NAME.search(path.name):
        return True
    try:
        with open_dump(path) as stream:
            start = stream.read(512)
            while stream.read(_CHUNK):
                pass
    except ScriptError:
        return False
    return start.startswith(_CUSTOM) or b"-- PostgreSQL database" in start


class DumpTooSlow(ScriptError):
    """A dump could not be read to its end in time."""


def prove_dump(path: Path, container: str, seconds: float = math.inf) -> None:
    """ScriptError unless the dump can be unpacked to its end and is complete. A plain dump has pg_dump's closing line
    among its last ten lines; pg_restore can list the content of a dump in the custom format. DumpTooSlow if that takes
    longer than `seconds`."""
    tail, start, deadline = b"", b"", time.monotonic() + seconds
    with open_dump(path) as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            if time.monotonic() > deadline:
                raise DumpTooSlow(f"{path}: not read to its end in {seconds:g} s")
            start = start or chunk[:5]
            tail = (tail + chunk)[-8192:]
    if start == _CUSTOM:
        with open_dump(path) as stream:
            chunks = iter(lambda: stream.read(_CHUNK), b"")
            code, said = _run_with_stdin(["docker", "exec", "-i", container, "pg_restore", "--list"], chunks)
        if code:
            raise ScriptError(f"{path}: not a whole dump: pg_restore: {said}")
    elif not {*tail.split(b"\n")[-11:]} & {*_CLOSING}:
        raise ScriptError(f"{path}: not a whole dump: pg_dump's closing line is not at its end")


def _run_with_stdin(command: list[str], chunks: Iterator[bytes]) -> tuple[int, str]:
    """Run a command with the chunks as its stdin; its exit code, and the error (else the last line) from its stderr."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        except FileNotFoundError:
            raise ScriptError(NO_DOCKER) from None
        assert process.stdin is not None
        try:
            try:
                with process.stdin:
                    for chunk in chunks:
                        process.stdin.write(chunk)
            except BrokenPipeError:
                for _ in chunks:
                    pass
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    error = next((line for line in lines if "ERROR:" in line), lines[-1] if lines else f"exit code {code}")
    return code, error


def check_dumpable(database: Database) -> None:
    """ScriptError unless pg_dump can read every table's definition. That is quick: no data is read."""
    done = run_docker(*_dump_command(database), "--schema-only", "-f", "/dev/null", check=False)
    if done.returncode:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[0]}"
        )


def _dump_command(database: Database) -> list[str]:
    return ["exec", database.container, "pg_dump", "-w", "-U", database.role, "-d", database.database]


def says_absent(database: Database, error: str) -> bool:
    """Whether Postgres' error says that the database is gone, or the role that owned it and nothing else."""
    return (
        f'database "{database.database}" does not exist' in error or f'role "{database.role}" does not exist' in error
    )
