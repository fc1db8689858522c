"""What the verb `status`, and a preview, saw of one stack on its host. Times are in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from documents.places import Database
from verdicts.host_facts.bridge import BridgeStatus


@dataclass(frozen=True)
class DumpFacts:
    """The newest dump of a database, as our dump script noted it. `path`: "" if it made none; `made_at`: by its name;
    `fault`: why it is of no use now, `proof`: else what shows that it is whole. `failed`: time and reason of the last
    run, if that made no dump. `error`: why nothing is known."""

    database: str
    path: str = ""
    made_at: float = 0.0
    proof: str = ""
    fault: str = ""
    failed: str = ""
    error: str = ""


@dataclass(frozen=True)
class NewestArchive:
    """A bridge's newest archive. `path`: "" if there is none; `error`: why the archives could not be read."""

    path: str = ""
    made_at: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class BridgeHealth:
    """One bridge. `name`: its container's. `registration_problem`: what is wrong with the registration in Synapse's
    directory, and what that means; without a token in it Synapse is not asked for its ping."""

    name: str
    database: Database
    status: BridgeStatus
    started_at: Optional[float]
    registration_problem: str
    dump: DumpFacts


@dataclass(frozen=True)
class BridgeStatusFacts(BridgeHealth):
    """`last_event_at`: when Synapse last handed it an event; None if its log's last lines do not tell."""

    last_event_at: Optional[float]
    archive: NewestArchive


@dataclass(frozen=True)
class HomeserverEntries:
    """`missing`: our entries that the file at `path` lacks; `error`: why it could not be read."""

    path: str
    missing: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class BackupCall:
    """`calls`: whether the operator's `script` ("": there is none) calls our `dump_script`. `problems`: what prevents
    the call, as whole lines. `schedule`: without such a script, the file by which the host runs ours ("": there is
    none); `line`: what something else has to run then, and `ran`: whether it did since the last `up`.
    `dump_script_owner`: the stack that our dump script names, None if the script does not exist; `dump_script_changed`:
    since `up` wrote it. `error`: why the operator's script cannot be read."""

    script: str
    dump_script: str
    dump_script_owner: Optional[str]
    calls: bool = False
    problems: tuple[str, ...] = ()
    schedule: str = ""
    line: str = ""
    ran: bool = False
    error: str = ""
    dump_script_changed: bool = False


@dataclass(frozen=True)
class RoleRights:
    """A role: its comment, its `attributes` that should not be (NOLOGIN among them), and the databases to which it may
    connect."""

    comment: str
    attributes: tuple[str, ...]
    connects: tuple[str, ...]


@dataclass(frozen=True)
class PostgresRights:
    """The bridges' roles by name, the owners of all databases, and the databases to which PUBLIC (every role) may
    connect. `error`: why Postgres did not tell."""

    roles: dict[str, RoleRights] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    public: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Health:
    """What a preview warns of. `nightly_script`: what makes the dumps at night. `dumps`: those of databases that belong
    to no bridge."""

    stack: str
    read_at: float
    nightly_script: str
    bridges: tuple[BridgeHealth, ...]
    dumps: tuple[DumpFacts, ...]
    rights: PostgresRights


@dataclass(frozen=True)
class StatusFacts(Health):
    """`docker_error`: why Docker did not tell of the containers. `synapse_silent`: why Synapse does not answer at
    `synapse_url`, "" if it does."""

    bridges: tuple[BridgeStatusFacts, ...]
    docker_error: str
    synapse_url: str
    synapse_silent: str
    homeserver: HomeserverEntries
    backup: BackupCall
