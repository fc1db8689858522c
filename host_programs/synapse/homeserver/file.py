"""homeserver.yaml as a file on the host: read, written under a journal, put back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from host_programs.files import safe_files
from host_programs.messages import ScriptError
from host_programs.wire import WireError, plain, typed


@dataclass(frozen=True)
class Journal:
    """An edit in progress: the `old` text, its times of access and change (ns), and the SHA-256 of the `new` one."""

    old: str = field(repr=False)
    times: tuple[int, ...]
    new: str


def read_text(path: Path) -> tuple[safe_files.Content, str]:
    """The file and its text. ScriptError if it cannot be read, or is no UTF-8."""
    try:
        content = safe_files.read_file(path)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content is None:
        raise ScriptError(f"{path}: no such file: check the setting synapseDir")
    try:
        return content, content.data.decode()
    except UnicodeDecodeError as error:
        line = content.data.count(b"\n", 0, error.start) + 1
        raise ScriptError(f"{path}:{line}: not UTF-8 text: Synapse cannot read it: save it as UTF-8") from None


def write_text(path: Path, old: bytes, new: str) -> None:
    """Replace the content `old` by the text `new`. ScriptError if the file holds anything else by now."""
    if read_text(path)[0].data != old:
        raise ScriptError(f"{path}: somebody changed it at this very moment: nothing was written, run it again")
    safe_files.rewrite_file(path, new.encode())


def put_back(path: Path, journal: Journal) -> None:
    """Write the old text again, with its old time of change: nothing has changed since Synapse read it. ScriptError if
    somebody edited the new text."""
    if hash_data(read_text(path)[0].data) != journal.new:
        raise ScriptError(f"{path}: somebody changed it meanwhile, so it was not put back")
    safe_files.rewrite_file(path, journal.old.encode(), (journal.times[0], journal.times[1]))


def hash_data(data: bytes) -> str:
    """The SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def journal_edit(file: Path, old: safe_files.Content, new: str) -> Iterator[Journal]:
    """Keep the journal in `file` while the body runs. It stays there only if this process dies in the body."""
    times = (old.status.st_atime_ns, old.status.st_mtime_ns)
    journal = Journal(old.data.decode(), times, hash_data(new.encode()))
    if file.parent.is_dir():  # removed by hand, at a destroy
        safe_files.write_file(file, json.dumps(plain(journal)).encode())
    try:
        yield journal
    except ScriptError:
        safe_files.remove_file(file)
        raise
    safe_files.remove_file(file)


def read_journal(file: Path, path: Path) -> Optional[Journal]:
    """The journal that a killed run left of its edit of `path`; None if there is none. ScriptError if it cannot be
    read."""
    found = safe_files.read_file(file)
    if found is None:
        return None
    try:
        return typed(Journal, json.loads(found.data), file.name)
    except (ValueError, WireError) as error:
        raise ScriptError(f"{file}: cannot be read ({error}): compare {path} with a backup, then remove it") from None
