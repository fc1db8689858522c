"""Computes the new text of homeserver.yaml, in the first place that has what the edit needs.

That is Synapse's running container, where Synapse's own loader also judges the text; else a short-lived container of
its image, without network or rights; else this machine's own python3, if it has PyYAML.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Optional

from documents.launcher import RUN_FROM_STDIN
from documents.places import Synapse
from host_programs import program_file
from host_programs.docker import find_path_in_container
from host_programs.messages import ScriptError
from host_programs.synapse.inside.homeserver_edit import EditRequest, EditResult
from host_programs.verbs import words_of
from host_programs.wire import typed
from verdicts.host_facts.docker import Container

RESTRICTED = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
LIMIT = 300.0  # seconds


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
    running = container is not None and container.running
    python = ["-c", RUN_FROM_STDIN, *words_of(verb).split()]
    if running:
        commands = [["docker", "exec", "-i", synapse.container, "python3", *python]]
    else:
        images = [container.image_id] if container else []
        commands = [
            ["docker", "run", *RESTRICTED.split(), "--entrypoint", "python3", image, *python] for image in images
        ]
        commands.append([sys.executable or "python3", *python])
    failures = []
    for command in commands:
        done = _run(command, program_file.inside_order(request))
        if done.returncode == 0:
            result = typed(EditResult, json.loads(done.stdout), "the edit")
            if result.refused:
                raise ScriptError("\n".join(f"{synapse.homeserver_file}:{line}" for line in result.refused))
            return result
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        failures.append(f"{command[0]} {command[1]}: {last}" if command[0] == "docker" else f"python3 here: {last}")
    fix = "" if running else f": start {synapse.container}, or install PyYAML here (apt install python3-yaml)"
    raise ScriptError(f"{synapse.homeserver_file}: nowhere to run the edit ({'; '.join(failures)}){fix}")


def _run(command: list[str], stdin: bytes) -> subprocess.CompletedProcess[str]:
    try:
        raw = subprocess.run(command, input=stdin, capture_output=True, timeout=LIMIT, check=False)
        out, err = (data.decode(errors="replace") for data in (raw.stdout, raw.stderr))
        return subprocess.CompletedProcess(command, raw.returncode, out, err)
    except subprocess.TimeoutExpired:
        raise ScriptError(f"{' '.join(command[:3])}: no answer in {LIMIT:g} s") from None
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")
