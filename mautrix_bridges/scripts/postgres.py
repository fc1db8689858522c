"""psql in the container that runs Postgres: local connections, where the official image asks for no password.

SQL goes to stdin, values into psql's variables (`:'name'` a literal, `:"name"` an identifier), never into the text.
"""

from __future__ import annotations

import re
import subprocess

from mautrix_bridges.scripts.common import ScriptError, docker

# What the bridge keeps of its schema (go.mau.fi/util/dbutil), a table for each part: its version, and the oldest one
# whose program can still use it.
SCHEMA = """
with parts as (
  select table_name, query_to_xml(format('select * from public.%I limit 1', table_name), true, true, '') as row
  from information_schema.columns
  where table_schema = 'public' and column_name = 'version'
    and (table_name = 'version' or table_name like '%\\_version')),
versions as (
  select table_name, (xpath('/row/version/text()', row))[1]::text::int as version,
    (xpath('/row/compat/text()', row))[1]::text::int as compat
  from parts)
select coalesce(json_object_agg(table_name, json_build_array(version, coalesce(compat, version))), '{}')
from versions where version is not null;
"""


def name(what: str, value: str) -> str:
    """The value, if it may stand between double quotes in SQL and in a command's words; else ScriptError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", value):
        raise ScriptError(f"{what} {value!r}: it should be letters, digits, _ and -, at most 63 of them")
    return value


def quoted(identifier: str) -> str:
    """The name as SQL's identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as SQL's constant, whatever standard_conforming_strings says."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f" E'{escaped}'"


def command(container: str, user: str, database: str, *more: str, unprivileged: bool = False) -> list[str]:
    """The words after `docker` that run psql on what comes from stdin; `unprivileged`: as nobody in the container."""
    nobody = ["-u", "65534:65534"] if unprivileged else []
    words = ["exec", "-i", *nobody, container, "psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", *more]
    return [*words, "-U", user, "-d", database]


def psql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run SQL whatever comes of it: rows are unaligned, one a line."""
    given = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
    words = command(container, user, database, "-A", "-t", *given)
    return docker(*words, stdin=statements, check=False, timeout=timeout)


def sql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> list[str]:
    """Run SQL; the rows, unaligned, one a line. ScriptError with Postgres' own words if it fails."""
    done = psql(container, user, database, statements, timeout, **variables)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ScriptError(f"{container}: database {database} as {user}: {said[0]}")
    return [line for line in done.stdout.splitlines() if line]
