"""Who may connect to which database: taken from PUBLIC, given back exactly, and proven as the bridge's role.

A plain LOGIN role may connect to every database, since Postgres grants CONNECT and TEMPORARY to PUBLIC
(https://www.postgresql.org/docs/current/ddl-priv.html). A query across databases fails whatever the rights are, so
the proof connects.

What PUBLIC could do in a database before is noted in the comment on the bridge's role, in the transaction that takes
it. Every stack that isolates a database has it noted so: the last of them to go gives it back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Union

from mautrix_bridges.documents.credentials import scram_verifier
from mautrix_bridges.documents.marks import comment, commented
from mautrix_bridges.documents.places import Database, Postgres
from mautrix_bridges.scripts import host_lock
from mautrix_bridges.scripts.common import ScriptError, run, say
from mautrix_bridges.scripts.postgres import psql, quoted, sql

PUBLIC = """
select json_object_agg(datname, array(
  select given.privilege_type from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
  where given.grantee = 0 order by 1))
from pg_database where datname = any(string_to_array(:'databases', ','));
"""
COMMENTS = """
select json_build_object(
  'roles', (select coalesce(json_object_agg(rolname, shobj_description(oid, 'pg_authid')), '{}') from pg_roles
    where shobj_description(oid, 'pg_authid') is not null),
  'databases', (select coalesce(json_object_agg(datname, shobj_description(oid, 'pg_database')), '{}') from pg_database
    where datname = any(string_to_array(:'databases', ',')) and shobj_description(oid, 'pg_database') is not null));
"""
DEFAULT = ("CONNECT", "TEMPORARY")
ATTRIBUTES = """
select json_build_object('rolsuper', rolsuper, 'rolcreatedb', rolcreatedb, 'rolcreaterole', rolcreaterole,
  'rolreplication', rolreplication, 'rolbypassrls', rolbypassrls)
from pg_roles where rolname = :'role';
"""


@dataclass(frozen=True)
class Isolation:
    """`bridges`: the databases that their roles may use; `databases`: those that PUBLIC, and so these roles, must not
    connect to; `stack` is "project/name"."""

    stack: str
    postgres: Postgres
    bridges: tuple[Database, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True)
class Isolated:
    """What PUBLIC could do before, by database."""

    public: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Access:
    """The role gets `password` (a secret), and may connect to its own database and to none of `databases`."""

    postgres: Postgres
    bridge: Database
    password: str = field(repr=False)
    databases: tuple[str, ...]


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


def isolate(arguments: Isolation) -> Isolated:
    """Name the stack on each role and its database, take CONNECT and TEMPORARY from PUBLIC in the databases and in the
    bridges' own, and note what it had; give it back in those that are no longer named. One transaction."""
    return _isolate(arguments, first=True)


def renew(arguments: Isolation) -> Isolated:
    """`isolate` once more: what was noted stays as it was noted."""
    return _isolate(arguments, first=False)


def _isolate(arguments: Isolation, first: bool) -> Isolated:
    stack = arguments.stack
    with _locked(arguments):
        mine, others, on_database = _comments(arguments)
        noted = _noted(mine)
        lost = not first and not noted
        public = {}
        for database, now in _public(arguments, arguments.databases).items():
            known = noted.get(database, _others_note(others, database))
            public[database] = _had(now, database, lost) if known is None else known
        back = {database: had for database, had in noted.items() if database not in arguments.databases}
        given = _grants({each: had for each, had in back.items() if not _others_note(others, each)})
        own = [each.database for each in arguments.bridges]
        closed = ", ".join(map(quoted, (*own, *arguments.databases)))
        named, texts = "", {"on_role": comment(stack, public=public)}
        for number, each in enumerate(arguments.bridges):
            said = {key: value for key, value in on_database.get(each.database, {}).items() if key != "stack"}
            texts[f"on_{number}"] = comment(stack, **said)
            named += f"comment on role {quoted(each.role)} is :'on_role'; "
            named += f"comment on database {quoted(each.database)} is :'on_{number}'; "
        statement = f"begin; {named}revoke connect, temporary on database {closed} from public; {given} commit;"
        _sql(arguments, statement, **texts)
    return Isolated({database: tuple(had) for database, had in public.items()})


def _had(now: list[str], database: str, lost: bool) -> list[str]:
    """What PUBLIC has; not if the note is `lost`, since that is what an earlier run left of it."""
    if lost and "CONNECT" not in now:
        say(
            f"warning: what PUBLIC could do in {database} before is not noted any more: it will get Postgres' default, "
            "CONNECT and TEMPORARY, back; revoke by hand then what it did not have"
        )
        return [*DEFAULT]
    return now


