"""Facts about Synapse: its container's own, where it answers, its workers' containers, and who writes its file."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from documents.places import Deployment, Synapse
from host_programs import program_file
from host_programs.docker import find_path_in_container, inspect_container
from host_programs.messages import ScriptError
from host_programs.synapse import client
from host_programs.synapse.homeserver_file import find_path_inside
from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside import synapse_facts
from verdicts.host_facts.docker import Container
from verdicts.host_facts.synapse import SynapseFacts


def read_inside(deployment: Deployment) -> SynapseFacts:
    """What Synapse's own container tells. Whatever is wrong with that is `error`."""
    synapse = deployment.synapse
    file = find_path_inside(synapse, inspect_container(synapse.container))
    request = synapse_facts.SynapseRequest(homeserver=file, address=synapse.address)
    try:
        return program_file.run_inside(synapse.container, synapse_facts.read_synapse, request, timeout=30)
    except program_file.InsideError as error:
        return SynapseFacts(error=str(error))


def read_answer(synapse: Synapse) -> tuple[str, str]:
    """Where the host reaches Synapse, and why its client-server API does not answer there; "" if it does."""
    url = ""
    try:
        url = client.find_url(synapse)
        return url, client.explain_silence(url, 5)
    except ScriptError as error:
        return url, str(error)


def find_worker_containers(containers: Mapping[str, Container], synapse: Synapse) -> tuple[str, ...]:
    """Names of other containers that have this Synapse's files and run Synapse."""
    main, paths = containers.get(synapse.container), (synapse.homeserver_file, synapse.directory)
    if main is None:
        return ()
    others = [container for container in containers.values() if container.id != main.id]
    sharing = [other for other in others if any(find_path_in_container(other, path) for path in paths)]
    processes = synapse_process.find_processes(synapse_process.WORKER, everywhere=True) if sharing else ()
    namespaces = {_read_pid_namespace(process) for process in processes}

    def is_worker(container: Container) -> bool:
        if not container.running:
            return container.image_id == main.image_id
        return _read_pid_namespace(Path(f"/proc/{container.pid}")) in namespaces

    return tuple(sorted(container.name for container in sharing if is_worker(container)))


def _read_pid_namespace(process: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(process / "ns/pid")
    return ""  # the process has ended


def find_renderers(containers: Mapping[str, Container], synapse: Synapse) -> tuple[str, ...]:
    """Names of containers that have homeserver.yaml and whose command writes it: an init service of compose's, or
    Synapse's own with a shell around it."""
    return tuple(
        name
        for name, container in sorted(containers.items())
        if (path := find_path_in_container(container, synapse.homeserver_file))
        and writes_file(" ".join(container.command), path)
    )


def writes_file(command: str, file: str) -> bool:
    """Whether a shell's text writes the file: as an output, or as the last word of a program that does. A variable may
    name it, or a path from the directory that it is in."""
    named = rf"(?:{re.escape(file)}|(?:\./|\$\S*/)?{re.escape(Path(file).name)})"
    name = rf"[\"']?{named}[\"']?"
    programs = r"\b(?:cp|mv|install|tee|sed\s+-i|yq\s+-i)\b"
    outputs = rf"(?:>|\s-o|\s--out\S*)\s*{name}(?=[\s;&|)]|$)"
    return bool(re.search(rf"{outputs}|{programs}[^;&|\n]*\s{name}\s*(?:[;&|)\n]|$)", command))
