"""Files that root reads and writes where others may write too (Synapse's directory belongs to Synapse): whoever can put
a link there must not choose what root touches.

A directory is opened component by component, and a link on the way is followed only if root made it. Owner and mode
are set on descriptors of files that were just made; what is there is replaced by a rename, never written into.
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
    """A regular file as it was when it was read. `path`: where it is, if what was asked for is a link."""

    path: Path
    data: bytes
    status: os.stat_result


def read_file(path: Path, links: bool = True) -> Optional[Content]:
    """The file; None if it, or its directory, is not there. ScriptError if it is no regular file, or a link that is not
    to be followed (without `links`: any link). Raises OSError if it cannot be read."""
    try:
        with _open_parent(path, links) as (folder, name, where):
            # O_NONBLOCK: a fifo in the file's place must not hold us
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
    """Make or replace the file in one step: a new one beside it with the right `owner` (uid and gid, default ours) and
    mode before any content is in it, fsync, rename. Extended attributes, ACLs among them, come from `like`. On any
    failure the old file is whole; ScriptError."""
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
    """Give an existing file new content, same owner, group and mode; `times` of access and change (ns) as given. False
    (and nothing done) if it has the content already."""
    was = read_file(path)
    if was is None:
        raise ScriptError(f"{path}: is gone")
    if was.data == data:
        return False
    status = was.status
    mode = stat.S_IMODE(status.st_mode)
    write_file(was.path, data, mode=mode, owner=(status.st_uid, status.st_gid), like=was.path)
    if times:
        with _open_parent(was.path, links=False) as (folder, name, _):
            os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
    return True


def remove_file(path: Path) -> None:
    """Take the file away, or the link in its place; one that is not there is fine."""
    try:
        with _open_parent(path, links=False, any_kind=True) as (folder, name, _):
            os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        pass


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """A descriptor of the directory. ScriptError for a link on the way that somebody else than root made."""
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
                todo = [each for each in Path(target).parts if each != "/"] + todo
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
    """The directory's descriptor, the file's name in it, and the whole as a path, behind links that may be followed."""
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
    """ScriptError unless a link that `owner` made leads to a file where it could write itself: whose directory it may
    write into, and which root or itself owns."""
    with open_directory(target.parent) as folder:
        around = os.fstat(folder)
        try:
            its = os.stat(target.name, dir_fd=folder, follow_symlinks=False).st_uid
        except FileNotFoundError:
            its = owner
    own = around.st_uid == owner and around.st_mode & stat.S_IWUSR
    if not (own or around.st_mode & stat.S_IWOTH) or not (_is_root(its) or its == owner):
        raise ScriptError(
            f"{path}: is a link that uid {owner} made, to {target}, where it could not write itself: it is not "
            f"followed: set the directory {target.parent} in its place"
        )


def make_directory(path: Path, mode: int, owner: Optional[tuple[int, int]] = None) -> None:
    """The directory is there, with this mode and owner (uid and gid, default ours), whoever made it. Raises OSError."""
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
