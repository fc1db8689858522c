"""The note of what the proof made, in the stack's directory: by it, the removal knows what may go."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host_programs.backup.scripts import remove_empty
from host_programs.files import safe_files
from host_programs.messages import say
from host_programs.postgres import dumps
from host_programs.wire import WireError, plain, typed


@dataclass(frozen=True)
class NotedDump:
    path: str
    sha256: str


@dataclass(frozen=True)
class Note:
    """Dumps that the proof made, and directories that it made for them, innermost first."""

    files: tuple[NotedDump, ...] = ()
    directories: tuple[str, ...] = ()


def add_to_note(note: Path, made: Sequence[Path], new_directories: Sequence[Path]) -> None:
    """Note these, too; an earlier dump that is gone is noted no longer."""
    before = _read_note(note)
    files = [entry for entry in before.files if os.path.exists(entry.path)]
    files += [NotedDump(str(path), dumps.hash_file(path)) for path in made]
    directories = dict.fromkeys([*map(str, new_directories), *before.directories])
    data = json.dumps(plain(Note(tuple(files), tuple(directories))), indent=1) + "\n"
    safe_files.write_file(note, data.encode())


def remove_noted(note: Path, suffix: str) -> tuple[str, ...]:
    """Remove the note, and the noted dumps that are still as they were made; their paths. `suffix`: how the names of
    our dumps end."""
    content, deleted = _read_note(note), []
    for entry in content.files:
        file = Path(entry.path)
        if not file.is_file() or file.is_symlink():
            continue
        if dumps.hash_file(file) == entry.sha256:
            file.unlink()
            deleted.append(entry.path)
        else:
            say(f"note: {file} is not as our run made it: it stays")
    if deleted:
        say(f"deleted {len(deleted)} dumps of our proof: {', '.join(deleted)}")
    for folder in {Path(entry.path).parent for entry in content.files}:
        later = sorted(folder.glob(f"*{suffix}"))
        if later:
            say(f"note: {len(later)} dumps by later runs stay in {folder}: nothing deletes them now")
    remove_empty([Path(name) for name in content.directories])
    note.unlink(missing_ok=True)
    return tuple(deleted)


def _read_note(note: Path) -> Note:
    try:
        return typed(Note, json.loads(note.read_text()), note.name)
    except FileNotFoundError:
        return Note()
    except (OSError, ValueError, WireError) as error:
        say(f"note: {note}: cannot be read ({error}): the dumps of the proof stay")
        return Note()
