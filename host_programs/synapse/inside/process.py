"""A process of Synapse, as its own container sees it: its folder in /proc, and the configuration that it reads.

Synapse reads its files in the order of its command line and takes each top-level key from the last one that has it
(synapse/config/_base.py: read_config_files); two lists are never joined.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROC = Path("/proc")
# A word of the command line: a module, its file, or the program that pip makes. No shell's, which has them in one word.
MAIN = rb"synapse\.app\.homeserver|(.*/)?(synapse/app/homeserver\.py|synapse_homeserver)"
WORKER = rb"synapse\.app\.(?!homeserver)\w+|(.*/)?(synapse/app/(?!homeserver)\w+\.py|synapse_worker)"


def find_processes(kind: bytes, everywhere: bool = False) -> list[Path]:
    """Folders in /proc of the processes that are of a kind, MAIN or WORKER, the oldest first. `everywhere`: those in
    containers below this one, too."""
    found = []
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if any(re.fullmatch(kind, word) for word in words) and (everywhere or _is_in_this_container(process)):
                found.append(process)
    return sorted(found, key=lambda process: int(process.name))


def find_main() -> Path:
    """The main process' folder in /proc; that of the container's first process, if no command line names Synapse."""
    return next(iter(find_processes(MAIN)), PROC / "1")


def _is_in_this_container(process: Path) -> bool:
    """On a host, the processes of all containers are seen, too."""
    try:
        return os.path.samefile(process / "root", "/")
    except OSError:
        return True  # another user's, in a container without the right to look


def read_options(process: Path, homeserver: str) -> list[str]:
    """The options of that process that say where its configuration is, as Synapse's `load_config` takes them;
    `homeserver` if there are none."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        words = []
    return find_options(words, homeserver)


def find_options(words: Sequence[str], homeserver: str) -> list[str]:
    """The same of a command line."""
    found: list[str] = []
    for n, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config-path", "--keys-directory"):
            found += [name, value if equals else (words[n + 1] if n + 1 < len(words) else "")]
        elif word.startswith("-c") and len(word) > 2:
            found += ["-c", word[2:]]
    return found if {"-c", "--config-path"} & set(found) else ["-c", homeserver]


def enter_directory(process: Path) -> None:
    """Change to the directory that Synapse works in: its paths may be relative."""
    with contextlib.suppress(OSError):  # root without CAP_SYS_PTRACE may not see another user's
        os.chdir(process / "cwd")


def list_files(options: Sequence[str]) -> list[str]:
    """The configuration's files in their order."""
    searched = [options[n + 1] for n, word in enumerate(options) if word in ("-c", "--config-path")]
    if len(searched) == 1 and not os.path.isdir(searched[0]):
        return searched
    from synapse.config._base import find_config_files  # type: ignore[import-not-found, unused-ignore]

    return list(find_config_files(searched))


class ConfigUnreadable(Exception):
    """A file of the configuration cannot be read; its text is one line that names it."""


def read_configuration(process: Path, homeserver: str) -> dict[str, dict[Any, Any]]:
    """The parsed content of each file of that process' configuration, in their order; `homeserver` is the only one if
    its command line names none. ConfigUnreadable if one cannot be read."""
    import yaml

    file, documents = homeserver, dict[str, dict[Any, Any]]()
    try:
        for file in list_files(read_options(process, homeserver)):
            documents.pop(file, None)  # one that is named twice counts where it is named last
            documents[file] = yaml.safe_load(Path(file).read_text())
            if not isinstance(documents[file], dict):
                raise TypeError("the top level is no mapping")
    except (OSError, ImportError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigUnreadable(f"{file}: {describe_error(error)}") from None
    return documents


def describe_error(error: Exception) -> str:
    """Its kind and its words, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def find_deciding_files(documents: Mapping[str, Mapping[Any, Any]], keys: Iterable[str]) -> dict[str, str]:
    """For each of the keys, the last file that has it: that one counts."""
    return {key: os.path.realpath(file) for key in keys for file in documents if key in documents[file]}


def merge(documents: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """The configuration that all files make together."""
    merged: dict[Any, Any] = {}
    for document in documents:
        merged.update(document)
    return merged
