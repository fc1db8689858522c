"""Files that root reads and writes where other users may write, too (Synapse's directory belongs to Synapse). A user
who puts a link into such a directory must not choose which file root touches.

Root follows a link only if root made it. Owner and mode are set on the descriptor of a new file, and a rename puts it
in the place of the old one; no existing file is written into.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from host_programs.messages import ScriptError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # as many as the kernel follows


@dataclass(frozen=True)
class Content:
    """A regular file at the time of reading. `path`: where the file is, behind links."""

    path: Path
    data: bytes
    status: os.stat_result


def read_file(path: Path, links: bool = True) -> Optional[Content]:
    """The file; None if the file or its directory does not exist. ScriptError for anything but a regular file, and for
    a link that must not be followed (without `links`: any link). Raises OSError if the file cannot be read."""
    try:
        found = _follow_links(path.absolute(), links)
        with _open_directory(found.parent) as folder:
            # O_NONBLOCK: a fifo in the file's place must not block this program
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(found.name, flags, dir_fd=folder)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise ScriptError(f"{path}: is no regular file: move it away")
        with os.fdopen(descriptor, "rb") as file:
            return Content(found, file.read(), status)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_file(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o600,
    owner: Optional[tuple[int, int]] = None,
    times: Optional[tuple[int, int]] = None,
    like: Optional[Path] = None,
) -> None:
    """Make or replace the file in one step. `owner`: uid and gid, default ours; `times`: of access and change (ns), to
    set; `like`: the file beside it whose extended attributes, also ACLs, are copied. On any failure the old file is
    intact; ScriptError."""
    try:
        path = _follow_links(path.absolute(), links=True)
        with _open_directory(path.parent) as folder:
            temporary = f".{path.name}.{secrets.token_hex(6)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
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
                os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
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


def rewrite_file(path: Path, data: bytes, times: Optional[tuple[int, int]] = None) -> bool:
    """Give an existing file new content, and keep its owner, group and mode; `times` as in `write_file`. False, and
    nothing is done, if the file has the content already."""
    content = read_file(path)
    if content is None:
        raise ScriptError(f"{path}: is gone")
    if content.data == data:
        return False
    status, found = content.status, content.path
    owner = (status.st_uid, status.st_gid)
    write_file(found, data, mode=stat.S_IMODE(status.st_mode), owner=owner, times=times, like=found)
    return True


def remove_file(path: Path) -> None:
    """Remove the file, or a link in its place. A missing file is fine."""
    missing = contextlib.suppress(FileNotFoundError, NotADirectoryError)
    with missing, _open_directory(path.absolute().parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def make_directory(path: Path, mode: int, owner: Optional[tuple[int, int]] = None) -> None:
    """Make the directory if it is missing, and give it this mode and owner (uid and gid, default ours). Raises
    OSError."""
    with _open_directory(path.absolute().parent) as folder:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, 0o700, dir_fd=folder)
        descriptor = os.open(path.name, _DIRECTORY, dir_fd=folder)
        try:
            os.fchown(descriptor, *(owner or _our_ids()))
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _follow_links(path: Path, links: bool) -> Path:
    """The file that a path without links in its last part leads to; it may be missing."""
    for _ in range(_LINKS):
        with _open_directory(path.parent) as folder:
            try:
                status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return path
            if not stat.S_ISLNK(status.st_mode):
                return path
            target = Path(os.path.normpath(path.parent / os.readlink(path.name, dir_fd=folder)))
        if not links:
            raise ScriptError(f"{path}: is a link to {target}, not a file of its own: remove the link")
        _check_link(path, path.name, status.st_uid)
        path = target
    raise ScriptError(f"{path}: links that lead nowhere")


@contextmanager
def _open_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory, opened component by component."""
    descriptor, todo, links = os.open("/", _DIRECTORY), [*path.parts[1:]], 0
    try:
        while todo:
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


def _check_link(path: Path, part: str, owner: int) -> None:
    if owner not in (0, os.geteuid()):
        raise ScriptError(
            f"{path}: {part} is a link that uid {owner} made: it is not followed: set the path that it leads to, "
            f"{os.path.realpath(path)}"
        ) from None


def _our_ids() -> tuple[int, int]:
    return os.geteuid(), os.getegid()
