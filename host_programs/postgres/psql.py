"""psql in the container that runs Postgres: local connections, where the official image asks for no password.

SQL goes to stdin. Values go into psql's variables (`:'name'` a literal, `:"name"` an identifier), never into the SQL.
Names in it without a schema are Postgres' own: the owner of a database may choose another search_path for it, with a
function or an operator of his, which a superuser would run with all his rights.
"""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

from documents.places import Database, Postgres
from host_programs.docker import run_docker, stream_to_docker
from host_programs.messages import ScriptError

SESSIONS_TIMEOUT = 300.0  # seconds
NOBODY = "65534:65534"  # a user in the container who may nothing


def check_name(kind: str, value: str) -> str:
    """The value, if it may stand between double quotes in SQL and in a command's words; else ScriptError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", value):
        raise ScriptError(f"{kind} {value!r}: it should be letters, digits, _ and -, at most 63 of them")
    return value


def quote_identifier(identifier: str) -> str:
    """The name as SQL's identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """The text as SQL's constant, whatever standard_conforming_strings says."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f" E'{escaped}'"


_PSQL = ("psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1")
_SEARCH_PATH = "set search_path = pg_catalog;\n"


def run_psql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run SQL; any exit code is a result. Rows are unaligned, one a line."""
    set_variables = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
    words = ("exec", "-i", container, *_PSQL, "-A", "-t", *set_variables, "-U", user, "-d", database)
    return run_docker(*words, stdin=f"{_SEARCH_PATH}{statements}", check=False, timeout=timeout)


def run_sql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> list[str]:
    """Run SQL; its rows, unaligned, one a line. ScriptError with Postgres' own words if it fails."""
    done = run_psql(container, user, database, statements, timeout, **variables)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").partition("\n")[0]
        raise ScriptError(f"{container}: database {database} as {user}: {reason}")
    return [row for row in done.stdout.splitlines() if row]


def run_as_superuser(server: Postgres, statements: str, /, **variables: str) -> list[str]:
    """As `run_sql`, in the database postgres."""
    return run_sql(server.container, server.superuser, "postgres", statements, timeout=120, **variables)


def in_database(database: str, statements: str) -> str:
    """Lines for the same psql: go on in another database, and run SQL there."""
    return f"\\connect {quote_identifier(database)}\n{_SEARCH_PATH}{statements}"


def run_unprivileged(database: Database, pieces: Iterable[bytes], timeout: float) -> str:
    """Run SQL that comes in pieces, and psql's own commands, as the database's role and the container's user nobody;
    why it failed, or ""."""
    words = ("exec", "-i", "-u", NOBODY, database.container, *_PSQL, "-U", database.role)
    return stream_to_docker(*words, "-d", database.database, pieces=pieces, timeout=timeout)


@dataclass(frozen=True)
class Statement:
    """One line of SQL, or of psql's own commands; the `user` who runs it, and the `database` in which he does."""

    user: str
    database: str
    sql: str = field(repr=False)


@dataclass(frozen=True)
class PsqlResult:
    """What psql printed for one statement. `succeeded`: the user could log in, and the statement ran."""

    stdout: str
    stderr: str
    succeeded: bool


def run_sessions(container: str, *statements: Statement) -> list[PsqlResult]:
    """Run each statement in a session of its own, also after one has failed. A statement that takes over a minute is
    ended. ScriptError if not all of them were run. One `docker exec` serves all."""
    if not statements:
        return []
    mark = f"-- {secrets.token_hex(8)}"
    loop = (
        "while IFS='\t' read -r user database line; do "
        'printf "%s\\n" "$line" | PGOPTIONS="-c statement_timeout=60s -c search_path=pg_catalog" '
        '"$@" -U "$user" -d "$database"; '
        'printf "%s %s\\n" "$0" "$?"; printf "%s\\n" "$0" >&2; done'
    )
    done = run_docker(
        "exec", "-i", container, "sh", "-c", loop, mark, *_PSQL, "-A", "-t",
        stdin="".join(f"{statement.user}\t{statement.database}\t{statement.sql}\n" for statement in statements),
        check=False, timeout=SESSIONS_TIMEOUT,
    )  # fmt: skip
    outs, errors = re.split(f"{mark} (.*)\n", done.stdout), done.stderr.split(f"{mark}\n")
    if not len(outs) // 2 == len(errors) - 1 == len(statements):
        last = errors[-1].strip() or f"exit code {done.returncode}"
        raise ScriptError(f"{container}: psql as {statements[0].user}: {last}")
    return [*map(PsqlResult, outs[::2], errors, (code == "0" for code in outs[1::2]))]
