"""What only Synapse's own container can tell: its version, its process' user, its parsed configuration.

Runs in that container's python3, which has PyYAML and Synapse (so PyYAML is imported there only); read-only, and no
secret is in the result.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scripts.common import run
from verdicts.host_facts import Registration, SynapseFacts


@dataclass(frozen=True)
class Arguments:
    """`homeserver`: the path of homeserver.yaml in the container."""

    homeserver: str


def read(arguments: Arguments) -> SynapseFacts:
    """What is there. Whatever is wrong with the configuration is `error`."""
    import yaml

    file = Path(arguments.homeserver)
    try:
        package = version("matrix-synapse")
    except PackageNotFoundError:
        package = ""
    uid, gid = _process_owner(file.parent)
    try:
        config = yaml.safe_load(file.read_text())
        mas = config.get("matrix_authentication_service") or {}
        old = (config.get("experimental_features") or {}).get("msc3861") or {}
        return SynapseFacts(
            version=package,
            uid=uid,
            gid=gid,
            server_name=_text(config.get("server_name")),
            mas=bool(mas.get("enabled") or old.get("enabled")),
            registrations=tuple(_registration(str(path)) for path in config.get("app_service_config_files") or []),
        )
    except (OSError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        return SynapseFacts(package, uid, gid, error=_told(error))


def _process_owner(directory: Path, processes: Path = Path("/proc")) -> tuple[int, int]:
    """User and group of the running Synapse; of the data directory, if no process names itself so."""
    for process in processes.glob("[0-9]*/cmdline"):
        try:
            if b"synapse.app" in process.read_bytes():
                owner = os.stat(process.parent)
                return owner.st_uid, owner.st_gid
        except OSError:
            continue  # it ended meanwhile
    owner = os.stat(directory)
    return owner.st_uid, owner.st_gid


def _registration(path: str) -> Registration:
    import yaml

    try:
        document: Any = yaml.safe_load(Path(path).read_text())
        users = (document.get("namespaces") or {}).get("users") or []
        exclusive = tuple(_text(user.get("regex")) for user in users if user.get("exclusive"))
        return Registration(path, _text(document.get("id")), _text(document.get("sender_localpart")), exclusive)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError) as error:
        return Registration(path, error=_told(error))


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


VERBS = (read,)

if __name__ == "__main__":
    run(*VERBS)
