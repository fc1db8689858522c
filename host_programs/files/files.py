"""Files that a stack owns on the host: the bridges' configs, and the registrations."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from documents.backup.dump_script import parse_dump_script_owner
from documents.marks import file_owner
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say


@dataclass(frozen=True)
class OwnedFile:
    """A file with content (secret), mode and owner. `own_directory`: the file has a directory of its own, which is made
    (0700) and removed with it."""

    path: str
    content: str = field(repr=False)
    uid: int
    gid: int
    mode: int = 0o600
    own_directory: bool = False


@dataclass(frozen=True)
class OwnedFiles:
    """Files of one `stack` ("project/name") that are written and removed together. The first line of each names the
    stack. `remove_files` keeps a file while the file `listed_in` lists it as `listed_below`/NAME: Synapse does not
    start when a registration is missing that homeserver.yaml lists."""

    stack: str
    files: tuple[OwnedFile, ...]
    listed_in: str = ""
    listed_below: str = ""


def parse_file_owner(content: safe_files.Content) -> str:
    """The stack that wrote a file, by its first line; "" if that names none."""
    return file_owner(content.data.decode(errors="replace"))


def read_dump_script_owner(path: Path) -> Optional[str]:
    """The stack that a dump script on the host names, "" if it names none; None if the script cannot be read."""
    try:
        return parse_dump_script_owner(path.read_text(errors="replace"))
    except OSError:
        return None


def write_files(arguments: OwnedFiles) -> None:
    """Give each file its content, owner and mode; a file that has them already is untouched. ScriptError, and nothing
    is written, if somebody else's file has one of the paths: other content, and a first line that does not name the
    stack."""
    replaced = [safe_files.read_file(Path(file.path), links=False) for file in arguments.files]
    for file, old in zip(arguments.files, replaced):
        if old is not None and old.data != file.content.encode() and parse_file_owner(old) != arguments.stack:
            fix = "move it away, or choose another name in the settings"
            raise ScriptError(f"{file.path}: exists and was not made by this stack: {fix}")
    for file, old in zip(arguments.files, replaced):
        _write_file(file, old)


def _write_file(file: OwnedFile, old: Optional[safe_files.Content]) -> None:
    path, data, owner = Path(file.path), file.content.encode(), (file.uid, file.gid)
    if old is not None:
        status = old.status
        if (old.data, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (data, *owner, file.mode):
            return
    elif file.own_directory:
        safe_files.make_directory(path.parent, 0o700, owner)
    elif not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory on the host")
    safe_files.write_file(path, data, mode=file.mode, owner=owner)


def remove_files(arguments: OwnedFiles) -> tuple[str, ...]:
    """Remove the files; the removed paths. A file that is still listed, or that is no longer this stack's, stays, with
    a warning. A missing file is fine."""
    removed = []
    for file in arguments.files:
        path = Path(file.path)
        if reason := _find_reason_to_keep(arguments, path):
            say(f"warning: {path} stays: {reason}")
            continue
        safe_files.remove_file(path)
        if file.own_directory and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        removed.append(file.path)
    return tuple(removed)


def remove_own_file(stack: str, path: Path) -> tuple[str, ...]:
    """Remove a file with a directory of its own; the removed paths."""
    return remove_files(OwnedFiles(stack, (OwnedFile(str(path), "", 0, 0, own_directory=True),)))


def _find_reason_to_keep(arguments: OwnedFiles, path: Path) -> str:
    """Why the file must stay; "" if it may be removed."""
    if arguments.listed_in and _lists_file(Path(arguments.listed_in), f"{arguments.listed_below}/{path.name}"):
        return f"{arguments.listed_in} lists it, in a line that this stack did not write"
    content = None if path.is_symlink() else safe_files.read_file(path)
    if content is not None and parse_file_owner(content) != arguments.stack:
        return "somebody else wrote it: its first line does not name this stack"
    return ""


def _lists_file(file: Path, name: str) -> bool:
    """Whether the file names it outside of comments, with any quotes or none."""
    content = safe_files.read_file(file)
    text = content.data.decode(errors="replace") if content else ""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return any(re.search(rf"(^|[\s\[\"',-]){re.escape(name)}($|[\s\]\"',])", line) for line in lines)
