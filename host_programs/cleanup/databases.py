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
    comments: Mapping[str, Mapping[str, str]] = json.loads(psql.run_as_superuser(server, _COMMENTS)[0])
    return comments


def drop_database(server: Postgres, stack: str, comments: Mapping[str, str], name: str, unnamed: bool = False) -> bool:
    """Drop the database, whoever is connected, if it is there and the stack's; whether it was. `unnamed`: an empty one
    without a comment, too. ScriptError if it was never archived."""
    if name not in comments:
        return False
    comment = parse_owner_comment(comments[name])
    is_empty = measure.count_objects(server.container, server.superuser, name) == 0
    if comment.get("stack") != stack and not (unnamed and is_empty and not comments[name]):
        say(f"warning: database {name} stays: {describe_owner(comments[name])}")
        return False
    if comment.get("began") and not comment.get("archived") and not is_empty:
        raise ScriptError(
            f"database {name}: was never archived, so it stays, and all that is left with it: `pulumi up` and then "
            "`pulumi destroy` archive it"
        )
    psql.run_as_superuser(server, f"drop database if exists {psql.quote_identifier(name)} with (force);")
    say(f"removed: database {name}")
    return True


def drop_role(server: Postgres, stack: str, comment: str, name: str, unnamed: bool) -> None:
    """Drop the role, if it is the stack's. `unnamed`: also without a comment."""
    if parse_owner_comment(comment).get("stack") != stack and not (unnamed and not comment):
        say(f"warning: role {name} stays: {describe_owner(comment)}")
        return
    role = psql.quote_identifier(name)
    psql.run_as_superuser(server, f"drop owned by {role}; drop role {role};")
    say(f"removed: role {name}")


def describe_owner(comment: str) -> str:
    """Why a thing with this comment stays."""
    stack = parse_owner_comment(comment).get("stack")
    return f"it belongs to the stack {stack}" if stack else "nothing in it says that this stack made it"
