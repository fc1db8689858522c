"""Docker's client: runs `docker` and reads its output. It knows containers, images, logs and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Optional, Union

from documents.marks import STACK_LABEL
from host_programs.messages import ScriptError, say
from verdicts.host_facts.docker import Container, Mount

NO_DOCKER = "docker: command not found on the host: install Docker Engine and its client"
INSPECT_TIMEOUT = 60.0  # seconds


# the client ------------------------------------------------------------------------------------------------------


def run_docker_bytes(
    *words: str, stdin: Optional[bytes] = None, stdout: Optional[IO[bytes]] = None, timeout: float = 600
) -> subprocess.CompletedProcess[bytes]:
    """Run `docker WORDS`; any exit code is a result. `stdout`: a file that takes its output. ScriptError if there is no
    docker, or no answer in `timeout` seconds."""
    output = stdout or subprocess.PIPE
    try:
        return subprocess.run(
            ["docker", *words], input=stdin, stdout=output, stderr=subprocess.PIPE, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise ScriptError(NO_DOCKER) from None
    except subprocess.TimeoutExpired:
        raise ScriptError(f"docker {words[0]}: no answer in {timeout:.0f} s") from None


def run_docker(
    *words: str, stdin: Optional[str] = None, check: bool = True, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """As `run_docker_bytes`, with text. With `check`, a failure is a ScriptError in Docker's own words. Pass secrets in
    `stdin`: everybody on the host can read `words`."""
    raw = run_docker_bytes(*words, stdin=None if stdin is None else stdin.encode(), timeout=timeout)
    out, err = (data.decode(errors="replace") for data in (raw.stdout, raw.stderr))
    done = subprocess.CompletedProcess(raw.args, raw.returncode, out, err)
    if check and done.returncode:
        raise ScriptError(f"docker {' '.join(words[:3])}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done


def stream_to_docker(*words: str, pieces: Iterable[bytes], timeout: float) -> str:
    """Run `docker WORDS` with a stdin that comes in pieces; why it failed, in one line, or "". If a piece cannot be
    made, stdin ends there, and the exception is raised once the command has ended."""
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            process = subprocess.Popen(
                ["docker", *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
            )
        except FileNotFoundError:
            raise ScriptError(NO_DOCKER) from None
        assert process.stdin is not None
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            with process, contextlib.suppress(BrokenPipeError), process.stdin:
                for piece in pieces:
                    process.stdin.write(piece)
        finally:
            timer.cancel()
        errors.seek(0)
        lines = errors.read().strip().splitlines()
    if process.returncode < 0:
        return f"no answer in {timeout:g} s"
    last = lines[-1] if lines else f"exit code {process.returncode}"
    return next((line for line in lines if "ERROR:" in line), last) if process.returncode else ""


# containers and images -------------------------------------------------------------------------------------------


def inspect_containers(*names: str, timeout: float = INSPECT_TIMEOUT) -> dict[str, Container]:
    """The containers of these names or ids, by the name that was asked for; a missing container is absent. ScriptError
    if Docker itself fails, or does not answer in `timeout` seconds."""
    return {name: _parse_container(raw) for name, raw in _inspect("container", names, timeout).items()}


def inspect_container(name: str) -> Optional[Container]:
    """The container of that name or id; None if there is none. ScriptError if Docker fails."""
    return inspect_containers(name).get(name)


def require_running(name: str, fault: str) -> None:
    """ScriptError, with the `fault` that follows from it, unless the container runs."""
    container = inspect_container(name)
    if container is None or not container.running:
        status = container.status if container else "not there"
        raise ScriptError(
            f"container {name}: is {status}: {fault}: start it (docker start {name}), then run this again"
        )


def inspect_all_containers() -> tuple[Container, ...]:
    """All containers, running or not."""
    return tuple(inspect_containers(*run_docker("ps", "-aq", "--no-trunc").stdout.split()).values())


def list_running_containers(stack: str, network: str) -> list[str]:
    """The names of the stack's running containers, as `belongs_to_stack` tells them."""
    filters = ("--filter", f"label={STACK_LABEL}={stack}", "--filter", f"network={network}")
    return run_docker("ps", *filters, "--format", "{{.Names}}").stdout.split()


