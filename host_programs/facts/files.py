"""Facts about files and directories on the host."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from documents.marks import file_owner, is_sealed
from host_programs.files import safe_files
from host_programs.files.directory import read_claim
from host_programs.messages import ScriptError
from verdicts.host_facts.host import Directory, File, OwnFile


def read_file(path: str) -> Optional[File]:
    """A file of the operator's: its text, None if it is no UTF-8, or why it cannot be read; None if it is missing."""
    file = Path(path)
    try:
        content = safe_files.read_file(file, foreign=True)
    except (ScriptError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).partition(": ")[2]
        return File(error=str(reason))
    if content is None:
        return None
    writable = os.access(file.resolve().parent, os.W_OK) and os.access(file, os.W_OK)
    try:
        return File(content.data.decode(), writable=writable, changed_at=content.status.st_mtime)
    except UnicodeDecodeError:
        return File(writable=writable)


def read_own_file(path: Path, parse_owner: Callable[[str], str] = file_owner) -> Optional[OwnFile]:
    """Who wrote a file in the place of one of ours, and whether it is as it was written; anything but a file is none of
    ours. The directory may be Synapse's."""
    try:
        content = safe_files.read_file(path, links=False, foreign=True)
    except (ScriptError, OSError):
        return OwnFile("", 0, 0)
    if content is None:
        return None
    text = content.data.decode(errors="surrogateescape")
    status = content.status
    return OwnFile(parse_owner(text), status.st_uid, status.st_gid, not is_sealed(text), stat.S_IMODE(status.st_mode))


def read_directory(path: str, foreign: bool = False, makes_parents: bool = False) -> Directory:
    """A directory that root uses; `foreign` and `makes_parents` as of safe_files.py."""
    directory = Path(path)
    existing = find_existing(directory)
    fault = "" if foreign else safe_files.find_fault(directory, makes_parents)
    claim = None if foreign or fault else read_claim(directory)
    return Directory(
        entries=() if fault else tuple(safe_files.list_directory(directory, foreign)),
        stack=claim.stack if claim else None,
        writable=os.access(existing, os.W_OK),
        free=shutil.disk_usage(existing).free,
        shared=claim.shared if claim else "",
        fault=fault,
    )


def find_existing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def read_text(path: Path) -> str:
    """The text of a file of ours without white space around it; "" if it is missing, or others can change it."""
    try:
        content = safe_files.read_file(path, links=False)
    except (ScriptError, OSError):
        return ""
    return content.data.decode(errors="replace").strip() if content else ""
