"""The program file on the host: copied there before every other step, removed after all of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from host_programs import program_file
from host_programs.files import directory, safe_files
from host_programs.files.directory import ClaimedDirectory
from host_programs.messages import ScriptError


@dataclass(frozen=True)
class Programs:
    """`path` is where the program file with this `sha256` (hex) goes, in the stack's own directory."""

    own: ClaimedDirectory
    path: str
    sha256: str


@dataclass(frozen=True)
class InstalledPrograms:
    """Where the file is."""

    path: str


def install_programs(arguments: Programs) -> InstalledPrograms:
    """Claim the stack's directory, and copy the file that is running into it. Files of earlier versions stay: a step in
    Pulumi's state may be theirs. A link leads to the newest, for a person. ScriptError if the directory is somebody
    else's."""
    data = program_file.running_file()
    found = hashlib.sha256(data).hexdigest()
    if found != arguments.sha256:
        raise ScriptError(f"{arguments.path}: its SHA-256 should be {arguments.sha256}, and is {found}: run this again")
    directory.claim_directory(arguments.own)
    path = Path(arguments.path)
    safe_files.write_file(path, data, mode=0o700)
    link = path.with_name(directory.NEWEST)  # in a directory of root's own
    link.unlink(missing_ok=True)
    link.symlink_to(path.name)
    return InstalledPrograms(arguments.path)
