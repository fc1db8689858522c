"""Who may connect to which database: taken from PUBLIC, given back exactly, and proven as the bridge's role.

A plain LOGIN role may connect to every database, since Postgres grants CONNECT and TEMPORARY to PUBLIC
(https://www.postgresql.org/docs/current/ddl-priv.html). A query across databases fails whatever the rights are, so
the proof connects.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.common import ScriptError, docker, run

PUBLIC = """
select json_agg(given.privilege_type order by given.privilege_type)
from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
where datname = :'database' and given.grantee = 0;
"""
ATTRIBUTES = """
select json_build_object('rolsuper', rolsuper, 'rolcreatedb', rolcreatedb, 'rolcreaterole', rolcreaterole,
  'rolreplication', rolreplication, 'rolbypassrls', rolbypassrls)
from pg_roles where rolname = :'role';
"""


def _psql(arguments: dict[str, Any], sql: str, check: bool = True, **variables: str) -> str:
    words = [word for name, value in variables.items() for word in ("-v", f"{name}={value}")]
    done = docker(
        "exec", "-i", arguments["container"], "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *words,
        "-U", arguments["superuser"], "-d", "postgres",
        stdin=sql, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode and check:
        raise ScriptError(f"{arguments['container']}: psql as {arguments['superuser']}: {done.stderr.strip()}")
    return done.stdout.strip() if check else f"{done.returncode}\n{done.stdout}{done.stderr}"


def read(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: container, superuser, database. Result: what PUBLIC may do there now."""
    return {"public": json.loads(_psql(arguments, PUBLIC, database=arguments["database"]) or "[]") or []}


def revoke(arguments: dict[str, Any]) -> dict[str, Any]:
    """PUBLIC may no longer connect to `database`, nor make temporary tables in it."""
    _psql(arguments, 'revoke connect, temporary on database :"database" from public;', database=arguments["database"])
    return {"database": arguments["database"]}


def restore(arguments: dict[str, Any]) -> dict[str, Any]:
    """PUBLIC may again what `before` (the result of `read`) says; a database that is gone is passed over."""
    there = _psql(
        arguments, "select count(*) from pg_database where datname = :'database';", database=arguments["database"]
    )
    privileges = [each for each in json.loads(arguments["before"])["public"] if each in ("CONNECT", "TEMPORARY")]
    if there == "1" and privileges:
        _psql(
            arguments,
            f'grant {", ".join(privileges)} on database :"database" to public;',
            database=arguments["database"],
        )
    return {}


def _connect(arguments: dict[str, Any], database: str) -> tuple[bool, str]:
    """Whether the role may connect with its password over the network's address, and what psql answered.

    The password is in a `\\connect` line on stdin: no process list, no environment, no file.
    """
    info = {
        "host": arguments["host"],
        "port": str(arguments["port"]),
        "user": arguments["role"],
        "password": arguments["password"],
        "dbname": database,
        "sslmode": "disable",
        "connect_timeout": "10",
    }
    text = " ".join(f"{key}='{_escape(value)}'" for key, value in info.items())
    answer = _psql(arguments, f"\\connect '{_escape_psql(text)}'\nselect 'in as ' || current_user;\n", check=False)
    return f"in as {arguments['role']}" in answer.splitlines(), answer.replace(arguments["password"], "…")


def _escape(value: str) -> str:
    """A value inside quotes of a libpq connection string."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _escape_psql(value: str) -> str:
    """An argument inside quotes of a psql meta-command."""
    return value.replace("\\", "\\\\").replace("'", "''")


def prove(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: container, superuser, role, password (secret), own (database), refused (databases), host, port.

    ScriptError unless the role has no special attribute, connects to `own`, and is refused by each of `refused`.
    """
    attributes = json.loads(_psql(arguments, ATTRIBUTES, role=arguments["role"]) or "null")
    if attributes is None:
        raise ScriptError(f"role {arguments['role']}: not there")
    more = sorted(name for name, value in attributes.items() if value)
    if more:
        raise ScriptError(
            f"role {arguments['role']}: has {', '.join(more)}, should have none: it may do more than its own database"
        )
    databases = [arguments["own"], *arguments["refused"]]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = dict(zip(databases, pool.map(lambda each: _connect(arguments, each), databases)))
    inside, answer = answers[arguments["own"]]
    if not inside:
        raise ScriptError(
            f"role {arguments['role']}: cannot connect to its own database {arguments['own']}: {answer.strip()}"
        )
    for database in arguments["refused"]:
        inside, answer = answers[database]
        if inside:
            raise ScriptError(
                f"role {arguments['role']}: can connect to the database {database}: the bridge is not isolated from it"
            )
        if (
            "permission denied for database" not in answer
            and "does not exist" not in answer
            and _may(arguments, database)
        ):
            raise ScriptError(
                f"role {arguments['role']}: {database} neither let it in nor refused it: {answer.strip()}"
            )
    return {
        "role": arguments["role"],
        "connects": [arguments["own"]],
        "refused": list(arguments["refused"]),
        "attributes": attributes,
    }


def _may(arguments: dict[str, Any], database: str) -> bool:
    """What Postgres' catalogue says, for a server whose messages are in another language."""
    sql = "select has_database_privilege(:'role', :'database', 'CONNECT');"
    return _psql(arguments, sql, role=arguments["role"], database=database) != "f"


VERBS = (read, revoke, restore, prove)

if __name__ == "__main__":
    run(*VERBS)
