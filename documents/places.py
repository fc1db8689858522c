"""Where things are and what they are called: the records that settings, components and host programs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from documents.bridge.kinds import Bridge

AUTO = "auto"  # the setting synapseUrl: ask Docker
NO_ARCHIVE = "none"  # the setting restore: begin with an empty database
DUMP_SCRIPT, DUMP_RECORDS = "mautrix-backup.sh", "dumps"  # names in the stack's own directory


@dataclass(frozen=True)
class Synapse:
    """`directory` on the host is `data_mount` inside its container, and gets the registrations; `homeserver_file` is on
    the host; `network` is Docker's; `url` is its client-server API as the host reaches it (or auto), `address` as the
    bridge's container reaches it; `deadline` (seconds) is for a restart; `workers` are the containers of its other
    processes; `database` is its own; `skips_old_events`: with the first application service, instead of going through
    them."""

    domain: str
    container: str
    directory: str
    data_mount: str
    homeserver_file: str
    network: str
    url: str
    address: str
    deadline: int
    workers: tuple[str, ...]
    database: str
    skips_old_events: bool

    def path_inside(self, file: str) -> str:
        """The path of a file in `directory` as Synapse sees it."""
        return f"{self.data_mount}/{file}"


@dataclass(frozen=True)
class Mas:
    """A redirect to one of `hosts` (host or host:port) is a redirect to it; `role` owns its `database`."""

    container: str
    hosts: tuple[str, ...]
    database: str
    role: str


@dataclass(frozen=True)
class Postgres:
    """`container` is also its name on the network, where it listens on `port`; `sslmode` is disable or require."""

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

    @property
    def scratch(self) -> str:
        """The database that dumps are restored into as a proof."""
        return f"{self.database[:49]}_restore_check"

    @property
    def names(self) -> tuple[str, str]:
        """Both as an error names them, and as the claim of the bridge's directory does."""
        return f"role {self.role}", f"database {self.database}"


@dataclass(frozen=True)
class BridgePlace:
    """Where one bridge is on the host. `container` is also its name on `network`, where it listens on `port`."""

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
    """`script` is the operator's, which `up` runs once if `proves_script`; "": none, and the host runs our dump script
    each night at `time`, HH:MM by its clock. `directory` is an absolute path, or an expression of that script, like
    ${BACKUP_DIR}; dumps older than `days` are deleted; each dump is piped through the command `filter` ("": none) and
    gets `suffix` behind its name; `accept_plain`: whether dumps may be plain although the operator's are encrypted."""

    script: str
    time: str
    proves_script: bool
    directory: str
    days: int
    filter: str
    suffix: str
    accept_plain: bool

    @property
    def has_own_directory(self) -> bool:
        """Whether the dumps have a directory of their own, and do not lie among those of the operator's script."""
        return self.directory.startswith("/")


@dataclass(frozen=True)
class ArchivePlan:
    """Where a bridge's archives go. `restore`, for a new database, is none (start empty), latest (archive) or the path
    of an archive or a nightly dump; `go_back` is the path of the one that replaces the database's content, or "";
    `keep` is how many of the archives made before a change stay."""

    directory: str
    restore: str
    go_back: str
    keep: int


def archive_owner(stack: str, domain: str) -> str:
    """The owner of an archive in one word, as in the setting acceptArchiveOf."""
    return f"{stack}@{domain}"


@dataclass(frozen=True)
class StackConfig:
    """What all bridges of one Pulumi stack share. `stack` is "project/name", which also marks our lines in the
    operator's files; `admin_user` is a user id; `experimental_features`: whether homeserver.yaml gets the plan's two
    flags; `docker_host`: Docker's address ("": the docker command's own default); `keep_images`: whether unused images
    stay; `shared_directory`: the stack's own directory on the host; `mas`: None where Synapse has its own logins."""

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
    def archive_owner(self) -> str:
        return archive_owner(self.stack, self.synapse.domain)

    @property
    def deployment_id(self) -> str:
        """The name of this stack among all stacks on its host."""
        return f"{self.stack}:{self.shared_directory}"

    @property
    def doublepuppet_path(self) -> str:
        return f"{self.synapse.directory}/{self.doublepuppet_file}"

    @property
    def shared_name(self) -> str:
        """The part that the names of this stack's dumps have in common."""
        return self.shared_directory.rpartition("/")[2]

    @property
    def dump_script(self) -> str:
        """Our dump script on the host."""
        return f"{self.shared_directory}/{DUMP_SCRIPT}"

    @property
    def dump_records(self) -> str:
        """The directory with what our dump script notes of each database: host_programs/backup/records.py reads it."""
        return f"{self.shared_directory}/{DUMP_RECORDS}"


@dataclass(frozen=True)
class BridgeDeployment(StackConfig):
    """One bridge: all that its texts are made of, except secrets. `key` is its name among the stack's bridges;
    `setting` is where its settings are, as bridges[0]; `config` is merged over its config.yaml."""

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
        return self.bridge.bot_user_id(self.synapse.domain)

    @property
    def registration_path(self) -> str:
        return f"{self.synapse.directory}/{self.registration_file}"


@dataclass(frozen=True)
class Deployment(StackConfig):
    """One Pulumi stack with all its bridges (at least one), in the settings' order; `reapply`: the setting."""

    bridges: tuple[BridgeDeployment, ...]
    reapply: int = 0

    @property
    def databases(self) -> tuple[Database, ...]:
        return tuple(bridge.place.database for bridge in self.bridges)

    @property
    def dumped_databases(self) -> tuple[Database, ...]:
        """The databases that our dump script dumps: the bridges' and MAS'."""
        mas = (Database(self.postgres.container, self.mas.database, self.mas.role),) if self.mas else ()
        return (*self.databases, *mas)

    @property
    def registration_paths(self) -> tuple[str, ...]:
        return (*(bridge.registration_path for bridge in self.bridges), self.doublepuppet_path)
