"""A host with homeserver.yaml in a directory, registration files beside it, and a `docker` that executes its part for
Synapse's container here (stub_synapse.py), with a Synapse that is up or down with what the file holds."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from host_programs.files.files import OwnedFile
from host_programs.synapse import appservices
from host_programs.synapse.appservices import Appservices
from tests import facts
from tests.host_programs import programs

STACK = "mautrix-signal/contabo"
MARK = f"# pulumi stack {STACK}"
TOKEN = "as_0123456789abcdef0123456789abcdef"
SECRET = "macaroon-never-to-be-seen"
# CRLF, and no line break at the end
BEFORE = f"# ours, with care\r\nserver_name: echo6.co\r\nmacaroon_secret_key: '{SECRET}'\r\nreport_stats: no"


def _stub() -> Any:
    spec = importlib.util.spec_from_file_location("stub_synapse", Path(__file__).with_name("stub_synapse.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Host:
    """`texts`: of the registrations that the stack wants, by name; `more` and `server`: changes of the arguments, and
    of what they say of Synapse."""

    folder: Path
    synapse: Any
    texts: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "host/homeserver.yaml"

    @property
    def text(self) -> str:
        return self.file.read_bytes().decode()

    @property
    def arguments(self) -> Appservices:
        server = replace(
            facts.deployment().synapse,
            directory=str(self.folder / "host"),
            homeserver_file=str(self.file),
            data_mount=str(self.folder / "data"),
            url=self.synapse.url,
            deadline=2,
        )
        owner = os.geteuid(), os.getegid()
        arguments = Appservices(
            synapse=replace(server, **self.server),
            postgres=facts.deployment().postgres,
            stack=STACK,
            registrations=tuple(OwnedFile(str(self.path(name)), text, *owner) for name, text in self.texts.items()),
            experimental_features=("msc3202_transaction_extensions",),
            journal=str(self.folder / "bridge/.homeserver.json"),
            bridges=("mautrix-signal",),
        )
        return replace(arguments, **self.more)

    def run(self, verb: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            programs.command_of(getattr(appservices, verb), "-I"),
            input=programs.order_of(self.arguments),
            env={"PATH": f"{self.synapse.folder}:{os.environ['PATH']}", "http_proxy": "http://127.0.0.1:9/"},
            text=True,
            capture_output=True,
            cwd="/",
            check=False,
            **options,
        )

    def good(self, verb: str) -> dict[str, Any]:
        done = self.run(verb)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def bad(self, verb: str, **options: Any) -> str:
        done = self.run(verb, **options)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert "Traceback" not in done.stderr
        assert TOKEN not in done.stderr and SECRET not in done.stderr
        return done.stderr

    @property
    def restarts(self) -> int:
        return int(self.synapse.state["restarts"])

    def path(self, name: str) -> Path:
        return self.folder / "host" / name

    def want(self, name: str, token: str, stack: str = STACK) -> None:
        """The stack wants this registration."""
        head = f"# {name}, written by the Pulumi stack {stack}.\n"
        self.texts = {**self.texts, name: f"{head}id: {name}\nas_token: {token}\n"}

    def place(self, name: str, token: str) -> None:
        """Somebody else's registration is there."""
        self.path(name).write_text(f"id: {name}\nas_token: {token}\n")

    def put(self) -> None:
        """The registrations that the stack wants are there already, as it writes them."""
        for name, text in self.texts.items():
            self.path(name).write_text(text)
            self.path(name).chmod(0o600)
        self.old()

    @property
    def registrations(self) -> list[str]:
        """Names of the files beside homeserver.yaml."""
        return sorted(path.name for path in self.file.parent.iterdir() if path != self.file)

    def old(self) -> None:
        """All files older than Synapse's start."""
        for path in self.file.parent.iterdir():
            os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Nothing of the stack is there; it wants one bridge's registration and the one for double puppeting."""
    tmp_path.chmod(0o755)
    (tmp_path / "host").mkdir()
    os.chown(tmp_path / "host", 991, 991)  # Synapse's, as on a real host
    (tmp_path / "data").symlink_to("host")
    made = Host(tmp_path, _stub().StubSynapse(tmp_path / "bin", sys.executable))
    made.file.write_bytes(BEFORE.encode())
    made.want("registration.yaml", TOKEN)
    made.want("doublepuppet.yaml", f"{TOKEN}-2")
    made.synapse.set(watched=str(made.file))
    made.old()
    yield made
    made.synapse.close()
