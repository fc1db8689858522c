"""The two scripts of the nightly backup: ours, which dumps, and the operator's, which calls it."""

from __future__ import annotations

import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Optional

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall
from documents.refusal import Refused
from host_programs.backup import shell_syntax
from host_programs.backup.script_run import read_record
from host_programs.files import safe_files
from host_programs.files.files import read_dump_script_owner
from host_programs.messages import ScriptError, say


class Undo:
    """What to take back when a run fails: files as they were (None: missing) and as we wrote them, the dumps that the
    record names, and directories that the run made."""

    def __init__(self) -> None:
        self.files: list[tuple[Path, Optional[bytes], bytes]] = []
        self.record: Optional[Path] = None
        self.new_directories: list[Path] = []  # innermost first

    def take_back(self) -> None:
        if self.record and self.record.exists():
            for _, path in read_record(self.record):
                path.unlink(missing_ok=True)
                say(f"{path}: deleted, since this run failed")
        remove_empty(self.new_directories)
        for path, old, written in reversed(self.files):
            if not path.exists() or path.read_bytes() != written:
                say(f"note: {path}: somebody changed it meanwhile, so it was not put back")
            elif old is None:
                path.unlink()
            else:
                safe_files.rewrite_file(path, old)
                say(f"{path}: put back as it was")


@contextmanager
def undo_on_failure() -> Iterator[Undo]:
    """Take back what the body notes in the Undo, if it fails, or if a signal ends the run."""

    def terminate(*_: object) -> NoReturn:
        raise ScriptError("the run was ended by a signal")

    undo = Undo()
    handlers = {number: signal.signal(number, terminate) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield undo
    except BaseException:
        undo.take_back()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def install_dump_script(path: Path, text: str, stack: str, undo: Undo) -> bool:
    """Write our dump script; whether it is another one now. ScriptError if somebody else's file is in its place."""
    owner = read_dump_script_owner(path)
    if owner not in (None, stack):
        raise ScriptError(f"{path}: exists and is not this stack's: move it away, or set another sharedDir")
    old, new = path.read_bytes() if owner else None, text.encode()
    if old == new and stat.S_IMODE(path.stat().st_mode) == 0o700:
        return False
    safe_files.write_file(path, new, mode=0o700)
    undo.files.append((path, old, new))
    return True


def read_script(path: Path, errors: str = "strict") -> str:
    """The operator's script. `errors`: as of bytes.decode."""
    try:
        return path.read_bytes().decode(errors=errors)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}: check the setting backupScript") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: is not UTF-8 text: convert it") from None


def add_call(path: Path, text: str, block: DumpCall, undo: Undo) -> bool:
    """Have the operator's script, whose text this is, call ours; whether it is another one now."""
    try:
        error = shell_syntax.check_call(text, block)
        new = backup_script.add_call(text, block).encode()
    except Refused as refused:
        raise ScriptError("\n".join(refused.lines(str(path)))) from None
    if error:
        raise ScriptError(f"{path}:{error}")
    changed = safe_files.rewrite_file(path, new)
    if changed:
        undo.files.append((path, text.encode(), new))
    say(f"{path}: {'has the call' if changed else 'already as it should be'}")
    return changed


def remove_call(path: Path, stack: str) -> bool:
    """Take our call out of the operator's script; whether it is another one now. ScriptError, and nothing changed, if
    only one of our marks stands in it."""
    if not path.exists():
        say(f"warning: {path}: is gone, so there is nothing to take out")
        return False
    text = read_script(path, errors="surrogateescape")  # whatever somebody wrote into it meanwhile
    try:
        new = backup_script.remove_call(text, stack)
    except Refused as refused:
        raise ScriptError("\n".join(refused.lines(str(path)))) from None
    changed = safe_files.rewrite_file(path, new.encode(errors="surrogateescape"))
    say(f"{path}: {f'the call of {stack} is out' if changed else f'holds no call of {stack}'}")
    return changed


def remove_dump_script(path: Path, stack: str) -> bool:
    """Remove our dump script; whether it was this stack's."""
    if read_dump_script_owner(path) != stack:
        return False
    path.unlink()
    return True


def list_missing(directory: Path) -> list[Path]:
    """The directory and those above it that do not exist, innermost first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    return missing


def remove_empty(directories: Sequence[Path]) -> None:
    """Remove the directories, innermost first, up to one that is not empty."""
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return
