"""What only Synapse's own container can tell: its version, its process' user, its parsed configuration.

Runs in that container's python3, which has PyYAML and Synapse (so PyYAML is imported there only); read-only, and no
secret is in the result.
"""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scripts.common import run


def _process_owner(directory: str) -> tuple[int, int]:
    """User and group of the running Synapse; of the data directory, if no process names itself so."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"synapse.app" in process.read_bytes():
                owner = os.stat(process.parent)
                return owner.st_uid, owner.st_gid
        except OSError:
            continue  # it ended meanwhile
    owner = os.stat(directory)
    return owner.st_uid, owner.st_gid


def _registration(path: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text())
        users = (document.get("namespaces") or {}).get("users") or []
        return {
            "path": path,
            "id": document.get("id"),
            "sender_localpart": document.get("sender_localpart"),
            "exclusive": [user.get("regex") for user in users if user.get("exclusive")],
        }
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        return {"path": path, "error": f"{type(error).__name__}: {error}".splitlines()[0]}


def read(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: homeserver (path in the container). Result: version, uid, gid, server_name, mas (bool),
    registrations [{path, id, sender_localpart, exclusive} or {path, error}], error (text or null)."""
    import yaml

    file = Path(arguments["homeserver"])
    try:
        synapse = version("matrix-synapse")
    except PackageNotFoundError:
        synapse = ""
    uid, gid = _process_owner(str(file.parent))
    found: dict[str, Any] = {"version": synapse, "uid": uid, "gid": gid, "registrations": [], "error": None}
    try:
        config = yaml.safe_load(file.read_text())
        mas = config.get("matrix_authentication_service") or {}
        old = (config.get("experimental_features") or {}).get("msc3861") or {}
        found["server_name"] = config.get("server_name")
        found["mas"] = bool(mas.get("enabled") or old.get("enabled"))
        found["registrations"] = [_registration(path) for path in config.get("app_service_config_files") or []]
    except (OSError, AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        found["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


VERBS = (read,)

if __name__ == "__main__":
    run(*VERBS)
