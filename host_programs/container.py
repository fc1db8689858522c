"""The bridge's container as Docker and the bridge itself tell it: state, readiness, exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from documents.marks import STACK_LABEL
from host_programs.common import ScriptError, docker, say
from verdicts.host_facts.docker import Container, Mount

LIMIT = 60.0  # seconds for Docker to tell what there is


def containers(*names: str, timeout: float = LIMIT) -> dict[str, Container]:
    """The containers of these names or ids, by what they were asked for; those that are not there are absent.
    ScriptError if Docker itself fails, or does not answer in `timeout` seconds."""
    return {name: _container(raw) for name, raw in _inspected("container", names, timeout).items()}


def every() -> tuple[Container, ...]:
    """All that there are, whether they run or not."""
    return tuple(containers(*docker("ps", "-aq", "--no-trunc").stdout.split()).values())


def look(name: str) -> Optional[Container]:
    """The container of that name or id; None if there is none. ScriptError if Docker fails."""
    return containers(name).get(name)


def inside(container: Container, path: str) -> Optional[str]:
    """Where the container has a path of the host; None if it has not, or has another file there."""
    here = Path(os.path.realpath(path))
    for mount in container.mounts:
        source = Path(os.path.realpath(mount.source))
        if source in (here, *here.parents):
            there = os.path.normpath(Path(mount.destination) / here.relative_to(source))
            if os.path.realpath(on_host(container, there) or "") == str(here):
                return there
    return None


def on_host(container: Container, path: str) -> Optional[str]:
    """Where the host has a path of the container; None if no mount brings it there."""
    there = Path(path)
    mounts = [each for each in container.mounts if Path(each.destination) in (there, *there.parents)]
    if not mounts:
        return None
    nearest = max(mounts, key=lambda mount: len(mount.destination))
    return os.path.normpath(Path(nearest.source) / there.relative_to(nearest.destination))


def of_stack(container: Container, stack: str, network: str) -> bool:
    """Whether a stack of that name made it for the Matrix stack in that network; another one on this machine may have a
    stack of the same name."""
    return container.labels.get(STACK_LABEL) == stack and network in container.networks


def running_of(stack: str, network: str) -> list[str]:
    """Names of those that run; as `of_stack`."""
    filters = ("--filter", f"label={STACK_LABEL}={stack}", "--filter", f"network={network}")
    return docker("ps", *filters, "--format", "{{.Names}}").stdout.split()


def remove_own(name: str, stack: str) -> list[str]:
    """Stop and remove the container of that name, if it is this stack's; what went, in words."""
    found = look(name)
    if found is None or found.labels.get(STACK_LABEL) != stack:
        return []
    docker("stop", "--time", "30", found.id, check=False)
    docker("rm", "-f", "-v", found.id)
    return [f"container {name}"]


def remove_image(name: str) -> list[str]:
    """Remove the image unless a container is made of it; what went, in words."""
    done = docker("rmi", name, check=False)
    if done.returncode and "no such image" not in done.stderr.lower():
        say(f"note: image {name} stays: {done.stderr.strip()}")
    return [] if done.returncode else [f"image {name}"]


def there(kind: str, names: Sequence[str]) -> set[str]:
    """Those of the names that Docker has a `kind` (network, image) of."""
    return {*_inspected(kind, names)}


def image_id(name: str) -> str:
    """Docker's id of the image of that name; "" if it is not there."""
    return str(_inspected("image", (name,)).get(name, {}).get("Id", ""))


def variable(container: str, name: str) -> str:
    """A variable of a container's environment; "" if it, or the container, is not there."""
    entries = [entry for raw in _inspected("container", (container,)).values() for entry in raw["Config"]["Env"] or []]
    return next((value for key, _, value in (entry.partition("=") for entry in entries) if key == name), "")


def _inspected(kind: str, names: Sequence[str], timeout: float = LIMIT) -> dict[str, dict[str, Any]]:
    """`docker KIND inspect`, by the names asked for; what is not there is absent."""
    if not names:
        return {}
    done = docker(kind, "inspect", *names, check=False, timeout=timeout)
    errors = done.stderr.lower().splitlines()
    if done.returncode and not all("no such" in line or "not found" in line for line in errors):
        raise ScriptError(f"docker {kind} inspect: {done.stderr.strip() or f'exit code {done.returncode}'}")
    by_name: dict[str, dict[str, Any]] = {}
    unnamed = False
    for raw in json.loads(done.stdout or "[]"):
        known = {raw.get("Id", ""), raw.get("Name", "").lstrip("/"), *(raw.get("RepoTags") or [])}
        own = {name: raw for name in names if name in known or len(names) == 1}
        by_name, unnamed = by_name | own, unnamed or not own
    # Docker knows some things by other names, too: an image without its tag, a container by the beginning of its id.
    for name in [name for name in names if unnamed and name not in by_name]:
        by_name |= _inspected(kind, (name,), timeout)
    return by_name


