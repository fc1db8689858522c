"""Who may connect to which database: taken from PUBLIC, given back exactly, and proven as the bridge's role.

A plain LOGIN role may connect to every database, since Postgres grants CONNECT and TEMPORARY to PUBLIC
(https://www.postgresql.org/docs/current/ddl-priv.html). A query across databases fails whatever the rights are, so
the proof connects.

What PUBLIC could do in a database before is noted in the bridge's directory, before it is taken.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from documents.places import Database, Postgres
from scripts.common import ScriptError, run, say, write_atomic
from scripts.files import ISOLATION
from scripts.postgres import psql, sql

PUBLIC = """
select json_object_agg(datname, array(
  select given.privilege_type from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
  where given.grantee = 0 order by 1))
from pg_database where datname = any(string_to_array(:'databases', ','));
"""
DEFAULT = ("CONNECT", "TEMPORARY")
ATTRIBUTES = """
select json_build_object('rolsuper', rolsuper, 'rolcreatedb', rolcreatedb, 'rolcreaterole', rolcreaterole,
  'rolreplication', rolreplication, 'rolbypassrls', rolbypassrls)
from pg_roles where rolname = :'role';
"""


@dataclass(frozen=True)
class Isolation:
    """`bridge`: the database that the role may use, with `password`; `databases`: those that PUBLIC, and so the role,
    must not connect to; `directory`: the bridge's own on the host, where the note is."""

    postgres: Postgres
    bridge: Database
    password: str = field(repr=False)
    databases: tuple[str, ...]
    directory: str


@dataclass(frozen=True)
class Proof:
    """What was seen: where the role got in, where it was refused, and its attributes, all false."""

    role: str
    connects: tuple[str, ...]
    refused: tuple[str, ...]
    attributes: dict[str, bool]


@dataclass(frozen=True)
class GivenBack:
    """Databases in which PUBLIC has again what it had."""

    databases: tuple[str, ...]


def isolate(arguments: Isolation) -> Proof:
    """Take CONNECT and TEMPORARY from PUBLIC in the databases and in the bridge's own; give back what it had in those
    that are no longer named. ScriptError unless the role then has no special attribute, gets into its own database,
    and is refused by each of the others."""
    noted = _noted(arguments) or {}
    new = [database for database in arguments.databases if database not in noted]
    if new:
        (row,) = _sql(arguments, PUBLIC, databases=",".join(new)) or ["{}"]
        noted |= json.loads(row)
        _note(arguments, noted)
    closed = {f"d{n}": name for n, name in enumerate((arguments.bridge.database, *arguments.databases))}
    names = ", ".join(f':"{variable}"' for variable in closed)
    _sql(arguments, f"revoke connect, temporary on database {names} from public;", **closed)
    for database in [name for name in noted if name not in arguments.databases]:
        _give_back(arguments, database, noted.pop(database))
        _note(arguments, noted)
    return _prove(arguments)


def restore(arguments: Isolation) -> GivenBack:
    """PUBLIC may again what the note says; a database that is gone is passed over."""
    noted = _noted(arguments)
    if noted is None:
        say(
            f"warning: {arguments.directory}/{ISOLATION} is gone: PUBLIC gets Postgres' default in "
            f"{', '.join(arguments.databases)}: CONNECT and TEMPORARY; revoke by hand what it did not have before"
        )
        noted = {database: list(DEFAULT) for database in arguments.databases}
    for database, privileges in noted.items():
        _give_back(arguments, database, privileges)
    (Path(arguments.directory) / ISOLATION).unlink(missing_ok=True)
    return GivenBack(tuple(noted))


def _sql(arguments: Isolation, statement: str, **variables: str) -> list[str]:
    postgres = arguments.postgres
    return sql(postgres.container, postgres.superuser, "postgres", statement, timeout=60, **variables)


def _noted(arguments: Isolation) -> dict[str, list[str]] | None:
    path = Path(arguments.directory) / ISOLATION
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ScriptError(f"{path}: what PUBLIC could do before cannot be read: {error}: put the file right") from None


def _note(arguments: Isolation, noted: dict[str, list[str]]) -> None:
    data = json.dumps(noted, sort_keys=True).encode() + b"\n"
    write_atomic(Path(arguments.directory) / ISOLATION, data, mode=0o600, uid=os.geteuid(), gid=os.getegid())


def _give_back(arguments: Isolation, database: str, privileges: list[str]) -> None:
    there = _sql(arguments, "select count(*) from pg_database where datname = :'database';", database=database)
    had = [privilege for privilege in DEFAULT if privilege in privileges]
    if there == ["1"] and had:
        _sql(arguments, f'grant {", ".join(had)} on database :"database" to public;', database=database)


def _prove(arguments: Isolation) -> Proof:
    role = arguments.bridge.role
    rows = _sql(arguments, ATTRIBUTES, role=role)
    if not rows:
        raise ScriptError(f"role {role}: not there")
    attributes = dict(json.loads(rows[0]))
    more = sorted(name for name, value in attributes.items() if value)
    if more:
        raise ScriptError(f"role {role}: has {', '.join(more)}, should have none: it may do more than its own database")
    databases = (arguments.bridge.database, *arguments.databases)
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = dict(zip(databases, pool.map(lambda database: _connect(arguments, database), databases)))
    inside, answer = answers[arguments.bridge.database]
    if not inside:
        raise ScriptError(f"role {role}: cannot connect to its own database {arguments.bridge.database}: {answer}")
    for database in arguments.databases:
        inside, answer = answers[database]
        if inside:
            raise ScriptError(
                f"role {role}: can connect to the database {database}: the bridge is not isolated from it"
            )
        refused = "permission denied for database" in answer or "does not exist" in answer
        if not refused and _may(arguments, database):
            raise ScriptError(f"role {role}: {database} neither let it in nor refused it: {answer}")
    return Proof(role, (arguments.bridge.database,), arguments.databases, attributes)


def _connect(arguments: Isolation, database: str) -> tuple[bool, str]:
    """Whether the role may connect with its password over the network's address, and what psql answered.

    The password is in a `\\connect` line on stdin: no process list, no environment, no file.
    """
    postgres, role = arguments.postgres, arguments.bridge.role
    info = {
        "host": postgres.container,
        "port": str(postgres.port),
        "user": role,
        "password": arguments.password,
        "dbname": database,
        "sslmode": "disable",
        "connect_timeout": "10",
    }
    text = " ".join(f"{key}='{_escape(value)}'" for key, value in info.items())
    script = f"\\connect '{_escape_psql(text)}'\nselect 'in as ' || current_user;\n"
    done = psql(postgres.container, postgres.superuser, "postgres", script, timeout=60)
    answer = f"{done.stdout}{done.stderr}".replace(arguments.password, "…").strip()
    return f"in as {role}" in done.stdout.splitlines(), answer


def _escape(value: str) -> str:
    """A value inside quotes of a libpq connection string."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _escape_psql(value: str) -> str:
    """An argument inside quotes of a psql meta-command."""
    return value.replace("\\", "\\\\").replace("'", "''")


def _may(arguments: Isolation, database: str) -> bool:
    """What Postgres' catalogue says, for a server whose messages are in another language."""
    statement = "select has_database_privilege(:'role', :'database', 'CONNECT');"
    return _sql(arguments, statement, role=arguments.bridge.role, database=database) != ["f"]


VERBS = (isolate, restore)

if __name__ == "__main__":
    run(*VERBS)
