"""Where one checkout's lab is, and what is remembered about it: names, paths, Pulumi config, the notes in lab.json."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets as random_secrets
import shutil
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab import host, images
from lab.engine import LabError
from lab.flavours import FLAVOURS, from_environment

ROOT = Path(__file__).resolve().parents[1]
LABEL = "mxlab.checkout"
PATH_LABEL = "mxlab.path"
# Below the ports that the kernel gives to outgoing connections, so that a free one stays free.
PORTS = range(18000, 28000)
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 * 1024**3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Notes:
    """What must be the same the next time; lab.json, mode 0600.

    `checkout`: path of the lab's home. `secrets`: by the names of host.SECRETS. `passphrase`: of Pulumi's secrets.
    `made`: hash of what the host was made from. `busy`: what a run is changing; still there when the run was killed.
    `salt`: the stack's encryption salt. `flavour`: the one that the host now has. `ssh_port`: of its SSH server, once
    it had one.
    """

    checkout: str
    synapse_port: int
    secrets: dict[str, str]
    passphrase: str
    made: str | None = None
    busy: str | None = None
    salt: str | None = None
    flavour: str = "plain"
    ssh_port: int = 0


class Place:
    """Names and paths of one lab, made from the directory whose .lab/ it lives in, and its notes.

    `home`: that directory: the checkout, or another one, whose lab stands beside it with this checkout's code.
    """

    def __init__(self, home: Path) -> None:
        self.root = ROOT
        self.home = home.resolve()
        self.flavour = from_environment()  # its name; `reset` lays it over the host
        self.dir = self.home / ".lab"
        self.checkout = checkout_hash(self.home)
        self.prefix = f"mxlab-{self.checkout}"
        self.network = f"{self.prefix}-net"
        self.synapse = self.container("synapse")
        self.postgres = self.container("postgres")
        self.mas = self.container("mas")
        self.bridge = self.container("signal")
        self.own_bridge_image = f"mxlab.local/{self.prefix}/signal:{images.BRIDGE_VERSION}"
        self.host_root = self.dir / "host"
        self.host_dir = self.host_root / "srv/matrix"
        self.config_file = self.dir / "Pulumi.lab.yaml"
        self.plugins_dir = self.dir / "plugins"
        self.state_dir = self.dir / "state"
        # In memory where there is enough: a disk's speed is not what the lab is for, and a reset removes thousands of
        # files, past which ext4 without a journal searches for each new one in the minutes after it.
        in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).total >= MEMORY_BYTES
        self.postgres_data = MEMORY / f"{self.prefix}-postgres" if in_memory else self.dir / "postgres"
        self.postgres_env = self.dir / "postgres.env"
        self.postgres_password = self.dir / "postgres.password"
        self.pristine = self.dir / "pristine"
        self.notes_file = self.dir / "lab.json"

    @property
    def synapse_url(self) -> str:
        """Where the host reaches Synapse's client-server API."""
        return f"http://127.0.0.1:{self.notes().synapse_port}"

    @property
    def bridge_image(self) -> str:
        """The image that the product deploys: an image of this checkout's own, or LAB_IMAGE_BRIDGE as it is.

        Its own, because `pulumi destroy` removes it by its id.
        """
        return os.environ.get("LAB_IMAGE_BRIDGE") or self.own_bridge_image

    @property
    def user_token(self) -> str:
        """An access token of @matt:echo6.co, known to the emulated MAS. A secret of the lab's, worth nothing."""
        return host.user_token(self.notes().secrets)

    @property
    def config(self) -> dict[str, object]:
        """The Pulumi config that is this checkout's own: key (without namespace) to value."""
        return {
            "network": self.network,
            "synapseContainer": self.synapse,
            "synapseDir": str(self.host_dir / "synapse"),
            "masContainer": self.mas,
            "masHosts": [f"{self.mas}:8080", "matrix.echo6.co"],
            "postgresContainer": self.postgres,
            "backupScript": str(self.host_dir / "scripts/pg_backup.sh"),
            "backupDir": str(self.host_root / "var/backups/mautrix-bridges"),
            "sharedDir": str(self.host_dir / "bridges"),
            **FLAVOURS[self.flavour].config(self.host_dir, self.prefix),
        }

    @property
    def own_bridge(self) -> dict[str, object]:
        """The entry of the setting bridges: Signal's, with this checkout's names."""
        return {
            "kind": "signal",
            "container": self.bridge,
            "directory": str(self.host_dir / "signal-bridge"),
            "archiveDir": str(self.host_root / "var/backups/mautrix-signal"),
            "image": self.bridge_image,
            **FLAVOURS[self.flavour].bridge,
        }

    def container(self, part: str) -> str:
        """Name of the container that is that part of the host."""
        return f"{self.prefix}-{part}"

    def stack(self) -> host.Stack:
        """The facts that the host's files are filled with."""
        notes = self.notes()
        names = (self.network, self.postgres, self.synapse, self.mas)
        return host.Stack(self.host_dir, *names, notes.synapse_port, notes.secrets)

    def notes(self, make: bool = False) -> Notes:
        """The notes. If there are none (or damaged ones): new ones with `make`, else LabError."""
        try:
            notes = Notes(**json.loads(self.notes_file.read_text()))
            if set(host.SECRETS) <= set(notes.secrets):
                return notes
        except (OSError, ValueError, TypeError):
            pass
        if not make:
            raise LabError("the lab is not up: python -m lab up")
        secrets = {name: random_secrets.token_hex(32) for name in host.SECRETS}
        return self._write_notes(Notes(str(self.home), free_port(), secrets, random_secrets.token_hex(16)))

    def note(self, **changes: Any) -> None:
        """Change fields of the notes."""
        self._write_notes(replace(self.notes(), **changes))

    def _write_notes(self, notes: Notes) -> Notes:
        write(self.notes_file, json.dumps(asdict(notes), indent=2) + "\n", 0o600)
        return notes


def checkout_hash(root: Path) -> str:
    """Six hex digits that stand for this checkout in the names of what its lab makes."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:6]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on. Raises LabError if there is none."""
    for _ in range(200):
        port = random.choice(PORTS)
        if port_is_free(port):
            return port
    raise LabError(f"no free port found between {PORTS.start} and {PORTS.stop}")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write(path: Path, text: str, mode: int) -> None:
    """Write a file in one step: it has the old content or the new, and never a wider mode than `mode`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    fresh.replace(path)
