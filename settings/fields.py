"""All settings as typed, frozen records. `Pulumi.yaml` describes the same keys and holds their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from documents.bridge.kinds import Bridge
from documents.fingerprint import fingerprint
from documents.places import (
    AUTO,
    NO_ARCHIVE,
    ArchivePlan,
    BackupPlan,
    BridgeDeployment,
    BridgePlace,
    Database,
    Deployment,
    Mas,
    Postgres,
    StackConfig,
    Synapse,
)
from documents.ssh import SshAddress
from settings import values

T = TypeVar("T")


def checked_by(check: Callable[[str], T], default: Callable[[Bridge], T] | None = None, empty: bool = False) -> T:
    """A field with the function that reads its text. `default`: what it is in an entry of `bridges` that does not set
    it. An empty text means "not set", or is a value if `empty`."""
    definition: Any = field(metadata={"check": check, "default": default, "empty": empty})
    return definition  # type: ignore[no-any-return]


def key_of(name: str) -> str:
    """The config key of a field: `admin_user` -> `adminUser`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True)
class BridgeSettings:
    """One entry of the setting `bridges`, key by key. `setting` is where it is, as bridges[0]; `bridge` is what its
    kind and the keys up to `login` make it."""

    setting: str
    bridge: Bridge
    kind: str = checked_by(values.kind, lambda bridge: "signal")
    name: str = checked_by(values.bridge_name, lambda bridge: "")
    network: str = checked_by(values.line(60, "the network's name for people"), lambda bridge: bridge.network_name)
    binary: str = checked_by(values.program_path, lambda bridge: bridge.binary)
    login: str = checked_by(values.line(200, "what a user does to link an account"), lambda bridge: bridge.login_hint)
    image: str = checked_by(values.image, lambda bridge: bridge.image)
    port: int = checked_by(values.port, lambda bridge: bridge.default_port)
    container: str = checked_by(values.bridge_container, lambda bridge: bridge.name)
    directory: str = checked_by(values.directory, lambda bridge: f"/opt/matrix/{bridge.name}")
    database: str = checked_by(values.postgres_name, lambda bridge: bridge.database)
    role: str = checked_by(values.postgres_name, lambda bridge: bridge.database)
    registration_file: str = checked_by(values.yaml_name, lambda bridge: bridge.registration_file)
    archive_dir: str = checked_by(values.directory, lambda bridge: f"/var/backups/{bridge.name}")
    restore: str = checked_by(values.restore, lambda bridge: NO_ARCHIVE)
    go_back_to: str = checked_by(values.source, lambda bridge: "")
    bridge_config: Mapping[str, Any] = checked_by(values.config_sections, lambda bridge: {})

    @property
    def key(self) -> str:
        """Its name among the bridges."""
        return self.name or self.kind


def bridge_defaults(bridge: Bridge) -> dict[str, Any]:
    """The fields of BridgeSettings that an entry does not set, by name."""
    checked = [field for field in fields(BridgeSettings) if "default" in field.metadata]
    return {field.name: field.metadata["default"](bridge) for field in checked}


