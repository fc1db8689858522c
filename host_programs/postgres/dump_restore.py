"""Restores dumps: into a bridge's database, or into a scratch database to prove that they can be restored.

A dump is not trusted. It is restored as the bridge's role, which is no superuser, and as nobody in the container. A
dump of an archive is in pg_dump's custom format: pg_restore sends its SQL to Postgres in the one session that it opened
as the role, and knows no commands of its own that a dump could hold. So a dump can do in its database what the bridge
can, and nothing else. A plain dump of the nightly backup goes through psql, which has such commands: a shell, another
user. It is checked on its way, and with such a command nothing of it is restored (documents/backup/plain_dump.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from documents.backup.plain_dump import check_dump_lines
from documents.marks import owner_comment
from documents.places import Database, Postgres
from documents.refusal import Refused
from host_programs import host_lock
from host_programs.docker import stream_to_docker
from host_programs.messages import ScriptError, say
from host_programs.postgres import dumps, psql

WORKERS = 2  # dumps that are restored as a proof at a time
# pg_dump's options for an archive: any role can restore it. The archive is compressed as a whole.
ARCHIVED = ("--format=custom", "--compress=0", "--no-owner", "--no-privileges")
# Run by the role in its database: the database itself and the schema public, which is not the role's, stay.
DROP_CONTENT = "DROP OWNED BY CURRENT_USER CASCADE;\n"
_RESTORE = (
    "pg_restore", "--format=custom", "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "-w",
)  # fmt: skip


@dataclass(frozen=True)
class Dump:
    """What is in an open dump. `is_plain`: it is SQL, as the nightly backup makes it; else in pg_dump's custom format,
    as in an archive."""

    stream: IO[bytes]
    is_plain: bool


def restore_dump(database: Database, dump: Dump) -> None:
    """Restore a dump in one transaction, as the database's role. If it fails, or this process ends on the way, nothing
    has changed; ScriptError."""
    if dump.is_plain:
        _restore_plain(database, dump.stream, b"COMMIT;\n")
        return
    words = ("exec", "-i", "-u", psql.NOBODY, database.container, *_RESTORE, "-U", database.role)
    pieces = iter(lambda: dump.stream.read(dumps.CHUNK), b"")
    _require_success(
        database, stream_to_docker(*words, "-d", database.database, pieces=pieces, timeout=dumps.DUMP_TIMEOUT)
    )


def try_restore(server: Postgres, stack: str, database: Database, dump: Dump, *questions: str) -> list[psql.PsqlResult]:
    """Restore a dump into a scratch database, and drop that. The answers to `questions`, lines of SQL that the role
    asks there. ScriptError if the dump cannot be restored."""
    with _scratch_database(server, stack, database) as scratch:
        restore_dump(scratch, dump)
        statements = [psql.Statement(scratch.role, scratch.database, question) for question in questions]
        return psql.run_sessions(server.container, *statements)


def prove_restores(server: Postgres, stack: str, paths: Mapping[Database, Path]) -> None:
    """Restore each bridge's plain dump into a scratch database, and roll it back, some side by side. ScriptError unless
    each can be restored."""
    parts = [dict(itertools.islice(paths.items(), first, None, WORKERS)) for first in range(min(WORKERS, len(paths)))]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        for part in [pool.submit(_prove_one_by_one, server, stack, part) for part in parts]:
            part.result()


def _prove_one_by_one(server: Postgres, stack: str, paths: Mapping[Database, Path]) -> None:
    with _scratch_database(server, stack, next(iter(paths))) as scratch:
        for database, path in paths.items():
            own = replace(scratch, role=database.role)
            name, role = psql.quote_identifier(own.database), psql.quote_identifier(own.role)
            psql.run_as_superuser(server, f"ALTER DATABASE {name} OWNER TO {role};")
            with dumps.open_dump(path) as stream:
                _restore_plain(own, stream, b"ROLLBACK;\n")
            say(f"proven: {database.database}: {path.name} restores")


def _restore_plain(database: Database, stream: IO[bytes], end: bytes) -> None:
    """Restore a plain dump in one transaction, which ends with the statement `end`."""

    def make_pieces() -> Iterator[bytes]:
        yield b"\\o /dev/null\nBEGIN;\n"
        yield from check_dump_lines(stream)
        yield b"\nSET CONSTRAINTS ALL IMMEDIATE;\n" + end

    try:
        _require_success(database, psql.run_unprivileged(database, make_pieces(), dumps.DUMP_TIMEOUT))
    except Refused as refused:
        raise ScriptError(f"nothing was restored into {database.database}: {'; '.join(refused.lines())}") from None


def _require_success(database: Database, error: str) -> None:
    if error:
        raise ScriptError(f"the dump cannot be restored into {database.database}: {error}")


@contextmanager
def _scratch_database(server: Postgres, stack: str, database: Database) -> Iterator[Database]:
    """An empty database that belongs to the role of `database` and lets nobody else in. It is dropped whatever
    happens. ScriptError if there is one of that name that is not ours."""
    scratch = psql.check_name("database", database.scratch)
    quoted, comment = psql.quote_identifier(scratch), owner_comment(stack, scratch=True)
    drop = f"SET client_min_messages = warning;\nDROP DATABASE IF EXISTS {quoted} WITH (FORCE);\n"
    # To make or drop a database waits for a checkpoint: run_sql gives it 600 s, run_as_superuser would give 120.
    run_slowly = partial(psql.run_sql, server.container, server.superuser, "postgres")
    with host_lock.hold_lock(f"{server.container}: database {scratch}", stack):
        _refuse_foreign_scratch(server, scratch, comment)
        try:
            run_slowly(
                f"{drop}CREATE DATABASE {quoted} OWNER {psql.quote_identifier(database.role)} TEMPLATE template0 "
                "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';\n"
                f"COMMENT ON DATABASE {quoted} IS{psql.quote_literal(comment)};\n"
                f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC;\n",
            )
            yield replace(database, database=scratch)
        finally:
            run_slowly(drop)


def _refuse_foreign_scratch(server: Postgres, scratch: str, comment: str) -> None:
    """ScriptError if there is a database of that name that is not ours."""
    rows = psql.run_as_superuser(
        server,
        "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '-') FROM pg_catalog.pg_database"
        " WHERE datname = :'scratch';",
        scratch=scratch,
    )
    if rows not in ([], [comment]):
        raise ScriptError(
            f"{server.container}: database {scratch} is needed for the restore check and is not ours: look whose "
            "it is, and rename it"
        )
