"""A Postgres of the tests' own (Debian's binaries, a socket in a temporary folder, no TCP) and a `docker` on PATH whose
`exec` runs the command against it: the container's `psql` and `pg_dump` are the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host_programs.container_json import inspected

DOCKER = r"""#!/bin/bash
# docker exec [-i] [-u 65534:65534] CONTAINER COMMAND…; FAIL_DUMP=database, or that in the file fail_dump beside this:
# pg_dump of it writes something and fails; FAIL_RESTORE=database: pg_restore into it fails; SLOW=program: it takes for
# ever
# docker container inspect matrix-postgres: STUB_STATUS, default running
if [[ "$*" == "container inspect matrix-postgres" ]]; then
  sed "s/STATUS/${STUB_STATUS:-running}/" "${0%/*}/inspect.json"
  exit
fi
if [[ "$*" == "container inspect"* ]]; then
  echo "Error: No such container: $3" >&2
  exit 1
fi
[[ $1 == exec ]] || { echo "stub docker: $1?" >&2; exit 64; }
shift
[[ $1 == -i ]] && shift
nobody=()
if [[ $1 == -u && $2 == 65534:65534 ]]; then
  [[ $EUID != 0 ]] || nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  shift 2
fi
[[ $1 == matrix-postgres ]] || { echo "Error: No such container: $1" >&2; exit 1; }
shift
failing=${FAIL_DUMP-$(cat "${0%/*}/fail_dump" 2>/dev/null)}
if [[ $1 == pg_dump && "${*: -1}" == "$failing" ]]; then
  echo "-- PostgreSQL database dump"
  echo "pg_dump: error: gone" >&2
  exit 1
fi
if [[ $1 == pg_restore && "${*: -1}" == "${FAIL_RESTORE-}" ]]; then
  echo "pg_restore: error: could not write: No space left on device" >&2
  exit 1
fi
[[ $1 != "${SLOW-}" ]] || exec sleep 600
export PGHOST="${STUB_PGHOST:-${0%/*}/..}"
exec "${nobody[@]}" "$@"
"""


@dataclass
class Postgres:
    socket: Path
    tools: Path

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(self.socket),
            "STUB_PGHOST": str(self.socket),
            **more,
        }

    def sql(self, statements: str, database: str = "postgres", user: str = "synapse") -> list[str]:
        done = subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.socket), "-U", user, "-d", database],
            input=statements, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        return done.stdout.splitlines()

    def databases(self) -> set[str]:
        return set(self.sql("SELECT datname FROM pg_database WHERE NOT datistemplate;")) - {"postgres"}


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.fail("Postgres' programs are not installed: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A running server with superuser synapse, databases synapse (with rows) and mas."""
    binaries = _binaries()
    home = Path(tempfile.mkdtemp(prefix="pg-test-"))
    home.chmod(0o755)  # as a container's socket is: nobody reaches it, too
    as_user: list[str] = []
    if os.geteuid() == 0:  # Postgres refuses to run as root
        shutil.chown(home, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", f"HOME={home}"]
    data = home / "data"

    def ran(*words: str) -> None:
        with (home / "said").open("w+") as said:
            if subprocess.run([*as_user, *words], stdout=said, stderr=said, cwd=home, check=False).returncode:
                said.seek(0)
                pytest.fail(f"{words[0]}: {said.read()}")

    try:
        ran(str(binaries / "initdb"), "-D", str(data), "-U", "synapse", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
        settings = f"-c listen_addresses='' -c fsync=off -k {home}"
        ran(str(binaries / "pg_ctl"), "-D", str(data), "-o", settings, "-w", "-s", "start")
        tools = home / "tools"
        tools.mkdir()
        (tools / "docker").write_text(DOCKER)
        (tools / "docker").chmod(0o755)
        (tools / "inspect.json").write_text(inspected("STATUS"))
        server = Postgres(home, tools)
        server.sql("CREATE DATABASE synapse; CREATE ROLE mas LOGIN; CREATE DATABASE mas OWNER mas;")
        server.sql("CREATE TABLE users (name text); INSERT INTO users VALUES ('@matt:echo6.co');", "synapse")
        yield server
    finally:
        if (data / "postmaster.pid").exists():
            ran(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "-s", "stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def bridge_database(postgres: Postgres) -> Iterator[Postgres]:
    """The server with the bridge's role and its database, which has two tables."""
    postgres.sql("CREATE ROLE mautrix_signal LOGIN NOSUPERUSER;")
    postgres.sql(
        "CREATE DATABASE mautrix_signal OWNER mautrix_signal TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C';"
    )
    postgres.sql(
        "CREATE TABLE portal (id text PRIMARY KEY, name text); CREATE TABLE crypto (key bytea);"
        "CREATE TABLE version (version int, compat int); INSERT INTO version VALUES (25, 9);"
        "CREATE TABLE crypto_version (version int); INSERT INTO crypto_version VALUES (11);"
        "INSERT INTO portal SELECT 'p' || n, E'a\\\\b\\n' || n FROM generate_series(1, 500) n;",
        "mautrix_signal",
        "mautrix_signal",
    )
    yield postgres
    postgres.sql("DROP DATABASE IF EXISTS mautrix_signal_restore_check;")
    postgres.sql("DROP DATABASE IF EXISTS mautrix_signal WITH (FORCE);")
    postgres.sql("DROP ROLE IF EXISTS mautrix_signal;")
