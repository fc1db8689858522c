"""The appservice registrations in Synapse's configuration, and their tokens."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_programs.synapse.inside import process as synapse_process

_TOKEN = re.compile(r"""\b([ah]s_token)["']?[ \t]*:[ \t]*["']?([^\s"',}]+)""")


def list_registrations(document: Any) -> list[str]:
    """The paths of the registrations that a parsed configuration lists."""
    paths = document.get("app_service_config_files") if isinstance(document, dict) else None
    return [str(path) for path in paths] if isinstance(paths, list) else []


def find_tokens(registration: str) -> dict[str, str]:
    """as_token and hs_token of a registration's text, however they are written."""
    return dict(_TOKEN.findall(registration))


def read_tokens(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """The tokens of each registration that can be read, by path."""
    tokens = {}
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            tokens[path] = find_tokens(Path(path).read_text(errors="replace"))
    return tokens


@dataclass(frozen=True)
class ListingRequest:
    """`registrations`: paths as Synapse sees them. `command`: the container's, which counts where Synapse does not run;
    `homeserver`: the path of homeserver.yaml there, and `text`: what the host has as that file."""

    registrations: tuple[str, ...]
    command: tuple[str, ...]
    homeserver: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class ListedRegistrations:
    """`files`: for each registration that is listed, a file of the configuration that lists it. `error`: why that is
    unknown; "" if it is known."""

    files: dict[str, str] = field(default_factory=dict)
    error: str = ""


def find_listed(request: ListingRequest) -> ListedRegistrations:
    """Which of the registrations any file of Synapse's configuration lists, that of its workers here among them. A file
    that is missing lists nothing."""
    # A relative path counts from the directory that Synapse works in, which may be unknown here: by its name.
    wanted = {name: path for path in request.registrations for name in (os.path.realpath(path), os.path.basename(path))}
    found: dict[str, str] = {}
    try:
        for file, document in _read_documents(request):
            for listed in list_registrations(document):
                name = os.path.realpath(listed) if os.path.isabs(listed) else os.path.basename(listed)
                if name in wanted:
                    found.setdefault(wanted[name], file)
    except synapse_process.ConfigUnreadable as error:
        return ListedRegistrations(error=str(error))
    return ListedRegistrations(found)


def _read_documents(request: ListingRequest) -> Iterator[tuple[str, Any]]:
    """Each file of the configuration, parsed, with its path."""
    import yaml

    kinds = (synapse_process.MAIN, synapse_process.WORKER)
    processes = [process for kind in kinds for process in synapse_process.find_processes(kind)]
    if processes:
        synapse_process.enter_directory(processes[0])
        options = [synapse_process.read_options(process, request.homeserver) for process in processes]
    else:
        words = " ".join(request.command).split()  # a shell's text is one word
        options = [synapse_process.find_options(words, request.homeserver)]
    file, texts = request.homeserver, [(request.homeserver, request.text)]
    try:
        for file in dict.fromkeys(name for found in options for name in synapse_process.list_files(found)):
            with contextlib.suppress(FileNotFoundError):
                texts.append((file, Path(file).read_text()))
        for file, text in texts:
            yield file, yaml.safe_load(text)
    except (OSError, ImportError, ValueError, yaml.YAMLError) as error:
        raise synapse_process.ConfigUnreadable(f"{file}: {synapse_process.describe_error(error)}") from None
