"""The stack's registration files in Synapse's directory, which their first line marks as the stack's.

That directory is another user's: what its owner may do to the files there, he can do without us."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from documents.places import Synapse
from host_programs.docker import inspect_containers
from host_programs.files import files, safe_files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError, say
from host_programs.synapse import homeserver_file
from host_programs.synapse.inside import registrations as inside
from host_programs.synapse.inside.registrations import ListingRequest, find_tokens

LARGEST = 64 * 1024  # bytes; a registration of ours has under 2 KiB, and a log beside it may have gigabytes


def restore_listed(synapse: Synapse, stack: str, registrations: Iterable[OwnedFile], homeserver: str) -> None:
    """Write those that are missing although the text of homeserver.yaml lists them: Synapse does not start without."""
    for file in registrations:
        path = Path(file.path)
        if synapse.path_inside(path.name) in homeserver and not is_there(path):
            files.write_files(OwnedFiles(stack, (file,), foreign=True))
            say(f"{path}: was missing, though homeserver.yaml lists it: it is written again")


def is_there(path: Path) -> bool:
    """Whether there is anything in the place of a registration."""
    return safe_files.inspect_file(path, foreign=True) is not None


@contextlib.contextmanager
def write_registrations(synapse: Synapse, stack: str, registrations: tuple[OwnedFile, ...]) -> Iterator[None]:
    """Write the files that are not as they should be. If the write or the body fails, put them back as they were."""
    earlier = {file.path: safe_files.read_file(Path(file.path), links=False, foreign=True) for file in registrations}
    try:
        files.write_files(OwnedFiles(stack, registrations, foreign=True))
        yield
    except ScriptError:
        remove_registrations(synapse, stack, [path for path, content in earlier.items() if content is None])
        for path, content in earlier.items():
            if content is not None:
                times = (content.status.st_atime_ns, content.status.st_mtime_ns)
                safe_files.rewrite_file(Path(path), content.data, times, foreign=True)
        raise


def find_registrations(synapse: Synapse, stack: str) -> list[str]:
    """The paths of the stack's files in Synapse's directory, under whatever name a run has written them."""
    folder, found = Path(synapse.directory), []
    for name in safe_files.list_directory(folder, foreign=True):
        status = safe_files.inspect_file(folder / name, foreign=True) if name.endswith(".yaml") else None
        if status and stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
            content = safe_files.read_file(folder / name, links=False, foreign=True)
            if content is not None and files.parse_file_owner(content) == stack:
                found.append(str(folder / name))
    return found


def remove_registrations(synapse: Synapse, stack: str, paths: Collection[str]) -> tuple[str, ...]:
    """Remove registration files of the stack: nothing else does. The paths that went.

    A file that Synapse's configuration lists stays, with a warning: Synapse does not start without it. So does one of
    which that is unknown, and one that somebody else wrote."""
    removed = []
    for path in paths:
        safe_files.remove_unfinished(Path(path), foreign=True)
    present = [path for path in dict.fromkeys(paths) if is_there(Path(path))]
    reasons = _find_reasons_to_keep(synapse, present) if present else {}
    for path in present:
        if path in reasons:
            say(f"warning: {path} stays: {reasons[path]}")
        elif files.remove_owned_file(Path(path), stack, foreign=True):
            removed.append(path)
    return tuple(removed)


def _find_reasons_to_keep(synapse: Synapse, paths: Collection[str]) -> Mapping[str, str]:
    """Why files must stay, by path: the configuration of Synapse, with all its files and its workers', lists them."""
    inside_paths = {synapse.path_inside(Path(path).name): path for path in paths}
    homeserver = safe_files.read_file(Path(synapse.homeserver_file), foreign=True)
    text = homeserver.data.decode(errors="replace") if homeserver else ""
    names = (synapse.container, *synapse.workers)
    containers = inspect_containers(*names)
    reasons: dict[str, str] = {}
    for name in names:
        container = containers.get(name)
        if container is None and name != synapse.container:
            continue
        request = ListingRequest(
            registrations=tuple(inside_paths),
            command=container.command if container else (),
            homeserver=homeserver_file.find_path_inside(synapse, container),
            text=text,
        )
        try:
            found = homeserver_file.run_with_yaml(synapse, container, inside.find_listed, request, mounts=True)
            error = found.error
        except ScriptError as failure:
            error = str(failure)
        if error:
            return dict.fromkeys(paths, f"whether Synapse's configuration lists it is unknown: {error}")
        for listed, file in found.files.items():
            place = synapse.homeserver_file if file == request.homeserver else f"{file} in {name}"
            reasons.setdefault(inside_paths[listed], f"{place} lists it, in a line that this stack did not write")
    return reasons


def read_all_tokens(registrations: Iterable[OwnedFile]) -> set[str]:
    """The tokens that the files on the host hold, and those that they are to hold."""
    texts = [file.content for file in registrations]
    for file in registrations:
        with contextlib.suppress(ScriptError, OSError):
            if content := safe_files.read_file(Path(file.path), links=False, foreign=True):
                texts.append(content.data.decode(errors="replace"))
    return {token for text in texts for token in find_tokens(text).values()}