@dataclass(frozen=True)
class Settings:
    """All settings of a stack, in the order of `Pulumi.yaml`."""

    domain: str = checked_by(values.server_name)
    admin_user: str = checked_by(values.user_id)
    host: str = checked_by(values.host)
    become: str = checked_by(values.matching("none|sudo", "none or sudo"))
    ssh_key: str = checked_by(values.key_path, empty=True)
    ssh_config: str = checked_by(
        values.matching(r"/\S+", "the absolute path of a file on this machine, or empty"), empty=True
    )
    docker_host: str = checked_by(values.docker_host)
    network: str = checked_by(values.docker_name)
    synapse_container: str = checked_by(values.docker_name)
    synapse_workers: tuple[str, ...] = checked_by(values.list_of(values.docker_name, "a list: names of containers"))
    synapse_dir: str = checked_by(values.directory)
    synapse_data_mount: str = checked_by(values.directory)
    homeserver_file: str = checked_by(values.yaml_path, empty=True)
    accept_generated: bool = checked_by(values.boolean)
    synapse_url: str = checked_by(values.url_or_auto)
    homeserver_address: str = checked_by(values.url_or_auto)
    synapse_deadline: int = checked_by(values.integer(5, 3600))
    mas_container: str = checked_by(values.docker_name)  # or none
    mas_hosts: tuple[str, ...] = checked_by(
        values.list_of(
            values.matching(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?", "a host or host:port"),
            "a list: host or host:port names",
        )
    )
    postgres_container: str = checked_by(values.docker_name)
    postgres_port: int = checked_by(values.port)
    postgres_local_port: int = checked_by(values.integer(0, 65535))
    postgres_superuser: str = checked_by(values.postgres_name)
    postgres_sslmode: str = checked_by(values.matching("disable|require", "disable or require"))
    postgres_password: str = checked_by(str, empty=True)
    synapse_database: str = checked_by(values.postgres_name)
    appservice_catch_up: str = checked_by(values.matching(r"wait|skip", "wait or skip"))
    mas_database: str = checked_by(values.postgres_name)
    mas_role: str = checked_by(values.postgres_name)
    isolated_databases: tuple[str, ...] = checked_by(values.list_of(values.postgres_name, "a list: names of databases"))
    accept_locked_out: tuple[str, ...] = checked_by(
        values.list_of(
            values.matching(r"[^\"\\\x00]{1,63}", "a Postgres role's name"), "a list: names of Postgres roles"
        )
    )
    backup_script: str = checked_by(values.script_or_none)
    backup_time: str = checked_by(
        values.matching(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", "a time of the host's clock from 00:00 to 23:59, as 03:30")
    )
    backup_dir: str = checked_by(
        values.matching(
            r"[/$][^\s\"'`\\;|&()<>*?]+", "an absolute path, or a variable of the backup script like ${BACKUP_DIR}"
        )
    )
    backup_days: int = checked_by(values.integer(1, 3650))
    backup_filter: str = checked_by(
        values.matching(r"[^\x00-\x1f]+", "one shell command that reads a dump and writes what is kept"), empty=True
    )
    backup_filter_suffix: str = checked_by(values.matching(r"\.[A-Za-z0-9.]+", "a suffix like .age"), empty=True)
    accept_plain_dumps: bool = checked_by(values.boolean)
    prove_backup_script: bool = checked_by(values.boolean)
    keep_archives: int = checked_by(values.integer(1, 1000))
    accept_archive_of: str = checked_by(
        values.matching(r"[^\s@]+/[^\s@]+@[^\s@]+", "the owner of an archive, as PROJECT/STACK@DOMAIN"), empty=True
    )
    bridges: tuple[BridgeSettings, ...] = checked_by(values.bridge_entries)
    keep_image: bool = checked_by(values.boolean)
    shared_dir: str = checked_by(values.directory)
    doublepuppet_file: str = checked_by(values.yaml_name)
    doublepuppet_id: str = checked_by(
        values.matching(r"[a-z0-9][a-z0-9._-]*", "an appservice id: lower-case letters, digits, '.', '_', '-'")
    )
    experimental_features: bool = checked_by(values.boolean)
    ready_timeout: int = checked_by(values.integer(5, 3600))
    token_generation: int = checked_by(values.integer(1, 10**6))
    reapply: int = checked_by(values.integer(0, 10**6))

    @property
    def ssh(self) -> SshAddress | None:
        """How the host is reached; None if it is this machine."""
        if self.host == values.LOCAL:
            return None
        address = SshAddress.parse(self.host)
        return replace(address, key=self.ssh_key, config=self.ssh_config, become=self.become == "sudo")

    def local_port(self, deployment_id: str) -> int:
        """This machine's port for Postgres on a host behind SSH.

        One deployment always gets the same port, because the state holds it in the provider's settings. The port is
        below those that the kernel gives to outgoing connections.
        """
        return self.postgres_local_port or 20000 + int(fingerprint(deployment_id)[:8], 16) % 10000

    @property
    def has_mas(self) -> bool:
        """False where Synapse has its own logins. No setting of MAS counts then."""
        return self.mas_container != "none"

    @property
    def isolated(self) -> tuple[str, ...]:
        """The databases to isolate: those of the setting, without MAS' where there is no MAS."""
        return tuple(name for name in self.isolated_databases if self.has_mas or name != self.mas_database)

    def deployment(self, stack: str) -> Deployment:
        """The same facts as the records that every program takes. `stack` is "project/name"."""
        shared = StackConfig(
            stack=stack,
            admin_user=self.admin_user,
            doublepuppet_id=self.doublepuppet_id,
            doublepuppet_file=self.doublepuppet_file,
            experimental_features=self.experimental_features,
            docker_host="" if self.docker_host == "auto" else self.docker_host,
            keep_images=self.keep_image,
            shared_directory=self.shared_dir,
            synapse=Synapse(
                domain=self.domain,
                container=self.synapse_container,
                directory=self.synapse_dir,
                data_mount=self.synapse_data_mount,
                homeserver_file=self.homeserver_file or f"{self.synapse_dir}/homeserver.yaml",
                network=self.network,
                url=self.synapse_url,
                address=(
                    f"http://{self.synapse_container}:8008"
                    if self.homeserver_address == AUTO
                    else self.homeserver_address
                ),
                deadline=self.synapse_deadline,
                workers=self.synapse_workers,
                database=self.synapse_database,
                skips_old_events=self.appservice_catch_up == "skip",
            ),
            mas=Mas(self.mas_container, self.mas_hosts, self.mas_database, self.mas_role) if self.has_mas else None,
            postgres=Postgres(
                self.postgres_container, self.postgres_port, self.postgres_superuser, self.postgres_sslmode
            ),
            backup=BackupPlan(
                script="" if self.backup_script == "none" else self.backup_script,
                time=self.backup_time,
                proves_script=self.prove_backup_script,
                directory=self.backup_dir,
                days=self.backup_days,
                filter=self.backup_filter,
                suffix=self.backup_filter_suffix,
                accept_plain=self.accept_plain_dumps,
            ),
        )
        bridges = tuple(self._bridge_deployment(shared, bridge) for bridge in self.bridges)
        return Deployment(**vars(shared), bridges=bridges, reapply=self.reapply)

    def _bridge_deployment(self, shared: StackConfig, bridge: BridgeSettings) -> BridgeDeployment:
        database = Database(self.postgres_container, bridge.database, bridge.role)
        return BridgeDeployment(
            **vars(shared),
            key=bridge.key,
            setting=bridge.setting,
            bridge=bridge.bridge,
            registration_file=bridge.registration_file,
            place=BridgePlace(
                bridge.container, bridge.directory, self.network, bridge.port, bridge.image, database=database
            ),
            archive=ArchivePlan(bridge.archive_dir, bridge.restore, bridge.go_back_to, self.keep_archives),
            config=dict(bridge.bridge_config),
        )
