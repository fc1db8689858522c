"""A bridge's role and database as the provider makes them (components/database.py), where somebody removed or changed
them since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from documents.marks import parse_owner_comment
from documents.places import Database, Postgres
from host_programs.docker import stop_container
from host_programs.messages import say
from host_programs.postgres.measure import FOREIGN, count_foreign
from host_programs.postgres.psql import quote_identifier, quote_literal, run_as_superuser, run_sql

PRESENT = """
select json_build_object(
  'role', (select json_build_object('comment', coalesce(shobj_description(oid, 'pg_authid'), ''),
      'fit', rolcanlogin and not (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls))
    from pg_roles where rolname = :'role'),
  'database', (select json_build_object('comment', coalesce(shobj_description(oid, 'pg_database'), ''),
      'fit', pg_get_userbyid(datdba) = :'role' and (
        select has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT') from pg_roles where rolname = :'role'))
    from pg_database where datname = :'database'));
"""
ATTRIBUTES = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"


def renew_database(server: Postgres, stack: str, place: Database, container: str) -> None:
    """Make the role and the database again, if they are gone. Take from a role of this stack what it has too much, and
    give it its database back, with all that is in it.

    Before a database is made again, the bridge's `container` is stopped, which Docker would start again and again: it
    would fill the database before that has its first content. Who fills it starts the container."""
    present = json.loads(run_as_superuser(server, PRESENT, role=place.role, database=place.database)[0])
    if present["database"] is None:
        stop_container(container, stack)
    for subject, statement in _list_statements(stack, place, present):
        run_as_superuser(server, statement)
        say(f"{subject}: is as `up` made it again")
    if present["database"] and parse_owner_comment(present["database"]["comment"]).get("stack") == stack:
        _give_back(server, place)


def _give_back(server: Postgres, place: Database) -> None:
    """What is in the database belongs to its role again: a superuser's restore makes it the superuser's."""
    role = quote_literal(place.role)
    (count,) = run_sql(server.container, server.superuser, place.database, count_foreign(role))
    if count != "0":
        run_sql(server.container, server.superuser, place.database, f"{FOREIGN.format(role=role)} \\gexec\n")
        say(f"database {place.database}: objects that belong to {place.role} again: {count}")


def _list_statements(
    stack: str, place: Database, present: Mapping[str, Optional[Mapping[str, Any]]]
) -> Iterator[tuple[str, str]]:
    role, database = quote_identifier(place.role), quote_identifier(place.database)
    changes = {
        "role": (place.role, f"create role {role} {ATTRIBUTES};", f"alter role {role} {ATTRIBUTES};"),
        "database": (
            place.database,
            f"create database {database} owner {role} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C';",
            f"alter database {database} owner to {role}; grant connect, temporary on database {database} to {role};",
        ),
    }
    for kind, (name, create, alter) in changes.items():
        found = present[kind]
        if found is None:
            yield f"{kind} {name}", create
        elif not found["fit"] and parse_owner_comment(found["comment"]).get("stack") == stack:
            yield f"{kind} {name}", alter
