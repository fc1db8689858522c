"""Emulated `postgresql` provider: Role, Database and Grant (on databases).

Behaves as pulumi-postgresql 3.18, which bridges terraform-provider-postgresql (cyrilgdn). What a change does:

    Role: everything in place, at once.
    Database, replaced: template encoding lcCollate lcCtype; in place: owner tablespaceName connectionLimit
        allowConnections isTemplate.
    Grant, replaced (deleted first): role database objectType withGrantOption; in place: privileges.

As there, too:

- a Grant takes all of the role's privileges on the database and gives the listed ones, in one transaction; with none
  listed it only takes. Its delete takes, and gives nothing back: what PUBLIC had before is not restored;
- a Role's delete first gives what the role owns in the provider's own database to the provider's user;
- a Database's delete ends its sessions first and lets no new one in;
- a password changed behind Pulumi's back is not seen while the server keeps SCRAM verifiers.

Unlike there, the plain password never reaches the server: the client library makes the verifier, so that no log of the
server can hold it. Renaming a role or a database in place is refused.
"""

from __future__ import annotations

import hashlib
import os
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
    strings,
)

if TYPE_CHECKING:
    from psycopg import Connection, Error, sql
    from psycopg.rows import TupleRow

ROLE = "postgresql:index/role:Role"
DATABASE = "postgresql:index/database:Database"
GRANT = "postgresql:index/grant:Grant"

DATABASE_PRIVILEGES = ("ALL", "CREATE", "CONNECT", "TEMPORARY")

PUBLIC = "public"

