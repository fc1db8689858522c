"""How much there is in a database: bytes, tables, objects."""

from __future__ import annotations

from typing import Optional

from documents.places import Database
from host_programs.messages import ScriptError
from host_programs.postgres import dumps, psql


def measure_database(database: Database) -> Optional[int]:
    """Bytes of the database; None if there is none. Asked as the role, in its own database."""
    done = psql.run_psql(
        database.container, database.role, database.database, "select pg_database_size(current_database());", timeout=60
    )
    if done.returncode and dumps.says_absent(database, done.stderr):
        return None
    if done.returncode:
        raise ScriptError(
            f"{database.container}: database {database.database} as {database.role}: {done.stderr.strip()}: nothing "
            "was removed"
        )
    return int(done.stdout)


COUNT_TABLES = """
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%';
"""


def count_tables(container: str, user: str, database: str) -> int:
    """How many tables there are outside of Postgres' own schemas."""
    return int(psql.run_sql(container, user, database, COUNT_TABLES)[0])


def count_objects(container: str, user: str, database: str) -> int:
    """How many tables, views, sequences, types and functions there are that Postgres did not make itself."""
    rows = psql.run_sql(
        container, user, database,
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace"
        " WHERE nspname NOT IN ('pg_catalog', 'information_schema')"
        " AND nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%')"
        " SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))"
        " + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0)"
        " + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM ours));\n",
    )  # fmt: skip
    return int(rows[0])
