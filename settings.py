"""The stack's settings: every config key, read once, typed and validated.

`Pulumi.yaml` describes the keys and holds their defaults; this is the one place that reads them. Each bad value is one
line that names the key, the value and what it should be; all of them are reported together.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from documents import bridge_config, bridges
from documents.bridges import IMAGE, SIGNAL, Bridge
from documents.fingerprint import fingerprint
from documents.places import (
    AUTO,
    NOTHING,
    ArchivePlan,
    BackupPlan,
    BridgeDeployment,
    BridgePlace,
    Database,
    Deployment,
    Mas,
    Postgres,
    Synapse,
)
from documents.ssh import SshAddress

T = TypeVar("T")

LOCAL = "local"
_LOCALPART = r"[a-z0-9._=/+-]+"
_HOSTNAME = r"(?=.{1,230}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
_LEVELS = ("block", "relay", "commands", "user", "admin")  # mautrix-go, bridgev2/bridgeconfig/permissions.go
_DOCKER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]+"
_IDENTIFIER = r"[a-z_][a-z0-9_-]{0,62}"
_FILE = r"[A-Za-z0-9][A-Za-z0-9._-]*\.yaml"


class BadSettings(Exception):
    """Its text is one line for each bad setting."""


# Each check takes a value as Pulumi keeps it (text, lists as JSON) and gives the typed one; ValueError says what it
# should be.


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(what)
        return value

    return check


def _directory(value: str) -> str:
    path = PurePosixPath(value)
    if (
        not path.is_absolute()
        or ".." in path.parts
        or str(path) != value
        or value == "/"
        or re.search(r"[\s:,'\"]", value)
    ):
        raise ValueError("an absolute path on the host without a slash at its end, '..', quotes, ':' or spaces")
    return value


def _url(value: str) -> str:
    what = "a URL like http://127.0.0.1:8008, without a path"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(what) from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ValueError(what)
    return value


def _url_or_auto(value: str) -> str:
    try:
        return value if value == AUTO else _url(value)
    except ValueError as error:
        raise ValueError(f"auto, or {error}") from None


def _boolean(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def _integer(low: int, high: int) -> Callable[[str], int]:
    def check(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return check


def _each(check: Callable[[str], str], what: str) -> Callable[[str], tuple[str, ...]]:
    def check_all(value: str) -> tuple[str, ...]:
        try:
            items = json.loads(value)
        except json.JSONDecodeError:
            items = None
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise ValueError(f"a list: {what}")
        for item in items:
            try:
                check(item)
            except ValueError as error:
                raise ValueError(f"a list: {what}; {item!r} is not {error}") from None
        return tuple(items)

    return check_all


def _archive(value: str) -> str:
    if value.startswith("/") and value.endswith(".tar.gz"):
        return value
    raise ValueError("the absolute path of an archive (.tar.gz)")


def _restore(value: str) -> str:
    try:
        return value if value in (NOTHING, "latest") else _archive(value)
    except ValueError as error:
        raise ValueError(f"none, latest or {error}") from None


def _mapping(value: str) -> dict[str, Any]:
    try:
        mapping = json.loads(value)
    except json.JSONDecodeError:
        mapping = None
    if not isinstance(mapping, dict) or not all(isinstance(section, dict) for section in mapping.values()):
        raise ValueError("a mapping of sections, as the bridge's own config.yaml has them")
    return mapping


def _permissions(value: str) -> dict[str, str]:
    try:
        levels = json.loads(value)
    except json.JSONDecodeError:
        levels = None
    if not isinstance(levels, dict) or not levels or any(level not in _LEVELS for level in levels.values()):
        raise ValueError(f"a mapping of users, domains or * to {', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}")
    return levels


def _absolute_or_none(value: str) -> str:
    if value == "none":
        return value
    try:
        return _directory(value)
    except ValueError:
        raise ValueError(
            "none, or the absolute path of a script on the host, without '..', quotes, ':' or spaces"
        ) from None


def _yaml_file(value: str) -> str:
    try:
        if value.endswith((".yaml", ".yml")):
            return _directory(value)
    except ValueError:
        pass
    raise ValueError("an absolute path on the host that ends in .yaml, without '..', quotes, ':' or spaces; or empty")


def _entries(value: str) -> tuple[dict[str, Any], ...]:
    try:
        entries = json.loads(value)
    except json.JSONDecodeError:
        entries = None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("a list of bridges, at least one, each a mapping like {kind: signal}")
    return tuple(entries)


def _following(bridge: Bridge) -> dict[str, Any]:
    """What follows from the bridge where it is not set. The plan's Signal has the plan's name of its registration."""
    return {
        "image": bridge.image,
        "container": bridge.name,
        "directory": f"/opt/matrix/{bridge.name}",
        "port": bridge.default_port,
        "database": bridge.database,
        "role": bridge.database,
        "registration_file": "registration.yaml" if bridge == SIGNAL else f"{bridge.name}-registration.yaml",
        "archive_dir": f"/var/backups/{bridge.name}",
        "restore": NOTHING,
        "go_back_to": "",
        "permissions": {},
        "bridge_config": {},
    }


def _host(value: str) -> str:
    return value if value == LOCAL else SshAddress.parse(value).url


_container = _matching(_DOCKER_NAME, "a container's name: letters, digits, '_', '.', '-'")
_identifier = _matching(
    _IDENTIFIER, "a Postgres name in lower case: a letter or '_', then letters, digits, '_', '-'; at most 63"
)
_port = _integer(1, 65535)
_path = _matching(r"[/~]\S+", "the path of a private key on this machine, like ~/.ssh/id_ed25519, or empty")
_file = _matching(_FILE, "a file name that ends in .yaml, without a directory")


def setting(check: Callable[[str], T], empty: bool = False) -> T:
    """A field of Settings with its check; `empty`: an empty value is one, else it counts as not set."""
    made: Any = field(metadata={"check": check, "empty": empty})
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class BridgeSettings:
    """One entry of `bridges`, key by key, beside those that documents/bridges.py makes the bridge of. `key`: its name
    among them, `where` it is, as bridges[0]."""

    key: str
    where: str
    bridge: Bridge
    image: str = setting(_matching(IMAGE, "an image with an exact tag, like dock.mau.dev/mautrix/signal:v0.2603.0"))
    container: str = setting(
        _matching(
            r"[A-Za-z0-9][A-Za-z0-9.-]+",
            "a container's name that is a host name too (it is the host of the registration's url): "
            "letters, digits, '.', '-'",
        )
    )
    directory: str = setting(_directory)
    port: int = setting(_port)
    database: str = setting(_identifier)
    role: str = setting(_identifier)
    registration_file: str = setting(_file)
    archive_dir: str = setting(_directory)
    restore: str = setting(_restore)
    go_back_to: str = setting(_archive)
    permissions: Mapping[str, str] = setting(_permissions)
    bridge_config: Mapping[str, Any] = setting(_mapping)

    @property
    def config(self) -> dict[str, Any]:
        """What is merged over the bridge's config.yaml."""
        if not self.permissions:
            return dict(self.bridge_config)
        own = {**self.bridge_config.get("bridge", {}), "permissions": dict(self.permissions)}
        return {**self.bridge_config, "bridge": own}