def belongs_to_stack(container: Container, stack: str, network: str) -> bool:
    """Whether a stack of that name made the container for the Matrix stack in that network. Another Matrix stack on
    this machine may have a stack of the same name."""
    return container.labels.get(STACK_LABEL) == stack and network in container.networks


def stop_container(name: str, stack: str) -> None:
    """Stop the container of that name, if it is this stack's."""
    container = inspect_container(name)
    if container and container.labels.get(STACK_LABEL) == stack and not container.stays_stopped:
        run_docker("stop", "--time", "30", container.id)


def remove_container(name: str, stack: str) -> None:
    """Stop and remove the container of that name, if it is this stack's."""
    container = inspect_container(name)
    if container and container.labels.get(STACK_LABEL) == stack:
        run_docker("stop", "--time", "30", container.id, check=False)
        run_docker("rm", "-f", "-v", container.id)
        say(f"removed: container {name}")


def remove_image(name: str) -> None:
    """Remove the image unless a container uses it."""
    done = run_docker("rmi", name, check=False)
    if not done.returncode:
        say(f"removed: image {name}")
    elif "no such image" not in done.stderr.lower():
        say(f"note: image {name} stays: {done.stderr.strip()}")


def filter_existing(kind: str, names: Sequence[str]) -> set[str]:
    """The names of which Docker has a `kind` (network, image)."""
    return {*_inspect(kind, names)}


def read_variable(container: str, name: str) -> str:
    """A variable of the container's environment; "" if the variable or the container does not exist."""
    entries = [entry for raw in _inspect("container", (container,)).values() for entry in raw["Config"]["Env"] or []]
    return next((value for key, _, value in (entry.partition("=") for entry in entries) if key == name), "")


def _inspect(kind: str, names: Sequence[str], timeout: float = INSPECT_TIMEOUT) -> dict[str, dict[str, Any]]:
    """`docker KIND inspect`, by the names that were asked for; a missing object is absent."""
    if not names:
        return {}
    done = run_docker(kind, "inspect", *names, check=False, timeout=timeout)
    errors = done.stderr.lower().splitlines()
    if done.returncode and not all("no such" in line or "not found" in line for line in errors):
        raise ScriptError(f"docker {kind} inspect: {done.stderr.strip() or f'exit code {done.returncode}'}")
    by_name: dict[str, dict[str, Any]] = {}
    some_unmatched = False
    for raw in json.loads(done.stdout or "[]"):
        known_names = {raw.get("Id", ""), raw.get("Name", "").lstrip("/"), *(raw.get("RepoTags") or [])}
        matched = {name: raw for name in names if name in known_names or len(names) == 1}
        by_name, some_unmatched = by_name | matched, some_unmatched or not matched
    # Docker also accepts other names: an image without its tag, the beginning of a container's id. Ask for those one
    # by one.
    for name in [name for name in names if some_unmatched and name not in by_name]:
        by_name |= _inspect(kind, (name,), timeout)
    return by_name


def _parse_container(raw: dict[str, Any]) -> Container:
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
        published=_parse_ports((raw.get("HostConfig") or {}).get("PortBindings") or {})
        | _parse_ports(raw["NetworkSettings"].get("Ports") or {}),
        mounts=tuple(
            Mount(mount["Source"], mount["Destination"]) for mount in raw.get("Mounts") or [] if mount.get("Source")
        ),
        command=(*_to_words(raw["Config"].get("Entrypoint")), *_to_words(raw["Config"].get("Cmd"))),
    )


def _to_words(command: Union[list[str], str, None]) -> list[str]:
    return [command] if isinstance(command, str) else command or []


def _parse_ports(ports: dict[str, Optional[list[dict[str, str]]]]) -> dict[int, str]:
    """HOST:PORT on the host by the container's TCP port: what a running container has, or what a stopped one asked
    for."""
    published = {}
    for name, bindings in ports.items():
        port, _, protocol = name.partition("/")
        if bindings and bindings[0]["HostPort"] and protocol == "tcp":
            host = bindings[0]["HostIp"]
            host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            host = f"[{host}]" if ":" in host else host
            published[int(port)] = f"{host}:{bindings[0]['HostPort']}"
    return published


# paths on the host and in a container ----------------------------------------------------------------------------


