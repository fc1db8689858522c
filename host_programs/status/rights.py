"""What the bridges' roles and PUBLIC may do in Postgres now: read, without a connection as one of them."""

from __future__ import annotations

import json

from documents.places import Deployment
from host_programs.messages import ScriptError
from host_programs.postgres.psql import run_psql
from host_programs.wire import from_json
from verdicts.status.facts import PostgresRights

RIGHTS = """
select json_build_object(
  'roles', (select coalesce(json_object_agg(rolname, json_build_object(
      'comment', coalesce(shobj_description(pg_roles.oid, 'pg_authid'), ''),
      'attributes', (select coalesce(json_agg(name), '[]') from (values
        ('SUPERUSER', rolsuper), ('CREATEDB', rolcreatedb), ('CREATEROLE', rolcreaterole),
        ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls), ('NOLOGIN', not rolcanlogin))
        as attribute (name, has) where has),
      'connects', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
        where datallowconn and has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')))), '{}')
    from pg_roles where rolname = any(string_to_array(:'roles', ','))),
  'owners', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database),
  'public', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
    where datallowconn and exists (
      select from aclexplode(coalesce(datacl, acldefault('d', datdba))) as entry
      where entry.grantee = 0 and entry.privilege_type = 'CONNECT')));
"""


def read_rights(deployment: Deployment, seconds: float) -> PostgresRights:
    """ScriptError if Postgres does not tell."""
    postgres = deployment.postgres
    roles = ",".join(database.role for database in deployment.databases)
    done = run_psql(postgres.container, postgres.superuser, "postgres", RIGHTS, timeout=seconds, roles=roles)
    if done.returncode:
        raise ScriptError((done.stderr.strip() or f"psql: exit code {done.returncode}").splitlines()[0])
    return from_json(PostgresRights, json.loads(done.stdout), "Postgres' answer")
