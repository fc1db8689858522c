"""Who may connect to which database: PUBLIC is shut out, and gets back exactly what it had.

A plain LOGIN role may connect to every database, since Postgres grants CONNECT and TEMPORARY to PUBLIC
(https://www.postgresql.org/docs/current/ddl-priv.html).

The transaction that takes PUBLIC's rights in a database notes them in the comment on the bridge's role. Every stack
that isolates a database has this note. The last of them to go gives the rights back.

Before Postgres 15 PUBLIC may also create in the schema public. In a bridge's database that schema becomes as Postgres
15 makes it: of the database's owner, and closed to PUBLIC. A dump of such a database restores into any Postgres.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from documents.marks import explain_other_owner, owner_comment, parse_owner_comment
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.messages import ScriptError, say
from host_programs.postgres.psql import in_database, quote_identifier, run_as_superuser

PUBLIC = """
select json_object_agg(datname, array(
  select entry.privilege_type from aclexplode(coalesce(datacl, acldefault('d', datdba))) as entry
  where entry.grantee = 0 order by 1))
from pg_database where datname = any(string_to_array(:'databases', ','));
"""
COMMENTS = """
select json_build_object(
  'databases', (select json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), '')) from pg_database),
  'roles', (select json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), '')) from pg_roles));
"""
# As Postgres 15 makes it; there, nothing changes.
CLOSE_SCHEMA = "alter schema public owner to pg_database_owner; revoke create on schema public from public;"
DEFAULT = ["CONNECT", "TEMPORARY"]


@dataclass(frozen=True)
class Isolation:
    """`bridges`: the databases that their roles may use; `databases`: those that PUBLIC, and so these roles, must not
    connect to; `stack` is "project/name"."""

    stack: str
    postgres: Postgres
    bridges: tuple[Database, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True)
class PublicRights:
    """Rights of PUBLIC by database: those that it had before it was shut out, or those that it has been given back."""

    public: dict[str, tuple[str, ...]]


def shut_public_out(arguments: Isolation) -> PublicRights:
    """In one transaction: name the stack on each role and its database; take CONNECT and TEMPORARY from PUBLIC in
    `databases` and in the bridges' own, and note what it had; give it back in those that are no longer named. Then
    close the schema public of the bridges' own."""
    return _isolate(arguments, first=True)


def renew_isolation(arguments: Isolation) -> PublicRights:
    """`shut_public_out` once more: what is noted stays as it is noted."""
    return _isolate(arguments, first=False)


def _isolate(arguments: Isolation, first: bool) -> PublicRights:
    stack = arguments.stack
    with _lock(arguments):
        notes = _read_notes(arguments)
        public = {**_read_public_rights(arguments, arguments.databases)}
        if not first and not notes.ours:  # the present rights may be those that an earlier run left
            for database, rights in public.items():
                if database not in notes.others and "CONNECT" not in rights:
                    say(
                        f"warning: what PUBLIC could do in {database} before is not noted any more: it will get "
                        "Postgres' default, CONNECT and TEMPORARY, back; revoke by hand then what it did not have"
                    )
                    public[database] = DEFAULT
        public = {name: notes.ours.get(name, notes.others.get(name, rights)) for name, rights in public.items()}
        kept_out = {*arguments.databases, *notes.others}
        returned = {name: rights for name, rights in notes.ours.items() if name not in kept_out}
        statements, values = [], {"on_role": owner_comment(stack, public=public)}
        for number, bridge in enumerate(arguments.bridges):
            kept = {key: value for key, value in notes.databases.get(bridge.database, {}).items() if key != "stack"}
            values[f"on_{number}"] = owner_comment(stack, **kept)
            statements += [
                f"comment on role {quote_identifier(bridge.role)} is :'on_role';",
                f"comment on database {quote_identifier(bridge.database)} is :'on_{number}';",
            ]
        closed = (*(bridge.database for bridge in arguments.bridges), *arguments.databases)
        names = ", ".join(map(quote_identifier, closed))
        statements.append(f"revoke connect, temporary on database {names} from public;")
        statements += _grant_statements(returned)
        lines = [f"begin; {' '.join(statements)} commit;"]
        lines += [in_database(bridge.database, CLOSE_SCHEMA) for bridge in arguments.bridges]
        run_as_superuser(arguments.postgres, "\n".join(lines), **values)
    return PublicRights({database: tuple(rights) for database, rights in public.items()})


