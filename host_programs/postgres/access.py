"""Sets the passwords of the bridges' roles, and proves where each role gets in and where it is refused, and that it
alone may create in its database.

A query across databases fails whatever the rights are, so the proof connects, as the role, over the network's address.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from documents.credentials import matches_verifier, scram_verifier
from documents.masking import mask
from documents.places import Database, Postgres
from documents.timestamps import now
from host_programs.messages import ScriptError
from host_programs.postgres.psql import PsqlResult, Statement, quote_identifier, run_as_superuser, run_sessions

ROLES = """
select coalesce(json_object_agg(rolname, json_build_object(
  'attributes', json_build_object('rolsuper', rolsuper, 'rolcreatedb', rolcreatedb, 'rolcreaterole', rolcreaterole,
    'rolreplication', rolreplication, 'rolbypassrls', rolbypassrls),
  'verifier', coalesce(rolpassword, ''),
  'may_connect', (select json_agg(datname) from pg_database
    where has_database_privilege(pg_authid.oid, pg_database.oid, 'CONNECT')))), '{}')
from pg_authid where rolname = any(string_to_array(:'roles', ','));
"""
# Asked by the role, in its own database.
CREATORS = """
select concat_ws(' ', 'may create:', case when has_schema_privilege('public', 'CREATE') then 'the role' end,
  case when has_schema_privilege('public', 'public', 'CREATE') then 'PUBLIC' end);
"""


@dataclass(frozen=True)
class RolePassword:
    """A bridge's database, and what its role's password is to be (a secret)."""

    bridge: Database
    password: str = field(repr=False)

    @property
    def role(self) -> str:
        return self.bridge.role


@dataclass(frozen=True)
class Access:
    """Each role gets its password, and may connect to its own database and to none of `databases`."""

    postgres: Postgres
    roles: tuple[RolePassword, ...]
    databases: tuple[str, ...]


@dataclass(frozen=True)
class RoleProof:
    """The databases that let one role in, those that refused it, and its attributes, all false."""

    role: str
    connects: tuple[str, ...]
    refused: tuple[str, ...]
    attributes: dict[str, bool]


@dataclass(frozen=True)
class AccessProof:
    """One for each role; `at`: when (documents/timestamps.py, now)."""

    roles: tuple[RoleProof, ...]
    at: str

    def of(self, role: str) -> RoleProof:
        """That of the role."""
        return {proof.role: proof for proof in self.roles}[role]


def prove_access(arguments: Access) -> AccessProof:
    """Set the passwords that are not set yet, and prove the rest. ScriptError unless each role then has no special
    attribute, gets into its own database, may create there as PUBLIC may not, and is refused by each of the others.
    Postgres gets SCRAM verifiers alone: whatever it logs holds no password."""
    names = ",".join(access.role for access in arguments.roles)
    catalogue: Catalogue = json.loads(run_as_superuser(arguments.postgres, ROLES, roles=names)[0])
    for access in arguments.roles:
        if access.role not in catalogue:
            raise ScriptError(f"role {access.role}: not there")
        more = sorted(name for name, value in catalogue[access.role]["attributes"].items() if value)
        if more:
            raise ScriptError(
                f"role {access.role}: has {', '.join(more)}, should have none: it may do more than its own database"
            )
    statements = [
        f"alter role {quote_identifier(access.role)} password '{scram_verifier(access.password, os.urandom(16))}';"
        for access in arguments.roles
        if not matches_verifier(catalogue[access.role]["verifier"], access.password)
    ]
    if statements:
        run_as_superuser(arguments.postgres, f"begin; {' '.join(statements)} commit;")
    try:
        _prove_connections(arguments, catalogue)
    except ScriptError as error:
        raise ScriptError(
            f"{error} (the role's password is set; if it is a new one, a bridge that runs keeps its connections and "
            "gets no new one until `pulumi up` goes through)"
        ) from None
    return AccessProof(
        tuple(
            RoleProof(access.role, (access.bridge.database,), arguments.databases, catalogue[access.role]["attributes"])
            for access in arguments.roles
        ),
        now(),
    )


Catalogue = dict[str, dict[str, Any]]  # what ROLES reads, by role


def _prove_connections(arguments: Access, catalogue: Catalogue) -> None:
    """ScriptError unless each role gets into its own database, may create there as PUBLIC may not, and is refused by
    each of the others."""
    answers = _try_all(arguments)
    for access in arguments.roles:
        role, own_database = access.role, access.bridge.database
        answer, refusal = answers[role, own_database]
        if refusal:
            raise ScriptError(f"role {role}: cannot connect to its own database {own_database}: {refusal}")
        if "may create: the role" not in answer.stdout.splitlines():
            seen = f"{answer.stdout}{answer.stderr}".strip().splitlines()[-1]
            raise ScriptError(
                f"role {role}: it alone should create in the schema public of its database {own_database}: {seen}: "
                "raise the setting reapply, and `pulumi up` makes it so"
            )
        for database in arguments.databases:
            _, refusal = answers[role, database]
            if not refusal:
                raise ScriptError(
                    f"role {role}: can connect to the database {database}: the bridge is not isolated from it"
                )
            if database in catalogue[role]["may_connect"]:
                raise ScriptError(f"role {role}: {database} neither let it in nor refused it: {refusal}")


def _try_all(arguments: Access) -> dict[tuple[str, str], tuple[PsqlResult, str]]:
    """By role and database: what psql says as it connects with its password over the network's address, and why it is
    not in, or ""."""
    logins = [
        Login(access.role, access.password, database)
        for access in arguments.roles
        for database in (access.bridge.database, *arguments.databases)
    ]
    own = {access.bridge.database for access in arguments.roles}
    statements = (
        login_statement(arguments.postgres, login, CREATORS if login.database in own else "") for login in logins
    )
    answers = run_sessions(arguments.postgres.container, *statements)
    return {
        (login.user, login.database): (answer, explain_refusal(answer, login)) for login, answer in zip(logins, answers)
    }


@dataclass(frozen=True)
class Login:
    """A user who tries to get into a database with a password (a secret)."""

    user: str
    password: str = field(repr=False)
    database: str


def login_statement(postgres: Postgres, login: Login, question: str = "") -> Statement:
    """Connects over the network's address, as everybody else does: at the local socket no password is asked for. Then
    asks the `question`, in SQL.

    The password is in a `\\connect` line on stdin: no process list, no environment, no file.
    """
    values = {
        "host": postgres.container,
        "port": str(postgres.port),
        "user": login.user,
        "password": login.password,
        "dbname": login.database,
        "sslmode": postgres.sslmode,
        "connect_timeout": "10",
    }
    text = " ".join(f"{key}='{_escape_for_libpq(value)}'" for key, value in values.items())
    line = f"\\connect '{_escape_for_psql(text)}' \\\\ select 'in as ' || current_user; {' '.join(question.split())}"
    return Statement(postgres.superuser, "postgres", line)


def explain_refusal(answer: PsqlResult, login: Login) -> str:
    """What psql says against the login, without the password; "" if the user is in."""
    if f"in as {login.user}" in answer.stdout.splitlines():
        return ""
    return mask(f"{answer.stdout}{answer.stderr}", [login.password]).strip() or "no answer"


def _escape_for_libpq(value: str) -> str:
    """A value inside quotes of a libpq connection string."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _escape_for_psql(value: str) -> str:
    """An argument inside quotes of a psql meta-command."""
    return value.replace("\\", "\\\\").replace("'", "''")
