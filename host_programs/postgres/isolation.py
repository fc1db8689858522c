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
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Union

from documents.credentials import matches_verifier, scram_verifier
from documents.marks import owner_comment, parse_owner_comment
from documents.masking import mask
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.common import ScriptError, say
from host_programs.postgres.postgres import Line, quoted, sessions, sql

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
select coalesce(json_object_agg(rolname, json_build_object('rolsuper', rolsuper, 'rolcreatedb', rolcreatedb,
  'rolcreaterole', rolcreaterole, 'rolreplication', rolreplication, 'rolbypassrls', rolbypassrls)), '{}')
from pg_roles where rolname = any(string_to_array(:'roles', ','));
"""


VERIFIERS = """
select json_object_agg(rolname, coalesce(rolpassword, '')) from pg_authid
where rolname = any(string_to_array(:'roles', ','));
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
class RolePassword:
    """A bridge's database, and what its role's password is to be (a secret)."""

    bridge: Database
    password: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """Each role gets its password, and may connect to its own database and to none of `databases`."""

    postgres: Postgres
    roles: tuple[RolePassword, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """What was seen of one role: where it got in, where it was refused, and its attributes, all false."""

    role: str
    connects: tuple[str, ...]
    refused: tuple[str, ...]
    attributes: dict[str, bool]


@dataclass(frozen=True)
class Proven:
    """One for each role."""

    roles: tuple[Proof, ...]

    def of(self, role: str) -> Proof:
        """That of the role."""
        return {each.role: each for each in self.roles}[role]


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
        named, texts = "", {"on_role": owner_comment(stack, public=public)}
        for number, each in enumerate(arguments.bridges):
            said = {key: value for key, value in on_database.get(each.database, {}).items() if key != "stack"}
            texts[f"on_{number}"] = owner_comment(stack, **said)
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
        _sql(arguments, f"begin; {_grants(back)} {empty} commit;", on_role=owner_comment(arguments.stack, public={}))
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
    roles = {name: parse_owner_comment(text) for name, text in found["roles"].items() if parse_owner_comment(text)}
    databases = {name: parse_owner_comment(text) for name, text in found["databases"].items()}
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


def prove(arguments: Access) -> Proven:
    """Set the passwords that are not; ScriptError unless each role then has no special attribute, gets into its own
    database, and is refused by each of the others. Postgres is given SCRAM verifiers alone: whatever it logs holds no
    password."""
    attributes = _attributes(arguments)
    verifiers = dict(json.loads(_sql(arguments, VERIFIERS, roles=_names(arguments))[0]))
    new = [each for each in arguments.roles if not matches_verifier(verifiers[each.bridge.role], each.password)]
    if new:
        altered = (
            f"alter role {quoted(each.bridge.role)} password '{scram_verifier(each.password, os.urandom(16))}';"
            for each in new
        )
        _sql(arguments, f"begin; {' '.join(altered)} commit;")
    try:
        _prove_places(arguments)
    except ScriptError as error:
        raise ScriptError(
            f"{error} (the role's password is set; if it is a new one, a bridge that runs keeps its connections and "
            "gets no new one until `pulumi up` goes through)"
        ) from None
    return Proven(
        tuple(
            Proof(each.bridge.role, (each.bridge.database,), arguments.databases, attributes[each.bridge.role])
            for each in arguments.roles
        )
    )


def _names(arguments: Access) -> str:
    return ",".join(each.bridge.role for each in arguments.roles)


def _attributes(arguments: Access) -> dict[str, dict[str, bool]]:
    """Of each role, all false; ScriptError if one is not there, or may do more."""
    (row,) = _sql(arguments, ATTRIBUTES, roles=_names(arguments))
    found: dict[str, dict[str, bool]] = json.loads(row)
    for each in arguments.roles:
        role = each.bridge.role
        if role not in found:
            raise ScriptError(f"role {role}: not there")
        more = sorted(name for name, value in found[role].items() if value)
        if more:
            raise ScriptError(
                f"role {role}: has {', '.join(more)}, should have none: it may do more than its own database"
            )
    return found


def _prove_places(arguments: Access) -> None:
    """ScriptError unless each role gets into its own database, and is refused by each of the others."""
    answers = _connect(arguments)
    for each in arguments.roles:
        role, own = each.bridge.role, each.bridge.database
        inside, answer = answers[role, own]
        if not inside:
            raise ScriptError(f"role {role}: cannot connect to its own database {own}: {answer}")
        for database in arguments.databases:
            inside, answer = answers[role, database]
            if inside:
                raise ScriptError(
                    f"role {role}: can connect to the database {database}: the bridge is not isolated from it"
                )
            refused = "permission denied for database" in answer or "does not exist" in answer
            if not refused and _may(arguments, role, database):
                raise ScriptError(f"role {role}: {database} neither let it in nor refused it: {answer}")


def _connect(arguments: Access) -> dict[tuple[str, str], tuple[bool, str]]:
    """By role and database: whether it may connect with its password over the network's address, and what psql said.

    The passwords are in `\\connect` lines on stdin: no process list, no environment, no file.
    """
    postgres = arguments.postgres
    places = [(each, database) for each in arguments.roles for database in (each.bridge.database, *arguments.databases)]
    lines = []
    for each, database in places:
        info = {
            "host": postgres.container,
            "port": str(postgres.port),
            "user": each.bridge.role,
            "password": each.password,
            "dbname": database,
            "sslmode": postgres.sslmode,
            "connect_timeout": "10",
        }
        text = " ".join(f"{key}='{_escape(value)}'" for key, value in info.items())
        told = f"\\connect '{_escape_psql(text)}' \\\\ select 'in as ' || current_user;"
        lines.append(Line(postgres.superuser, "postgres", told))
    hidden = [each.password for each in arguments.roles]
    return {
        (each.bridge.role, database): (
            f"in as {each.bridge.role}" in said.out.splitlines(),
            mask(f"{said.out}{said.errors}", hidden).strip(),
        )
        for (each, database), said in zip(places, sessions(postgres.container, *lines))
    }


def _escape(value: str) -> str:
    """A value inside quotes of a libpq connection string."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _escape_psql(value: str) -> str:
    """An argument inside quotes of a psql meta-command."""
    return value.replace("\\", "\\\\").replace("'", "''")


def _may(arguments: Access, role: str, database: str) -> bool:
    """What Postgres' catalogue says, for a server whose messages are in another language."""
    statement = "select has_database_privilege(:'role', :'database', 'CONNECT');"
    return _sql(arguments, statement, role=role, database=database) != ["f"]