def restore(arguments: Isolation) -> GivenBack:
    """PUBLIC may again what was noted, where no other stack still isolates the database; one that is gone is passed
    over."""
    with _locked(arguments):
        mine, others, _ = _comments(arguments)
        noted = _noted(mine)
        if not mine:
            lost = ", ".join(each.role for each in arguments.bridges)
            say(
                f"warning: the comment on the role {lost} is gone, and with it what PUBLIC could do in "
                f"{', '.join(arguments.databases)}: it gets Postgres' default, CONNECT and TEMPORARY, unless "
                "another stack knows; revoke by hand what it did not have before"
            )
            noted = {database: [*DEFAULT] for database in arguments.databases}
        there = _public(arguments, tuple(noted))
        for database in there:
            if _others_note(others, database):
                say(f"note: {database}: PUBLIC stays out, as long as another bridge is isolated from it")
        back = {each: noted[each] for each in there if not _others_note(others, each)}
        empty = " ".join(f"comment on role {quoted(role)} is :'on_role';" for role in mine)
        _sql(arguments, f"begin; {_grants(back)} {empty} commit;", on_role=comment(arguments.stack, public={}))
    return GivenBack(tuple(back))


def _locked(arguments: Isolation) -> AbstractContextManager[None]:
    return host_lock.held(f"PUBLIC's rights in {arguments.postgres.container}", arguments.stack)


def _grants(back: Mapping[str, list[str]]) -> str:
    return " ".join(
        f"grant {', '.join(privilege for privilege in DEFAULT if privilege in had)} on database {quoted(database)} to "
        "public;"
        for database, had in back.items()
        if {*had} & {*DEFAULT}
    )


def _sql(arguments: Union[Isolation, Access], statement: str, **variables: str) -> list[str]:
    postgres = arguments.postgres
    return sql(postgres.container, postgres.superuser, "postgres", statement, timeout=60, **variables)


Says = Mapping[str, Any]


def _comments(arguments: Isolation) -> tuple[dict[str, Says], list[Says], dict[str, Says]]:
    """What the comments of ours say: on the roles of `bridges`, on all other roles, and on the databases of `bridges`.
    ScriptError if one that this stack needs is another's."""
    (row,) = _sql(arguments, COMMENTS, databases=",".join(each.database for each in arguments.bridges))
    found = json.loads(row)
    roles = {name: commented(text) for name, text in found["roles"].items() if commented(text)}
    databases = {name: commented(text) for name, text in found["databases"].items()}
    for each in arguments.bridges:
        for what, owner in (
            (f"role {each.role}", roles.get(each.role, {}).get("stack")),
            (f"database {each.database}", databases.get(each.database, {}).get("stack")),
        ):
            if owner not in (None, arguments.stack):
                raise ScriptError(f"{what}: belongs to the stack {owner}: set another role and database for the bridge")
    mine = {each.role: roles.pop(each.role) for each in arguments.bridges if each.role in roles}
    return mine, list(roles.values()), databases


def _noted(mine: Mapping[str, Says]) -> dict[str, list[str]]:
    """What PUBLIC could do before in each database, as the comments on this stack's roles say."""
    return {database: had for says in mine.values() for database, had in says.get("public", {}).items()}


def _others_note(others: list[Mapping[str, Any]], database: str) -> list[str] | None:
    """What PUBLIC could do in the database, as another stack that isolates it has noted; None if there is none."""
    return next((each["public"][database] for each in others if database in each.get("public", {})), None)


def _public(arguments: Isolation, databases: tuple[str, ...]) -> dict[str, list[str]]:
    """What PUBLIC may now, in each of the databases that are there."""
    rows = _sql(arguments, PUBLIC, databases=",".join(databases))
    return dict(json.loads(rows[0])) if rows else {}


# the password, and the proof --------------------------------------------------------------------------------------


def prove(arguments: Access) -> Proof:
    """Set the password; ScriptError unless the role then has no special attribute, gets into its own database, and is
    refused by each of the others. Postgres is given the SCRAM verifier alone: whatever it logs holds no password."""
    role = arguments.bridge.role
    rows = _sql(arguments, ATTRIBUTES, role=role)
    if not rows:
        raise ScriptError(f"role {role}: not there")
    attributes = dict(json.loads(rows[0]))
    more = sorted(name for name, value in attributes.items() if value)
    if more:
        raise ScriptError(f"role {role}: has {', '.join(more)}, should have none: it may do more than its own database")
    verifier = scram_verifier(arguments.password, os.urandom(16))
    _sql(arguments, f"alter role {quoted(role)} password '{verifier}';")
    try:
        _prove_places(arguments)
    except ScriptError as error:
        raise ScriptError(
            f"{error} (the role's password is set; if it is a new one, a bridge that runs keeps its connections and "
            "gets no new one until `pulumi up` goes through)"
        ) from None
    return Proof(role, (arguments.bridge.database,), arguments.databases, attributes)


def _prove_places(arguments: Access) -> None:
    """ScriptError unless the role gets into its own database, and is refused by each of the others."""
    role, databases = arguments.bridge.role, (arguments.bridge.database, *arguments.databases)
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


def _connect(arguments: Access, database: str) -> tuple[bool, str]:
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
        "sslmode": postgres.sslmode,
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


def _may(arguments: Access, database: str) -> bool:
    """What Postgres' catalogue says, for a server whose messages are in another language."""
    statement = "select has_database_privilege(:'role', :'database', 'CONNECT');"
    return _sql(arguments, statement, role=arguments.bridge.role, database=database) != ["f"]


VERBS = (isolate, renew, restore, prove)

if __name__ == "__main__":
    run(*VERBS)
