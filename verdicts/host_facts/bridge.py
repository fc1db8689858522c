"""Facts of one bridge: everything on the host that belongs to it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from verdicts.host_facts.archive import ArchiveFacts
from verdicts.host_facts.docker import Container
from verdicts.host_facts.files import Directory, OwnFile


@dataclass(frozen=True)
class BridgeStatus:
    """The bridge's state now. None of it changes while a bridge runs well.

    `container` is Docker's status, "absent" or "unknown"; `ping` is "200" or what came instead; `exit_code` is that of
    the last run (None if it never ended); `problem` is why something is unknown.
    """

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
class BridgeFacts:
    """What belongs to one bridge. A thing that does not exist is None, False or empty.

    `image`: whether Docker has it; `directory_writers` are the stacks that wrote a config in its directory;
    `ready_mark` is "CONTAINER_ID ATTEMPT IMAGE" of the container that got ready last; `config_refused` are the settings
    of bridgeConfig that the bridge rejects, as `KEY: why`; `archive` is the one that restore names (None: it names
    none), `going_back` the one that goBackTo names; `archives` maps an image to the newest archive that it left.
    """

    container: Optional[Container]
    image: bool
    directory: Directory
    directory_writers: tuple[str, ...]
    registration: Optional[OwnFile]
    ready_mark: str
    config_refused: tuple[str, ...]
    archive_dir: Directory
    archive: Optional[ArchiveFacts]
    going_back: Optional[ArchiveFacts]
    archives: dict[str, str]
