"""The stack's registration files in Synapse's directory, which their first line marks as the stack's."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from documents.places import Synapse
from host_programs.files import files, safe_files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError, say
from host_programs.synapse.inside.registrations import find_tokens, read_tokens

LARGEST = 64 * 1024  # bytes; a registration of ours has under 2 KiB, and a log beside it may have gigabytes


def restore_listed(synapse: Synapse, stack: str, registrations: Iterable[OwnedFile], homeserver: str) -> None:
    """Write those that are missing although the text of homeserver.yaml lists them: Synapse does not start without."""
    for file in registrations:
        path = Path(file.path)
        if synapse.path_inside(path.name) in homeserver and not path.exists() and not path.is_symlink():
            files.write_files(OwnedFiles(stack, (file,)))
            say(f"{path}: was missing, though homeserver.yaml lists it: it is written again")


@contextlib.contextmanager
def write_registrations(synapse: Synapse, stack: str, registrations: tuple[OwnedFile, ...]) -> Iterator[None]:
    """Write the files that are not as they should be. If the write or the body fails, put them back as they were."""
    earlier = {file.path: safe_files.read_file(Path(file.path), links=False) for file in registrations}
    try:
        files.write_files(OwnedFiles(stack, registrations))
        yield
    except ScriptError:
        _remove(synapse, stack, [path for path, content in earlier.items() if content is None])
        for path, content in earlier.items():
            if content is not None:
                times = (content.status.st_atime_ns, content.status.st_mtime_ns)
                safe_files.rewrite_file(Path(path), content.data, times)
        raise


def remove_registrations(synapse: Synapse, stack: str, named: Iterable[OwnedFile]) -> tuple[str, ...]:
    """Remove the stack's registration files, and those `named`; the paths that went.

    One that a line of homeserver.yaml still lists stays, with a warning: Synapse does not start without it."""
    ours = dict.fromkeys([*_find_registrations(synapse, stack), *(file.path for file in named)])
    return _remove(synapse, stack, ours)


def _find_registrations(synapse: Synapse, stack: str) -> Iterator[str]:
    for path in sorted(Path(synapse.directory).glob("*.yaml")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
            content = safe_files.read_file(path, links=False)
            if content is not None and files.parse_file_owner(content) == stack:
                yield str(path)


def _remove(synapse: Synapse, stack: str, paths: Iterable[str]) -> tuple[str, ...]:
    present = [path for path in paths if Path(path).exists() or Path(path).is_symlink()]
    unwanted = tuple(OwnedFile(path, "", 0, 0) for path in present)
    return files.remove_files(OwnedFiles(stack, unwanted, synapse.homeserver_file, synapse.data_mount))


def read_all_tokens(registrations: Iterable[OwnedFile]) -> set[str]:
    """The tokens that the files on the host hold, and those that they are to hold."""
    written = read_tokens(file.path for file in registrations)
    tokens = [*written.values(), *(find_tokens(file.content) for file in registrations)]
    return {token for registration in tokens for token in registration.values()}
