"""What a host looks like: the shape that scripts/facts.py fills in and verdicts/preflight.py judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class Container:
    """A container as Docker tells it. `status`: created, running, paused, restarting, removing, exited or dead;
    `exit_code` is that of the last run while it does not run, and 0 while it does; `error` is why Docker could not
    start it; `created` and `started` (the last time) are RFC 3339 times; `networks` maps names to addresses; `mounts`
    are the host's paths."""

    id: str
    name: str
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


@dataclass(frozen=True)
class File:
    """A file of the operator's. `text` is None if it is not UTF-8; `error` says why it cannot be read; `writable`:
    whether it can be replaced in its directory."""

    text: Optional[str] = None
    error: str = ""
    writable: bool = False


@dataclass(frozen=True)
class Directory:
    """A directory that may not be there yet; `writable` and `free` (bytes) are then those of the nearest one above.
    `entries`: names in it. `stack`: whose it is, by the name in its `.stack`."""

    exists: bool
    entries: tuple[str, ...]
    stack: Optional[str]
    writable: bool
    free: int


@dataclass(frozen=True)
class PostgresFacts:
    """What Postgres tells the superuser of the settings. `version`: server_version_num; `superuser`: whether he is one;
    `databases`: bytes by name; `locked_out`: database -> roles that come into it through PUBLIC alone. `error`: why it
    could not be asked."""

    version: int = 0
    superuser: bool = False
    roles: tuple[str, ...] = ()
    databases: dict[str, int] = field(default_factory=dict)
    locked_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class HostFacts:
    """The whole look at the host; what is not there is None, False or empty.

    `docker`: the server's version; `docker_free`: bytes free for it. `network`, `image`: whether they are there.
    `superuser_password` is a secret, out of Postgres' container. `backup_syntax`: what the script's own interpreter
    says against our edit of it, as `LINE: reason: fix`. `dump_script_owner`: the stack that our dump script on the
    host names, "" if it names none, None if there is no such file. `registrations`: path on the host -> whether it is
    there. `others`: names of containers that mount the bridge's directory. `ready_mark`: "CONTAINER_ID ATTEMPT" of the
    container that got ready last.
    """

    docker: str
    docker_free: int
    root: bool
    bash: bool
    synapse_container: Optional[Container]
    mas_container: Optional[Container]
    postgres_container: Optional[Container]
    bridge_container: Optional[Container]
    network: bool
    image: bool
    superuser_password: str = field(repr=False)
    synapse: SynapseFacts
    postgres: PostgresFacts
    homeserver: Optional[File]
    backup_script: Optional[File]
    backup_syntax: str
    dump_script_owner: Optional[str]
    bridge_dir: Directory
    synapse_dir: Directory
    backup_dir: Directory
    registrations: dict[str, bool]
    others: tuple[str, ...]
    ready_mark: str
    bridge: BridgeStatus
