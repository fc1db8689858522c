"""Dumps of databases on the host: how they are read, what proves them, how they are restored."""

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
from typing import IO, Optional

from documents.backup import plain_dump
from documents.backup.dump_script import CLOSING_LINE
from documents.places import Database
from documents.refusal import Refused
from host_programs.common import NO_DOCKER, ScriptError, docker
from host_programs.postgres import postgres

_READERS = {b"\x1f\x8b": ["gzip", "-dc"], b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}
_READERS |= {b"BZh": ["bzip2", "-dc"]}
_CUSTOM = b"PGDMP"
_CLOSING = (f"-- {CLOSING_LINE}".encode(), b"-- PostgreSQL database cluster dump complete")  # pg_dump, pg_dumpall
_NAMED = re.compile(r"\.(?:sql|dump|pgdump|pg_dump)(?:\.(?:gz|xz|zst|bz2))?\Z")
_CHUNK = 1 << 20
RESTORE_LIMIT = 6 * 3600.0  # seconds


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def content(path: Path) -> Iterator[IO[bytes]]:
    """What is in a dump, unpacked by the format its first bytes name. At the end: ScriptError if the unpacking failed
    (a cut or damaged file), unless the reader itself stopped early with an exception."""
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


def make(database: Database, target: Path, portable: bool = False) -> bool:
    """Dump a database into a new file (0600), uncompressed, and prove it; `portable`: without owners. False if there is
    no such database. ScriptError if it cannot be dumped whole."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    command = ["docker", *_pg_dump(database), *(["--no-owner", "--no-privileges"] if portable else [])]
    with os.fdopen(descriptor, "wb") as file, tempfile.TemporaryFile() as errors:
        try:
            code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=file, stderr=errors)
        except FileNotFoundError:
            raise ScriptError(NO_DOCKER) from None
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if code and _absent(database, "\n".join(said)):
        return False
    if code:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{said[-1] if said else f'exit code {code}'}"
        )
    prove(target, database.container)
    return True


def looks_like_one(path: Path) -> bool:
    """Whether a file is meant to be a dump of Postgres', by its name or by how its content begins."""
    if _NAMED.search(path.name):
        return True
    try:
        with content(path) as stream:
            start = stream.read(512)
            while stream.read(_CHUNK):
                pass
    except ScriptError:
        return False
    return start.startswith(_CUSTOM) or b"-- PostgreSQL database" in start


class TooSlow(ScriptError):
    """A dump was not read to its end in the time given."""


def prove(path: Path, container: str, seconds: float = math.inf) -> None:
    """ScriptError unless the dump can be unpacked to its end and is a whole one: a plain one has pg_dump's closing line
    among its last ten lines, of one in the custom format pg_restore can list the content. TooSlow if that takes longer
    than `seconds`."""
    tail, start, deadline = b"", b"", time.monotonic() + seconds
    with content(path) as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            if time.monotonic() > deadline:
                raise TooSlow(f"{path}: not read to its end in {seconds:g} s")
            start = start or chunk[:5]
            tail = (tail + chunk)[-8192:]
    if start == _CUSTOM:
        with content(path) as stream:
            chunks = iter(lambda: stream.read(_CHUNK), b"")
            code, said = _fed(["docker", "exec", "-i", container, "pg_restore", "--list"], chunks)
        if code:
            raise ScriptError(f"{path}: not a whole dump: pg_restore: {said}")
    elif not {*tail.split(b"\n")[-11:]} & {*_CLOSING}:
        raise ScriptError(f"{path}: not a whole dump: pg_dump's closing line is not at its end")


def _fed(command: list[str], chunks: Iterator[bytes]) -> tuple[int, str]:
    """Run a command with the chunks as its stdin: exit code, and the error, or the last line, of what it said on
    stderr."""
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


def refuse_commands(stream: IO[bytes], name: str) -> None:
    """ScriptError if the plain dump holds what only psql's own commands do (documents/backup/plain_dump.py)."""
    try:
        for _ in plain_dump.check_dump_lines(stream):
            pass
    except Refused as refused:
        raise ScriptError(f"nothing was restored: {'; '.join(refused.lines(name))}") from None


