"""Files of ours on the host: the bridge's directory, its config, the registrations.

`claim` makes the bridge's directory and names its stack in it, which is how a later run knows that what it finds there
is ours; `release` takes the directory away. `create`, `update` and `erase` are a file's three moments.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from scripts.common import ScriptError, docker, rewrite, run, say, write_atomic

CLAIM = ".stack"
READY = ".ready"  # the id of the container that once was ready: scripts/readiness.py writes it
EVIDENCE = "auth-check-failed.json"  # left by a failed check: scripts/stop_and_check.py writes it
OURS = (CLAIM, READY, EVIDENCE)


def claim(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: directory, stack, uid, gid, mode (int). ScriptError if the directory holds what is not this stack's."""
    directory, stack = Path(arguments["directory"]), arguments["stack"]
    owner = directory / CLAIM
    if directory.exists() and not directory.is_dir():
        raise ScriptError(f"{directory}: is no directory: move it away or set another bridgeDir")
    if owner.is_file() and owner.read_text().strip() != stack:
        raise ScriptError(f"{directory}: belongs to the stack {owner.read_text().strip()}: set another bridgeDir")
    if directory.is_dir() and not owner.is_file() and any(directory.iterdir()):
        raise ScriptError(
            f"{directory}: holds files that this stack did not make: move them away or set another bridgeDir"
        )
    if not directory.parent.is_dir():
        raise ScriptError(f"{directory.parent}: no such directory: make it or set another bridgeDir")
    if not directory.exists():
        directory.mkdir()
    os.chown(directory, arguments["uid"], arguments["gid"])
    directory.chmod(arguments["mode"])
    if not owner.is_file():
        write_atomic(owner, f"{stack}\n".encode(), mode=0o600, uid=os.geteuid(), gid=os.getegid())
    return {"directory": str(directory)}


def release(arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the directory with our own marks; what somebody else put there stays, with a warning."""
    directory = Path(arguments["directory"])
    if not directory.is_dir():
        return {}
    strangers = sorted(entry.name for entry in directory.iterdir() if entry.name not in OURS)
    for name in OURS:
        (directory / name).unlink(missing_ok=True)
    if strangers:
        say(f"warning: {directory} stays: it holds files that this stack did not make: {', '.join(strangers)}")
        return {}
    directory.rmdir()
    return {}


def _owned(arguments: dict[str, Any]) -> tuple[Path, bytes]:
    return Path(arguments["path"]), str(arguments["content"]).encode()


def create(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: path, content (secret), mode, uid, gid; parent_mode, if its directory is to be the file's own, made
    and removed with it. ScriptError if another file is there."""
    path, data = _owned(arguments)
    if path.exists() and path.read_bytes() != data:
        raise ScriptError(
            f"{path}: exists and was not made by this stack: move it away, or choose another name in the settings"
        )
    return update(arguments)


def update(arguments: dict[str, Any]) -> dict[str, Any]:
    """The file has this content, owner and mode, whatever it had before; untouched if it has them already."""
    path, data = _owned(arguments)
    if path.exists():
        was = path.stat()
        changed = rewrite(path, data)
        if (was.st_uid, was.st_gid) != (arguments["uid"], arguments["gid"]):
            os.chown(path, arguments["uid"], arguments["gid"])
        if was.st_mode & 0o7777 != arguments["mode"]:
            path.chmod(arguments["mode"])
        return {"path": str(path), "changed": changed}
    if not path.parent.is_dir() and "parent_mode" in arguments:
        path.parent.mkdir(mode=arguments["parent_mode"])
        os.chown(path.parent, arguments["uid"], arguments["gid"])
    if not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory on the host")
    write_atomic(path, data, mode=arguments["mode"], uid=arguments["uid"], gid=arguments["gid"])
    return {"path": str(path), "changed": True}


def erase(arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the file, and its directory if it was made for it and holds nothing else; missing ones are fine.

    It stays while the container `unless_mounted_by` has its directory: a failed `up` that is fixed by going back to
    the old settings would otherwise end with the removal of what the running bridge uses. And it stays while the file
    `unless_listed_in` names it as `listed_as`: Synapse does not start when a registration that it lists is missing.
    """
    path = Path(arguments["path"])
    if "unless_mounted_by" in arguments and str(path.parent) in _mounted(arguments["unless_mounted_by"]):
        return {"kept": str(path)}
    if "unless_listed_in" in arguments and _lists(Path(arguments["unless_listed_in"]), arguments["listed_as"]):
        say(f"warning: {path} stays: {arguments['unless_listed_in']} lists it, in a line that this stack did not write")
        return {"kept": str(path)}
    path.unlink(missing_ok=True)
    if "parent_mode" in arguments and path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()
    return {}


def _lists(file: Path, name: str) -> bool:
    """Whether a line that is no comment names it, whatever its quotes."""
    if not file.is_file():
        return False
    lines = (line.partition("#")[0] for line in file.read_text(errors="replace").splitlines())
    return any(re.search(rf"(^|[\s\[\"',-]){re.escape(name)}($|[\s\]\"',])", line) for line in lines)


def _mounted(container: str) -> list[str]:
    """The host's paths that a container mounts; none if there is no such container."""
    done = docker("container", "inspect", "--format", "{{json .Mounts}}", container, check=False)
    return [mount.get("Source", "") for mount in json.loads(done.stdout)] if not done.returncode else []


VERBS = (claim, release, create, update, erase)

if __name__ == "__main__":
    run(*VERBS)
