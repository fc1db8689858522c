"""Facts that Postgres tells: roles, databases, rights, the bridges' content, whether Pulumi's provider gets in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from documents.places import Database, Deployment
from host_programs.docker import read_variable, run_docker
from host_programs.messages import ScriptError
from host_programs.postgres.access import Login, explain_refusal, login_statement
from host_programs.postgres.measure import COUNT_OBJECTS, SCHEMA, count_foreign
from host_programs.postgres.psql import PsqlResult, Statement, quote_literal, run_sessions
from host_programs.synapse.event_position import AS_OWNER, READ, EventPosition
from host_programs.wire import from_json
from verdicts.host_facts.host import PostgresFacts

POSTGRES = """
select json_build_object(
  'version', current_setting('server_version_num')::int,
  'connections', current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'roles', (select json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), ''))
    from pg_roles where rolname !~ '^pg_'),
  'databases', (select json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), ''))
    from pg_database where datallowconn and not datistemplate),
  'bytes', (select json_object_agg(datname, pg_database_size(oid))
    from pg_database where datallowconn and not datistemplate),
  'locked_out', (select coalesce(json_object_agg(datname, roles), '{{}}') from (
    select datname, json_agg(rolname order by rolname) as roles
    from pg_database, pg_roles
    where datname = any(string_to_array({isolated}, ',')) and rolcanlogin and not rolsuper
      and rolname <> all(string_to_array({bridge_roles}, ','))
      and has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')
      and not exists (
        select from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
        where given.privilege_type = 'CONNECT' and given.grantee <> 0
          and pg_has_role(pg_roles.oid, given.grantee, 'USAGE'))
    group by datname) as through_public));
"""


CONTENT = f"{COUNT_OBJECTS} {SCHEMA}"
FIND_ADMIN = f"{AS_OWNER}select count(*) from public.users where name ={{admin}};"


def read_postgres(deployment: Deployment, isolated_databases: tuple[str, ...], password: str) -> PostgresFacts:
    """In one `docker exec`. `password`: the setting's; "" takes the one of the container. Whatever Postgres says
    against the superuser is `error`."""
    server, bridges = deployment.postgres, deployment.databases
    password = password or read_superuser_password(server.container)
    roles = [database.role for database in bridges]
    query = POSTGRES.format(
        isolated=quote_literal(",".join(isolated_databases)), bridge_roles=quote_literal(",".join(roles))
    )
    admin = FIND_ADMIN.format(admin=quote_literal(deployment.admin_user))
    login = Login(server.superuser, password, "postgres")
    try:
        first, provider, user, events, *contents = run_sessions(
            server.container,
            _statement(server.superuser, "postgres", query),
            login_statement(server, login),
            _statement(server.superuser, deployment.synapse.database, admin),
            _statement(server.superuser, deployment.synapse.database, READ),
            *(_statement(database.role, database.database, CONTENT) for database in bridges),
            *(_statement(database.role, database.database, count_foreign("current_user")) for database in bridges),
        )
    except ScriptError as error:
        return PostgresFacts(error=str(error).rpartition(f"psql as {server.superuser}: ")[2])
    if not first.succeeded:
        return PostgresFacts(error=(first.stderr.strip() or "psql failed").splitlines()[0])
    facts = from_json(PostgresFacts, json.loads(first.stdout), "Postgres' answer")
    found = dict(_read_contents(bridges, contents))
    position = from_json(EventPosition, json.loads(events.stdout), "Postgres' answer") if events.succeeded else None
    return replace(
        facts,
        superuser_password=password,
        login_refused=explain_refusal(provider, login) if password else "",
        admin_exists=None if not user.succeeded else user.stdout.strip() != "0",
        events_behind=position.behind if position else 0,
        first_appservice=position.never_pushed if position else False,
        objects={name: objects for name, (objects, _) in found.items()},
        schemas={name: schema for name, (_, schema) in found.items()},
        foreign={
            database.database: int(answer.stdout)
            for database, answer in zip(bridges, contents[len(bridges) :])
            if answer.succeeded
        },
    )


def _statement(user: str, database: str, text: str) -> Statement:
    return Statement(user, database, " ".join(text.split()))


def _read_contents(
    bridges: Sequence[Database], answers: Sequence[PsqlResult]
) -> Iterator[tuple[str, tuple[int, dict[str, tuple[int, int]]]]]:
    """By database: how many objects it has, and the versions of its schema.

    Asked as the database's own role: its tables may be views, whose functions would run with a superuser's rights.
    No answer of a database that is not there, or that the role does not get into."""
    for database, answer in zip(bridges, answers):
        if answer.succeeded:
            objects, schema = answer.stdout.splitlines()
            versions = {part: (version, oldest) for part, (version, oldest) in json.loads(schema).items()}
            yield database.database, (int(objects), versions)


def read_superuser_password(container: str) -> str:
    """As the official image takes it: from its variable, or from the file that another variable names."""
    file = read_variable(container, "POSTGRES_PASSWORD_FILE")
    if not file:
        return read_variable(container, "POSTGRES_PASSWORD")
    done = run_docker("exec", container, "cat", file, check=False, timeout=20)
    return "" if done.returncode else done.stdout.rstrip("\n")
