"""Facts of the whole host: the one look before anything is planned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from documents.places import Deployment
from verdicts.host_facts.archive import SourceFacts
from verdicts.host_facts.docker import Container, IdRange
from verdicts.host_facts.synapse import SynapseFacts, Worker


@dataclass(frozen=True)
class File:
    """A file of the operator's. `text` is None if it is not UTF-8; `error` is why it cannot be read; `writable`:
    whether it can be replaced in its directory; `foreign`: who else than root can change a program that root runs, as a
    line with its fix ("": nobody); `changed_at`: when it was written (seconds since the epoch); `template`: a file
    beside it that it may be made from ("": none); `executable`: whether it can be run by its name alone."""

    text: Optional[str] = None
    error: str = ""
    writable: bool = False
    foreign: str = ""
    changed_at: float = 0.0
    template: str = ""
    executable: bool = True


@dataclass(frozen=True)
class Directory:
    """A directory, which may not exist yet.

    `entries` are the names in it; `stack` is its owner, by the file `.stack` in it (None if there is none), and
    `shared` is that stack's own directory, by the same file. `writable` and `free` (bytes) are those of the nearest
    directory above, if it does not exist. `fault`: why root must not use it, and what mends that ("": nothing); then
    it was not looked into.
    """

    entries: tuple[str, ...]
    stack: Optional[str]
    writable: bool
    free: int
    shared: str = ""
    fault: str = ""


@dataclass(frozen=True)
class OwnFile:
    """A file that should be ours. `stack` is the one that it names as its writer ("": none); `uid` and `gid` own it;
    `changed`: whether its text is not as it was written (documents/marks.py, seal); `mode`: its permissions."""

    stack: str
    uid: int
    gid: int
    changed: bool = False
    mode: int = 0o600


@dataclass(frozen=True)
class ScheduleFacts:
    """What runs our dump script each night, if no script of the operator's calls it. `scheduler`: cron, systemd, or ""
    (documents/backup/schedule.py); `files`: those in the places of ours, by path; `stopped`: the state of our timer, if
    systemd will not start its service ("": it will, or there is none)."""

    scheduler: str = ""
    files: dict[str, OwnFile] = field(default_factory=dict)
    stopped: str = ""


@dataclass(frozen=True)
class BridgeFacts:
    """What belongs to one bridge. A thing that does not exist is None, False or empty.

    `image`: whether Docker has it; `directory_writers` are the stacks that wrote a config in its directory; `claimed`
    are "role NAME" and "database NAME" that this stack made, as its directory notes; `keys` maps the fingerprint of
    each pickle key in a config there to that file's path; `config` is the one that the container has;
    `ready_mark` is "CONTAINER_ID ATTEMPT IMAGE" of the container that got ready last; `config_refused` are the settings
    of bridgeConfig that the bridge rejects, as `KEY: why`; `restoring` is what restore names (None: it names nothing),
    `going_back` what goBackTo names; `archives` maps an image to the newest archive that it left.
    `earlier_directory` and `earlier_archive_dir` are those of the last `up`, if the settings name others now and it
    left something there.
    """

    container: Optional[Container]
    image: bool
    directory: Directory
    directory_writers: tuple[str, ...]
    claimed: tuple[str, ...]
    keys: dict[str, str]
    config: Optional[OwnFile]
    registration: Optional[OwnFile]
    ready_mark: str
    config_refused: tuple[str, ...]
    archive_dir: Directory
    restoring: Optional[SourceFacts]
    going_back: Optional[SourceFacts]
    archives: dict[str, SourceFacts]
    earlier_directory: str = ""
    earlier_archive_dir: str = ""


@dataclass(frozen=True)
class PostgresFacts:
    """What Postgres tells the setting postgresSuperuser.

    `version` is server_version_num; `connections`: how many it has for all but superusers; `superuser`: whether the
    user is one; `roles` and `databases` are their comments (documents/marks.py) by name, `bytes` the sizes of the
    databases by name; `locked_out` maps a database to the roles that connect to it through PUBLIC alone; `error` is why
    Postgres could not be asked.

    Of each bridge's database that its role gets into: `objects` is how many tables, views, types and functions are in
    it; `schemas` are the parts of its schema, each with its version and the oldest version whose program can use it;
    `foreign`: how many things in it are not its role's.

    `superuser_password` is a secret, the setting's or the container's ("": neither has one); `login_refused` is what
    Postgres says against it over the network ("": nothing); `admin_exists`: whether Synapse knows the user of the
    setting adminUser (None: its database does not tell); `events_behind`: how many events Synapse has to go through for
    its application services before the next one; `first_appservice`: it never served one.
    """

    version: int = 0
    connections: int = 0
    superuser: bool = False
    roles: dict[str, str] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    locked_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    schemas: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    foreign: dict[str, int] = field(default_factory=dict)
    superuser_password: str = field(default="", repr=False)
    login_refused: str = ""
    admin_exists: Optional[bool] = None
    events_behind: int = 0
    first_appservice: bool = False
    error: str = ""


@dataclass(frozen=True)
class HostFacts:
    """All facts of the host. A thing that does not exist is None, False or empty.

    `began`: when the look did, as documents/timestamps.py, now; `recorded`: the stack as the last `up` left it, without
    what is in bridgeConfig (None: no `up` got so far, or another version of this program wrote it).

    Docker: `docker` is the server's version, `docker_host` its address, `docker_free` the bytes free for it; `selinux`:
    whether it confines containers by that; `user_without_docker` is the SSH user, if he may not use Docker; `uids` and
    `gids` map a container's ids to the host's, which differ where Docker runs without root or with userns-remap;
    `network`: whether the setting's network exists.

    Steps: `root`: whether they run as root; `running_steps` are running steps of this stack, as "RESOURCE (pid
    NUMBER)"; `bash`: whether the host has it; `interrupted`: whether a run was killed between its edit of
    homeserver.yaml and a healthy Synapse.

    Synapse: `container_paths` maps synapseDir and homeserverFile to their paths in its container, `host_paths` maps the
    files of its configuration to their paths on the host; a path that the other side does not have is absent.
    `synapse_url` is its address for the host; `synapse_silent` is why it does not answer there ("": it does);
    `worker_containers` run another process of this Synapse, `renderers` have a command that writes its homeserver.yaml
    (both by name); `workers` are those of the settings, by name; `doublepuppet` is the registration for double
    puppeting.

    Dumps: `backup_edited` is the operator's script as `up` will write it ("": it cannot), `backup_syntax` its
    interpreter's error in that, as `LINE: reason: fix`; `dump_script` is ours, and `schedule` runs it where no script
    does; `backup_dir` is where the dumps go, or the script's directory where only the script knows.

    `directory` is the stack's own; `bridges` are in the
    settings' order; `leaving_containers` are containers of this stack whose bridge is no longer in the settings;
    `leaving_archives` are the directories for the archives of recorded bridges that are no longer there, by their keys.
    """

    began: str
    recorded: Optional[Deployment]
    docker: str
    docker_host: str
    docker_free: int
    selinux: bool
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    root: bool
    user_without_docker: str
    running_steps: tuple[str, ...]
    bash: bool
    synapse_container: Optional[Container]
    mas_container: Optional[Container]
    postgres_container: Optional[Container]
    network: bool
    synapse: SynapseFacts
    postgres: PostgresFacts
    homeserver: Optional[File]
    container_paths: dict[str, str]
    host_paths: dict[str, str]
    synapse_url: str
    synapse_silent: str
    backup_script: Optional[File]
    backup_edited: str
    backup_syntax: str
    dump_script: Optional[OwnFile]
    schedule: ScheduleFacts
    directory: Directory
    synapse_dir: Directory
    backup_dir: Directory
    doublepuppet: Optional[OwnFile]
    leaving_containers: tuple[str, ...]
    leaving_archives: dict[str, Directory]
    renderers: tuple[str, ...]
    worker_containers: tuple[str, ...]
    workers: dict[str, Worker]
    interrupted: bool
    bridges: tuple[BridgeFacts, ...]
