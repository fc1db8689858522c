"""Restores plain dumps: into a bridge's database, or into a scratch database to prove that they can be restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from documents.backup.plain_dump import check_dump_lines
from documents.marks import owner_comment
from documents.places import Database, Postgres
from documents.refusal import Refused
from host_programs.messages import ScriptError, say
from host_programs.postgres import dumps, psql

# Run by the role in its database: the database itself and the schema public, which is not the role's, stay.
DROP_CONTENT = "DROP OWNED BY CURRENT_USER CASCADE;\n"


def refuse_psql_commands(stream: IO[bytes], name: str) -> None:
    """ScriptError if the plain dump holds one of psql's own commands (documents/backup/plain_dump.py)."""
    try:
        for _ in check_dump_lines(stream):
            pass
    except Refused as refused:
        raise ScriptError(f"nothing was restored: {'; '.join(refused.lines(name))}") from None


def restore_dump(database: Database, stream: IO[bytes], first: str, last: str) -> None:
    """Run the statement `first`, a plain dump and the statement `last` in one transaction. If one of them fails, or
    this process ends on the way, nothing has changed; ScriptError. A dump is not trusted: it runs as the role, which is
    no superuser, as the container's user nobody, and without any of psql's own commands."""
    _run_dump(database, stream, f"BEGIN;\n{first}", f"{last}COMMIT;\n")


def _run_dump(database: Database, stream: IO[bytes], first: str, last: str) -> None:
    def make_pieces() -> Iterator[bytes]:
        yield f"\\o /dev/null\n{first}".encode()
        yield from check_dump_lines(stream)
        yield f"\n{last}".encode()

    name = database.database
    try:
        error = psql.run_unprivileged(database, make_pieces(), dumps.DUMP_TIMEOUT)
    except Refused as refused:
        raise ScriptError(f"nothing was restored into {name}: {'; '.join(refused.lines())}") from None
    if error:
        raise ScriptError(f"the dump cannot be restored into {name}: {error}")


def name_scratch_database(database: str) -> str:
    """The database that dumps are restored into as a proof; `database`: the first bridge's."""
    return f"{database[:49]}_restore_check"


def prove_restores(server: Postgres, stack: str, paths: Mapping[Database, Path]) -> None:
    """Restore each bridge's dump into a scratch database that lets nobody else in, and roll it back. The scratch
    database is dropped whatever happens. ScriptError unless each dump can be restored."""
    scratch = psql.check_name("database", name_scratch_database(next(iter(paths)).database))
    quoted, comment = psql.quote_identifier(scratch), owner_comment(stack, scratch=True)
    drop = f"SET client_min_messages = warning;\nDROP DATABASE IF EXISTS {quoted} WITH (FORCE);\n"
    # To make or drop a database waits for a checkpoint: run_sql gives it 600 s, run_as_superuser would give 120.
    run_slowly = partial(psql.run_sql, server.container, server.superuser, "postgres")
    _refuse_foreign_scratch(server, scratch, comment)
    try:
        run_slowly(
            f"{drop}CREATE DATABASE {quoted} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';\n"
            f"COMMENT ON DATABASE {quoted} IS{psql.quote_literal(comment)};\n"
            f"REVOKE ALL ON DATABASE {quoted} FROM PUBLIC;\n",
        )
        for database, path in paths.items():
            role = psql.quote_identifier(database.role)
            psql.run_as_superuser(server, f"ALTER DATABASE {quoted} OWNER TO {role};")
            with dumps.open_dump(path) as stream:
                last = "SET CONSTRAINTS ALL IMMEDIATE;\nROLLBACK;\n"
                _run_dump(replace(database, database=scratch), stream, "BEGIN;\n", last)
            say(f"proven: {database.database}: {path.name} restores")
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
