"""Restores a plain dump into a database, as the database's own role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from documents.backup import plain_dump
from documents.refusal import Refused
from host_programs.messages import ScriptError
from host_programs.postgres import psql
from host_programs.postgres.measure import COUNT_TABLES

RESTORE_TIMEOUT = 6 * 3600.0  # seconds


def refuse_psql_commands(stream: IO[bytes], name: str) -> None:
    """ScriptError if the plain dump holds one of psql's own commands (documents/backup/plain_dump.py)."""
    try:
        for _ in plain_dump.check_dump_lines(stream):
            pass
    except Refused as refused:
        raise ScriptError(f"nothing was restored: {'; '.join(refused.lines(name))}") from None


# Drops everything that the role owns in its database, with CASCADE; tables first, with the sequences that they own.
DROP_OWNED = """
DO $empty$
DECLARE item record;
BEGIN
  FOR item IN
    SELECT 1 AS step, format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) AS command FROM pg_catalog.pg_namespace
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
    EXECUTE item.command;
  END LOOP;
END $empty$;
"""


def restore_dump(container: str, role: str, database: str, stream: IO[bytes], first: str = "", last: str = "") -> None:
    """Run the statement `first`, a plain dump and the statement `last` in one transaction. If one of them fails, or
    this process ends on the way, nothing has changed; ScriptError. A dump is not trusted: it runs as the role, which is
    no superuser, as the container's user nobody, and without any of psql's own commands."""
    with psql.Session(container, role, database, unprivileged=True) as session:
        _run_dump(session, stream, f"\\o /dev/null\nBEGIN;\n{first}", f"{last}COMMIT;\n", database)


def try_restore(session: psql.Session, role: str, database: str, stream: IO[bytes]) -> int:
    """Restore a dump as `restore_dump` does, and roll it back; how many tables the dump has. The `unprivileged` session
    serves many dumps. ScriptError unless the dump can be restored."""
    begin = f"\\connect {psql.quote_identifier(database)} {psql.quote_identifier(role)}\n\\o /dev/null\nBEGIN;\n"
    last = f"SET CONSTRAINTS ALL IMMEDIATE;\n\\o\n{COUNT_TABLES}ROLLBACK;\n"
    return int(_run_dump(session, stream, begin, last, database)[-1])


def _run_dump(session: psql.Session, stream: IO[bytes], first: str, last: str, database: str) -> list[str]:
    """Run `first`, the dump and `last`; the rows that come after a `\\o` in `last`."""

    def pieces() -> Iterator[bytes]:
        yield first.encode()
        yield from plain_dump.check_dump_lines(stream)
        yield f"\n{last}".encode()

    try:
        return session.run_pieces(pieces(), RESTORE_TIMEOUT)
    except Refused as refused:
        raise ScriptError(f"nothing was restored into {database}: {'; '.join(refused.lines())}") from None
    except ScriptError as error:
        raise ScriptError(f"the dump cannot be restored into {database}: {error}") from None
