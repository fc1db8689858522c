"""Emulated `postgresql` provider: Role and Database, with the inputs that the program uses.

Behaves as pulumi-postgresql 3.18, which bridges terraform-provider-postgresql (cyrilgdn). What a change does:

    Role: login superuser createDatabase createRole in place, at once.
    Database, replaced: template encoding lcCollate lcCtype; in place: owner.

As the real provider:

- a Role's delete first hands the provider's user what the role owns in the database of the settings;
- a Database's delete ends its sessions first and lets no new one in.

Unlike the real provider:

- the setting `host` is required, and so is `superuser: false`; with any other value the real one reads passwords;
- renaming a role or a database in place is refused;
- drift is seen in the inputs above alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from lab.plugins.base import (
    BridgedProvider,
    Prop,
    ProviderError,
    Resource,
    Schema,
    at_least,
    not_implemented_unless,
    one_of,
    serve,
)

if TYPE_CHECKING:
    from psycopg import Connection, Error, sql
    from psycopg.rows import TupleRow

ROLE = "postgresql:index/role:Role"
DATABASE = "postgresql:index/database:Database"

CONFIG: Schema = {
    "host": Prop(required=True),
    "port": Prop("integer"),
    "database": Prop(),
    "username": Prop(),
    "password": Prop(),
    "superuser": Prop("boolean", required=True, validate=not_implemented_unless(False)),
    "sslmode": Prop(validate=one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    "sslrootcert": Prop(),
    "connectTimeout": Prop("integer", validate=at_least(-1)),
}


def said(error: Error) -> str:
    """What the server said, without the statement it said it of."""
    diagnostics = error.diag
    message = diagnostics.message_primary or str(error).strip().split("\n")[0]
    return f"{message} ({diagnostics.message_detail})" if diagnostics.message_detail else message


class Server:
    """The database server of the provider's settings. One connection an operation, as in the real provider."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    @property
    def user(self) -> str:
        """The role that owns what has no other owner."""
        return str(self._config.get("username", "postgres"))

    @contextmanager
    def connect(self, *, transaction: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection to the database of the settings. Raises ProviderError, never with the password."""
        import psycopg

        host = self._config["host"]
        if ":" in host and not host.startswith("["):  # it puts the host into a URL as it is
            raise ProviderError(f"the postgresql provider's host {host}: an IPv6 address belongs in brackets")
        password = self._config.get("password")
        timeout = self._config.get("connectTimeout", 180)
        options = {
            "host": host.strip("[]"),
            "port": self._config.get("port", 5432),
            "user": self.user,
            "password": password,
            "dbname": self._config.get("database", "postgres"),
            "sslmode": self._config.get("sslmode"),
            "sslrootcert": self._config.get("sslrootcert"),
            "connect_timeout": timeout if timeout > 0 else None,
            "fallback_application_name": "pulumi",
        }
        try:
            connection = psycopg.connect(
                "", autocommit=not transaction, **{key: value for key, value in options.items() if value is not None}
            )
        except psycopg.Error as error:
            reason = str(error).strip()
            if password:
                reason = reason.replace(str(password), "XXXX")
            raise ProviderError(f"error connecting to PostgreSQL server {host} (scheme: postgres): {reason}") from None
        with connection:
            yield connection


@contextmanager
def failing(doing: str) -> Iterator[None]:
    """Turns what the server says within into a ProviderError that begins with `doing`."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise ProviderError(f"{doing}: {said(error)}") from None


def _identifier(name: str) -> sql.Identifier:
    from psycopg import sql

    return sql.Identifier(name)


def _statement(text: str, *parts: Any) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(text).format(*parts)  # each caller's text is a literal


# --- Role ------------------------------------------------------------------------------------------------------------
_ROLE_FLAGS = {
    "superuser": "SUPERUSER",
    "createDatabase": "CREATEDB",
    "createRole": "CREATEROLE",
    "login": "LOGIN",
}

_ROLE_QUERY = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolcanlogin FROM pg_roles WHERE rolname = %s"


class Role(Resource):
    """postgresql:index/role:Role."""

    schema: ClassVar[Schema] = {
        "name": Prop(required=True),
        **dict.fromkeys(_ROLE_FLAGS, Prop("boolean", default=False)),
    }

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """CREATE ROLE with all its flags."""
        name = inputs["name"]
        options = _joined([_flag(key, inputs[key]) for key in _ROLE_FLAGS])
        with self._server.connect() as connection, failing(f"error creating role {name}"):
            connection.execute(_statement("CREATE ROLE {} WITH {}", _identifier(name), options))
        found = self.read(name, inputs)
        if found is None:
            raise ProviderError(f"role {name} was made and is gone again")
        return found

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The role as pg_roles has it."""
        with self._server.connect() as connection, failing("error reading ROLE"):
            row = connection.execute(_ROLE_QUERY, [resource_id]).fetchone()
        if row is None:
            return None
        return row[0], {**state, **dict(zip(("name", *_ROLE_FLAGS), row, strict=True))}

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """ALTER ROLE with the flags that have changed, in one statement."""
        name = new["name"]
        if "name" in changed:
            raise _no_rename("role", resource_id, name)
        options = _joined([_flag(key, new[key]) for key in _ROLE_FLAGS if key in changed])
        with self._server.connect() as connection, failing(f"error updating role {name}"):
            connection.execute(_statement("ALTER ROLE {} WITH {}", _identifier(name), options))
        found = self.read(name, new)
        if found is None:
            raise ProviderError(f"role {name} is gone")
        return found[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Gives away what it owns, then drops it."""
        name, user = state["name"], self._server.user
        role = _identifier(name)
        with self._server.connect(transaction=True) as connection:
            with failing(f"could not reassign owned by role {name} to {user}"):
                connection.execute(_statement("REASSIGN OWNED BY {} TO {}", role, _identifier(user)))
            with failing(f"could not drop owned by role {name}"):
                connection.execute(_statement("DROP OWNED BY {}", role))
            with failing(f"could not delete role {name}"):
                connection.execute(_statement("DROP ROLE {}", role))


def _flag(key: str, value: bool) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("" if value else "NO") + sql.SQL(_ROLE_FLAGS[key])


def _joined(options: Sequence[sql.Composable]) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(" ").join(options)


def _no_rename(kind: str, old: str, new: str) -> ProviderError:
    return ProviderError(f"renaming {kind} {old} to {new} in place is not implemented by the lab's emulated plugin")


# --- Database --------------------------------------------------------------------------------------------------------
_DATABASE_QUERY = """
SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype
FROM pg_database WHERE datname = %s
"""


def _word_or_name(value: str) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("DEFAULT") if value.upper() == "DEFAULT" else sql.Identifier(value)


def _word_or_text(value: str) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("DEFAULT") if value.upper() == "DEFAULT" else sql.Literal(value)


class Database(Resource):
    """postgresql:index/database:Database."""

    schema: ClassVar[Schema] = {
        "name": Prop(required=True),
        "owner": Prop(computed=True),
        "template": Prop(computed=True, replace=True),
        "encoding": Prop(computed=True, replace=True),
        "lcCollate": Prop(computed=True, replace=True),
        "lcCtype": Prop(computed=True, replace=True),
    }

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """CREATE DATABASE; unset are template0, UTF8 and the provider's user as the owner."""
        name = inputs["name"]
        options = [
            _statement("OWNER {}", _identifier(inputs.get("owner") or self._server.user)),
            _statement("TEMPLATE {}", _word_or_name(inputs.get("template") or "template0")),
            _statement("ENCODING {}", _word_or_text(inputs.get("encoding") or "UTF8")),
        ]
        for key, word in (("lcCollate", "LC_COLLATE {}"), ("lcCtype", "LC_CTYPE {}")):
            if inputs.get(key):
                options.append(_statement(word, _word_or_text(inputs[key])))
        with self._server.connect() as connection, failing(f'error creating database "{name}"'):
            connection.execute(_statement("CREATE DATABASE {} {}", _identifier(name), _joined(options)))
        found = self.read(name, inputs)
        if found is None:
            raise ProviderError(f'database "{name}" was made and is gone again')
        return found

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The database as pg_database has it."""
        with self._server.connect() as connection, failing("error reading database"):
            row = connection.execute(_DATABASE_QUERY, [resource_id]).fetchone()
        if row is None:
            return None
        names = ("name", "owner", "encoding", "lcCollate", "lcCtype")
        found = dict(zip(names, row, strict=True))
        return row[0], {**state, **found, "template": state.get("template") or "template0"}

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """ALTER DATABASE OWNER."""
        name = new["name"]
        if "name" in changed:
            raise _no_rename("database", resource_id, name)
        database = _identifier(name)
        with self._server.connect() as connection, failing(f'error updating database "{name}"'):
            if "owner" in changed and new.get("owner"):
                connection.execute(_statement("ALTER DATABASE {} OWNER TO {}", database, _identifier(new["owner"])))
        found = self.read(name, new)
        if found is None:
            raise ProviderError(f'database "{name}" is gone')
        return found[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Lets nobody in, ends the sessions, drops it."""
        name = state["name"]
        database = _identifier(name)
        with self._server.connect() as connection:
            with failing("error blocking connections to database"):
                connection.execute(_statement("ALTER DATABASE {} ALLOW_CONNECTIONS false", database))
            with failing("error terminating database connections"):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = %s AND pid <> pg_backend_pid()",
                    [name],
                )
            force = " WITH (FORCE)" if connection.info.server_version >= 130000 else ""
            with failing("error dropping database"):
                connection.execute(_statement("DROP DATABASE {}" + force, database))


# --- the provider ----------------------------------------------------------------------------------------------------
class PostgresqlProvider(BridgedProvider):
    """The provider."""

    name = "postgresql"
    config_schema: ClassVar[Schema] = CONFIG

    def __init__(self) -> None:
        super().__init__()
        server = Server(self.config)
        self.resources = {ROLE: Role(server), DATABASE: Database(server)}


def main() -> None:
    """Runs the plugin; the engine's address is the first argument."""
    serve(PostgresqlProvider(), "pulumi_postgresql")


if __name__ == "__main__":
    main()