def find_path_in_container(container: Container, path: str) -> Optional[str]:
    """The container's path of a file on the host; None if no mount holds the file, or another mount hides it."""
    host_path = Path(os.path.realpath(path))
    for mount in container.mounts:
        source = Path(os.path.realpath(mount.source))
        if source in (host_path, *host_path.parents):
            inner_path = os.path.normpath(Path(mount.destination) / host_path.relative_to(source))
            if os.path.realpath(find_path_on_host(container, inner_path) or "") == str(host_path):
                return inner_path
    return None


def find_path_on_host(container: Container, path: str) -> Optional[str]:
    """The host's path of a file in the container; None if no mount holds it."""
    inner_path = Path(path)
    mounts = [mount for mount in container.mounts if Path(mount.destination) in (inner_path, *inner_path.parents)]
    if not mounts:
        return None
    nearest = max(mounts, key=lambda mount: len(mount.destination))
    return os.path.normpath(Path(nearest.source) / inner_path.relative_to(nearest.destination))


# inside of a container -------------------------------------------------------------------------------------------


def request_in_container(name: str, url: str, timeout: float, token: str = "") -> str:
    """The status of a GET that curl sends from inside the container, or why there is none. The bridges' images have
    curl."""
    seconds = max(timeout, 0.1)
    header = f'header = "Authorization: Bearer {token}"\n' if token else ""  # in stdin: everybody sees an argument
    try:
        done = run_docker(
            "exec", *(["-i"] if token else []), name,
            "curl", *(["--config", "-"] if token else []), "-sS", "--noproxy", "*", "--max-time", f"{seconds:.1f}",
            "-o", "/dev/null", "-w", "%{http_code}", url,
            stdin=header or None, check=False, timeout=seconds + 2,
        )  # fmt: skip
    except ScriptError as error:
        return str(error)
    if done.returncode:
        return (done.stderr or done.stdout).strip().split("\n")[-1] or f"exit code {done.returncode}"
    return done.stdout.strip()


def find_temporary_file_error(name: str) -> str:
    """Why the container's user cannot write where Go's os.CreateTemp does; "" if that works."""
    script = 'file=$(mktemp -t mautrix-bridges-XXXXXX) && echo written >"$file" && rm "$file"'
    done = run_docker("exec", name, "/bin/sh", "-c", script, check=False, timeout=INSPECT_TIMEOUT)
    return (done.stderr.strip().split("\n")[-1] or f"exit code {done.returncode}") if done.returncode else ""


# logs and exit codes ---------------------------------------------------------------------------------------------


def read_log(container: str, lines: int = 50) -> str:
    """The last `lines` lines of a container's log, stdout and stderr in order. They may hold secrets:
    documents/masking.py cleans them."""
    try:
        done = subprocess.run(
            ["docker", "logs", "--tail", str(lines), container],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"(no log of {container}: {error})"
    return done.stdout


def read_recent_log(container: Container, lines: int, timeout: float) -> str:
    """The last lines that bear on the container's present state. Of a container that somebody started and that still
    runs: the lines since that start. Of one that Docker had to start again: also those of the runs before."""
    undisturbed = container.status == "running" and not container.restarts
    since = ("--since", container.started) if undisturbed else ()
    done = run_docker("logs", "--tail", str(lines), *since, container.id, check=False, timeout=timeout)
    return f"{done.stdout}\n{done.stderr}"  # a Go crash goes to stderr, the log to stdout


def read_last_exit(container: Container, timeout: float = 10) -> Optional[int]:
    """The exit code of the last run that ended by itself since somebody last stopped the container. Docker's inspect
    forgets the code when it starts the container again; Docker's events know it for a while. They are read until that
    start: `--until 0s` would mean until the last full second."""
    if container.ended:
        return container.exit_code
    done = run_docker(
        "events", "--since", container.created, "--until", container.started, "--filter", f"container={container.id}",
        "--filter", "event=die", "--filter", "event=stop",
        "--format", '{{.Action}} {{index .Actor.Attributes "exitCode"}}',
        check=False, timeout=timeout,
    )  # fmt: skip
    code = None
    for action, _, word in (line.partition(" ") for line in done.stdout.splitlines()):
        code = int(word) if action == "die" and word.strip().isdecimal() else None  # `stop` comes after its `die`
    return None if done.returncode else code
