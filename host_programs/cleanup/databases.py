"""Databases and roles that name this stack, as the superuser sees them, and how they go."""

from __future__ import annotations

import json
from collections.abc import Mapping

from documents.marks import parse_owner_comment
from documents.places import Postgres
from host_programs.docker import inspect_container
from host_programs.messages import ScriptError, say
from host_programs.postgres import measure, psql

_COMMENTS = """
select json_build_object(
  'databases', (select coalesce(json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), '')), '{}')
    from pg_database),
  'roles', (select coalesce(json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), '')), '{}')
    from pg_roles));
"""


def read_comments(server: Postgres, subject: str) -> Mapping[str, Mapping[str, str]]:
    """The comments on databases and roles, by name. ScriptError, that `subject` cannot be removed, if Postgres is
    down."""
    container = inspect_container(server.container)
    if container is None or not container.running:
        raise ScriptError(
            f"container {server.container}: is {container.status if container else 'not there'}: {subject} cannot be "
            f"removed: start it (docker start {server.container}), then run this again"
        )
    comments: Mapping[str, Mapping[str, str]] = json.loads(run_sql(server, _COMMENTS)[0])
    return comments


def drop_archived(server: Postgres, stack: str, databases: Mapping[str, str], name: str) -> list[str]:
    """Drop the database, if it is the stack's; what went. ScriptError if it was never archived."""
    if name not in databases:
        return []
    comment = parse_owner_comment(databases[name])
    if comment.get("stack") != stack:
        say(f"warning: database {name} stays: {owner_in_words(comment.get('stack'))}")
        return []
    if comment.get("began") and not comment.get("archived") and not is_empty(server, name):
        raise ScriptError(
            f"database {name}: was never archived, so it stays, and all that is left with it: `pulumi up` and then "
            "`pulumi destroy` archive it"
        )
    return drop_database(server, name)


def drop_database(server: Postgres, name: str) -> list[str]:
    """Drop the database, whoever is connected; what went."""
    run_sql(server, f"drop database if exists {psql.quote_identifier(name)} with (force);")
    return [f"database {name}"]


def is_empty(server: Postgres, name: str) -> bool:
    """Whether the database holds neither table nor view, type or function."""
    return measure.count_objects(server.container, server.superuser, name) == 0


def owner_in_words(stack: object) -> str:
    """Whose a thing is that stays."""
    return f"it belongs to the stack {stack}" if stack else "nothing in it says that this stack made it"


def run_sql(server: Postgres, statement: str) -> list[str]:
    """The rows, as the superuser."""
    return psql.run_sql(server.container, server.superuser, "postgres", statement, timeout=120)
