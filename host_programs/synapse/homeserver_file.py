"""homeserver.yaml as a file on the host: its text, and the edit of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Optional, TypeVar

from documents.launcher import RUN_FROM_STDIN
from documents.places import Synapse
from host_programs import program_file
from host_programs.docker import find_path_in_container
from host_programs.files import safe_files
from host_programs.messages import ScriptError
from host_programs.synapse.inside.homeserver_edit import EditRequest, EditResult
from host_programs.verbs import words_of
from host_programs.wire import from_json, result_of
from verdicts.host_facts.docker import Container

RESTRICTED = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges"
NOBODY, READING = ["--user", "65534:65534"], ["--user", "0:0", "--cap-add", "DAC_READ_SEARCH"]
LIMIT = 300.0  # seconds

A = TypeVar("A")
R = TypeVar("R")


def read_text(path: Path) -> tuple[safe_files.Content, str]:
    """The file and its text. ScriptError if it cannot be read, or is no UTF-8."""
    try:
        content = safe_files.read_file(path, foreign=True)
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
    safe_files.rewrite_file(path, new.encode(), foreign=True)


def find_path_inside(synapse: Synapse, container: Optional[Container]) -> str:
    """The path of homeserver.yaml as Synapse sees it."""
    mounted = find_path_in_container(container, synapse.homeserver_file) if container else None
    return mounted or synapse.path_inside(synapse.homeserver_file.rpartition("/")[2])


def run_edit(
    synapse: Synapse,
    container: Optional[Container],
    verb: Callable[[EditRequest], EditResult],
    request: EditRequest,
) -> EditResult:
    """Run a verb of inside/homeserver_edit.py. ScriptError if it refuses the text, or can run nowhere."""
    result = run_with_yaml(synapse, container, verb, request, mounts=False)
    if result.refused:
        raise ScriptError("\n".join(f"{synapse.homeserver_file}:{line}" for line in result.refused))
    return result


def run_with_yaml(
    synapse: Synapse, container: Optional[Container], verb: Callable[[A], R], request: A, mounts: bool
) -> R:
    """Run a verb that needs PyYAML in the first place that can: the running `container` of Synapse's; else a
    short-lived one of its image, without network or rights; else this machine's own python3, if it has PyYAML.
    `mounts`: the verb reads Synapse's files, so this machine will do only if there is no container. ScriptError if the
    verb can run nowhere."""
    python = ["-c", RUN_FROM_STDIN, *words_of(verb).split()]
    commands: list[list[str]] = []
    if container and container.running:
        commands.append(["docker", "exec", "-i", container.name, "python3", *python])
    elif container:
        options = [*RESTRICTED.split(), *([*READING, "--volumes-from", f"{container.name}:ro"] if mounts else NOBODY)]
        commands.append(["docker", "run", *options, "--entrypoint", "python3", container.image_id, *python])
    if not container or (not container.running and not mounts):
        commands.append([sys.executable or "python3", *python])
    failures = []
    for command in commands:
        place = " ".join(command[:2]) if command[0] == "docker" else "python3 here"
        try:
            done = subprocess.run(
                command, input=program_file.inside_order(request), capture_output=True, timeout=LIMIT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            failures.append(f"{place}: {error}")
            continue
        if done.returncode == 0:
            return from_json(result_of(verb), json.loads(done.stdout), words_of(verb))
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        failures.append(f"{place}: {lines[-1]}")
    raise ScriptError(
        f"{synapse.homeserver_file}: nowhere to run the edit ({'; '.join(failures)}): start {synapse.container}, or "
        "install PyYAML here (apt install python3-yaml)"
    )
