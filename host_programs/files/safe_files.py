"""The door through which root reads, writes and removes files and directories on the host.

A path is opened component by component. By default each directory of the path must be one that only root can change:
root's own (or that of whoever runs this), and not writable for others; above the last one a sticky one, as /tmp, will
do. Otherwise somebody could put anything in the place of what root is about to read, write or remove.

`foreign=True` is for directories that may be another user's: Synapse's, and the operator's. Then that user decides what
is there. A path there leads to no other place: root follows a link only if root made it.

Owner and mode are set on the descriptor of a new file, and a rename puts it in the place of the old one; no existing
file is written into. Whoever writes a file holds the lock of that file or of the step, so a new file that is unfinished
was left by a run that was killed: the next write, or the removal, of the same file removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

from host_programs.messages import ScriptError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a fifo in the file's place must not block this program
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINKS = 40  # as many as the kernel follows
_UNFINISHED = ".mautrix-unfinished"
_missing = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Content:
    """A regular file at the time of reading. `path`: where the file is, behind links."""

    path: Path
    data: bytes
    status: os.stat_result


# reading ---------------------------------------------------------------------------------------------------------


def read_file(path: Path, links: bool = True, foreign: bool = False) -> Optional[Content]:
    """The file; None if the file or its directory does not exist. ScriptError for anything but a regular file, for a
    directory of the path that others can change, and for a link that must not be followed (without `links`: any link).
    Raises OSError if the file cannot be read."""
    try:
        found = _follow_links(path.absolute(), links, foreign)
        with open_file(found, foreign) as file:
            return Content(found, file.read(), os.fstat(file.fileno()))
    except _missing:
        return None


@contextmanager
def open_file(path: Path, foreign: bool = False) -> Iterator[IO[bytes]]:
    """Open a regular file to read it; a link in its place is not followed. ScriptError for anything else. Raises
    OSError if the file is missing or cannot be read."""
    with _open_directory(path.absolute().parent, foreign) as folder:
        _refuse_link(path, folder)
        descriptor = os.open(path.name, _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ScriptError(f"{path}: is no regular file: move it away")
    with os.fdopen(descriptor, "rb") as file:
        yield file


@contextmanager
def open_own_file(path: Path) -> Iterator[IO[bytes]]:
    """As `open_file`. ScriptError, too, if somebody else than root could change the file itself."""
    with open_file(path) as file:
        _check_owner(path, file.fileno(), is_last=True)
        yield file


def inspect_file(path: Path, foreign: bool = False) -> Optional[os.stat_result]:
    """What is there, of whatever kind: a link is not followed. None if nothing is."""
    try:
        with _open_directory(path.absolute().parent, foreign) as folder:
            return os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except _missing:
        return None


def list_directory(path: Path, foreign: bool = False) -> list[str]:
    """The names in a directory, sorted, without those of unfinished files of ours; none if it is missing."""
    try:
        with _open_directory(path.absolute(), foreign) as folder:
            return sorted(name for name in os.listdir(folder) if not _is_unfinished(name))
    except _missing:
        return []


def find_fault(path: Path, makes_parents: bool = False) -> str:
    """Why root must not use or make the directory `path`, and what mends it; "" if nothing speaks against it.
    `makes_parents`: missing directories above it are made, too."""
    no_directory: Optional[Path] = None
    for place in (path, *path.parents):
        try:
            for directory in (place.parent, place):
                with _open_directory(directory, foreign=False):
                    pass
            break
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            no_directory = place
        except ScriptError as error:
            return str(error)
    if no_directory:
        return f"{no_directory}: is no directory: move it away"
    return "" if makes_parents or place in (path, path.parent) else f"{path.parent}: no such directory: make it"


# writing ---------------------------------------------------------------------------------------------------------


def write_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: Optional[tuple[int, int]] = None,
    times: Optional[tuple[int, int]] = None,
    like: Optional[Path] = None,
    foreign: bool = False,
) -> None:
    """Make or replace the file in one step. `owner`: uid and gid, default ours; `times`: of access and change (ns), to
    set; `like`: the file beside it whose extended attributes, also ACLs, are copied. On any failure the old file is
    intact; ScriptError."""
    try:
        path = _follow_links(path.absolute(), links=True, foreign=foreign)
        unfinished = _name_unfinished(path.name)
        with _open_directory(path.parent, foreign) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished, dir_fd=folder)
            descriptor = os.open(unfinished, _NEW_FILE, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    os.fchown(descriptor, *(owner or _our_ids()))
                    os.fchmod(descriptor, mode)
                    _copy_attributes(folder, like, descriptor)
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                    if times:
                        os.utime(descriptor, ns=times)
                os.rename(unfinished, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(unfinished, dir_fd=folder)
                raise
            os.fsync(folder)
    except OSError as error:
        raise ScriptError(f"{path}: not written, the old file stands: {error.strerror or error}") from error


def _copy_attributes(folder: int, like: Optional[Path], target: int) -> None:
    if like is None:
        return
    source = os.open(like.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    finally:
        os.close(source)


def rewrite_file(path: Path, data: bytes, times: Optional[tuple[int, int]] = None, foreign: bool = False) -> bool:
    """Give an existing file new content, and keep its owner, group and mode; `times` as in `write_file`. False, and
    nothing is done, if the file has the content already."""
    content = read_file(path, foreign=foreign)
    if content is None:
        raise ScriptError(f"{path}: is gone")
    if content.data == data:
        return False
    status, found = content.status, content.path
    owner, mode = (status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)
    write_file(found, data, mode=mode, owner=owner, times=times, like=found, foreign=foreign)
    return True


def make_link(path: Path, target: str) -> None:
    """Make a link, or replace one of ours. ScriptError if it cannot be made."""
    unfinished = _name_unfinished(path.name)
    try:
        with _open_directory(path.absolute().parent, foreign=False) as folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished, dir_fd=folder)
            os.symlink(target, unfinished, dir_fd=folder)
            os.rename(unfinished, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise ScriptError(f"{path}: not written: {error.strerror or error}") from error


def make_directory(path: Path, mode: int, owner: Optional[tuple[int, int]] = None) -> None:
    """Make the directory if it is missing, and give it this mode and owner (uid and gid, default ours). ScriptError if
    it cannot be made."""
    try:
        with _open_directory(path.absolute().parent, foreign=False) as folder:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path.name, 0o700, dir_fd=folder)
            descriptor = os.open(path.name, _DIRECTORY, dir_fd=folder)
            try:
                os.fchown(descriptor, *(owner or _our_ids()))
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise ScriptError(f"{path}: not made: {error.strerror or error}") from error


# removing --------------------------------------------------------------------------------------------------------


def remove_file(path: Path, foreign: bool = False) -> bool:
    """Remove the file, or a link in its place, and what a killed run left of it; whether it was there."""
    was_there = False
    with contextlib.suppress(*_missing), _open_directory(path.absolute().parent, foreign) as folder:
        for name in (_name_unfinished(path.name), path.name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
                was_there = name == path.name
    return was_there


def remove_unfinished(path: Path, foreign: bool = False) -> None:
    """Remove what a killed run left of the file: it was never the file itself."""
    with contextlib.suppress(*_missing), _open_directory(path.absolute().parent, foreign) as folder:
        os.unlink(_name_unfinished(path.name), dir_fd=folder)


def remove_directory(path: Path, foreign: bool = False) -> bool:
    """Remove the directory if it is empty but for unfinished files of ours; whether it is gone. A link stays."""
    with contextlib.suppress(*_missing):
        with _open_directory(path.absolute(), foreign) as folder:
            names = os.listdir(folder)
            if not all(map(_is_unfinished, names)):
                return False
            for name in names:
                os.unlink(name, dir_fd=folder)
        with contextlib.suppress(OSError), _open_directory(path.absolute().parent, foreign) as folder:
            os.rmdir(path.name, dir_fd=folder)
            return True
    return inspect_file(path, foreign) is None


def remove_tree(path: Path) -> None:
    """Remove a directory of ours with all that is in it. A missing one is fine; a link there is not followed."""
    status = inspect_file(path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        shutil.rmtree(path)
    elif status is not None:
        remove_file(path)


# opening ---------------------------------------------------------------------------------------------------------


def _follow_links(path: Path, links: bool, foreign: bool) -> Path:
    """The file that a path without links in its last part leads to; it may be missing."""
    for _ in range(_LINKS):
        with _open_directory(path.parent, foreign) as folder:
            if not links:
                _refuse_link(path, folder)
                return path
            try:
                status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return path
            if not stat.S_ISLNK(status.st_mode):
                return path
            _check_link(path, path.name, status.st_uid)
            path = Path(os.path.normpath(path.parent / os.readlink(path.name, dir_fd=folder)))
    raise ScriptError(f"{path}: links that lead nowhere")


def _refuse_link(path: Path, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode):
            target = os.path.normpath(path.parent / os.readlink(path.name, dir_fd=folder))
            raise ScriptError(f"{path}: is a link to {target}, not a file of its own: remove the link")


@contextmanager
def _open_directory(path: Path, foreign: bool) -> Iterator[int]:
    """A descriptor of the directory, opened component by component. ScriptError if somebody else than root can change
    what is in one of them, unless it may be `foreign`."""
    descriptor, todo, links = os.open("/", _DIRECTORY), [*path.parts[1:]], 0
    try:
        while True:
            if not foreign:
                _check_owner(path, descriptor, is_last=not todo)
            if not todo:
                break
            part = todo.pop(0)
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                status = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
                if error.errno not in (errno.ELOOP, errno.ENOTDIR) or not stat.S_ISLNK(status.st_mode):
                    raise
                links += 1
                if links > _LINKS:
                    raise ScriptError(f"{path}: links that lead nowhere") from None
                _check_link(path, part, status.st_uid)
                target = Path(os.readlink(part, dir_fd=descriptor))
                todo = [component for component in target.parts if component != "/"] + todo
                inner = os.open("/" if target.is_absolute() else ".", _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _check_owner(path: Path, descriptor: int, is_last: bool) -> None:
    status = os.fstat(descriptor)
    is_others = status.st_uid not in (0, os.geteuid())
    is_open = bool(status.st_mode & 0o022) and (is_last or not status.st_mode & stat.S_ISVTX)
    if not is_others and not is_open:
        return
    place = os.readlink(f"/proc/self/fd/{descriptor}")
    who = f"belongs to uid {status.st_uid}, who" if is_others else "others may write into it, and"
    repairs = [f"chown root {shlex.quote(place)}"] * is_others + [f"chmod go-w {shlex.quote(place)}"] * is_open
    what = "what is in it" if Path(place) == path else f"what is in {path}"
    raise ScriptError(f"{place}: {who} could change {what}: {' && '.join(repairs)}, or choose another directory")


def _check_link(path: Path, part: str, owner: int) -> None:
    if owner not in (0, os.geteuid()):
        raise ScriptError(
            f"{path}: {part} is a link that uid {owner} made: it is not followed: set the path that it leads to, "
            f"{os.path.realpath(path)}"
        ) from None


def _our_ids() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


def _name_unfinished(name: str) -> str:
    """What a file of this name is called until it is whole."""
    return f".{name}{_UNFINISHED}"


def _is_unfinished(name: str) -> bool:
    return name.endswith(_UNFINISHED)
