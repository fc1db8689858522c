"""Files of ours on the host: the bridge's directory, its config, the registrations.

claim   makes the bridge's directory and names its stack in it, which is how a later run knows that what it finds there
        is ours; `release` takes the directory away.
create  writes files that are not there yet; `update` gives them new content; `erase` removes them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from documents import backup_script
from scripts.common import ScriptError, rewrite, run, say, write_atomic
from scripts.container import look

CLAIM = ".stack"
READY = ".ready"  # the id of the container that once was ready: scripts/readiness.py writes it
ISOLATION = ".isolation.json"  # what PUBLIC could do before: scripts/isolation.py writes it
PROVEN = ".proven.json"  # the dumps of the proof: scripts/nightly_backup.py writes it
EVIDENCE = "auth-check-failed.json"  # left by a failed check: scripts/stop_and_check.py writes it
OURS = (CLAIM, READY, ISOLATION, PROVEN, EVIDENCE)


@dataclass(frozen=True)
class BridgeDirectory:
    """The directory, root's own, and the stack that claims it ("project/name")."""

    path: str
    stack: str


@dataclass(frozen=True)
class OwnedFile:
    """A file with content (secret), mode and owner. `own_directory`: its directory is its own, made (0700) and removed
    with it."""

    path: str
    content: str = field(repr=False)
    uid: int
    gid: int
    mode: int = 0o600
    own_directory: bool = False


@dataclass(frozen=True)
class OwnedFiles:
    """Files that come and go together. They stay at `erase` while the container `mounted_by` mounts their directory
    (a failed `up` that is undone by going back to the old settings would otherwise remove what the running bridge
    uses), and while the file `listed_in` lists one as `listed_below`/NAME (Synapse does not start when a registration
    that it lists is missing)."""

    files: tuple[OwnedFile, ...]
    mounted_by: str = ""
    listed_in: str = ""
    listed_below: str = ""


@dataclass(frozen=True)
class Done:
    """`paths`: the directory or the files; `kept`: those that `erase` or `release` left."""

    paths: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def dump_script_owner(path: Path) -> Optional[str]:
    """The stack that a dump script on the host names, "" if it names none; None if no such file can be read."""
    try:
        return backup_script.dump_script_owner(path.read_text(errors="replace"))
    except OSError:
        return None


def claim(arguments: BridgeDirectory) -> Done:
    """ScriptError if the directory holds what is not this stack's."""
    directory, stack = Path(arguments.path), arguments.stack
    owner = directory / CLAIM
    if directory.exists() and not directory.is_dir():
        raise ScriptError(f"{directory}: is no directory: move it away or set another bridgeDir")
    if owner.is_file() and owner.read_text().strip() != stack:
        raise ScriptError(f"{directory}: belongs to the stack {owner.read_text().strip()}: set another bridgeDir")
    if directory.is_dir() and not owner.is_file() and any(directory.iterdir()):
        fix = "move them away or set another bridgeDir"
        raise ScriptError(f"{directory}: holds files that this stack did not make: {fix}")
    if not directory.parent.is_dir():
        raise ScriptError(f"{directory.parent}: no such directory: make it or set another bridgeDir")
    if not directory.exists():
        directory.mkdir()
    os.chown(directory, os.geteuid(), os.getegid())
    directory.chmod(0o755)
    if not owner.is_file():
        write_atomic(owner, f"{stack}\n".encode(), mode=0o600, uid=os.geteuid(), gid=os.getegid())
    return Done((str(directory),))


def release(arguments: BridgeDirectory) -> Done:
    """Remove the directory with our own marks; what somebody else put there stays, with a warning."""
    directory = Path(arguments.path)
    if not directory.is_dir():
        return Done()
    others = sorted(entry.name for entry in directory.iterdir() if entry.name not in OURS)
    for name in OURS:
        (directory / name).unlink(missing_ok=True)
    if others:
        say(f"warning: {directory} stays: it holds files that this stack did not make: {', '.join(others)}")
        return Done(kept=(str(directory),))
    directory.rmdir()
    return Done((str(directory),))


def create(arguments: OwnedFiles) -> Done:
    """ScriptError, and nothing written, if another file is in the place of one: one of other content, and without the
    comment in its first line, which names the stack."""
    for file in arguments.files:
        path, first = Path(file.path), file.content.partition("\n")[0]
        ours = first.startswith("#") and path.exists() and path.read_text(errors="replace").startswith(f"{first}\n")
        if path.exists() and path.read_bytes() != file.content.encode() and not ours:
            fix = "move it away, or choose another name in the settings"
            raise ScriptError(f"{path}: exists and was not made by this stack: {fix}")
    return update(arguments)


def update(arguments: OwnedFiles) -> Done:
    """Each file has its content, owner and mode, whatever it had before; untouched if it has them already."""
    for file in arguments.files:
        _write(file)
    return Done(tuple(file.path for file in arguments.files))


def _write(file: OwnedFile) -> None:
    path, data = Path(file.path), file.content.encode()
    if path.exists():
        was = path.stat()
        rewrite(path, data)
        if (was.st_uid, was.st_gid) != (file.uid, file.gid):
            os.chown(path, file.uid, file.gid)
        if was.st_mode & 0o7777 != file.mode:
            path.chmod(file.mode)
        return
    if not path.parent.is_dir() and file.own_directory:
        path.parent.mkdir(mode=0o700)
        os.chown(path.parent, file.uid, file.gid)
    if not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory on the host")
    write_atomic(path, data, mode=file.mode, uid=file.uid, gid=file.gid)


def erase(arguments: OwnedFiles) -> Done:
    """Remove the files, but those that are still used; missing ones are fine."""
    container = look(arguments.mounted_by) if arguments.mounted_by else None
    mounts = container.mounts if container else ()
    gone, kept = [], []
    for file in arguments.files:
        path = Path(file.path)
        if str(path.parent) in mounts:
            kept.append(file.path)
        elif arguments.listed_in and _lists(Path(arguments.listed_in), f"{arguments.listed_below}/{path.name}"):
            say(f"warning: {path} stays: {arguments.listed_in} lists it, in a line that this stack did not write")
            kept.append(file.path)
        else:
            path.unlink(missing_ok=True)
            if file.own_directory and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
            gone.append(file.path)
    return Done(tuple(gone), tuple(kept))


def _lists(file: Path, name: str) -> bool:
    """Whether a line that is no comment names it, whatever its quotes."""
    if not file.is_file():
        return False
    lines = (line.partition("#")[0] for line in file.read_text(errors="replace").splitlines())
    return any(re.search(rf"(^|[\s\[\"',-]){re.escape(name)}($|[\s\]\"',])", line) for line in lines)


VERBS = (claim, release, create, update, erase)

if __name__ == "__main__":
    run(*VERBS)
