"""The program file on the host: the first step copies it there, the last one removes it (directory.py)."""

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
    """`claim`: of the stack's directory; `path`: the program file's in it; `sha256` (hex): its hash."""

    claim: ClaimedDirectory
    path: str
    sha256: str


def install_programs(arguments: Programs) -> Programs:
    """Claim the stack's directory, and copy the running file into it, with its modules compiled. Files of earlier
    versions stay: steps in Pulumi's state may need them. A link leads a person to the newest file. ScriptError if the
    directory is somebody else's."""
    data, path = program_file.running_file(), Path(arguments.path)
    actual = hashlib.sha256(data).hexdigest()
    if actual != arguments.sha256:
        raise ScriptError(f"{path}: its SHA-256 should be {arguments.sha256}, and is {actual}: run this again")
    directory.claim_directory(arguments.claim)
    safe_files.write_file(path, program_file.add_compiled(data, str(path)), mode=0o700)
    safe_files.make_link(path.with_name(directory.NEWEST), path.name)
    return arguments
