"""What the tests of the emulated plugins share: a Pulumi workspace, a Postgres cluster, an image.

Needed from Debian: postgresql-15, busybox-static, and a running Docker engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckRequest,
    ConfigureRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    Provider,
    ReadRequest,
    UpdateRequest,
)

from lab import which_pulumi
from lab.plugins import NAMES, wrapper
from lab.plugins.base import plain, wrap_map
from lab.pulumi_cli import cli

CHECKOUT = Path(__file__).resolve().parents[2]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@dataclass
class Direct:
    """Calls a provider's methods as the engine does, with plain Python values in and out."""

    provider: Provider
    type: str
    name: str = "it"

    @property
    def urn(self) -> str:
        return f"urn:pulumi:dev::test::{self.type}::{self.name}"

    def configure(self, **settings: Any) -> None:
        run(self.provider.configure(ConfigureRequest({}, wrap_map(settings), True, True)))

    def check_raw(self, inputs: dict[str, PropertyValue]) -> Any:
        return run(self.provider.check(CheckRequest(self.urn, {}, inputs, bytes(range(32)))))

    def problems(self, **inputs: Any) -> list[str]:
        """What `check` refuses, as "property reason"."""
        found = self.check_raw(wrap_map(inputs)).failures or []
        return [f"{failure.property} {failure.reason}" for failure in found]

    def checked(self, **inputs: Any) -> dict[str, Any]:
        """The inputs after a `check` that must pass."""
        assert self.problems(**inputs) == []
        return {key: plain(value) for key, value in self.check_raw(wrap_map(inputs)).inputs.items()}

    def diff(self, old: dict[str, Any], new: dict[str, Any], ignore: tuple[str, ...] = ()) -> DiffResponse:
        request = DiffRequest(self.urn, "id", wrap_map(old), wrap_map(new), list(ignore))
        response: DiffResponse = run(self.provider.diff(request))
        return response

    def create_raw(self, inputs: dict[str, PropertyValue], *, preview: bool = False) -> Any:
        return run(self.provider.create(CreateRequest(self.urn, inputs, 0, preview)))

    def create(self, inputs: dict[str, Any], *, preview: bool = False) -> tuple[str, dict[str, Any]]:
        response = self.create_raw(wrap_map(inputs), preview=preview)
        return response.resource_id, {key: plain(value) for key, value in response.properties.items()}

    def update(self, old: dict[str, Any], new: dict[str, Any], *, id: str = "id", preview: bool = False) -> Any:
        request = UpdateRequest(self.urn, id, wrap_map(old), wrap_map(new), 0, [], preview)
        return {key: plain(value) for key, value in run(self.provider.update(request)).properties.items()}

    def read(self, resource_id: str, state: dict[str, Any], inputs: dict[str, Any] | None = None) -> Any:
        return run(self.provider.read(ReadRequest(self.urn, resource_id, wrap_map(state), wrap_map(inputs or {}))))

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        run(self.provider.delete(DeleteRequest(self.urn, resource_id, wrap_map(state), 0)))