def _container(raw: dict[str, Any]) -> Container:
    state = raw["State"]
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        image=raw["Config"]["Image"],
        image_id=raw["Image"],
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=raw["RestartCount"],
        error=state["Error"],
        oom_killed=state["OOMKilled"],
        created=raw["Created"],
        started=state["StartedAt"],
        pid=state["Pid"],
        labels=raw["Config"].get("Labels") or {},
        networks={
            name: network["IPAddress"] or network.get("GlobalIPv6Address", "")
            for name, network in raw["NetworkSettings"]["Networks"].items()
        },
        published=_published((raw.get("HostConfig") or {}).get("PortBindings") or {})
        | _published(raw["NetworkSettings"].get("Ports") or {}),
        mounts=tuple(
            Mount(mount["Source"], mount["Destination"]) for mount in raw.get("Mounts") or [] if mount.get("Source")
        ),
        command=(*_words(raw["Config"].get("Entrypoint")), *_words(raw["Config"].get("Cmd"))),
    )


def _words(command: Union[list[str], str, None]) -> list[str]:
    return [command] if isinstance(command, str) else command or []


def _published(ports: dict[str, Optional[list[dict[str, str]]]]) -> dict[int, str]:
    """Of a container that runs, or what one that does not asked for."""
    found = {}
    for name, places in ports.items():
        port, _, protocol = name.partition("/")
        if places and places[0]["HostPort"] and protocol == "tcp":
            host = places[0]["HostIp"]
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            host = f"[{host}]" if ":" in host else host
            found[int(port)] = f"{host}:{places[0]['HostPort']}"
    return found


def status_inside(name: str, url: str, timeout: float, token: str = "") -> str:
    """The status of a GET out of the bridge's container, whose image has curl; or why there is none."""
    seconds = max(timeout, 0.1)
    told = f'header = "Authorization: Bearer {token}"\n' if token else ""  # on stdin: an argument is seen by all
    try:
        done = docker(
            "exec", *(["-i"] if token else []), name,
            "curl", *(["--config", "-"] if token else []), "-sS", "--noproxy", "*", "--max-time", f"{seconds:.1f}",
            "-o", "/dev/null", "-w", "%{http_code}", url,
            stdin=told or None, check=False, timeout=seconds + 2,
        )  # fmt: skip
    except ScriptError as error:
        return str(error)
    if done.returncode:
        return (done.stderr or done.stdout).strip().split("\n")[-1] or f"exit code {done.returncode}"
    return done.stdout.strip()


def temporary_file_refused(name: str) -> str:
    """Why the container's user cannot write where Go's os.CreateTemp does; "" if he can."""
    script = 'file=$(mktemp -t mautrix-bridges-XXXXXX) && echo written >"$file" && rm "$file"'
    done = docker("exec", name, "/bin/sh", "-c", script, check=False, timeout=LIMIT)
    return (done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}") if done.returncode else ""


def last_exit(state: Container, timeout: float = 10) -> Optional[int]:
    """The exit code of the last run that ended by itself since somebody last stopped it. Docker's inspect forgets it
    when it starts the container again; its events know it for a while. They are asked until that start: `0s` would mean
    until the last full second."""
    if state.ended:
        return state.exit_code
    done = docker(
        "events", "--since", state.created, "--until", state.started, "--filter", f"container={state.id}",
        "--filter", "event=die", "--filter", "event=stop",
        "--format", '{{.Action}} {{index .Actor.Attributes "exitCode"}}',
        check=False, timeout=timeout,
    )  # fmt: skip
    code = None
    for action, _, said in (line.partition(" ") for line in done.stdout.splitlines()):
        code = int(said) if action == "die" and said.strip().isdecimal() else None  # `stop` comes after its `die`
    return None if done.returncode else code


def recent_log(state: Container, lines: int, timeout: float) -> str:
    """The last lines that bear on the container's present state: of a run that goes on since somebody started it, its
    own; of one that Docker had to start again, the runs' before it, too."""
    since = ("--since", state.started) if state.status == "running" and not state.restarts else ()
    done = docker("logs", "--tail", str(lines), *since, state.id, check=False, timeout=timeout)
    return f"{done.stdout}\n{done.stderr}"  # a Go crash goes to stderr, the log to stdout
