"""What a host looks like: the shape that scripts/facts.py fills in and verdicts/preflight.py judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Container:
    """A container as Docker tells it. `status`: created, running, paused, restarting, removing, exited or dead;
    `exit_code` is that of the last run while it does not run, and 0 while it does; `error` is why Docker could not
    start it; `created` and `started` (the last time) are RFC 3339 times; `networks` maps names to addresses; `mounts`
    are the host's paths."""

    id: str
    image: str
    image_id: str
    status: str
    exit_code: int
    restarts: int
    error: str
    oom_killed: bool
    created: str
    started: str
    labels: dict[str, str]
    networks: dict[str, str]
    mounts: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def ended(self) -> bool:
        """Its program ran and is gone, for good or until Docker starts it again."""
        return self.status in ("restarting", "exited", "dead")


@dataclass(frozen=True)
class BridgeStatus:
    """How the bridge is today. `container`: Docker's word, "absent", or "unknown"; `ping`: "200" or what came
    instead; `exit_code`: of the last run, None if it never ended; `problem`: why something is not known. Nothing in
    it changes while a bridge runs well."""

    container: str = "unknown"
    ready: bool = False
    ping: str = "not asked"
    last_error: str = ""
    restart_count: int = 0
    exit_code: Optional[int] = None
    exit_meaning: str = ""
    image: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Registration:
    """One registration that Synapse's configuration lists; `exclusive`: its exclusive user namespaces; `error`: why
    the file cannot be read."""

    path: str
    id: str = ""
    sender_localpart: str = ""
    exclusive: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class SynapseFacts:
    """What Synapse's own container tells: the package's version ("" if it holds none), its process' user and group,
    and what its homeserver.yaml says. `error`: why that cannot be judged."""

    version: str = ""
    uid: int = 0
    gid: int = 0
    server_name: str = ""
    mas: bool = False
    registrations: tuple[Registration, ...] = ()
    error: str = ""