# Drops all that the role made in its database, whatever hangs on what; tables first, with the sequences that they own.
EMPTY = """
DO $empty$
DECLARE each record;
BEGIN
  FOR each IN
    SELECT 1 AS step, format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) AS it FROM pg_catalog.pg_namespace
    WHERE pg_catalog.pg_get_userbyid(nspowner) = current_user AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'public'
    UNION ALL
    SELECT CASE WHEN relkind = 'S' THEN 3 ELSE 2 END, format('DROP %s IF EXISTS public.%I CASCADE', CASE relkind
      WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE'
      WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, relname)
    FROM pg_catalog.pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL
    SELECT 4, format('DROP TYPE IF EXISTS public.%I CASCADE', typname) FROM pg_catalog.pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r') AND typrelid = 0
    UNION ALL
    SELECT 5, format('DROP ROUTINE IF EXISTS public.%I(%s) CASCADE', proname,
      pg_catalog.pg_get_function_identity_arguments(oid))
    FROM pg_catalog.pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY step
  LOOP
    EXECUTE each.it;
  END LOOP;
END $empty$;
"""


def restore(container: str, role: str, database: str, stream: IO[bytes], first: str = "", last: str = "") -> None:
    """Run the statement `first`, a plain dump and the statement `last` in one transaction: all of it, or ScriptError
    and nothing, also if this process ends on the way. As the role, which is no superuser, as nobody in the container,
    and without any command of psql's own."""
    with postgres.Session(container, role, database, unprivileged=True) as session:
        _restore(session, stream, f"\\o /dev/null\nBEGIN;\n{first}", f"{last}COMMIT;\n", database)


def restores(session: postgres.Session, role: str, database: str, stream: IO[bytes]) -> int:
    """The same in an `unprivileged` session that serves many, and all of it taken back: ScriptError unless the dump can
    be restored; how many tables it has."""
    there = f"\\connect {postgres.quoted(database)} {postgres.quoted(role)}\n\\o /dev/null\nBEGIN;\n"
    last = f"SET CONSTRAINTS ALL IMMEDIATE;\n\\o\n{TABLES}ROLLBACK;\n"
    return int(_restore(session, stream, there, last, database)[-1])


def _restore(session: postgres.Session, stream: IO[bytes], first: str, last: str, database: str) -> list[str]:
    """What psql said from a `\\o` in `last` on."""

    def pieces() -> Iterator[bytes]:
        yield first.encode()
        yield from plain_dump.check_dump_lines(stream)
        yield f"\n{last}".encode()

    try:
        return session.feed(pieces(), RESTORE_LIMIT)
    except Refused as refused:
        raise ScriptError(f"nothing was restored into {database}: {'; '.join(refused.lines())}") from None
    except ScriptError as error:
        raise ScriptError(f"the dump cannot be restored into {database}: {error}") from None


def size(database: Database) -> Optional[int]:
    """Bytes of the database; None if there is none. Asked as the role, in its own database."""
    done = postgres.psql(
        database.container, database.role, database.database, "select pg_database_size(current_database());", timeout=60
    )
    if done.returncode and _absent(database, done.stderr):
        return None
    if done.returncode:
        raise ScriptError(
            f"{database.container}: database {database.database} as {database.role}: {done.stderr.strip()}: nothing "
            "was removed"
        )
    return int(done.stdout)


def dumpable(database: Database) -> None:
    """ScriptError unless pg_dump can read every table's definition, which takes no time; the data is for `make`."""
    done = docker(*_pg_dump(database), "--schema-only", "-f", "/dev/null", check=False)
    if done.returncode:
        raise ScriptError(
            f"{database.container}: database {database.database} could not be dumped, and nothing was removed: "
            f"{(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[0]}"
        )


def _pg_dump(database: Database) -> list[str]:
    return ["exec", database.container, "pg_dump", "-w", "-U", database.role, "-d", database.database]


def _absent(database: Database, said: str) -> bool:
    """Whether Postgres says that the database, or the role that owned it alone, is gone."""
    return f'database "{database.database}" does not exist' in said or f'role "{database.role}" does not exist' in said


TABLES = """
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%';
"""


def tables(container: str, user: str, database: str) -> int:
    """How many tables there are outside of Postgres' own schemas."""
    return int(postgres.sql(container, user, database, TABLES)[0])


def objects(container: str, user: str, database: str) -> int:
    """How many tables, views, sequences, types and functions there are that Postgres did not make itself."""
    rows = postgres.sql(
        container, user, database,
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace"
        " WHERE nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%')"
        " SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))"
        " + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0)"
        " + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM ours));\n",
    )  # fmt: skip
    return int(rows[0])