@dataclass(frozen=True)
class Settings:
    """What `Pulumi.yaml` describes, key by key, in its order."""

    domain: str = setting(_matching(rf"{_HOSTNAME}(?::[0-9]{{1,5}})?", "a server_name like example.org"))
    admin_user: str = setting(_matching(rf"@{_LOCALPART}:.+", "a user id like @name:domain"))
    host: str = setting(_host)
    become: str = setting(_matching("none|sudo", "none or sudo"))
    ssh_key: str = setting(_path, empty=True)
    ssh_config: str = setting(_matching(r"/\S+", "the absolute path of a file on this machine, or empty"), empty=True)
    docker_host: str = setting(
        _matching(
            r"auto|(?:unix:///|tcp://)[^\s'\"]+", "auto, or Docker's address like unix:///run/user/1000/docker.sock"
        )
    )
    network: str = setting(_matching(_DOCKER_NAME, "a Docker network's name: letters, digits, '_', '.', '-'"))
    synapse_container: str = setting(_container)
    synapse_workers: tuple[str, ...] = setting(_each(_container, "names of containers"))
    synapse_dir: str = setting(_directory)
    synapse_data_mount: str = setting(_directory)
    homeserver_file: str = setting(_yaml_file, empty=True)
    accept_generated: bool = setting(_boolean)
    synapse_url: str = setting(_url_or_auto)
    homeserver_address: str = setting(_url)
    synapse_deadline: int = setting(_integer(5, 3600))
    mas_container: str = setting(_container)  # or none
    mas_hosts: tuple[str, ...] = setting(
        _each(_matching(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?", "a host or host:port"), "host or host:port names")
    )
    postgres_container: str = setting(_container)
    postgres_port: int = setting(_port)
    postgres_local_port: int = setting(_integer(0, 65535))
    postgres_superuser: str = setting(_identifier)
    postgres_sslmode: str = setting(_matching("disable|require", "disable or require"))
    postgres_password: str = setting(str, empty=True)
    synapse_database: str = setting(_identifier)
    mas_database: str = setting(_identifier)
    mas_role: str = setting(_identifier)
    isolated_databases: tuple[str, ...] = setting(_each(_identifier, "names of databases"))
    accept_locked_out: tuple[str, ...] = setting(
        _each(_matching(r"[^\"\\\x00]{1,63}", "a Postgres role's name"), "names of Postgres roles")
    )
    backup_script: str = setting(_absolute_or_none)
    backup_dir: str = setting(
        _matching(
            r"[/$][^\s\"'`\\;|&()<>*?]+", "an absolute path, or a variable of the backup script like ${BACKUP_DIR}"
        )
    )
    backup_days: int = setting(_integer(1, 3650))
    backup_filter: str = setting(
        _matching(r"[^\x00-\x1f]+", "one shell command that reads a dump and writes what is kept"), empty=True
    )
    backup_filter_suffix: str = setting(_matching(r"\.[A-Za-z0-9.]+", "a suffix like .age"), empty=True)
    accept_plain_dumps: bool = setting(_boolean)
    keep_archives: int = setting(_integer(1, 1000))
    accept_archive_of: str = setting(
        _matching(r"[^\s@]+/[^\s@]+@[^\s@]+", "whose an archive is, as PROJECT/STACK@DOMAIN"), empty=True
    )
    bridges: tuple[BridgeSettings, ...] = setting(_entries)  # type: ignore[arg-type]
    keep_image: bool = setting(_boolean)
    shared_dir: str = setting(_directory)
    doublepuppet_file: str = setting(_file)
    doublepuppet_id: str = setting(
        _matching(r"[a-z0-9][a-z0-9._-]*", "an appservice id: lower-case letters, digits, '.', '_', '-'")
    )
    experimental_features: bool = setting(_boolean)
    ready_timeout: int = setting(_integer(5, 3600))
    token_generation: int = setting(_integer(1, 10**6))
    reapply: int = setting(_integer(0, 10**6))

    @property
    def ssh(self) -> SshAddress | None:
        """How the host is reached; None: it is this machine."""
        if self.host == LOCAL:
            return None
        address = SshAddress.parse(self.host)
        return replace(address, key=self.ssh_key, config=self.ssh_config, become=self.become == "sudo")

    def local_port(self, deployment: str) -> int:
        """This machine's port for Postgres on a host behind SSH: a deployment's own, always the same, since the
        provider's settings are in the state; below the ports that go to outgoing connections."""
        return self.postgres_local_port or 20000 + int(fingerprint(deployment)[:8], 16) % 10000

    @property
    def has_mas(self) -> bool:
        """False where Synapse has its own logins: nothing of MAS counts then."""
        return self.mas_container != "none"

    @property
    def isolated(self) -> tuple[str, ...]:
        """The databases to isolate that the stack has."""
        return tuple(each for each in self.isolated_databases if self.has_mas or each != self.mas_database)

    def deployment(self, stack: str) -> Deployment:
        """What travels together, as objects; `stack` is "project/name"."""
        shared: dict[str, Any] = {
            "stack": stack,
            "admin_user": self.admin_user,
            "doublepuppet_id": self.doublepuppet_id,
            "doublepuppet_file": self.doublepuppet_file,
            "experimental_features": self.experimental_features,
            "docker_host": "" if self.docker_host == "auto" else self.docker_host,
            "keep_images": self.keep_image,
            "shared_directory": self.shared_dir,
            "synapse": Synapse(
                domain=self.domain,
                container=self.synapse_container,
                directory=self.synapse_dir,
                data_mount=self.synapse_data_mount,
                homeserver_file=self.homeserver_file or f"{self.synapse_dir}/homeserver.yaml",
                network=self.network,
                url=self.synapse_url,
                address=self.homeserver_address,
                deadline=self.synapse_deadline,
                workers=self.synapse_workers,
            ),
            "mas": Mas(self.mas_container, self.mas_hosts, self.mas_database, self.mas_role) if self.has_mas else None,
            "postgres": Postgres(
                self.postgres_container, self.postgres_port, self.postgres_superuser, self.postgres_sslmode
            ),
            "backup": BackupPlan(
                script="" if self.backup_script == "none" else self.backup_script,
                directory=self.backup_dir,
                days=self.backup_days,
                filter=self.backup_filter,
                suffix=self.backup_filter_suffix,
                accept_plain=self.accept_plain_dumps,
            ),
        }
        bridges = tuple(
            BridgeDeployment(
                **shared,
                key=each.key,
                setting=each.where,
                bridge=each.bridge,
                registration_file=each.registration_file,
                place=BridgePlace(
                    container=each.container,
                    directory=each.directory,
                    network=self.network,
                    port=each.port,
                    image=each.image,
                    database=Database(self.postgres_container, each.database, each.role),
                ),
                archive=ArchivePlan(each.archive_dir, each.restore, each.go_back_to, self.keep_archives),
                config=each.config,
            )
            for each in self.bridges
        )
        return Deployment(**shared, bridges=bridges)


def key_of(name: str) -> str:
    """The config key of a field of Settings: `admin_user` -> `adminUser`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


ENTRY = "bridges[{}]"  # where each of them is, by its number


def parse(values: Mapping[str, str | None], where: str = ENTRY) -> Settings:
    """Settings from raw config values by key, as Pulumi keeps them: text, lists as JSON. `where` names each of
    `bridges`, by its number.

    Raises BadSettings with a line for each key that is missing or bad. A secret's value is never in a line.
    """
    parsed: dict[str, Any] = {}
    problems: list[str] = []
    for each in fields(Settings):
        key = key_of(each.name)
        raw = values.get(key)
        if raw == "" and each.metadata["empty"]:
            parsed[each.name] = ""
        elif not raw:
            problems.append(f"{key}: not set; set it with `pulumi config set {key} …`")
        else:
            try:
                parsed[each.name] = each.metadata["check"](raw)
            except ValueError as error:
                shown = "" if each.name == "bridges" else f"{raw!r} "
                problems.append(f"{key}: {shown}should be {error}")
    entries = []
    for number, raw_entry in enumerate(parsed.pop("bridges", ())):
        entry, wrong = _entry(where.format(number), raw_entry)
        problems += wrong
        if entry:
            entries.append(entry)
            problems += _own_contradictions(entry, parsed)
    problems += _contradictions(parsed)
    problems += [*_clashes(entries)] or [*_entangled(entries, parsed)]
    if problems:
        raise BadSettings("\n".join(problems))
    return Settings(**parsed, bridges=tuple(entries))


def _entry(where: str, entry: Mapping[str, Any]) -> tuple[BridgeSettings | None, list[str]]:
    """One of the bridges, or what is wrong with it."""
    own = {key_of(each.name): each for each in fields(BridgeSettings) if "check" in each.metadata}
    known = [*bridges.FIELDS, *bridges.CUSTOM_FIELDS, *own]
    problems = [
        f"{where}.{key}: no such key: should be one of {', '.join(dict.fromkeys(known))}"
        for key in sorted(entry.keys() - {*known})
    ]
    try:
        bridge = bridges.bridge_of(entry)
    except ValueError as error:
        return None, [*problems, f"{where}: should be {error}"]
    values = _following(bridge)
    for key, each in own.items():
        raw = entry.get(key)
        if raw in (None, "", 0):
            continue
        try:
            values[each.name] = each.metadata["check"](raw if isinstance(raw, str) else json.dumps(raw))
        except ValueError as error:
            shown = f"{raw!r} " if isinstance(raw, (str, int)) else ""  # not all of a config, which may hold secrets
            problems.append(f"{where}.{key}: {shown}should be {error}")
    key = str(entry.get("name") or entry.get("kind", "signal"))
    return (None if problems else BridgeSettings(key=key, where=where, bridge=bridge, **values)), problems


def _own_contradictions(own: BridgeSettings, parsed: Mapping[str, Any]) -> list[str]:
    """Values of one bridge that do not go together with what it stands beside."""
    where, bridge, problems = own.where, own.bridge, []
    if own.image.endswith(":latest"):
        fix = "an image with an exact tag, so that an upgrade is a decision"
        problems.append(f"{where}.image: {own.image!r} should be {fix}")
    taken = {*parsed.get("isolated_databases", ()), parsed.get("synapse_database"), parsed.get("mas_database")}
    if own.database in taken:
        problems.append(f"{where}.database: {own.database!r} should be a database of the bridge's own")
    if own.role in {parsed.get("postgres_superuser"), parsed.get("mas_role")}:
        problems.append(f"{where}.role: {own.role!r} should be a role of the bridge's own")
    names = [parsed.get(f"{each}_container") for each in ("synapse", "mas", "postgres")]
    if own.container in (*names, *parsed.get("synapse_workers", ())):
        problems.append(f"{where}.container: {own.container!r} should be a name of the bridge's own")
    if own.registration_file == parsed.get("doublepuppet_file"):
        problems.append(f"{where}.registrationFile: {own.registration_file!r} should differ from doublepuppetFile")
    if bridge.appservice_id == parsed.get("doublepuppet_id"):
        problems.append(f"{where}: the id {bridge.appservice_id!r} is doublepuppetId's, too: give it another name")
    if own.permissions and bridge_config.has(own.bridge_config, "bridge.permissions"):
        problems.append(f"{where}.permissions: are in bridgeConfig.bridge.permissions, too: keep one of the two")
    problems += [
        f"{where}.bridgeConfig.{key}: is not to be set: this program sets it, and other parts of the deployment depend "
        "on it"
        for key in bridge_config.refused(own.bridge_config)
    ]
    problems += [
        f"{where}.bridgeConfig.{key}: not set, and {bridge.network_name}'s bridge does not start without it "
        f"({bridge.source})"
        for key in bridge.needs
        if not bridge_config.has(own.bridge_config, key)
    ]
    return problems


def _clashes(entries: Sequence[BridgeSettings]) -> Iterator[str]:
    """What two bridges cannot have both."""
    for one, other in itertools.combinations(entries, 2):
        if one.key == other.key or one.bridge.name == other.bridge.name:
            yield f"{other.where}: {other.bridge.name} is {one.where}, too: give one of the two a name of its own"
            continue
        for name in ("container", "database", "role", "registration_file"):
            value = getattr(one, name)
            if value == getattr(other, name):
                yield f"{other.where}.{key_of(name)}: {value!r} is {one.where}'s, too: should be one of its own"


def _contradictions(parsed: Mapping[str, Any]) -> list[str]:
    """Values that are each fine but not together; keys that are already reported are passed over."""
    problems = []
    domain, admin = parsed.get("domain"), parsed.get("admin_user")
    if domain and admin and not admin.endswith(f":{domain}"):
        problems.append(f"adminUser: {admin!r} should be a user of the domain {domain!r}, like @name:{domain}")
    names = [parsed.get(f"{each}_container") for each in ("synapse", "mas", "postgres")]
    problems += [
        f"synapseWorkers: {each!r} should be a container of Synapse's other processes"
        for each in parsed.get("synapse_workers", ())
        if each in names
    ]
    if parsed.get("host") == LOCAL:
        problems += [
            f"{key_of(each)}: {parsed[each]!r} counts for a host behind SSH: set host to its address, or take this away"
            for each, unset in (("become", "none"), ("ssh_key", ""), ("ssh_config", ""), ("postgres_local_port", 0))
            if parsed.get(each, unset) != unset
        ]
    elif parsed.get("docker_host", "auto").startswith("tcp://"):
        problems.append(f"dockerHost: {parsed['docker_host']!r} should be auto or a socket: Docker is reached over SSH")
    script, dumps = parsed.get("backup_script"), parsed.get("backup_dir", "/")
    if script == "none" and "$" in dumps:
        problems.append(f"backupDir: {dumps!r} should be an absolute path, since backupScript is none")
    if bool(parsed.get("backup_filter")) != bool(parsed.get("backup_filter_suffix")):
        problems.append("backupFilter: should be set together with backupFilterSuffix, like `age -r …` and .age")
    return problems


def _entangled(entries: Sequence[BridgeSettings], parsed: Mapping[str, Any]) -> Iterator[str]:
    """Directories of which one would go, be read or be written with the other."""
    shared = {key_of(name): parsed[name] for name in ("shared_dir", "synapse_dir") if name in parsed}
    own = {f"{each.where}.directory": each.directory for each in entries}
    archives = {f"{each.where}.archiveDir": each.archive_dir for each in entries}
    backups = {key_of(name): parsed[name] for name in ("backup_dir", "backup_script") if name in parsed}
    pairs = [*itertools.combinations([*own.items(), *shared.items()], 2)]
    pairs += itertools.product(archives.items(), {**own, **shared}.items())
    for (one, here), (other, there) in pairs:
        if _below(here, there) or _below(there, here):
            yield _nested(one, here, other, there)
    ours = {**own, **{key: path for key, path in shared.items() if key == "sharedDir"}}
    for (one, here), (other, there) in itertools.product(backups.items(), ours.items()):
        if here.startswith("/") and _below(here, there):
            yield _nested(one, here, other, there)


def _below(path: str, directory: str) -> bool:
    return PurePosixPath(directory) in (PurePosixPath(path), *PurePosixPath(path).parents)


def _nested(one: str, here: str, other: str, there: str) -> str:
    return f"{one}: {here!r} and {other} {there!r} should not be one inside the other: {one} needs a place of its own"


def read() -> Settings:
    """The running stack's settings. Raises pulumi.RunError, which ends the program with its text alone."""
    import pulumi

    config = pulumi.Config()
    try:
        settings = parse({key_of(each.name): config.get(key_of(each.name)) for each in fields(Settings)})
    except BadSettings as bad:
        raise pulumi.RunError(str(bad)) from None
    if settings.postgres_password and not pulumi.runtime.is_config_secret(config.full_key("postgresPassword")):
        raise pulumi.RunError(
            "postgresPassword: is in plain text in the stack's config; "
            "set it with `pulumi config set --secret postgresPassword`"
        )
    return settings
