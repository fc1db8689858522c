"""Facts of Synapse and its workers, as their own containers report them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from verdicts.host_facts.docker import Container


@dataclass(frozen=True)
class Registration:
    """One registration that Synapse's configuration lists. `exclusive` are its exclusive user namespaces; `error` is
    why the file cannot be read."""

    path: str
    id: str = ""
    exclusive: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class SynapseFacts:
    """What Synapse's own container reports.

    `version` is the package's ("" if there is none); `uid` and `gid` are its process'. The rest is from its
    configuration: `files` are those of its command line, in order; `decided_in` maps each key that we edit to the last
    of these files that has it, which is the one that counts; `workers` is how many run in the same container; `pusher`
    is the one that pushes events to appservices ("": the main process); `connections` is how many each process may have
    to Postgres; `media` is "" if the client API with its media repository answers at the bridge's address, else what
    answers there. `error` is why the configuration could not be read.
    """

    version: str = ""
    uid: int = 0
    gid: int = 0
    server_name: str = ""
    mas: bool = False
    registrations: tuple[Registration, ...] = ()
    files: tuple[str, ...] = ()
    decided_in: dict[str, str] = field(default_factory=dict)
    workers: int = 0
    pusher: str = ""
    connections: int = 0
    media: str = ""
    error: str = ""


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker's container reports. Paths are those in the container.

    `files` are those of its configuration; `decided_in` is the one that decides on the registrations ("": none lists
    any); `unwell` is why it is not up ("": it is); `error` is why its configuration could not be read.
    """

    files: tuple[str, ...] = ()
    decided_in: str = ""
    unwell: str = ""
    error: str = ""


@dataclass(frozen=True)
class Worker:
    """A container that the setting synapseWorkers names. `homeserver` is the path in it of the file that gets our
    entries ("": it has none); `facts` are None while it is not running."""

    container: Optional[Container]
    homeserver: str = ""
    facts: Optional[WorkerFacts] = None
