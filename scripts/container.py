"""The bridge's container as Docker and the bridge itself tell it: state, readiness, exit codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from documents.bridges import READY_PATH
from scripts.common import Stop, docker


@dataclass(frozen=True)
class State:
    """`status` is Docker's: created, running, paused, restarting, removing, exited or dead. `exit_code` is that of the
    last run while the container does not run, and 0 while it does. `error` is why Docker could not start it. `created`
    and `started` (the last time) are RFC 3339 times."""

    id: str
    image: str
    status: str
    exit_code: int
    restarts: int
    error: str
    oom_killed: bool
    created: str
    started: str

    @property
    def ended(self) -> bool:
        """Its program ran and is gone, for good or until Docker starts it again."""
        return self.status in ("restarting", "exited", "dead")


def look(container: str, timeout: float = 30) -> Optional[State]:
    """The container's state; None if there is none of that name or id. Docker failing: Stop."""
    done = docker("container", "inspect", container, check=False, timeout=timeout)
    if done.returncode:
        if "no such container" in done.stderr.lower():
            return None
        raise Stop(f"docker container inspect {container}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    raw: dict[str, Any] = json.loads(done.stdout)[0]
    state = raw["State"]
    return State(
        id=raw["Id"],
        image=raw["Config"]["Image"],
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=raw["RestartCount"],
        error=state["Error"],
        oom_killed=state["OOMKilled"],
        created=raw["Created"],
        started=state["StartedAt"],
    )


def ready(container: str, port: int, timeout: float) -> str:
    """What the bridge says of itself: "200" when it is ready, else another status or why there is none.

    Asked from inside, since no port is published; the image has curl.
    """
    seconds = max(timeout, 0.1)
    try:
        done = docker(
            "exec", container, "curl", "-sS", "--noproxy", "*", "--max-time", f"{seconds:.1f}", "-o", "/dev/null",
            "-w", "%{http_code}", f"http://127.0.0.1:{port}{READY_PATH}",
            check=False, timeout=seconds + 2,
        )  # fmt: skip
    except Stop as stop:
        return str(stop)
    if done.returncode:
        return (done.stderr or done.stdout).strip().split("\n")[-1] or f"exit code {done.returncode}"
    return done.stdout.strip()


def last_exit(state: State) -> Optional[int]:
    """The exit code of the last run that ended. Docker's inspect forgets it when it starts the container again; its
    events know it for a while."""
    if state.ended:
        return state.exit_code
    done = docker(
        "events", "--since", state.created, "--until", "0s", "--filter", f"container={state.id}",
        "--filter", "event=die", "--format", '{{index .Actor.Attributes "exitCode"}}',
        check=False, timeout=10,
    )  # fmt: skip
    codes = [line for line in done.stdout.split() if line.isdecimal()]
    return int(codes[-1]) if codes and not done.returncode else None


def recent_log(state: State, lines: int, timeout: float) -> str:
    """The last lines that bear on the container's present state: of a run that goes on since somebody started it, its
    own; of one that Docker had to start again, the runs' before it, too."""
    since = ("--since", state.started) if state.status == "running" and not state.restarts else ()
    done = docker("logs", "--tail", str(lines), *since, state.id, check=False, timeout=timeout)
    return f"{done.stdout}\n{done.stderr}"  # a Go crash goes to stderr, the log to stdout
