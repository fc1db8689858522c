"""Pins: a lab in which a role or a database gets other rights than the real provider would give it, in which isolation
is lost or kept by accident, or in which a password reaches an error or the server's log."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from lab.plugins.base import UNKNOWN, ProviderError, plain
from lab.plugins.postgresql import DATABASE, GRANT, ROLE, PostgresqlProvider

PASSWORD = "it's \"a\\ pass%word"


@pytest.fixture
def made(direct: Any, postgres: Any) -> Any:
    """Makes the direct way to a type of one configured provider."""
    provider = PostgresqlProvider()

    def make(type_token: str) -> Any:
        it = direct(provider, type_token)
        it.configure(**{key: str(value) for key, value in postgres.settings.items()}, sslmode="disable")
        return it

    return make


@pytest.fixture
def role(made: Any) -> Any:
    return made(ROLE)


@pytest.fixture
def database(made: Any) -> Any:
    return made(DATABASE)


@pytest.fixture
def grant(made: Any) -> Any:
    return made(GRANT)


@pytest.fixture
def name(postgres: Any) -> Any:
    """A name that no other test uses; its database and role are gone afterwards."""
    unique = f'T "{uuid.uuid4().hex[:6]}'
    yield unique
    quoted = '"' + unique.replace('"', '""') + '"'
    postgres.query(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")
    postgres.query(f"DROP ROLE IF EXISTS {quoted}")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def state_of(response: Any) -> dict[str, Any]:
    return {key: plain(value) for key, value in response.properties.items()}


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("type_token", "inputs", "start"),
    [
        (ROLE, {"name": "r", "assumeRole": "x"}, "assumeRole is not implemented"),
        (ROLE, {"name": "r", "passwordWo": "x"}, "passwordWo is not implemented"),
        (ROLE, {"name": "r", "login": "yes"}, "login is a string; it should be a boolean"),
        (ROLE, {"name": "r", "encryptedPassword": False}, "encryptedPassword is False, which the lab's"),
        (ROLE, {"name": "r", "connectionLimit": -2}, "connectionLimit is -2; it should be -1 or more"),
        (ROLE, {"name": "r", "searchPaths": ["a, b"]}, "searchPaths has 'a, b': a schema in it cannot contain"),
        (DATABASE, {"name": "d", "alterObjectOwnership": True}, "alterObjectOwnership is True, which the lab's"),
        (DATABASE, {"name": "d", "collation": "C"}, "collation is not implemented"),
        (GRANT, {"role": "r", "database": "d", "objectType": "database"}, "privileges is required and missing"),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "table", "privileges": []},
            "objectType is 'table', which the lab's",
        ),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "database", "privileges": ["SELECT"]},
            "privileges[0] is 'SELECT'; it should be one of: ALL, CREATE, CONNECT, TEMPORARY",
        ),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "database", "privileges": [], "schema": "s"},
            "schema is not implemented",
        ),
    ],
)
def test_refusals(direct: Any, type_token: str, inputs: dict[str, Any], start: str) -> None:
    (problem,) = direct(PostgresqlProvider(), type_token).problems(**inputs)
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"awsRdsIamAuth": "true"}, "provider setting awsRdsIamAuth is not implemented"),
        ({"port": "many"}, "provider setting port is a string; it should be an integer"),
        ({"sslmode": "maybe"}, "provider setting sslmode is 'maybe'; it should be one of: disable"),
        ({"scheme": "awspostgres"}, "provider setting scheme is 'awspostgres', which the lab's"),
    ],
)
def test_provider_settings(direct: Any, settings: dict[str, Any], start: str) -> None:
    with pytest.raises(ProviderError) as raised:
        direct(PostgresqlProvider(), ROLE).configure(**settings)
    assert str(raised.value).startswith(start)


def test_a_wrong_login_says_where_and_never_the_password(direct: Any, postgres: Any) -> None:
    it = direct(PostgresqlProvider(), ROLE)
    it.configure(**{**postgres.settings, "password": PASSWORD, "port": str(postgres.port)})
    with pytest.raises(
        ProviderError, match=r"^error connecting to PostgreSQL server 127.0.0.1 .*password auth"
    ) as raised:
        it.read("x", {})
    assert PASSWORD not in str(raised.value)
    it.configure(host="127.0.0.1", port="1", password=PASSWORD, connectTimeout="2")
    with pytest.raises(ProviderError, match=r"^error connecting to PostgreSQL server 127.0.0.1 "):
        it.read("x", {})


def test_without_a_host(direct: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    with pytest.raises(ProviderError, match="the postgresql provider has no host: set it on the provider or in PGHOST"):
        direct(PostgresqlProvider(), ROLE).read("x", {})


# --- what a change does ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("type_token", "base", "change", "kind"),
    [
        (ROLE, {"name": "r"}, {"password": "x"}, "ADD"),
        (ROLE, {"name": "r", "password": "x"}, {"password": "y"}, "UPDATE"),
        (ROLE, {"name": "r"}, {"login": True}, "UPDATE"),
        (ROLE, {"name": "r", "roles": ["a", "b"]}, {"roles": ["a"]}, "UPDATE"),
        (ROLE, {"name": "r", "searchPaths": ["a", "b"]}, {"searchPaths": ["b", "a"]}, "UPDATE"),
        (DATABASE, {"name": "d", "owner": "a"}, {"owner": "b"}, "UPDATE"),
        (DATABASE, {"name": "d"}, {"connectionLimit": 3}, "UPDATE"),
        (DATABASE, {"name": "d", "template": "template0"}, {"template": "template1"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "encoding": "UTF8"}, {"encoding": "LATIN1"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "lcCollate": "C"}, {"lcCollate": "C.UTF-8"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "lcCtype": "C"}, {"lcCtype": "C.UTF-8"}, "UPDATE_REPLACE"),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "database", "privileges": []},
            {"role": "s"},
            "UPDATE_REPLACE",
        ),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "database", "privileges": ["CREATE"]},
            {"privileges": ["CREATE", "CONNECT"]},
            "UPDATE",
        ),
        (
            GRANT,
            {"role": "r", "database": "d", "objectType": "database", "privileges": []},
            {"withGrantOption": True},
            "UPDATE_REPLACE",
        ),
    ],
)
def test_what_a_change_does(direct: Any, type_token: str, base: Any, change: Any, kind: str) -> None:
    it = direct(PostgresqlProvider(), type_token)
    response = it.diff(it.checked(**base), it.checked(**{**base, **change}))
    assert {path: found.kind.name for path, found in response.detailed_diff.items()} == {next(iter(change)): kind}
    assert response.delete_before_replace == kind.endswith("_REPLACE")


def test_what_the_server_decided_and_the_order_are_no_change(direct: Any) -> None:
    it = direct(PostgresqlProvider(), DATABASE)
    decided = {"owner": "boss", "template": "template0", "encoding": "UTF8", "lcCollate": "C", "isTemplate": False}
    inputs = it.checked(name="d")
    assert it.diff({**inputs, **decided}, inputs).detailed_diff == {}
    it = direct(PostgresqlProvider(), GRANT)
    base = {"role": "r", "database": "d", "objectType": "database"}
    old, new = ({**base, "privileges": words} for words in (["CREATE", "CONNECT"], ["CONNECT", "CREATE"]))
    assert it.diff(it.checked(**old), it.checked(**new)).detailed_diff == {}


def test_preview_touches_nothing(direct: Any) -> None:
    it = direct(PostgresqlProvider(), DATABASE)
    it.configure(host="127.0.0.1", port="1")
    _, state = it.create(it.checked(name="d", owner=UNKNOWN), preview=True)
    assert (state["name"], state["owner"], state["encoding"]) == ("d", UNKNOWN, UNKNOWN)


# --- Role ------------------------------------------------------------------------------------------------------------
def attributes(postgres: Any, name: str) -> Any:
    columns = (
        "rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls, rolconnlimit"
    )
    (row,) = postgres.query(f"SELECT {columns} FROM pg_roles WHERE rolname = '{name}'")
    return row


def test_a_role_is_made_read_changed_and_taken_away(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True, password=PASSWORD)
    resource_id, state = role.create(inputs)
    assert resource_id == name and attributes(postgres, name) == (True, False, False, False, True, False, False, -1)
    assert postgres.query("SELECT current_user", user=name, password=PASSWORD) == [(name,)]
    ((stored,),) = postgres.query(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'")
    assert stored.startswith("SCRAM-SHA-256$")
    assert role.diff(state, inputs).detailed_diff == {}
    read = role.read(name, state, inputs)
    assert state_of(read) == state and {key: plain(value) for key, value in read.inputs.items()} == inputs

    new = role.checked(
        name=name,
        password="other",
        login=True,
        createDatabase=True,
        inherit=False,
        connectionLimit=3,
        validUntil="2099-01-01 00:00:00+00",
        roles=["pg_monitor"],
        searchPaths=["a b", "public"],
    )
    changed = role.update(state, new, id=name)
    assert attributes(postgres, name) == (True, False, True, False, False, False, False, 3)
    assert postgres.query("SHOW search_path", user=name, password="other") == [('"a b", public',)]
    assert (changed["roles"], changed["searchPaths"]) == (["pg_monitor"], ["a b", "public"])
    assert role.diff(changed, new).detailed_diff.keys() <= {"validUntil"}  # the server writes times in its own way
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.query("SELECT 1", user=name, password=PASSWORD)

    back = role.update(changed, inputs, id=name)
    assert (back["roles"], back["searchPaths"]) == ([], [])
    role.delete(name, back)
    assert role.read(name, back, inputs).resource_id == ""


def test_drift_of_a_role_is_seen(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True, password=PASSWORD)
    _, state = role.create(inputs)
    postgres.query(f"ALTER ROLE {quoted(name)} SUPERUSER")
    drifted = state_of(role.read(name, state, inputs))
    assert list(role.diff(drifted, inputs).detailed_diff) == ["superuser"]
    role.update(drifted, inputs, id=name)
    assert attributes(postgres, name)[1] is False
    postgres.query(f"ALTER ROLE {quoted(name)} PASSWORD 'behind our back'")
    assert role.diff(state_of(role.read(name, state, inputs)), inputs).detailed_diff == {}  # as the real one with SCRAM
    postgres.query(f"ALTER ROLE {quoted(name)} PASSWORD NULL")
    assert list(role.diff(state_of(role.read(name, state, inputs)), inputs).detailed_diff) == ["password"]


def test_no_password_reaches_an_error_or_the_log_of_the_server(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True, password="pl41n-p4ssw0rd")
    role.create(inputs)
    with pytest.raises(ProviderError, match=r"^error creating role .*: role .* already exists$") as raised:
        role.create(inputs)
    with pytest.raises(ProviderError) as updated:
        role.update(inputs, {**inputs, "password": "n3w-p4ssw0rd", "roles": ["nobody"]}, id=name)
    texts = str(raised.value) + str(updated.value) + postgres.log
    assert "already exists" in postgres.log
    assert "pl41n-p4ssw0rd" not in texts and "n3w-p4ssw0rd" not in texts and "SCRAM-SHA-256$" not in str(updated.value)


def test_a_failed_change_changes_nothing(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name)
    _, state = role.create(inputs)
    with pytest.raises(ProviderError, match=r'^error updating role .*: role "nobody" does not exist$'):
        role.update(state, {**inputs, "login": True, "roles": ["nobody"]}, id=name)
    assert attributes(postgres, name)[0] is False
    with pytest.raises(ProviderError, match=r"renaming role .* in place is not implemented"):
        role.update(state, {**inputs, "name": "other"}, id=name)


def test_a_role_that_owns_things_gives_them_to_the_provider(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name)
    _, state = role.create(inputs)
    postgres.query("CREATE TABLE owned (a int)")
    try:
        postgres.query(f"ALTER TABLE owned OWNER TO {quoted(name)}")
        with pytest.raises(
            ProviderError, match=r"could not delete role .* cannot be dropped because some objects depend"
        ):
            role.delete(name, {**state, "skipReassignOwned": True})
        role.delete(name, state)
        assert postgres.query("SELECT tableowner FROM pg_tables WHERE tablename = 'owned'") == [("boss",)]
    finally:
        postgres.query("DROP TABLE owned")


# --- Database --------------------------------------------------------------------------------------------------------
def test_a_database_is_made_read_changed_and_taken_away(database: Any, role: Any, postgres: Any, name: str) -> None:
    role.create(role.checked(name=name))
    inputs = database.checked(
        name=name, owner=name, template="template0", encoding="UTF8", lcCollate="C", lcCtype="C", connectionLimit=5
    )
    resource_id, state = database.create(inputs)
    assert resource_id == name and database.diff(state, inputs).detailed_diff == {}
    read = database.read(name, state, inputs)
    assert state_of(read) == state and {key: plain(value) for key, value in read.inputs.items()} == inputs
    columns = "pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datconnlimit"
    query = f"SELECT {columns} FROM pg_database WHERE datname = '{name}'"
    assert postgres.query(query) == [(name, "UTF8", "C", "C", 5)]

    postgres.query(f"ALTER DATABASE {quoted(name)} OWNER TO boss")
    drifted = state_of(database.read(name, state, inputs))
    assert list(database.diff(drifted, inputs).detailed_diff) == ["owner"]
    new = {**inputs, "connectionLimit": -1, "isTemplate": True}
    changed = database.update(drifted, new, id=name)
    assert postgres.query(query) == [(name, "UTF8", "C", "C", -1)] and changed["isTemplate"] is True

    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="boss", password=postgres.password, dbname=name
    ) as session:
        database.delete(name, changed)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert database.read(name, state, inputs).resource_id == ""


def test_a_database_without_wishes(database: Any, postgres: Any, name: str) -> None:
    _, state = database.create(database.checked(name=name))
    expected = {"owner": "boss", "template": "template0", "encoding": "UTF8", "tablespaceName": "pg_default"}
    assert {key: state[key] for key in expected} == expected
    with pytest.raises(ProviderError, match=r'^error creating database ".*": database ".*" already exists$'):
        database.create(database.checked(name=name))


# --- Grant -----------------------------------------------------------------------------------------------------------
def may(postgres: Any, role: str, database: str, privilege: str) -> bool:
    query = f"SELECT has_database_privilege('{role}', '{database}', '{privilege}')"
    return bool(postgres.query(query)[0][0])


def test_isolation_and_what_its_end_does_not_give_back(
    grant: Any, database: Any, role: Any, postgres: Any, name: str
) -> None:
    role.create(role.checked(name=name, login=True))
    database.create(database.checked(name=name))
    assert may(postgres, name, name, "CONNECT")  # everybody may, by default
    inputs = grant.checked(role="public", database=name, objectType="database", privileges=[])
    resource_id, state = grant.create(inputs)
    assert resource_id == f"public_{name}_database"
    assert not may(postgres, name, name, "CONNECT") and not may(postgres, name, name, "TEMPORARY")
    assert grant.diff(state, inputs).detailed_diff == {}
    assert state_of(grant.read(resource_id, state, inputs)) == state

    postgres.query(f"GRANT CONNECT ON DATABASE {quoted(name)} TO PUBLIC")
    drifted = state_of(grant.read(resource_id, state, inputs))
    assert drifted["privileges"] == ["CONNECT"] and list(grant.diff(drifted, inputs).detailed_diff) == ["privileges"]
    grant.update(drifted, inputs, id=resource_id)
    assert not may(postgres, name, name, "CONNECT")

    grant.delete(resource_id, state)
    assert not may(postgres, name, name, "CONNECT")


def test_a_grant_gives_exactly_what_it_lists(grant: Any, database: Any, role: Any, postgres: Any, name: str) -> None:
    role.create(role.checked(name=name, login=True))
    database.create(database.checked(name=name))
    base = {"role": name, "database": name, "objectType": "database"}
    inputs = grant.checked(**base, privileges=["CREATE", "CONNECT"], withGrantOption=True)
    resource_id, state = grant.create(inputs)
    assert may(postgres, name, name, "CREATE WITH GRANT OPTION")
    less = grant.checked(**base, privileges=["CONNECT"])
    state = grant.update(state, less, id=resource_id)
    assert not may(postgres, name, name, "CREATE") and may(postgres, name, name, "CONNECT")
    everything = grant.checked(**base, privileges=["ALL"])
    state = grant.update(state, everything, id=resource_id)
    assert state["privileges"] == ["ALL"] and grant.diff(state, everything).detailed_diff == {}
    grant.delete(resource_id, state)
    assert not may(postgres, name, name, "CREATE")
    postgres.query(f"DROP ROLE {quoted(name)}")
    assert grant.read(resource_id, state, everything).resource_id == ""


def test_a_grant_to_nobody(grant: Any, database: Any, name: str) -> None:
    database.create(database.checked(name=name))
    inputs = grant.checked(role="nobody", database=name, objectType="database", privileges=["CONNECT"])
    with pytest.raises(ProviderError, match=r'^could not execute revoke query: role "nobody" does not exist$'):
        grant.create(inputs)
