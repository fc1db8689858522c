"""What is in a database: bytes, objects, the versions of a bridge's schema, what its pickle key encrypts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from documents.marks import parse_owner_comment
from documents.places import Database
from host_programs.messages import ScriptError, say
from host_programs.postgres import psql

# Reads the versions of the bridge's schema. go.mau.fi/util/dbutil keeps a table for each part of the schema: its
# version, and the oldest version whose program can still use it. Such a table has these two columns, or the first
# alone. A table of data may have such a name, too (WhatsApp's whatsmeow_app_state_version): it has more columns.
# Postgres writes the query that reads them, and psql runs it: not every Postgres has XML, which does both in one.
SCHEMA = """
select format($$
  select coalesce(json_object_agg(part, json_build_array(version, oldest)), '{}')
  from (%s) as parts (part, version, oldest) where version is not null$$,
  coalesce(string_agg(query, ' union all '), 'select null, null, null'))
from (
  select format('(select %L::text, version, %s from public.%I limit 1)', table_name,
    case count(*) when 2 then 'coalesce(compat, version)' else 'version' end, table_name) as query
  from information_schema.columns
  where table_schema = 'public' and (table_name = 'version' or table_name like '%\\_version')
  group by table_name
  having array_agg(column_name::text order by column_name) in (array['version'], array['compat', 'version'])
    and bool_and(data_type in ('smallint', 'integer', 'bigint'))) as tables \\gexec
"""

# Tables, views, sequences, types and functions that Postgres did not make itself.
COUNT_OBJECTS = """
WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname NOT IN ('pg_catalog', 'information_schema')
  AND nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%')
SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))
  + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0)
  + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace IN (SELECT oid FROM ours));
"""


# The commands that give a bridge's role what is somebody else's in its database, such as what a superuser restored. Not
# what belongs to an extension, or to another object, which it follows.
FOREIGN = """
select format('alter %s %s owner to %I', kind, name, {role}) from (
  select case relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view'
      when 'f' then 'foreign table' else 'table' end, format('%I.%I', nspname, relname), relowner, nspname,
    'pg_class'::regclass, pg_class.oid
  from pg_class join pg_namespace on relnamespace = pg_namespace.oid where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
  union all
  select 'routine', format('%I.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid)), proowner,
    nspname, 'pg_proc'::regclass, pg_proc.oid
  from pg_proc join pg_namespace on pronamespace = pg_namespace.oid
  union all
  select 'type', format('%I.%I', nspname, typname), typowner, nspname, 'pg_type'::regclass, pg_type.oid
  from pg_type join pg_namespace on typnamespace = pg_namespace.oid
  where typrelid = 0 and typelem = 0 and typtype in ('b', 'd', 'e', 'r')
  union all
  select 'schema', format('%I', nspname), nspowner, nspname, 'pg_namespace'::regclass, oid
  from pg_namespace where nspname <> 'public') as things (kind, name, owner, place, catalog, thing)
where owner <> {role}::regrole and place !~ '^pg_' and place <> 'information_schema' and not exists (
  select from pg_depend where classid = catalog and objid = thing and deptype in ('a', 'e', 'i'))
"""


def count_foreign(role: str) -> str:
    """SQL that counts what is not the role's in its database; `role`: as an SQL expression."""
    return f"select count(*) from ({FOREIGN.format(role=role)}) as foreign_things;"


# Reads the pickled accounts of mautrix-go's crypto store, in hex (documents/bridge/pickle_key.py); in one line.
ACCOUNTS = (
    "select 'select encode(account, ''hex'') from public.crypto_account' "
    "where to_regclass('public.crypto_account') is not null \\gexec"
)
_MEASURE = (
    "select pg_database_size(current_database());\n"
    "select to_json(coalesce(shobj_description(oid, 'pg_database'), '')) from pg_database "
    "where datname = current_database();\n"
    "\\set ON_ERROR_STOP 0\n"  # a crypto store of another form: without accounts
    f"{ACCOUNTS}\n"
)


@dataclass(frozen=True)
class Measured:
    """A database. `size`: in bytes; `key`: the fingerprint of its pickle key in our comment ("": none); `accounts`:
    what `ACCOUNTS` reads."""

    size: int
    key: str
    accounts: tuple[bytes, ...]


def measure_database(database: Database) -> Optional[Measured]:
    """Measure the database; None, with a warning, if it is gone, or the role that owned it and nothing else. Asked as
    the role, in its own database."""
    name, role = database.database, database.role
    done = psql.run_psql(database.container, role, name, _MEASURE, timeout=60)
    if not done.returncode:
        size, comment, *accounts = done.stdout.splitlines()
        key = parse_owner_comment(json.loads(comment)).get("key", "")
        return Measured(int(size), str(key), parse_accounts(accounts))
    if f'database "{name}" does not exist' in done.stderr or f'role "{role}" does not exist' in done.stderr:
        say(f"warning: {database.container}: there is no database {name} any more: nothing to archive")
        return None
    raise ScriptError(f"{database.container}: database {name} as {role}: {done.stderr.strip()}: nothing was removed")


def parse_accounts(rows: Iterable[str]) -> tuple[bytes, ...]:
    """What the rows of `ACCOUNTS` hold."""
    return tuple(bytes.fromhex(row) for row in rows if row)


def count_objects(container: str, user: str, database: str) -> int:
    """How many tables, views, sequences, types and functions there are that Postgres did not make itself."""
    return int(psql.run_sql(container, user, database, COUNT_OBJECTS)[0])