@dataclass
class Workspace:
    """A Pulumi project in a temporary directory, with the emulated plugins on PATH and a file backend."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        binaries, backend = self.folder / "bin", self.folder / "backend"
        binaries.mkdir(parents=True)
        backend.mkdir()
        for name in NAMES:
            executable = binaries / f"pulumi-resource-{name}"
            executable.write_text(wrapper(name, Path(sys.executable), CHECKOUT))
            executable.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{binaries}:{which_pulumi.path_with_pulumi()}",
            "VIRTUAL_ENV": str(which_pulumi.VENV),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{backend}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
        }
        (self.folder / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
        self.pulumi("stack", "init", "dev")

    def program(self, text: str) -> None:
        """Writes the program; it may use `import pulumi`."""
        (self.folder / "__main__.py").write_text("import pulumi\n" + textwrap.dedent(text))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs the CLI, which must succeed, or fail with `fails`; returns all that it printed."""
        command = [cli(), *arguments, "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def up(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails)

    def outputs(self) -> dict[str, Any]:
        command = [cli(), "stack", "output", "--json", "--show-secrets"]
        shown = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, check=True)
        outputs: dict[str, Any] = json.loads(shown.stdout)
        return outputs

    def state(self) -> str:
        """The state file, secrets encrypted."""
        return (self.folder / "backend/.pulumi/stacks/test/dev.json").read_text()

    def is_empty(self) -> bool:
        return not json.loads(self.state())["checkpoint"]["latest"].get("resources")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    space = Workspace(tmp_path / "project")
    yield space
    if space.is_empty():
        return
    subprocess.run(  # whatever a failed test has left is taken away
        [cli(), "destroy", "--yes", "--skip-preview", "--non-interactive"],
        cwd=space.folder,
        env=space.environment,
        capture_output=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- Postgres --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Postgres:
    """A running private cluster; the superuser is `boss`."""

    port: int
    folder: Path
    password: str = "boss's p@ss/word"

    @property
    def settings(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "username": "boss", "password": self.password}

    def query(self, statement: str, *, database: str = "postgres", **login: str) -> list[tuple[Any, ...]]:
        import psycopg

        where = {"host": "127.0.0.1", "port": str(self.port), "dbname": database}
        login = {**where, "user": "boss", "password": self.password, **login}
        with psycopg.connect(psycopg.conninfo.make_conninfo(**login), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    binaries = Path("/usr/lib/postgresql/15/bin")
    assert binaries.is_dir(), "Debian's package postgresql-15 is needed"
    folder = Path(tempfile.mkdtemp(prefix="plugins-pg-"))
    cluster, port = Postgres(free_port(), folder), 0
    port = cluster.port
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}
    secret = folder / "secret"
    secret.write_text(cluster.password)
    secret.chmod(0o644)

    def tool(name: str, *arguments: str) -> None:
        subprocess.run([binaries / name, *arguments], check=True, stdout=subprocess.DEVNULL, **as_user)

    data = str(folder / "data")
    initdb = ["--username=boss", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "-N"]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    tool("initdb", f"--pgdata={data}", *initdb)
    try:
        tool("pg_ctl", "start", "-w", "-D", data, "-l", str(folder / "log"), "-o", options)
        yield cluster
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            tool("pg_ctl", "stop", "-D", data, "-m", "immediate")
        shutil.rmtree(folder)


# --- Docker ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sandbox:
    """Names of this run's own image, network and containers, and the Docker client."""

    api: Any
    prefix: str

    @property
    def image(self) -> str:
        return f"{self.prefix}:1"

    @property
    def network(self) -> str:
        return f"{self.prefix}-net"

    def name(self, short: str) -> str:
        return f"{self.prefix}-{short}"

    def inspect(self, short: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.inspect_container(self.name(short))
        return found

    def exists(self, short: str) -> bool:
        return bool(self.api.containers(all=True, filters={"name": f"^/{self.name(short)}$"}))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    from docker.api.client import APIClient
    from docker.errors import APIError

    busybox = shutil.which("busybox")
    assert busybox, "Debian's package busybox-static is needed"
    box = Sandbox(APIClient(version="auto"), f"plugintest-{uuid.uuid4().hex[:8]}")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(Path(busybox).resolve(), "bin/busybox")
        for applet in ("sh", "sleep", "true", "test", "touch", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("tmp", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
    done = subprocess.run(["docker", "import", "-", box.image], input=archive.getvalue(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    box.api.create_network(box.network, driver="bridge")
    try:
        yield box
    finally:
        for container in box.api.containers(all=True, filters={"name": f"^/{box.prefix}-"}):
            box.api.remove_container(container["Id"], force=True, v=True)
        box.api.remove_network(box.network)
        for image in box.api.images(name=box.prefix):
            for tag in image["RepoTags"] or []:
                with contextlib.suppress(APIError):
                    box.api.remove_image(tag)


@pytest.fixture
def direct() -> Callable[..., Direct]:
    """Makes the direct way to a provider's resource type."""
    return Direct
