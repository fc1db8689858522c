"""Facts about files and directories on the host."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from documents.marks import file_owner, is_sealed
from host_programs.files import safe_files
from host_programs.files.directory import CLAIM
from host_programs.messages import ScriptError
from verdicts.host_facts.host import Directory, File, OwnFile


def read_file(path: str) -> Optional[File]:
    """A file of the operator's: its text, None if it is no UTF-8, or why it cannot be read; None if it is missing."""
    file = Path(path)
    try:
        content = safe_files.read_file(file)
    except (ScriptError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(": ")[2]
        return File(error=str(reason))
    if content is None:
        return None
    writable = os.access(file.resolve().parent, os.W_OK) and os.access(file, os.W_OK)
    try:
        return File(content.data.decode(), writable=writable)
    except UnicodeDecodeError:
        return File(writable=writable)


def read_own_file(path: Path, parse_owner: Callable[[str], str] = file_owner) -> Optional[OwnFile]:
    """Who wrote a file in the place of one of ours, and whether it is as it was written. A link there is none of
    ours."""
    if path.is_symlink():
        return OwnFile("", 0, 0)
    content = safe_files.read_file(path)
    if content is None:
        return None
    text = content.data.decode(errors="surrogateescape")
    return OwnFile(parse_owner(text), content.status.st_uid, content.status.st_gid, changed=not is_sealed(text))


def read_directory(path: str) -> Directory:
    """The directory; whether it, or the nearest one above it, can be written to, and how much room is there."""
    directory = Path(path)
    existing = find_existing(directory)
    return Directory(
        entries=tuple(sorted(entry.name for entry in directory.iterdir())) if directory.is_dir() else (),
        stack=read_text(directory / CLAIM),
        writable=os.access(existing, os.W_OK),
        free=shutil.disk_usage(existing).free,
    )


def find_existing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def read_text(path: Path) -> Optional[str]:
    """A file's text without white space around it; None if it is missing."""
    return path.read_text().strip() if path.is_file() else None
