"""Files that a stack owns on the host: the bridges' configs, and the registrations.

write_files   makes them, or gives them new content.
remove_files  removes them.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from documents.backup.dump_script import parse_dump_script_owner
from documents.marks import file_owner
from host_programs.files import safe_files
from host_programs.files.directory import FileChanges
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


def read_dump_script_owner(path: Path) -> Optional[str]:
    """The stack that a dump script on the host names, "" if it names none; None if the script cannot be read."""
    try:
        return parse_dump_script_owner(path.read_text(errors="replace"))
    except OSError:
        return None


def write_files(arguments: OwnedFiles) -> FileChanges:
    """Give each file its content, owner and mode; a file that has them already is untouched. ScriptError, and nothing
    is written, if somebody else's file has one of the paths: other content, and a first line that does not name the
    stack."""
    replaced_files = [_read_replaced_file(arguments.stack, file) for file in arguments.files]
    for file, replaced in zip(arguments.files, replaced_files):
        _write_file(file, replaced)
    return FileChanges(tuple(file.path for file in arguments.files))


def _read_replaced_file(stack: str, file: OwnedFile) -> Optional[safe_files.Content]:
    content = safe_files.read_file(Path(file.path), links=False)
    if content is not None and content.data != file.content.encode() and parse_file_owner(content) != stack:
        fix = "move it away, or choose another name in the settings"
        raise ScriptError(f"{file.path}: exists and was not made by this stack: {fix}")
    return content


def parse_file_owner(content: safe_files.Content) -> str:
    """The stack that wrote a file, by its first line; "" if that names none."""
    return file_owner(content.data.decode(errors="replace"))


def _write_file(file: OwnedFile, replaced: Optional[safe_files.Content]) -> None:
    path, data, owner = Path(file.path), file.content.encode(), (file.uid, file.gid)
    if replaced is not None:
        status = replaced.status
        if (replaced.data, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (data, *owner, file.mode):
            return
    elif file.own_directory:
        safe_files.make_directory(path.parent, 0o700, owner)
    elif not path.parent.is_dir():
        raise ScriptError(f"{path.parent}: no such directory on the host")
    safe_files.write_file(path, data, mode=file.mode, owner=owner)


def remove_files(arguments: OwnedFiles) -> FileChanges:
    """Remove the files. A file that is still listed, or that is no longer this stack's, stays. A missing file is
    fine."""
    removed, kept = [], []
    for file in arguments.files:
        path = Path(file.path)
        if reason := _find_reason_to_keep(arguments, path):
            say(f"warning: {path} stays: {reason}")
            kept.append(file.path)
            continue
        safe_files.remove_file(path)
        if file.own_directory and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        removed.append(file.path)
    return FileChanges(tuple(removed), tuple(kept))


def remove_own_file(stack: str, path: Path, own_directory: bool = False) -> list[str]:
    """Remove the file if it is this stack's; the removed paths."""
    content = None if path.is_symlink() else safe_files.read_file(path)
    if content is None or parse_file_owner(content) != stack:
        return []
    file = OwnedFile(str(path), "", 0, 0, own_directory=own_directory)
    return [*remove_files(OwnedFiles(stack, (file,))).paths]


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
