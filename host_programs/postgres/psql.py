"""psql in the container that runs Postgres: local connections, where the official image asks for no password.

SQL goes to stdin. Values go into psql's variables (`:'name'` a literal, `:"name"` an identifier), never into the SQL.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from host_programs.docker import NO_DOCKER, run_docker
from host_programs.messages import ScriptError

SESSIONS_TIMEOUT = 300.0  # seconds

# Reads the versions of the bridge's schema. go.mau.fi/util/dbutil keeps a table for each part of the schema: its
# version, and the oldest version whose program can still use it. Such a table has these two columns, or the first
# alone. A table of data may have such a name, too (WhatsApp's whatsmeow_app_state_version): it has more columns.
SCHEMA = """
with parts as (
  select table_name, query_to_xml(format('select * from public.%I limit 1', table_name), true, false, '') as rows
  from information_schema.columns
  where table_schema = 'public' and (table_name = 'version' or table_name like '%\\_version')
  group by table_name
  having array_agg(column_name::text order by column_name) in (array['version'], array['compat', 'version'])
    and bool_and(data_type in ('smallint', 'integer', 'bigint'))),
versions as (
  select table_name, (xpath('/table/row/version/text()', rows))[1]::text::int as version,
    (xpath('/table/row/compat/text()', rows))[1]::text::int as compat
  from parts)
select coalesce(json_object_agg(table_name, json_build_array(version, coalesce(compat, version))), '{}')
from versions where version is not null;
"""


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


def psql_command(container: str, user: str, database: str, *more: str, unprivileged: bool = False) -> list[str]:
    """The words after `docker` that run psql with SQL from stdin. `unprivileged`: psql runs as the container's user
    nobody."""
    nobody = ["-u", "65534:65534"] if unprivileged else []
    return ["exec", "-i", *nobody, container, *_PSQL, *more, "-U", user, "-d", database]


_PSQL = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]


# one command -----------------------------------------------------------------------------------------------------


def run_psql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run SQL; any exit code is a result. Rows are unaligned, one a line."""
    set_variables = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
    words = psql_command(container, user, database, "-A", "-t", *set_variables)
    return run_docker(*words, stdin=statements, check=False, timeout=timeout)


def run_sql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> list[str]:
    """Run SQL; its rows, unaligned, one a line. ScriptError with Postgres' own words if it fails."""
    done = run_psql(container, user, database, statements, timeout, **variables)
    result = PsqlResult(done.stdout, done.stderr or f"exit code {done.returncode}", not done.returncode)
    return _read_rows(container, user, database, result)


# statements, each in its own session -----------------------------------------------------------------------------


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
        'printf "%s\\n" "$line" | PGOPTIONS="-c statement_timeout=60s" "$@" -U "$user" -d "$database"; '
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


def run_statement(container: str, statement: Statement) -> list[str]:
    """As `run_sql`, in one of `run_sessions`."""
    (result,) = run_sessions(container, statement)
    return _read_rows(container, statement.user, statement.database, result)


def _read_rows(container: str, user: str, database: str, result: PsqlResult) -> list[str]:
    if not result.succeeded:
        reason = result.stderr.strip().partition("\n")[0]
        raise ScriptError(f"{container}: database {database} as {user}: {reason}")
    return [row for row in result.stdout.splitlines() if row]


# many statements in one session ----------------------------------------------------------------------------------


class Session:
    """Context manager: one psql runs many statements, and tells the rows of each. `unprivileged`: as of
    `psql_command`."""

    def __init__(self, container: str, user: str, database: str = "postgres", unprivileged: bool = False) -> None:
        self._container, self._user, self._mark = container, user, f"-- {secrets.token_hex(8)}"
        self._words = psql_command(container, user, database, "-A", "-t", unprivileged=unprivileged)

    def __enter__(self) -> Session:
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                ["docker", *self._words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except FileNotFoundError:
            raise ScriptError(NO_DOCKER) from None
        return self

    def __exit__(self, *_: object) -> None:
        with self._errors, contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def run(self, statements: str, database: str = "", timeout: float = 600) -> list[str]:
        """Run SQL as `run_pieces` does. A named `database` is the session's from now on."""
        connect = f"\\connect {quote_identifier(database)}\n" if database else ""
        return self.run_pieces([f"{connect}{statements}\n".encode()], timeout)

    def run_pieces(self, pieces: Iterable[bytes], timeout: float) -> list[str]:
        """Run SQL that comes in pieces, psql's own commands too; its rows, unaligned, one a line. ScriptError with
        Postgres' words if it fails, or takes longer than `timeout` seconds: the session has then ended."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            return self._exchange(pieces)
        except ScriptError:
            if late.is_set():
                raise ScriptError(f"{self._container}: as {self._user}: no answer in {timeout:g} s") from None
            raise
        finally:
            timer.cancel()

    def _exchange(self, pieces: Iterable[bytes]) -> list[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        remaining = iter(pieces)
        try:
            for piece in remaining:
                self._process.stdin.write(piece)
            self._process.stdin.write(f"\\echo {self._mark}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            for _ in remaining:  # the generator of the pieces must reach its end
                pass
        rows: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            if line == self._mark:
                return [row for row in rows if row]
            rows.append(line)
        self._errors.seek(0)
        errors = self._errors.read().strip().splitlines() or ["psql ended early"]
        reason = next((line for line in errors if "ERROR:" in line), errors[0])
        raise ScriptError(f"{self._container}: as {self._user}: {reason}")
