"""What is on the host before the bridge comes: the files of a hand-kept Matrix stack, as text. Pure.

Names differ from the plan's on purpose (directory, network, containers): nothing in the product may be hard-coded.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parent / "templates"

SYNAPSE_UID = 991
MAS_UID = 65532  # the real image's "nonroot"

# The user whom the plan calls admin, and the device that the lab's access token of that user belongs to.
USER = "matt"
DEVICE = "LABDEVICE"


@dataclass(frozen=True)
class File:
    """One file or directory (text None) of the host, its path relative to the stack's directory."""

    path: str
    text: str | None
    mode: int
    uid: int = 0


@dataclass(frozen=True)
class Stack:
    """The facts that the files are filled with. The secrets are random, one set a checkout."""

    host_dir: Path
    network: str
    postgres: str
    synapse: str
    mas: str
    synapse_port: int
    secrets: Mapping[str, str]


# As the real one's `mas-cli config generate` has them: without, it serves nothing.
MAS_RESOURCES = ("discovery", "human", "oauth", "compat", "graphql", "assets", "health")

# Names of the secrets that a Stack needs; hex strings of 64 characters.
SECRETS = (
    "postgres_password",
    "mas_password",
    "mas_secret",
    "macaroon_secret",
    "form_secret",
    "signing_seed",
    "user_token",
)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each @NAME@ by its value. Raises KeyError for a name without a value, ValueError for an unused value."""
    used: set[str] = set()

    def value(match: re.Match[str]) -> str:
        used.add(match[1])
        return values[match[1]]

    text = re.sub(r"@([A-Z][A-Z_]*)@", value, template)
    unused = set(values) - used
    if unused:
        raise ValueError(f"the template does not use {', '.join(sorted(unused))}")
    return text


def signing_key(seed_hex: str) -> str:
    """A signing key file of Synapse's from 32 bytes in hex: algorithm, version, unpadded base64 of the seed."""
    seed = bytes.fromhex(seed_hex)
    if len(seed) != 32:
        raise ValueError(f"a signing key's seed has 32 bytes, not {len(seed)}")
    return f"ed25519 a_LAB1 {base64.b64encode(seed).decode().rstrip('=')}\n"


def mas_config(stack: Stack) -> dict[str, object]:
    """MAS' config in the shape of the real one's, with `lab_sessions` for the emulation (see lab/mas.py)."""
    return {
        "http": {
            "public_base": "https://matrix.echo6.co/",
            "listeners": [
                {
                    "name": "web",
                    "binds": [{"address": "0.0.0.0:8080"}],
                    "resources": [{"name": name} for name in MAS_RESOURCES],
                }
            ],
        },
        "database": {
            "host": stack.postgres,
            "port": 5432,
            "username": "mas",
            "password": stack.secrets["mas_password"],
            "database": "mas",
        },
        "matrix": {
            "kind": "synapse",
            "homeserver": "echo6.co",
            "endpoint": f"http://{stack.synapse}:8008/",
            "secret": stack.secrets["mas_secret"],
        },
        "lab_sessions": {user_token(stack.secrets): {"username": USER, "device_id": DEVICE}},
    }


def user_token(secrets: Mapping[str, str]) -> str:
    """The access token of the lab's user, in the form that MAS gives them."""
    return f"mat_{secrets['user_token'][:30]}"


def files(stack: Stack) -> list[File]:
    """All files and directories of the stack, parents first."""
    names = {"POSTGRES": stack.postgres, "SYNAPSE": stack.synapse, "MAS": stack.mas, "NETWORK": stack.network}
    port = {"SYNAPSE_PORT": str(stack.synapse_port)}
    secrets = stack.secrets

    def text(name: str, values: Mapping[str, str]) -> str:
        return fill((TEMPLATES / name).read_text(encoding="utf-8"), values)

    homeserver = text(
        "homeserver.yaml",
        {
            "POSTGRES": stack.postgres,
            "MAS": stack.mas,
            **port,
            "POSTGRES_PASSWORD": secrets["postgres_password"],
            "MAS_SECRET": secrets["mas_secret"],
            "MACAROON_SECRET": secrets["macaroon_secret"],
            "FORM_SECRET": secrets["form_secret"],
        },
    )
    backup = text("pg_backup.sh", {"HOST_DIR": str(stack.host_dir), "POSTGRES": stack.postgres})
    return [
        File("docker-compose.yml", text("docker-compose.yml", {**names, **port}), 0o644),
        File(".env", f"POSTGRES_PASSWORD={secrets['postgres_password']}\n", 0o600),
        File("backups", None, 0o750),
        File("scripts", None, 0o755),
        File("scripts/pg_backup.sh", backup, 0o750),
        File("synapse", None, 0o755, SYNAPSE_UID),
        File("synapse/homeserver.yaml", homeserver, 0o640, SYNAPSE_UID),
        File("synapse/echo6.co.log.config", text("log.config", {}), 0o644, SYNAPSE_UID),
        File("synapse/echo6.co.signing.key", signing_key(secrets["signing_seed"]), 0o600, SYNAPSE_UID),
        File("mas", None, 0o700, MAS_UID),
        # JSON is YAML: the emulation and the real MAS can both read it.
        File("mas/config.yaml", json.dumps(mas_config(stack), indent=2) + "\n", 0o600, MAS_UID),
    ]
