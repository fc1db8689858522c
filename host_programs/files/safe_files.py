"""Files that root reads and writes where other users may write, too (Synapse's directory belongs to Synapse). A user
who puts a link into such a directory must not choose which file root touches.

`open_directory` opens a path component by component, and follows a link only if root made it. Owner and mode are set on
the descriptor of a new file. A rename puts the new file in the place of the old one; no existing file is written into.
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
        with _open_parent(path, links) as (folder, name, where):
            # O_NONBLOCK: a fifo in the file's place must not block this program
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                raise ScriptError(f"{path}: is no regular file: move it away")
            with os.fdopen(descriptor, "rb") as file:
                return Content(where, file.read(), status)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_file(
    path: Path, data: bytes, *, mode: int = 0o600, owner: Optional[tuple[int, int]] = None, like: Optional[Path] = None
) -> None:
    """Make or replace the file in one step. A new file beside it gets `owner` (uid and gid, default ours) and mode,
    then the content, then fsync; a rename puts it in place. Extended attributes, also ACLs, are copied from `like`. On
    any failure the old file is intact; ScriptError."""
    try:
        with _open_parent(path, links=True) as (folder, name, _):
            temporary = f".{name}.{secrets.token_hex(6)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    os.fchown(file.fileno(), *(owner or _our_ids()))
                    os.fchmod(file.fileno(), mode)
                    _copy_attributes(folder, like, file.fileno())
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
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
    """Give an existing file new content, and keep its owner, group and mode. `times`: of access and change (ns), to
    set. False, and nothing is done, if the file has the content already."""
    content = read_file(path)
    if content is None:
        raise ScriptError(f"{path}: is gone")
    if content.data == data:
        return False
    status = content.status
    mode = stat.S_IMODE(status.st_mode)
    write_file(content.path, data, mode=mode, owner=(status.st_uid, status.st_gid), like=content.path)
    if times:
        with _open_parent(content.path, links=False) as (folder, name, _):
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
    return True


def remove_file(path: Path) -> None:
    """Remove the file, or a link in its place. A missing file is fine."""
    try:
        with _open_parent(path, links=False, any_kind=True) as (folder, name, _):
            os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        pass


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory. ScriptError if the path holds a link that another user than root made."""
    descriptor = os.open("/", _DIRECTORY)
    todo, links = [part for part in path.absolute().parts if part != "/"], 0
    try:
        while todo:
            part = todo.pop(0)
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                status = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
                if error.errno not in (errno.ELOOP, errno.ENOTDIR) or not stat.S_ISLNK(status.st_mode):
                    raise
                target, links = os.readlink(part, dir_fd=descriptor), links + 1
                if links > _LINKS:
                    raise ScriptError(f"{path}: links that lead nowhere") from None
                if not _is_root(status.st_uid):
                    raise ScriptError(
                        f"{path}: {part} in it is a link that uid {status.st_uid} made: it is not followed: set the "
                        f"path that it leads to, {os.path.realpath(path)}"
                    ) from None
                todo = [component for component in Path(target).parts if component != "/"] + todo
                if not target.startswith("/"):
                    continue
                inner = os.open("/", _DIRECTORY)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _open_parent(path: Path, links: bool, any_kind: bool = False) -> Iterator[tuple[int, str, Path]]:
    """Follow the links that may be followed: a descriptor of the file's directory, the file's name in it, and its
    path."""
    path = path.absolute()
    for _ in range(_LINKS):
        with open_directory(path.parent) as folder:
            try:
                status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                status = None
            if status is None or any_kind or not stat.S_ISLNK(status.st_mode):
                yield folder, path.name, path
                return
            target = Path(os.path.normpath(path.parent / os.readlink(path.name, dir_fd=folder)))
            if not links:
                raise ScriptError(f"{path}: is a link to {target}, not a file of its own: remove the link")
            if not _is_root(status.st_uid):
                _check_link(path, status.st_uid, target)
            path = target
    raise ScriptError(f"{path}: links that lead nowhere")


def _check_link(path: Path, owner: int, target: Path) -> None:
    """ScriptError unless `owner`, who made the link, could write the target himself: he may write into its directory,
    and he or root owns it."""
    with open_directory(target.parent) as folder:
        parent = os.fstat(folder)
        try:
            target_owner = os.stat(target.name, dir_fd=folder, follow_symlinks=False).st_uid
        except FileNotFoundError:
            target_owner = owner
    owner_writes = parent.st_uid == owner and parent.st_mode & stat.S_IWUSR
    everybody_writes = parent.st_mode & stat.S_IWOTH
    if not (owner_writes or everybody_writes) or not (_is_root(target_owner) or target_owner == owner):
        raise ScriptError(
            f"{path}: is a link that uid {owner} made, to {target}, where it could not write itself: it is not "
            f"followed: set the directory {target.parent} in its place"
        )


def make_directory(path: Path, mode: int, owner: Optional[tuple[int, int]] = None) -> None:
    """Make the directory if it is missing, and give it this mode and owner (uid and gid, default ours). Raises
    OSError."""
    with open_directory(path.parent) as folder:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, 0o700, dir_fd=folder)
        descriptor = os.open(path.name, _DIRECTORY, dir_fd=folder)
        try:
            os.fchown(descriptor, *(owner or _our_ids()))
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _our_ids() -> tuple[int, int]:
    return os.geteuid(), os.getegid()


def _is_root(uid: int) -> bool:
    return uid in (0, os.geteuid())
