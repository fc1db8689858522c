"""Proves that the dumps of one run are whole, and keeps a note of ours: by it, the removal knows which may go."""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres import dumps
from host_programs.wire import WireError, from_json, to_json

WHOLE = "unpacks, and is whole"


@dataclass(frozen=True)
class ProvenDump:
    """A dump of the proof. `path` is "" where it was not kept; `proof` says what was seen."""

    database: str
    path: str
    bytes: int
    proof: str


def prove_dump(database: str, path: Path, filtered: bool) -> ProvenDump:
    """A dump that our dump script made. ScriptError unless it is whole, and for its owner alone. `filtered`: a command
    has made it unreadable for us."""
    status = safe_files.inspect_file(path, foreign=True)
    if status is None or not stat.S_ISREG(status.st_mode):
        raise ScriptError(f"{path}: is no file: does something move the dumps away at once?")
    if stat.S_IMODE(status.st_mode) != 0o600:
        raise ScriptError(f"{path}: mode {stat.S_IMODE(status.st_mode):04o}: it should be 0600")
    if filtered:
        if not status.st_size:
            raise ScriptError(f"{path}: is empty: does the command in backupFilter write to its stdout?")
        proof = "made and filtered without an error"
    else:
        dumps.prove_dump(path)
        proof = WHOLE
    say(f"proven: {database}: {path.name}, {status.st_size} bytes: {proof}")
    return ProvenDump(database, str(path), status.st_size, proof)


@dataclass(frozen=True)
class NotedDump:
    path: str
    sha256: str


@dataclass(frozen=True)
class Note:
    """Dumps that proofs made, and directories that they made for them, innermost first; `scripts`: the operator's that
    have our call."""

    files: tuple[NotedDump, ...] = ()
    directories: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


def add_dumps(note: Note, made: Sequence[Path], new_directories: Sequence[Path]) -> Note:
    """With these, too; an earlier dump that is gone is noted no longer."""
    files = {dump.path: dump for dump in note.files if safe_files.inspect_file(Path(dump.path), foreign=True)}
    files |= {str(path): NotedDump(str(path), _hash_file(path)) for path in made}
    directories = dict.fromkeys([*map(str, new_directories), *note.directories])
    return replace(note, files=tuple(files.values()), directories=tuple(directories))


def write_note(path: Path, note: Note) -> None:
    """An empty one is none."""
    if note == Note():
        safe_files.remove_file(path)
    else:
        safe_files.write_file(path, (json.dumps(to_json(note), indent=1) + "\n").encode())


def read_note(note: Path) -> Note:
    """ScriptError if it cannot be read: it alone tells which dumps are the proof's."""
    try:
        content = safe_files.read_file(note, links=False)
        return from_json(Note, json.loads(content.data), note.name) if content else Note()
    except (OSError, ValueError, WireError) as error:
        raise ScriptError(
            f"{note}: cannot be read ({error}): it names the dumps of our proof, and without it they stay: repair it, "
            f"or give them up (rm {shlex.quote(str(note))}), then run this again"
        ) from None


def _hash_file(path: Path) -> str:
    with safe_files.open_file(path, foreign=True) as file:
        return dumps.hash_stream(file)


def remove_noted(note: Path, suffix: str) -> None:
    """Remove the note, and the dumps that it names and that are still as they were made. `suffix`: how the names of
    our dumps end. ScriptError, and nothing is removed, if the note cannot be read."""
    content, deleted = read_note(note), []
    for dump in content.files:
        path = Path(dump.path)
        status = safe_files.inspect_file(path, foreign=True)
        if status is None:
            continue
        if stat.S_ISREG(status.st_mode) and _hash_file(path) == dump.sha256:
            safe_files.remove_file(path, foreign=True)
            deleted.append(dump.path)
        else:
            say(f"note: {path} is not as our run made it: it stays")
    if deleted:
        say(f"deleted {len(deleted)} dumps of our proof: {', '.join(deleted)}")
    for folder in {Path(dump.path).parent for dump in content.files}:
        later = [name for name in safe_files.list_directory(folder, foreign=True) if name.endswith(suffix)]
        if later:
            say(f"note: {len(later)} dumps by later runs stay in {folder}: nothing deletes them now")
    remove_empty([Path(name) for name in content.directories])
    safe_files.remove_file(note)


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove the directories, innermost first, up to one that is not empty."""
    for directory in directories:
        if not safe_files.remove_directory(directory, foreign=True):
            return