def give_public_back(arguments: Isolation) -> PublicRights:
    """Give PUBLIC what was noted, where no other stack still isolates the database. One that is gone is passed over."""
    with _lock(arguments):
        notes = _read_notes(arguments)
        rights_by_name = notes.ours
        if not notes.roles:
            roles = ", ".join(bridge.role for bridge in arguments.bridges)
            say(
                f"warning: the comment on the role {roles} is gone, and with it what PUBLIC could do in "
                f"{', '.join(arguments.databases)}: it gets Postgres' default, CONNECT and TEMPORARY, unless "
                "another stack knows; revoke by hand what it did not have before"
            )
            rights_by_name = dict.fromkeys(arguments.databases, DEFAULT)
        existing = _read_public_rights(arguments, tuple(rights_by_name))
        for database in existing:
            if database in notes.others:
                say(f"note: {database}: PUBLIC stays out, as long as another bridge is isolated from it")
        returned = {name: rights_by_name[name] for name in existing if name not in notes.others}
        comments = [f"comment on role {quote_identifier(role)} is :'on_role';" for role in notes.roles]
        statements = " ".join([*_grant_statements(returned), *comments])
        comment = owner_comment(arguments.stack, public={})
        run_as_superuser(arguments.postgres, f"begin; {statements} commit;", on_role=comment)
    return PublicRights({database: tuple(rights) for database, rights in returned.items()})


def _lock(arguments: Isolation) -> AbstractContextManager[None]:
    return host_lock.hold_lock(f"PUBLIC's rights in {arguments.postgres.container}", arguments.stack)


def _grant_statements(returned: Mapping[str, list[str]]) -> list[str]:
    return [
        f"grant {', '.join(right for right in DEFAULT if right in rights)} "
        f"on database {quote_identifier(database)} to public;"
        for database, rights in returned.items()
        if {*rights} & {*DEFAULT}
    ]


@dataclass(frozen=True)
class _Notes:
    """What our comments say. `ours`: PUBLIC's earlier rights by database, as this stack's `roles` note them; `others`:
    as other stacks that isolate the database note them; `databases`: the comments on the bridges' databases."""

    roles: list[str]
    ours: dict[str, list[str]]
    others: dict[str, list[str]]
    databases: dict[str, Mapping[str, Any]]


def read_comments(server: Postgres) -> Mapping[str, Mapping[str, str]]:
    """The comments on all `databases` and `roles`, by name; "" where there is none."""
    comments: Mapping[str, Mapping[str, str]] = json.loads(run_as_superuser(server, COMMENTS)[0])
    return comments


def _read_notes(arguments: Isolation) -> _Notes:
    """ScriptError if a role or database that this stack needs is another stack's."""
    texts = read_comments(arguments.postgres)
    by_role = {name: parse_owner_comment(text) for name, text in texts["roles"].items()}
    by_database = {name: parse_owner_comment(text) for name, text in texts["databases"].items()}
    for bridge in arguments.bridges:
        comments = texts["roles"].get(bridge.role, ""), texts["databases"].get(bridge.database, "")
        for subject, text in zip(bridge.names, comments):
            if reason := explain_other_owner(text, arguments.stack, claimed=True):
                raise ScriptError(f"{subject}: {reason}: set another role and database for the bridge")
    own_roles = [bridge.role for bridge in arguments.bridges if by_role.get(bridge.role)]
    ours: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for role, comment in by_role.items():
        (ours if role in own_roles else others).update(comment.get("public", {}))
    return _Notes(own_roles, ours, others, by_database)


def _read_public_rights(arguments: Isolation, databases: tuple[str, ...]) -> dict[str, list[str]]:
    """What PUBLIC may do now, in each of the databases that exist."""
    rows = run_as_superuser(arguments.postgres, PUBLIC, databases=",".join(databases))
    return dict(json.loads(rows[0])) if rows else {}
