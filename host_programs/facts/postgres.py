"""Facts that Postgres tells: roles, databases, rights, the bridges' schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from documents.places import Database, Deployment
from host_programs.docker import read_variable, run_docker
from host_programs.messages import ScriptError
from host_programs.postgres.measure import SCHEMA
from host_programs.postgres.psql import Statement, run_psql, run_sessions
from host_programs.wire import from_json
from verdicts.host_facts.host import PostgresFacts

POSTGRES = """
select json_build_object(
  'version', current_setting('server_version_num')::int,
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'roles', (select json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), ''))
    from pg_roles where rolname !~ '^pg_'),
  'databases', (select json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), ''))
    from pg_database where datallowconn and not datistemplate),
  'bytes', (select json_object_agg(datname, pg_database_size(oid))
    from pg_database where datallowconn and not datistemplate),
  'locked_out', (select coalesce(json_object_agg(datname, roles), '{}') from (
    select datname, json_agg(rolname order by rolname) as roles
    from pg_database, pg_roles
    where datname = any(string_to_array(:'isolated', ',')) and rolcanlogin and not rolsuper
      and rolname <> all(string_to_array(:'bridge_roles', ','))
      and has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')
      and not exists (
        select from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
        where given.privilege_type = 'CONNECT' and given.grantee <> 0
          and pg_has_role(pg_roles.oid, given.grantee, 'USAGE'))
    group by datname) as through_public));
"""


def read_postgres(deployment: Deployment, isolated_databases: tuple[str, ...]) -> PostgresFacts:
    """As the superuser. Whatever Postgres says against it is `error`."""
    server, bridges = deployment.postgres, deployment.databases
    done = run_psql(
        server.container, server.superuser, "postgres", POSTGRES, timeout=30,
        isolated=",".join(isolated_databases), bridge_roles=",".join(database.role for database in bridges),
    )  # fmt: skip
    if done.returncode:
        return PostgresFacts(error=(done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0])
    facts = from_json(PostgresFacts, json.loads(done.stdout), "Postgres' answer")
    existing = [database for database in bridges if database.database in facts.databases]
    return replace(facts, schemas=_read_schemas(existing))


def read_superuser_password(container: str) -> str:
    """As the official image takes it: from its variable, or from the file that another variable names."""
    file = read_variable(container, "POSTGRES_PASSWORD_FILE")
    if not file:
        return read_variable(container, "POSTGRES_PASSWORD")
    done = run_docker("exec", container, "cat", file, check=False, timeout=20)
    return "" if done.returncode else done.stdout.rstrip("\n")


def _read_schemas(databases: Sequence[Database]) -> dict[str, dict[str, tuple[int, int]]]:
    """Asked as the database's own role: its tables may be views, whose functions would run with a superuser's
    rights."""
    if not databases:
        return {}
    query = " ".join(SCHEMA.split())
    lines = [Statement(database.role, database.database, query) for database in databases]
    try:
        answers = run_sessions(databases[0].container, *lines)
    except ScriptError:
        return {}
    return {
        database.database: {part: (version, oldest) for part, (version, oldest) in json.loads(answer.stdout).items()}
        for database, answer in zip(databases, answers)
        if answer.succeeded
    }
