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
    """Where archives go, and how many of those that were made before another image stay (`keep`). What a bridge begins
    with: `restore` is none (an empty database), latest or the path of an archive; `go_back` is the path of the one that
    replaces its database, or ""."""

    directory: str
    restore: str
    go_back: str
    keep: int


def whose(stack: str, domain: str) -> str:
    """Whose an archive is, in one word, as the setting acceptArchiveOf names it."""
    return f"{stack}@{domain}"


@dataclass(frozen=True)
class Surroundings:
    """What all bridges of one Pulumi stack share. `mas` is None where Synapse has its own logins.

    `stack` is "project/name", which also marks our lines in the operator's files; `admin_user` is a user id;
    `experimental_features`: whether homeserver.yaml gets the plan's two flags; `docker_host`: Docker's address ("": the
    one that the docker command takes by itself); `keep_images`: whether images stay that are not used any more;
    `shared_directory`, on the host, is the stack's own.
    """

    stack: str
    admin_user: str
    doublepuppet_id: str
    doublepuppet_file: str
    experimental_features: bool
    docker_host: str
    keep_images: bool
    shared_directory: str
    synapse: Synapse
    mas: Optional[Mas]
    postgres: Postgres
    backup: BackupPlan

    @property
    def whose(self) -> str:
        """Whose this stack's archives are."""
        return whose(self.stack, self.synapse.domain)

    @property
    def here(self) -> str:
        """This stack among all on its host, in one word."""
        return f"{self.stack}:{self.shared_directory}"

    @property
    def doublepuppet_path(self) -> str:
        """The registration for double puppeting, on the host."""
        return f"{self.synapse.directory}/{self.doublepuppet_file}"

    @property
    def shared_name(self) -> str:
        """What the names of this stack's dump script and dumps have in common, beside those of others."""
        return self.shared_directory.rpartition("/")[2]

    @property
    def dump_script(self) -> str:
        """Our dump script on the host: beside the operator's, or in the stack's own directory if there is none."""
        beside = self.backup.script.rpartition("/")[0] if self.backup.script else self.shared_directory
        return f"{beside}/{self.shared_name}_backup.sh"


@dataclass(frozen=True)
class BridgeDeployment(Surroundings):
    """One bridge beside one Matrix stack: all that its texts are made of, but secrets. `key` is its name among the
    stack's bridges, `setting` where its settings are, as bridges[0]; `config`: what is merged over its config.yaml."""

    key: str
    setting: str
    bridge: Bridge
    registration_file: str
    place: BridgePlace
    archive: ArchivePlan
    config: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def command_prefix(self) -> str:
        """What a command to the bot begins with in a room with others."""
        return str(self.config.get("bridge", {}).get("command_prefix", self.bridge.command_prefix))

    @property
    def bot(self) -> str:
        """The bot's user id."""
        return self.bridge.bot_user_id(self.synapse.domain)

    @property
    def registration_path(self) -> str:
        """The bridge's registration, on the host."""
        return f"{self.synapse.directory}/{self.registration_file}"


@dataclass(frozen=True)
class Deployment(Surroundings):
    """All bridges of one Pulumi stack, in the settings' order; at least one."""

    bridges: tuple[BridgeDeployment, ...]

    @property
    def databases(self) -> tuple[Database, ...]:
        """The bridges'."""
        return tuple(each.place.database for each in self.bridges)

    @property
    def dumped(self) -> tuple[Database, ...]:
        """The databases that our dump script dumps: the bridges', and MAS'."""
        mas = (Database(self.postgres.container, self.mas.database, self.mas.role),) if self.mas else ()
        return (*self.databases, *mas)

    @property
    def registration_paths(self) -> tuple[str, ...]:
        """The bridges' registrations, and the one for double puppeting, on the host."""
        return (*(each.registration_path for each in self.bridges), self.doublepuppet_path)
