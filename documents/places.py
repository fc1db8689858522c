"""Where things are, and what they are called: what travels together through settings, components and scripts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Synapse:
    """The homeserver. `directory` on the host is `data_mount` inside its container; `url` is its client-server API as
    the host reaches it, `address` as the bridge's container does; `deadline` (seconds) is for a restart."""

    domain: str
    container: str
    directory: str
    data_mount: str
    url: str
    address: str
    deadline: int

    @property
    def homeserver_file(self) -> str:
        """homeserver.yaml on the host."""
        return f"{self.directory}/homeserver.yaml"

    def inside(self, file: str) -> str:
        """The path of a file of `directory` as Synapse sees it."""
        return f"{self.data_mount}/{file}"


@dataclass(frozen=True)
class Mas:
    """The Matrix Authentication Service. A redirect to one of `hosts` (host or host:port) is a redirect to MAS; `role`
    owns its `database`."""

    container: str
    hosts: tuple[str, ...]
    database: str
    role: str


@dataclass(frozen=True)
class Postgres:
    """The server that the stack shares; `container` is also its name on the network, where it listens on `port`."""

    container: str
    port: int
    superuser: str


@dataclass(frozen=True)
class Database:
    """One database, and the role that owns it, in Postgres' `container`."""

    container: str
    database: str
    role: str


@dataclass(frozen=True)
class BridgePlace:
    """One bridge on this host. `container` is also its name on `network`, where it listens on `port`; `directory` is
    on the host."""

    container: str
    directory: str
    network: str
    port: int
    image: str
    database: Database

    @property
    def address(self) -> str:
        """The bridge's URL as Synapse reaches it."""
        return f"http://{self.container}:{self.port}"
