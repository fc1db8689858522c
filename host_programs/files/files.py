"""Files that a stack owns on the host: the bridges' configs, and the registrations."""

from __future__ import annotations

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
    with it."""

    path: str
    content: str = field(repr=False)
    uid: int
    gid: int
    mode: int = 0o600
    own_directory: bool = False


@dataclass(frozen=True)
class OwnedFiles:
    """Files of one `stack` ("project/name") that are written together. The first line of each names the stack.
    `foreign`: their directory is another user's, as Synapse's is."""

    stack: str
    files: tuple[OwnedFile, ...]
    foreign: bool = False


def parse_file_owner(content: safe_files.Content) -> str:
    """The stack that wrote a file, by its first line; "" if that names none."""
    return file_owner(content.data.decode(errors="replace"))


def read_dump_script_owner(path: Path) -> Optional[str]:
    """The stack that a dump script on the host names, "" if it names none; None if there is none that can be read."""
    try:
        content = safe_files.read_file(path, foreign=True)
    except ScriptError:  # something else is in its place
        return ""
    except OSError:
        return None
    return parse_dump_script_owner(content.data.decode(errors="replace")) if content else None


def write_files(arguments: OwnedFiles) -> None:
    """Give each file its content, owner and mode; a file that has them already is untouched. ScriptError, and nothing
    is written, if somebody else's file has one of the paths: other content, and a first line that does not name the
    stack."""
    foreign = arguments.foreign
    replaced = [safe_files.read_file(Path(file.path), links=False, foreign=foreign) for file in arguments.files]
    for file, old in zip(arguments.files, replaced):
        if old is not None and old.data != file.content.encode() and parse_file_owner(old) != arguments.stack:
            fix = "move it away, or choose another name in the settings"
            raise ScriptError(f"{file.path}: exists and was not made by this stack: {fix}")
    for file, old in zip(arguments.files, replaced):
        _write_file(file, old, foreign)


def _write_file(file: OwnedFile, old: Optional[safe_files.Content], foreign: bool) -> None:
    path, data, owner = Path(file.path), file.content.encode(), (file.uid, file.gid)
    if old is not None:
        status = old.status
        if (old.data, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (data, *owner, file.mode):
            return
    elif file.own_directory:
        safe_files.make_directory(path.parent, 0o755)
    safe_files.write_file(path, data, mode=file.mode, owner=owner, foreign=foreign)


def remove_owned_file(path: Path, stack: str, foreign: bool = False) -> bool:
    """Remove a file whose first line names the stack, or a link in its place; whether it was there. Another file stays,
    with a warning."""
    status = safe_files.inspect_file(path, foreign)
    if status is not None and not stat.S_ISLNK(status.st_mode):
        content = safe_files.read_file(path, links=False, foreign=foreign)
        if content is not None and parse_file_owner(content) != stack:
            say(f"warning: {path} stays: somebody else wrote it: its first line does not name this stack")
            return False
    return safe_files.remove_file(path, foreign)
