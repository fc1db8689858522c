"""Pins: a lab in which a role or a database gets other rights than the real provider would give it, in which a second
`up` or a refresh shows a difference, or in which the provider's password reaches an error."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from lab.plugins.base import UNKNOWN, ProviderError, plain
from lab.plugins.postgresql import DATABASE, ROLE, PostgresqlProvider

PASSWORD = "it's \"a\\ pass%word"


@pytest.fixture
def made(direct: Any, postgres: Any) -> Any:
    """Makes the direct way to a type of one configured provider."""
    provider = PostgresqlProvider()

    def make(type_token: str) -> Any:
        it = direct(provider, type_token)
        it.configure(
            **{key: str(value) for key, value in postgres.settings.items()}, sslmode="disable", superuser="false"
        )
        return it

    return make


@pytest.fixture
def role(made: Any) -> Any:
    return made(ROLE)


@pytest.fixture
def database(made: Any) -> Any:
    return made(DATABASE)


@pytest.fixture
def name(postgres: Any) -> Any:
    """A name that no other test uses; its database and role are gone afterwards."""
    unique = f'T "{uuid.uuid4().hex[:6]}'
    yield unique
    postgres.query(f"DROP DATABASE IF EXISTS {quoted(unique)} WITH (FORCE)")
    postgres.query(f"DROP ROLE IF EXISTS {quoted(unique)}")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def state_of(response: Any) -> dict[str, Any]:
    return {key: plain(value) for key, value in response.properties.items()}


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("type_token", "inputs", "start"),
    [
        (ROLE, {"name": "r", "assumeRole": "x"}, "assumeRole is not implemented"),
        (ROLE, {"name": "r", "password": "x"}, "password is not implemented"),
        (ROLE, {"name": "r", "login": "yes"}, "login is a string; it should be a boolean"),
        (ROLE, {"login": True}, "name is required and missing"),
        (DATABASE, {"name": "d", "connectionLimit": 3}, "connectionLimit is not implemented"),
        (DATABASE, {"name": "d", "collation": "C"}, "collation is not implemented"),
        (DATABASE, {"owner": "o"}, "name is required and missing"),
    ],
)
def test_a_wrong_input_is_refused_with_its_name(
    direct: Any, type_token: str, inputs: dict[str, Any], start: str
) -> None:
    (problem,) = direct(PostgresqlProvider(), type_token).problems(**inputs)
    assert problem.startswith(start)


def test_any_other_type_is_refused(direct: Any) -> None:
    with pytest.raises(ProviderError, match="postgresql:index/grant:Grant is not implemented"):
        direct(PostgresqlProvider(), "postgresql:index/grant:Grant").problems(role="r", database="d")


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"awsRdsIamAuth": "true"}, "provider setting awsRdsIamAuth is not implemented"),
        ({"port": "many"}, "provider setting port is a string; it should be an integer"),
        ({"sslmode": "maybe"}, "provider setting sslmode is 'maybe'; it should be one of: disable"),
        ({"scheme": "postgres"}, "provider setting scheme is not implemented"),
        ({"host": "h", "superuser": "true"}, "provider setting superuser is True, which the lab's"),
        ({"host": "h"}, "provider setting superuser is required and missing"),
        ({"superuser": "false"}, "provider setting host is required and missing"),
    ],
)
def test_a_wrong_provider_setting_is_refused_with_its_name(direct: Any, settings: dict[str, Any], start: str) -> None:
    with pytest.raises(ProviderError) as raised:
        direct(PostgresqlProvider(), ROLE).configure(**settings)
    assert str(raised.value).startswith(start)


def test_a_wrong_login_says_where_and_never_the_password(direct: Any, postgres: Any) -> None:
    it = direct(PostgresqlProvider(), ROLE)
    it.configure(**{**postgres.settings, "password": PASSWORD, "port": str(postgres.port), "superuser": "false"})
    with pytest.raises(
        ProviderError, match=r"^error connecting to PostgreSQL server 127.0.0.1 .*password auth"
    ) as raised:
        it.read("x", {})
    assert PASSWORD not in str(raised.value)
    it.configure(host="127.0.0.1", port="1", password=PASSWORD, connectTimeout="2", superuser="false")
    with pytest.raises(ProviderError, match=r"^error connecting to PostgreSQL server 127.0.0.1 "):
        it.read("x", {})


# --- what a change does ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("type_token", "base", "change", "kind"),
    [
        (ROLE, {"name": "r"}, {"login": True}, "UPDATE"),
        (ROLE, {"name": "r"}, {"superuser": True}, "UPDATE"),
        (ROLE, {"name": "r"}, {"createDatabase": True}, "UPDATE"),
        (ROLE, {"name": "r"}, {"createRole": True}, "UPDATE"),
        (DATABASE, {"name": "d", "owner": "a"}, {"owner": "b"}, "UPDATE"),
        (DATABASE, {"name": "d", "template": "template0"}, {"template": "template1"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "encoding": "UTF8"}, {"encoding": "LATIN1"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "lcCollate": "C"}, {"lcCollate": "C.UTF-8"}, "UPDATE_REPLACE"),
        (DATABASE, {"name": "d", "lcCtype": "C"}, {"lcCtype": "C.UTF-8"}, "UPDATE_REPLACE"),
    ],
)
def test_what_a_change_does(direct: Any, type_token: str, base: Any, change: Any, kind: str) -> None:
    it = direct(PostgresqlProvider(), type_token)
    response = it.diff(it.checked(**base), it.checked(**{**base, **change}))
    assert {path: found.kind.name for path, found in response.detailed_diff.items()} == {next(iter(change)): kind}
    assert response.delete_before_replace == kind.endswith("_REPLACE")


def test_what_the_server_decided_is_no_change(direct: Any) -> None:
    it = direct(PostgresqlProvider(), DATABASE)
    decided = {"owner": "boss", "template": "template0", "encoding": "UTF8", "lcCollate": "C", "lcCtype": "C"}
    inputs = it.checked(name="d")
    assert it.diff({**inputs, **decided}, inputs).detailed_diff == {}


def test_preview_touches_nothing(direct: Any) -> None:
    it = direct(PostgresqlProvider(), DATABASE)
    it.configure(host="127.0.0.1", port="1", superuser="false")
    _, state = it.create(it.checked(name="d", owner=UNKNOWN), preview=True)
    assert (state["name"], state["owner"], state["encoding"]) == ("d", UNKNOWN, UNKNOWN)


# --- Role ------------------------------------------------------------------------------------------------------------
def flags(postgres: Any, name: str) -> Any:
    columns = "rolcanlogin, rolsuper, rolcreatedb, rolcreaterole"
    (row,) = postgres.query(f"SELECT {columns} FROM pg_roles WHERE rolname = '{name}'")
    return row


def test_a_role_is_made_read_changed_and_taken_away(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True)
    resource_id, state = role.create(inputs)
    assert resource_id == name and flags(postgres, name) == (True, False, False, False)
    assert role.diff(state, inputs).detailed_diff == {}
    read = role.read(name, state, inputs)
    assert state_of(read) == state and {key: plain(value) for key, value in read.inputs.items()} == inputs

    new = role.checked(name=name, createDatabase=True, createRole=True)
    changed = role.update(state, new, id=name)
    assert flags(postgres, name) == (False, False, True, True)
    assert role.diff(changed, new).detailed_diff == {}

    role.delete(name, changed)
    assert role.read(name, changed, inputs).resource_id == ""


def test_drift_of_a_role_is_seen(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True)
    _, state = role.create(inputs)
    postgres.query(f"ALTER ROLE {quoted(name)} SUPERUSER")
    drifted = state_of(role.read(name, state, inputs))
    assert list(role.diff(drifted, inputs).detailed_diff) == ["superuser"]
    role.update(drifted, inputs, id=name)
    assert flags(postgres, name)[1] is False


def test_a_password_that_something_else_sets_is_no_difference(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name, login=True)
    _, state = role.create(inputs)
    postgres.query(f"ALTER ROLE {quoted(name)} PASSWORD 'set by the program'")
    read = role.read(name, state, inputs)
    assert role.diff(state_of(read), inputs).detailed_diff == {} and "password" not in read.properties


def test_an_error_says_what_the_server_said(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name)
    _, state = role.create(inputs)
    with pytest.raises(ProviderError, match=r"^error creating role .*: role .* already exists$"):
        role.create(inputs)
    with pytest.raises(ProviderError, match=r"renaming role .* in place is not implemented"):
        role.update(state, {**inputs, "name": "other"}, id=name)
    role.delete(name, state)
    with pytest.raises(ProviderError, match=r"^error updating role .*: role .* does not exist$"):
        role.update(state, {**inputs, "login": True}, id=name)


def test_a_role_that_owns_things_gives_them_to_the_provider(role: Any, postgres: Any, name: str) -> None:
    inputs = role.checked(name=name)
    _, state = role.create(inputs)
    postgres.query("CREATE TABLE owned (a int)")
    try:
        postgres.query(f"ALTER TABLE owned OWNER TO {quoted(name)}")
        role.delete(name, state)
        assert postgres.query("SELECT tableowner FROM pg_tables WHERE tablename = 'owned'") == [("boss",)]
    finally:
        postgres.query("DROP TABLE owned")


# --- Database --------------------------------------------------------------------------------------------------------
def test_a_database_is_made_read_changed_and_taken_away(database: Any, role: Any, postgres: Any, name: str) -> None:
    role.create(role.checked(name=name))
    inputs = database.checked(name=name, owner=name, template="template0", encoding="UTF8", lcCollate="C", lcCtype="C")
    resource_id, state = database.create(inputs)
    assert resource_id == name and database.diff(state, inputs).detailed_diff == {}
    read = database.read(name, state, inputs)
    assert state_of(read) == state and {key: plain(value) for key, value in read.inputs.items()} == inputs
    columns = "pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype"
    query = f"SELECT {columns} FROM pg_database WHERE datname = '{name}'"
    assert postgres.query(query) == [(name, "UTF8", "C", "C")]

    postgres.query(f"ALTER DATABASE {quoted(name)} OWNER TO boss")
    drifted = state_of(database.read(name, state, inputs))
    assert list(database.diff(drifted, inputs).detailed_diff) == ["owner"]
    changed = database.update(drifted, inputs, id=name)
    assert postgres.query(query) == [(name, "UTF8", "C", "C")] and changed["owner"] == name

    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="boss", password=postgres.password, dbname=name
    ) as session:
        database.delete(name, changed)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert database.read(name, state, inputs).resource_id == ""


def test_a_database_without_wishes(database: Any, postgres: Any, name: str) -> None:
    _, state = database.create(database.checked(name=name))
    expected = {"owner": "boss", "template": "template0", "encoding": "UTF8"}
    assert {key: state[key] for key in expected} == expected
    with pytest.raises(ProviderError, match=r'^error creating database ".*": database ".*" already exists$'):
        database.create(database.checked(name=name))
