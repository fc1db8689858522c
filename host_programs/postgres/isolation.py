"""Who may connect to which database: PUBLIC is shut out, and gets back exactly what it had.

A plain LOGIN role may connect to every database, since Postgres grants CONNECT and TEMPORARY to PUBLIC
(https://www.postgresql.org/docs/current/ddl-priv.html).

The transaction that takes PUBLIC's rights in a database notes them in the comment on the bridge's role. Every stack
that isolates a database has this note. The last of them to go gives the rights back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Optional

from documents.marks import owner_comment, parse_owner_comment
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.messages import ScriptError, say
from host_programs.postgres.psql import quote_identifier, run_sql

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
    """`public`: what PUBLIC could do before, by database."""

    public: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class GivenBack:
    """Databases in which PUBLIC has again what it had."""

    databases: tuple[str, ...]


def shut_public_out(arguments: Isolation) -> Isolated:
    """In one transaction: name the stack on each role and its database; take CONNECT and TEMPORARY from PUBLIC in
    `databases` and in the bridges' own, and note what it had; give it back in those that are no longer named."""
    return _isolate(arguments, first=True)


def renew_isolation(arguments: Isolation) -> Isolated:
    """`shut_public_out` once more: what is noted stays as it is noted."""
    return _isolate(arguments, first=False)


def _isolate(arguments: Isolation, first: bool) -> Isolated:
    stack = arguments.stack
    with _lock(arguments):
        ours, others, on_database = _read_comments(arguments)
        noted = _merge_notes(ours)
        lost = not first and not noted
        public = {}
        for database, now in _read_public_rights(arguments, arguments.databases).items():
            known = noted.get(database, _find_others_note(others, database))
            public[database] = _rights_to_note(now, database, lost) if known is None else known
        released = {database: rights for database, rights in noted.items() if database not in arguments.databases}
        returned = {name: rights for name, rights in released.items() if not _find_others_note(others, name)}
        own_databases = [bridge.database for bridge in arguments.bridges]
        closed = ", ".join(map(quote_identifier, (*own_databases, *arguments.databases)))
        comments, texts = "", {"on_role": owner_comment(stack, public=public)}
        for number, bridge in enumerate(arguments.bridges):
            values = {key: value for key, value in on_database.get(bridge.database, {}).items() if key != "stack"}
            texts[f"on_{number}"] = owner_comment(stack, **values)
            comments += f"comment on role {quote_identifier(bridge.role)} is :'on_role'; "
            comments += f"comment on database {quote_identifier(bridge.database)} is :'on_{number}'; "
        revoke = f"revoke connect, temporary on database {closed} from public;"
        _run_sql(arguments, f"begin; {comments}{revoke} {_grant_statements(returned)} commit;", **texts)
    return Isolated({database: tuple(rights) for database, rights in public.items()})


def _rights_to_note(now: list[str], database: str, lost: bool) -> list[str]:
    """What PUBLIC has `now`. If the note is `lost`, Postgres' default: the present rights may be those that an earlier
    run left."""
    if lost and "CONNECT" not in now:
        say(
            f"warning: what PUBLIC could do in {database} before is not noted any more: it will get Postgres' default, "
            "CONNECT and TEMPORARY, back; revoke by hand then what it did not have"
        )
        return [*DEFAULT]
    return now


def give_public_back(arguments: Isolation) -> GivenBack:
    """Give PUBLIC what was noted, where no other stack still isolates the database. One that is gone is passed over."""
    with _lock(arguments):
        ours, others, _ = _read_comments(arguments)
        noted = _merge_notes(ours)
        if not ours:
            roles = ", ".join(bridge.role for bridge in arguments.bridges)
            say(
                f"warning: the comment on the role {roles} is gone, and with it what PUBLIC could do in "
                f"{', '.join(arguments.databases)}: it gets Postgres' default, CONNECT and TEMPORARY, unless "
                "another stack knows; revoke by hand what it did not have before"
            )
            noted = {database: [*DEFAULT] for database in arguments.databases}
        existing = _read_public_rights(arguments, tuple(noted))
        for database in existing:
            if _find_others_note(others, database):
                say(f"note: {database}: PUBLIC stays out, as long as another bridge is isolated from it")
        returned = {name: noted[name] for name in existing if not _find_others_note(others, name)}
        comments = " ".join(f"comment on role {quote_identifier(role)} is :'on_role';" for role in ours)
        statement = f"begin; {_grant_statements(returned)} {comments} commit;"
        _run_sql(arguments, statement, on_role=owner_comment(arguments.stack, public={}))
    return GivenBack(tuple(returned))


def _lock(arguments: Isolation) -> AbstractContextManager[None]:
    return host_lock.hold_lock(f"PUBLIC's rights in {arguments.postgres.container}", arguments.stack)


def _grant_statements(returned: Mapping[str, list[str]]) -> str:
    return " ".join(
        f"grant {', '.join(right for right in DEFAULT if right in rights)} "
        f"on database {quote_identifier(database)} to public;"
        for database, rights in returned.items()
        if {*rights} & {*DEFAULT}
    )


def _run_sql(arguments: Isolation, statement: str, **variables: str) -> list[str]:
    postgres = arguments.postgres
    return run_sql(postgres.container, postgres.superuser, "postgres", statement, timeout=60, **variables)


Comment = Mapping[str, Any]  # what one of ours says


def _read_comments(arguments: Isolation) -> tuple[dict[str, Comment], list[Comment], dict[str, Comment]]:
    """Our comments: on the roles of `bridges`, on all other roles, and on the databases of `bridges`. ScriptError if
    one that this stack needs is another stack's."""
    (row,) = _run_sql(arguments, COMMENTS, databases=",".join(bridge.database for bridge in arguments.bridges))
    found = json.loads(row)
    roles = {name: parse_owner_comment(text) for name, text in found["roles"].items() if parse_owner_comment(text)}
    databases = {name: parse_owner_comment(text) for name, text in found["databases"].items()}
    for bridge in arguments.bridges:
        for thing, owner in (
            (f"role {bridge.role}", roles.get(bridge.role, {}).get("stack")),
            (f"database {bridge.database}", databases.get(bridge.database, {}).get("stack")),
        ):
            if owner not in (None, arguments.stack):
                fix = "set another role and database for the bridge"
                raise ScriptError(f"{thing}: belongs to the stack {owner}: {fix}")
    ours = {bridge.role: roles.pop(bridge.role) for bridge in arguments.bridges if bridge.role in roles}
    return ours, list(roles.values()), databases


def _merge_notes(ours: Mapping[str, Comment]) -> dict[str, list[str]]:
    """PUBLIC's earlier rights by database, as the comments on this stack's roles note them."""
    return {database: rights for says in ours.values() for database, rights in says.get("public", {}).items()}


def _find_others_note(others: list[Comment], database: str) -> Optional[list[str]]:
    """PUBLIC's earlier rights in the database, as another stack that isolates it has noted them; None if none has."""
    return next((says["public"][database] for says in others if database in says.get("public", {})), None)


def _read_public_rights(arguments: Isolation, databases: tuple[str, ...]) -> dict[str, list[str]]:
    """What PUBLIC may do now, in each of the databases that exist."""
    rows = _run_sql(arguments, PUBLIC, databases=",".join(databases))
    return dict(json.loads(rows[0])) if rows else {}
