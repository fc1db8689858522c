"""Where things are, and what they are called: what travels together through settings, components and scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from documents.bridges import Bridge

AUTO = "auto"  # the setting synapseUrl: as Docker has it
NOTHING = "none"  # the setting restore: an empty database


@dataclass(frozen=True)
class Synapse:
    """The homeserver. `directory` on the host is `data_mount` inside its container: the registrations go there;
    `homeserver_file` is on the host; `network` is Docker's; `url` is its client-server API as the host reaches it (or
    auto), `address` as the bridge's container does; `deadline` (seconds) is for a restart; `workers` are the containers
    of its other processes."""

    domain: str
    container: str
    directory: str
    data_mount: str
    homeserver_file: str
    network: str
    url: str
    address: str
    deadline: int
    workers: tuple[str, ...] = ()

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
    """The server that the stack shares; `container` is also its name on the network, where it listens on `port`;
    `sslmode` is disable or require."""

    container: str
    port: int
    superuser: str
    sslmode: str = "disable"


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


@dataclass(frozen=True)
class BackupPlan:
    """The nightly dumps. `script` is the operator's ("": none); `directory` an absolute path, or an expression of that
    script's like ${BACKUP_DIR}; dumps older than `days` go; `filter` ("": none) is a command that each dump is piped
    through, which gives its name `suffix`; `accept_plain`: whether the dumps may be plain beside encrypted ones."""

    script: str
    directory: str
    days: int
    filter: str
    suffix: str
    accept_plain: bool


@dataclass(frozen=True)
class ArchivePlan:
    """Where archives go, and how many of those that were made before another image stay (`keep`). What a deployment
    begins with: `restore` is none (an empty database), latest or the path of an archive; `go_back` is the path of the
    one that replaces its database, or ""."""

    directory: str
    restore: str
    go_back: str
    keep: int


def whose(stack: str, domain: str) -> str:
    """Whose an archive is, in one word, as the setting acceptArchiveOf names it."""
    return f"{stack}@{domain}"


@dataclass(frozen=True)
class Deployment:
    """One bridge beside one Matrix stack, as one Pulumi stack has it: all that the texts are made of, but secrets.
    `mas` is None where Synapse has its own logins.

    `stack` is "project/name", which also marks our lines in the operator's files; `admin_user` is a user id;
    `experimental_features`: whether homeserver.yaml gets the plan's two flags; `docker_host`: Docker's address ("": the
    one that the docker command takes by itself); `keep_images`: whether images stay that are not used any more;
    `config`: what is merged over the bridge's.
    """

    stack: str
    bridge: Bridge
    admin_user: str
    doublepuppet_id: str
    registration_file: str
    doublepuppet_file: str
    experimental_features: bool
    docker_host: str
    synapse: Synapse
    mas: Optional[Mas]
    postgres: Postgres
    place: BridgePlace
    backup: BackupPlan
    archive: ArchivePlan
    keep_images: bool = False
    config: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def whose(self) -> str:
        """Whose this deployment's archives are."""
        return whose(self.stack, self.synapse.domain)

    @property
    def here(self) -> str:
        """This deployment among all on its host, in one word."""
        return f"{self.stack}:{self.place.directory}"

    @property
    def dumped(self) -> tuple[Database, ...]:
        """The databases that our dump script dumps."""
        own = self.place.database
        return (own, Database(own.container, self.mas.database, self.mas.role)) if self.mas else (own,)

    @property
    def command_prefix(self) -> str:
        """What a command to the bot begins with in a room with others."""
        return str(self.config.get("bridge", {}).get("command_prefix", self.bridge.command_prefix))

    @property
    def bot(self) -> str:
        """The bot's user id."""
        return self.bridge.bot_user_id(self.synapse.domain)

    @property
    def registration_files(self) -> tuple[str, str]:
        """File names in Synapse's directory: the bridge's registration, and the one for double puppeting."""
        return self.registration_file, self.doublepuppet_file

    @property
    def registration_paths(self) -> tuple[str, str]:
        """The same on the host."""
        return (
            f"{self.synapse.directory}/{self.registration_file}",
            f"{self.synapse.directory}/{self.doublepuppet_file}",
        )

    @property
    def dump_script(self) -> str:
        """Our dump script on the host: beside the operator's, or in the bridge's own directory if there is none."""
        beside = self.backup.script.rpartition("/")[0] if self.backup.script else self.place.directory
        return f"{beside}/{self.place.container}_backup.sh"
