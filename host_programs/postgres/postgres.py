"""psql in the container that runs Postgres: local connections, where the official image asks for no password.

SQL goes to stdin, values into psql's variables (`:'name'` a literal, `:"name"` an identifier), never into the text.
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

from host_programs.common import NO_DOCKER, ScriptError, docker

SESSIONS_LIMIT = 300.0  # seconds

# What the bridge keeps of its schema (go.mau.fi/util/dbutil), a table for each part: its version, and the oldest one
# whose program can still use it. The table has these two columns, or the first alone: a table of data that is called
# so, as WhatsApp's whatsmeow_app_state_version is, has more.
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
    return ["exec", "-i", *nobody, container, *_PSQL, *more, "-U", user, "-d", database]


_PSQL = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1"]


def psql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run SQL whatever comes of it: rows are unaligned, one a line."""
    given = [word for key, value in variables.items() for word in ("-v", f"{key}={value}")]
    words = command(container, user, database, "-A", "-t", *given)
    return docker(*words, stdin=statements, check=False, timeout=timeout)


class Session:
    """Context manager: one psql for many statements, each with its rows; `unprivileged` as of `command`."""

    def __init__(self, container: str, user: str, database: str = "postgres", unprivileged: bool = False) -> None:
        self._container, self._user, self._mark = container, user, f"-- {secrets.token_hex(8)}"
        self._words = command(container, user, database, "-A", "-t", unprivileged=unprivileged)

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

    def sql(self, statements: str, database: str = "", timeout: float = 600) -> list[str]:
        """Run SQL, in `database` from now on if one is named; else as `feed`."""
        there = f"\\connect {quoted(database)}\n" if database else ""
        return self.feed([f"{there}{statements}\n".encode()], timeout)

    def feed(self, pieces: Iterable[bytes], timeout: float) -> list[str]:
        """Run what comes, psql's own commands too; the rows, unaligned, one a line. ScriptError with Postgres' words
        if it fails, or takes longer than `timeout` seconds: the session has then ended."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            return self._rows(pieces)
        except ScriptError:
            if late.is_set():
                raise ScriptError(f"{self._container}: as {self._user}: no answer in {timeout:g} s") from None
            raise
        finally:
            timer.cancel()

    def _rows(self, pieces: Iterable[bytes]) -> list[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        todo = iter(pieces)
        try:
            for piece in todo:
                self._process.stdin.write(piece)
            self._process.stdin.write(f"\\echo {self._mark}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            for _ in todo:  # whoever makes them ends well
                pass
        rows: list[str] = []
        for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            if line == self._mark:
                return [row for row in rows if row]
            rows.append(line)
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines() or ["psql ended early"]
        raise ScriptError(f"{self._container}: as {self._user}: {next((e for e in said if 'ERROR:' in e), said[0])}")


@dataclass(frozen=True)
class Line:
    """A line of SQL, or for psql itself, and as whom and where it is run."""

    user: str
    database: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Said:
    """What psql said about a line, on stdout and on stderr; `well`: it was let in, and the line ran."""

    out: str
    errors: str
    well: bool


def sessions(container: str, *lines: Line) -> list[Said]:
    """Run each line in a session of its own, whatever comes of it; one that takes over a minute is ended. ScriptError
    if they were not run to the last. One `docker exec` for all."""
    if not lines:
        return []
    mark = f"-- {secrets.token_hex(8)}"
    loop = (
        "while IFS='\t' read -r user database line; do "
        'printf "%s\\n" "$line" | PGOPTIONS="-c statement_timeout=60s" "$@" -U "$user" -d "$database"; '
        'printf "%s %s\\n" "$0" "$?"; printf "%s\\n" "$0" >&2; done'
    )
    done = docker(
        "exec", "-i", container, "sh", "-c", loop, mark, *_PSQL, "-A", "-t",
        stdin="".join(f"{each.user}\t{each.database}\t{each.text}\n" for each in lines),
        check=False, timeout=SESSIONS_LIMIT,
    )  # fmt: skip
    outs, errors = re.split(f"{mark} (.*)\n", done.stdout), done.stderr.split(f"{mark}\n")
    if not len(outs) // 2 == len(errors) - 1 == len(lines):
        last = errors[-1].strip() or f"exit code {done.returncode}"
        raise ScriptError(f"{container}: psql as {lines[0].user}: {last}")
    return [*map(Said, outs[::2], errors, (code == "0" for code in outs[1::2]))]


def sql(
    container: str, user: str, database: str, statements: str, /, timeout: float = 600, **variables: str
) -> list[str]:
    """Run SQL; the rows, unaligned, one a line. ScriptError with Postgres' own words if it fails."""
    done = psql(container, user, database, statements, timeout, **variables)
    said = Said(done.stdout, done.stderr or f"exit code {done.returncode}", not done.returncode)
    return _rows(container, user, database, said)


def sql_line(container: str, line: Line) -> list[str]:
    """As `sql`, in one of the `sessions`."""
    (said,) = sessions(container, line)
    return _rows(container, line.user, line.database, said)


def _rows(container: str, user: str, database: str, said: Said) -> list[str]:
    if not said.well:
        why = said.errors.strip().partition("\n")[0]
        raise ScriptError(f"{container}: database {database} as {user}: {why}")
    return [row for row in said.out.splitlines() if row]
