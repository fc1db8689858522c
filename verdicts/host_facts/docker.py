"""Facts of Docker: its containers, and how their user ids map to the host's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mount:
    """`source` on the host (of a volume, too) is `destination` in the container."""

    source: str
    destination: str


@dataclass(frozen=True)
class Container:
    """A container as Docker reports it.

    `status` is created, running, paused, restarting, removing, exited or dead; `exit_code` is that of the last run, and
    0 while it runs; `error` is why Docker could not start it; `created` and `started` (the last time) are RFC 3339
    times; `pid` is that of its first process on the host; `networks` maps names to addresses (IPv6 where there is no
    other); `published` maps TCP ports to their address on the host, as 127.0.0.1:8008; `command` are the words that it
    runs, which may hold secrets.
    """

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
    pid: int
    labels: dict[str, str]
    networks: dict[str, str]
    published: dict[int, str]
    mounts: tuple[Mount, ...]
    command: tuple[str, ...] = field(default=(), repr=False)

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def ended(self) -> bool:
        """Whether its program ran and ended, for good or until Docker starts it again."""
        return self.status in ("restarting", "exited", "dead")

    @property
    def stays_stopped(self) -> bool:
        """Whether it is not running, and Docker will not start it by itself."""
        return self.status in ("created", "exited", "dead")

    def host_on(self, network: str) -> str:
        """Its address as in a URL, an IPv6 one in brackets; "" if it is not in that network."""
        address = self.networks.get(network, "")
        return f"[{address}]" if ":" in address else address


@dataclass(frozen=True)
class IdRange:
    """`count` ids from `inside` on in a container are those from `outside` on the host (user_namespaces(7))."""

    inside: int
    outside: int
    count: int


def id_on_host(number: int, ranges: Sequence[IdRange]) -> int:
    """The host's id for a container's uid or gid; the same number where nothing maps it."""
    matching = (ids for ids in ranges if 0 <= number - ids.inside < ids.count)
    return next((number - ids.inside + ids.outside for ids in matching), number)