CONFIG: Schema = {
    "scheme": Prop(validate=not_implemented_unless("postgres")),
    "host": Prop(),
    "port": Prop("integer"),
    "database": Prop(),
    "username": Prop(),
    "password": Prop(),
    "databaseUsername": Prop(),
    "superuser": Prop("boolean"),
    "sslmode": Prop(validate=one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    "sslrootcert": Prop(),
    "connectTimeout": Prop("integer", validate=at_least(-1)),
    "maxConnections": Prop("integer", validate=at_least(-1)),
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

    def _setting(self, key: str, variable: str, default: Any = None) -> Any:
        value = self._config.get(key)
        return value if value is not None else os.environ.get(variable) or default

    @property
    def user(self) -> str:
        """The role that owns what has no other owner."""
        return str(self._config.get("databaseUsername") or self._setting("username", "PGUSER", "postgres"))

    @property
    def reads_passwords(self) -> bool:
        """Whether the provider's user may read pg_shadow."""
        return str(self._setting("superuser", "PGSUPERUSER", True)).lower() not in ("false", "0")

    @contextmanager
    def connect(self, database: str | None = None, *, transaction: bool = False) -> Iterator[Connection[TupleRow]]:
        """A connection to `database` (unset: the provider's own). Raises ProviderError, never with the password."""
        import psycopg

        host = self._setting("host", "PGHOST")
        if not host:
            raise ProviderError("the postgresql provider has no host: set it on the provider or in PGHOST")
        if ":" in host and not host.startswith("["):  # it puts the host into a URL as it is
            raise ProviderError(f"the postgresql provider's host {host}: an IPv6 address belongs in brackets")
        password = self._setting("password", "PGPASSWORD")
        timeout = int(self._setting("connectTimeout", "PGCONNECT_TIMEOUT", 180))
        options = {
            "host": host.strip("[]"),
            "port": self._setting("port", "PGPORT", 5432),
            "user": self._setting("username", "PGUSER", "postgres"),
            "password": password,
            "dbname": database or self._setting("database", "PGDATABASE", "postgres"),
            "sslmode": self._setting("sslmode", "PGSSLMODE"),
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
    "inherit": "INHERIT",
    "login": "LOGIN",
    "replication": "REPLICATION",
    "bypassRowLevelSecurity": "BYPASSRLS",
}

_ROLE_QUERY = """
SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolcanlogin, rolreplication, rolbypassrls,
       rolconnlimit, coalesce(rolvaliduntil::text, 'infinity'), coalesce(rolconfig, '{}'::text[]),
       ARRAY(SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1)
FROM pg_roles WHERE rolname = %s
"""


def _no_search_path_separator(values: list[Any]) -> str | None:
    bad = [value for value in values if ", " in value]
    return f"has {bad[0]!r}: a schema in it cannot contain ', '" if bad else None


class Role(Resource):
    """postgresql:index/role:Role."""

    schema: ClassVar[Schema] = {
        "name": Prop(required=True),
        "password": Prop(),
        "superuser": Prop("boolean", default=False),
        "createDatabase": Prop("boolean", default=False),
        "createRole": Prop("boolean", default=False),
        "inherit": Prop("boolean", default=True),
        "login": Prop("boolean", default=False),
        "replication": Prop("boolean", default=False),
        "bypassRowLevelSecurity": Prop("boolean", default=False),
        "connectionLimit": Prop("integer", default=-1, validate=at_least(-1)),
        "encryptedPassword": Prop("boolean", default=True, validate=not_implemented_unless(True)),
        "validUntil": Prop(default="infinity"),
        "roles": strings("set"),
        "searchPaths": Prop("list", of=Prop(), validate=_no_search_path_separator),
        "skipDropRole": Prop("boolean", default=False),
        "skipReassignOwned": Prop("boolean", default=False),
    }

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """CREATE ROLE with everything in one transaction."""
        name = inputs["name"]
        with self._server.connect(transaction=True) as connection, failing(f"error creating role {name}"):
            options = [self._password(connection, name, inputs["password"])] if inputs.get("password") else []
            options += [self._valid_until(inputs["validUntil"]), self._limit(inputs["connectionLimit"])]
            options += [self._flag(key, inputs[key]) for key in _ROLE_FLAGS]
            connection.execute(_statement("CREATE ROLE {} WITH {}", _identifier(name), _joined(options)))
            self._grant(connection, name, inputs.get("roles", []))
            self._search_path(connection, name, inputs.get("searchPaths", []))
        return self._found(name, inputs)

    def _found(self, name: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        found = self.read(name, state)
        if found is None:
            raise ProviderError(f"role {name} was made and is gone again")
        return found

    @staticmethod
    def _flag(key: str, value: bool) -> sql.Composable:
        from psycopg import sql

        return sql.SQL("" if value else "NO") + sql.SQL(_ROLE_FLAGS[key])

    @staticmethod
    def _limit(value: int) -> sql.Composable:
        return _statement("CONNECTION LIMIT {}", _number(value))

    @staticmethod
    def _valid_until(value: str) -> sql.Composable:
        return _statement("VALID UNTIL {}", "infinity" if value.lower() in ("", "infinity") else value)

    @staticmethod
    def _password(connection: Connection[TupleRow], name: str, password: str) -> sql.Composable:
        """PASSWORD with a verifier made here; one that is a verifier already, or NULL, goes as it is."""
        if password.upper() == "NULL":
            return _statement("PASSWORD NULL")
        if not password.startswith(("md5", "SCRAM-SHA-256$")):
            password = connection.pgconn.encrypt_password(password.encode(), name.encode()).decode()
        return _statement("PASSWORD {}", password)

    @staticmethod
    def _grant(connection: Connection[TupleRow], name: str, roles: Sequence[str]) -> None:
        for role in roles:
            connection.execute(_statement("GRANT {} TO {}", _identifier(role), _identifier(name)))

    @staticmethod
    def _search_path(connection: Connection[TupleRow], name: str, path: Sequence[str]) -> None:
        from psycopg import sql

        value = sql.SQL(", ").join(map(_identifier, path)) if path else sql.SQL("DEFAULT")
        connection.execute(_statement("ALTER ROLE {} SET search_path TO {}", _identifier(name), value))

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The role as pg_roles has it."""
        with self._server.connect() as connection, failing("error reading ROLE"):
            row = connection.execute(_ROLE_QUERY, [resource_id]).fetchone()
            if row is None:
                return None
            name, superuser, creates_dbs, creates_roles, inherits, login, replication, bypasses = row[:8]
            limit, valid_until, config, roles = row[8:]
            password = state.get("password")
            if login and self._server.reads_passwords:
                password = self._stored_password(connection, name, password or "")
        path: list[str] = next(
            (item.partition("=")[2].split(", ") for item in config if item.startswith("search_path=")), []
        )
        return name, {
            **state,
            "name": name,
            "password": password,
            "superuser": superuser,
            "createDatabase": creates_dbs,
            "createRole": creates_roles,
            "inherit": inherits,
            "login": login,
            "replication": replication,
            "bypassRowLevelSecurity": bypasses,
            "connectionLimit": limit,
            "encryptedPassword": True,
            "validUntil": valid_until,
            "roles": roles,
            "searchPaths": [item.strip('"') for item in path],
            "skipDropRole": state.get("skipDropRole", False),
            "skipReassignOwned": state.get("skipReassignOwned", False),
        }

    def _stored_password(self, connection: Connection[TupleRow], name: str, password: str) -> str:
        """`password`, as long as the server's verifier may be of it; else the verifier, which shows as a change."""
        superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        if not (superuser and superuser[0]):
            raise ProviderError(
                f"could not read role password from Postgres as connected user {self._server.user} is not a "
                "SUPERUSER. You can set `superuser = false` in the provider configuration so it will not try to read "
                "the password from Postgres"
            )
        row = connection.execute("SELECT coalesce(passwd, '') FROM pg_shadow WHERE usename = %s", [name]).fetchone()
        stored = str(row[0]) if row else ""
        if not password or password.startswith(("md5", "SCRAM-SHA-256")):
            return stored
        if stored.startswith("SCRAM-SHA-256"):
            return password
        # The server's own format (md5), not a choice made here.
        if stored == "md5" + hashlib.md5((password + name).encode(), usedforsecurity=False).hexdigest():
            return password
        return stored

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """ALTER ROLE with what has changed, in one transaction."""
        name = new["name"]
        if "name" in changed:
            raise _no_rename("role", resource_id, name)
        with self._server.connect(transaction=True) as connection, failing(f"error updating role {name}"):
            options: list[sql.Composable] = [self._flag(key, new[key]) for key in _ROLE_FLAGS if key in changed]
            if "password" in changed and new.get("password"):
                options.append(self._password(connection, name, new["password"]))
            if "connectionLimit" in changed:
                options.append(self._limit(new["connectionLimit"]))
            if "validUntil" in changed:
                options.append(self._valid_until(new["validUntil"]))
            if options:
                connection.execute(_statement("ALTER ROLE {} WITH {}", _identifier(name), _joined(options)))
            if "roles" in changed:
                for role in old.get("roles", []):
                    connection.execute(_statement("REVOKE {} FROM {}", _identifier(role), _identifier(name)))
                self._grant(connection, name, new.get("roles", []))
            if "searchPaths" in changed:
                self._search_path(connection, name, new.get("searchPaths", []))
        return self._found(name, new)[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Gives away what it owns, then drops it."""
        name, user = state["name"], self._server.user
        role = _identifier(name)
        with self._server.connect(transaction=True) as connection:
            if not state.get("skipReassignOwned"):
                with failing(f"could not reassign owned by role {name} to {user}"):
                    connection.execute(_statement("REASSIGN OWNED BY {} TO {}", role, _identifier(user)))
                with failing(f"could not drop owned by role {name}"):
                    connection.execute(_statement("DROP OWNED BY {}", role))
            if not state.get("skipDropRole"):
                with failing(f"could not delete role {name}"):
                    connection.execute(_statement("DROP ROLE {}", role))


def _joined(options: Sequence[sql.Composable]) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(" ").join(options)


def _number(value: int) -> sql.Literal:
    from psycopg import sql

    return sql.Literal(value)


def _no_rename(kind: str, old: str, new: str) -> ProviderError:
    return ProviderError(f"renaming {kind} {old} to {new} in place is not implemented by the lab's emulated plugin")


# --- Database --------------------------------------------------------------------------------------------------------
_DATABASE_QUERY = """
SELECT d.datname, pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, ts.spcname,
       d.datconnlimit, d.datallowconn, d.datistemplate
FROM pg_database d JOIN pg_tablespace ts ON d.dattablespace = ts.oid WHERE d.datname = %s
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
        "tablespaceName": Prop(computed=True),
        "connectionLimit": Prop("integer", default=-1, validate=at_least(-1)),
        "allowConnections": Prop("boolean", default=True),
        "isTemplate": Prop("boolean", computed=True),
        "alterObjectOwnership": Prop("boolean", default=False, validate=not_implemented_unless(False)),
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
        if inputs.get("tablespaceName"):
            options.append(_statement("TABLESPACE {}", _word_or_name(inputs["tablespaceName"])))
        options += [
            _statement("ALLOW_CONNECTIONS {}", inputs["allowConnections"]),
            _statement("CONNECTION LIMIT {}", _number(inputs["connectionLimit"])),
            _statement("IS_TEMPLATE {}", inputs.get("isTemplate", False)),
        ]
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
        names = ("name", "owner", "encoding", "lcCollate", "lcCtype", "tablespaceName")
        flags = ("connectionLimit", "allowConnections", "isTemplate")
        found = dict(zip((*names, *flags), row, strict=True))
        template = state.get("template") or "template0"
        return row[0], {"alterObjectOwnership": False, **state, **found, "template": template}

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """ALTER DATABASE, one statement a change."""
        name = new["name"]
        if "name" in changed:
            raise _no_rename("database", resource_id, name)
        database = _identifier(name)
        with self._server.connect() as connection, failing(f'error updating database "{name}"'):
            if "owner" in changed and new.get("owner"):
                connection.execute(_statement("ALTER DATABASE {} OWNER TO {}", database, _identifier(new["owner"])))
            if "tablespaceName" in changed:
                space = _word_or_name(new["tablespaceName"])
                connection.execute(_statement("ALTER DATABASE {} SET TABLESPACE {}", database, space))
            if "connectionLimit" in changed:
                limit = _number(new["connectionLimit"])
                connection.execute(_statement("ALTER DATABASE {} CONNECTION LIMIT = {}", database, limit))
            for key, word in (("allowConnections", "ALLOW_CONNECTIONS"), ("isTemplate", "IS_TEMPLATE")):
                if key in changed:
                    connection.execute(_statement(f"ALTER DATABASE {{}} {word} {{}}", database, new[key]))
        found = self.read(name, new)
        if found is None:
            raise ProviderError(f'database "{name}" is gone')
        return found[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Lets nobody in, ends the sessions, drops it."""
        name = state["name"]
        database = _identifier(name)
        with self._server.connect() as connection:
            if state.get("isTemplate"):
                with failing("error updating database IS_TEMPLATE during DROP DATABASE"):
                    connection.execute(_statement("ALTER DATABASE {} IS_TEMPLATE false", database))
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


# --- Grant -----------------------------------------------------------------------------------------------------------
_GRANT_QUERY = """
SELECT coalesce(array_agg(privilege_type ORDER BY privilege_type), '{}'::text[])
FROM (SELECT (aclexplode(datacl)).* FROM pg_database WHERE datname = %s) AS privileges WHERE grantee = %s
"""


class Grant(Resource):
    """postgresql:index/grant:Grant, of privileges on a database."""

    schema: ClassVar[Schema] = {
        "role": Prop(required=True, replace=True),
        "database": Prop(required=True, replace=True),
        "objectType": Prop(required=True, replace=True, validate=not_implemented_unless("database")),
        "privileges": Prop("set", required=True, of=Prop(validate=one_of(*DATABASE_PRIVILEGES))),
        "withGrantOption": Prop("boolean", default=False, replace=True),
    }
    autonamed = False

    def __init__(self, server: Server) -> None:
        self._server = server

    def delete_before_replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Always, as pulumi-postgresql says of it."""
        return True

    @staticmethod
    def _role(name: str) -> sql.Composable:
        from psycopg import sql

        # The real provider quotes it and PostgreSQL knows PUBLIC by the quoted lower-case name as well.
        return sql.Identifier(name)

    def _apply(self, state: Mapping[str, Any], privileges: Sequence[str]) -> None:
        """REVOKE ALL, then GRANT these, in one transaction in the database itself."""
        from psycopg import sql

        database, role = state["database"], state["role"]
        with self._server.connect(database, transaction=True) as connection:
            connection.execute(
                "SELECT pg_advisory_xact_lock(oid::bigint) FROM pg_database WHERE datname = %s", [database]
            )
            names = (_identifier(database), self._role(role))
            with failing("could not execute revoke query"):
                connection.execute(_statement("REVOKE ALL PRIVILEGES ON DATABASE {} FROM {}", *names))
            if not privileges:
                return
            words = sql.SQL(", ").join(sql.SQL(word) for word in privileges)
            option = " WITH GRANT OPTION" if state.get("withGrantOption") else ""
            with failing(f"could not grant privileges on database {database} to {role}"):
                connection.execute(_statement("GRANT {} ON DATABASE {} TO {}" + option, words, *names))

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Takes everything, gives what is listed."""
        for privilege in inputs["privileges"]:
            if privilege not in DATABASE_PRIVILEGES:
                raise ProviderError(f"{privilege} is not an allowed privilege for object type database")
        self._apply(inputs, inputs["privileges"])
        found = self.read("", inputs)
        if found is None:
            raise ProviderError(f"role {inputs['role']} or database {inputs['database']} is gone")
        return found

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The role's privileges as the database's ACL has them; None without the role or the database."""
        database, role = state["database"], state["role"]
        with self._server.connect() as connection, failing(f"could not read privileges for database {database}"):
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                return None
            oid = 0
            if role != PUBLIC:
                row = connection.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [role]).fetchone()
                if row is None:
                    return None
                oid = row[0]
            row = connection.execute(_GRANT_QUERY, [database, oid]).fetchone()
        granted = list(row[0]) if row else []
        wanted = state.get("privileges", [])
        everything = sorted(word for word in DATABASE_PRIVILEGES if word != "ALL")
        if sorted(granted) == sorted(wanted) or ("ALL" in wanted and sorted(granted) == everything):
            granted = wanted
        return f"{role}_{database}_{state['objectType']}", {**state, "privileges": granted}

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """As create."""
        return self.create(new)[1]

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Takes everything; gives nothing back."""
        self._apply(state, [])


# --- the provider ----------------------------------------------------------------------------------------------------
class PostgresqlProvider(BridgedProvider):
    """The provider."""

    name = "postgresql"
    config_schema: ClassVar[Schema] = CONFIG

    def __init__(self) -> None:
        super().__init__()
        server = Server(self.config)
        self.resources = {ROLE: Role(server), DATABASE: Database(server), GRANT: Grant(server)}


def main() -> None:
    """Runs the plugin; the engine's address is the first argument."""
    serve(PostgresqlProvider(), "pulumi_postgresql")


if __name__ == "__main__":
    main()
