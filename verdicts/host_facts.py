"""What a host looks like: the shape that host_programs/facts/host.py fills in and verdicts/preflight.py judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from documents.marks import commented
from documents.places import whose


@dataclass(frozen=True)
class Mount:
    """`source` on the host (a volume's, too) is `destination` in the container."""

    source: str
    destination: str


@dataclass(frozen=True)
class Container:
    """A container as Docker tells it. `status`: created, running, paused, restarting, removing, exited or dead;
    `exit_code` is that of the last run while it does not run, and 0 while it does; `error` is why Docker could not
    start it; `created` and `started` (the last time) are RFC 3339 times; `pid` is its first process', on the host;
    `networks` maps names to addresses (IPv6 where there is no other); `published` maps ports (TCP) to where the host
    has them, as 127.0.0.1:8008; `command`: the words that it runs, which may hold secrets."""

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
        """Its program ran and is gone, for good or until Docker starts it again."""
        return self.status in ("restarting", "exited", "dead")

    @property
    def stays_stopped(self) -> bool:
        """It does not run, and Docker does not start it by itself."""
        return self.status in ("created", "exited", "dead")

    def host_on(self, network: str) -> str:
        """Its address as a URL has it, an IPv6 one in brackets; "" if it is not in that network."""
        address = self.networks.get(network, "")
        return f"[{address}]" if ":" in address else address


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
    """What Synapse's own container tells: the package's version ("" if it holds none), its process' user and group, and
    what its configuration says. `files`: those of its command line, in their order; `decided_in`: for each of the keys
    that we edit, the last of them that has it, which is the one that counts. `workers`: how many run in the same
    container; `named_workers`: names in its instance_map, `pusher`: the one that pushes events to appservices ("": the
    main process); `media`: "" if the media repository is at home or answers where the bridge looks for it, else what
    answers there. `error`: why that cannot be judged."""

    version: str = ""
    uid: int = 0
    gid: int = 0
    server_name: str = ""
    mas: bool = False
    registrations: tuple[Registration, ...] = ()
    files: tuple[str, ...] = ()
    decided_in: dict[str, str] = field(default_factory=dict)
    workers: int = 0
    named_workers: tuple[str, ...] = ()
    pusher: str = ""
    media: str = ""
    error: str = ""


@dataclass(frozen=True)
class WorkerFacts:
    """What the container of a worker tells: the `files` of its configuration and the one that decides on the
    registrations ("": none has a list), both in the container; `unwell`: why it is not up, "" if it is. `error`: why
    that cannot be judged."""

    files: tuple[str, ...] = ()
    decided_in: str = ""
    unwell: str = ""
    error: str = ""


@dataclass(frozen=True)
class Worker:
    """A container that the setting synapseWorkers names. `facts` are None while it does not run; `homeserver`: the
    file that gets our entries, as it has it, "" if it has not."""

    container: Optional[Container]
    homeserver: str = ""
    facts: Optional[WorkerFacts] = None


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
class Member:
    """A file in an archive. `name` is its path there; `mode` is octal text."""

    name: str
    sha256: str
    bytes: int
    mode: str
    uid: int
    gid: int


_BEFORE = "before "


def before(change: str) -> str:
    """An archive's reason: what came after it."""
    return _BEFORE + change


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself. `created` is its timestamp; `reason` is destroy, or what `before` made; `stack`
    is "project/name"; `image` and `schema` (version by table) are the bridge's; `schema_unknown`: why its
    versions could not be read, "" if they could; `missing`: files that were not there."""

    version: int
    created: str
    reason: str
    stack: str
    domain: str
    bridge: str
    image: str
    schema: dict[str, int]
    database: str
    role: str
    members: tuple[Member, ...]
    missing: tuple[str, ...]
    schema_unknown: str = ""

    @property
    def whose(self) -> str:
        """As Deployment.whose."""
        return whose(self.stack, self.domain)

    @property
    def before_a_change(self) -> bool:
        """And not for good."""
        return self.reason.startswith(_BEFORE)


@dataclass(frozen=True)
class PostgresFacts:
    """What Postgres tells the superuser of the settings. `version`: server_version_num; `superuser`: whether he is one;
    `roles`, `databases`: their comments (documents/marks.py) by name, `bytes`: the databases' by name; `locked_out`:
    database -> roles that come into it through PUBLIC alone. `error`: why it could not be asked."""

    version: int = 0
    superuser: bool = False
    roles: dict[str, str] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    locked_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    error: str = ""

    def said(self, stack: str, database: str) -> Mapping[str, Any]:
        """What the comment on that stack's database says (bridge/bridge_data.py); nothing if it is another's."""
        says = commented(self.databases.get(database))
        return says if says.get("stack") == stack else {}


@dataclass(frozen=True)
class ArchiveFacts:
    """An archive, as the one that the setting restore means; `error`: why there is none. `others`: whose the archives
    are that `latest` passed over."""

    path: str = ""
    manifest: Optional[Manifest] = None
    error: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class IdRange:
    """`count` ids from `inside` on in a container are those from `outside` on, on the host (user_namespaces(7))."""

    inside: int
    outside: int
    count: int


def on_host(number: int, ranges: Sequence[IdRange]) -> int:
    """A container's uid or gid on the host; itself where nothing maps it."""
    found = (each for each in ranges if 0 <= number - each.inside < each.count)
    return next((number - each.inside + each.outside for each in found), number)


@dataclass(frozen=True)
class OwnFile:
    """A file that should be ours: the stack that its first line names, "" if it names none, and its owner."""

    stack: str
    uid: int
    gid: int


@dataclass(frozen=True)
class BridgeFacts:
    """What is one bridge's own; what is not there is None, False or empty.

    `image`: whether it is there. `directory_writers`: stacks that wrote a config in its directory; `others`: names of
    containers that mount that. `schema`: of each part of its database (a table), the version and the oldest one whose
    program can still use it. `ready_mark`: "CONTAINER_ID ATTEMPT WAIT IMAGE" of the container that got ready last;
    `failures`: how often it did not go live. `config_refused`: what of bridgeConfig the bridge does not
    take, as `KEY: why`. `going_back`: as `archive`, for goBackTo; `versions`: the newest archive of this bridge by the
    image that left the database so. `archive`: None unless restore asks for one.
    """

    container: Optional[Container]
    image: bool
    directory: Directory
    directory_writers: tuple[str, ...]
    others: tuple[str, ...]
    registration: Optional[OwnFile]
    schema: dict[str, tuple[int, int]]
    ready_mark: str
    config_refused: tuple[str, ...]
    archive_dir: Directory
    archive: Optional[ArchiveFacts]
    going_back: Optional[ArchiveFacts]
    versions: dict[str, ArchiveFacts]


@dataclass(frozen=True)
class HostFacts:
    """The whole look at the host; what is not there is None, False or empty. `bridges` are in the settings' order.

    `docker`: the server's version; `docker_host`: its address; `docker_free`: bytes free for it; `without_docker`: the
    SSH user, if he may not use it; `at_work`: steps of this stack, as "RESOURCE (pid NUMBER)"; `uids`, `gids`: what
    those of containers are on the host, which differs where Docker runs without root or with userns-remap. `network`:
    whether it is there. `superuser_password` is a secret, out of Postgres' container. `mounted`: where Synapse's
    container has our two places on the host, `on_host`: where the host has the files of its configuration; what one
    does not have of the other is absent. `synapse_url`: where the host reaches Synapse, `synapse_silent`: why it does
    not answer there, "" if it does. `backup_syntax`: what the script's own interpreter says against our edit of it, as
    `LINE: reason: fix`. `dump_script_owner`: the stack that our dump script on the host names, "" if it names none,
    None if there is no such file; `dump_scheduled`: whether cron or a systemd unit names it. `dumps_path`: where the
    nightly dumps go, "" if only the script knows, and then `backup_dir` is where the script is. `directory`: the
    stack's own; `doublepuppet`: the registration for double puppeting. `leaving`: containers of this stack that are no
    longer a bridge of its settings. `worker_containers`: names of those that run another process of this Synapse;
    `renderers`: of those whose command writes its homeserver.yaml; `workers`: those of the settings, by name.
    `programs`: whether those of the steps are in the stack's directory. `interrupted`: a run was killed between
    its edit of homeserver.yaml and a healthy Synapse.
    """

    docker: str
    docker_host: str
    docker_free: int
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    root: bool
    without_docker: str
    at_work: tuple[str, ...]
    bash: bool
    synapse_container: Optional[Container]
    mas_container: Optional[Container]
    postgres_container: Optional[Container]
    network: bool
    superuser_password: str = field(repr=False)
    synapse: SynapseFacts
    postgres: PostgresFacts
    homeserver: Optional[File]
    mounted: dict[str, str]
    on_host: dict[str, str]
    synapse_url: str
    synapse_silent: str
    backup_script: Optional[File]
    backup_syntax: str
    dump_script_owner: Optional[str]
    dump_scheduled: bool
    directory: Directory
    synapse_dir: Directory
    dumps_path: str
    backup_dir: Directory
    doublepuppet: Optional[OwnFile]
    leaving: tuple[str, ...]
    renderers: tuple[str, ...]
    worker_containers: tuple[str, ...]
    workers: dict[str, Worker]
    interrupted: bool
    bridges: tuple[BridgeFacts, ...]
