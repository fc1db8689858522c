"""How a bridge is started, and what becomes of a step of it that fails."""

from __future__ import annotations

from dataclasses import dataclass

from documents.places import NO_ARCHIVE, BridgeDeployment
from host_programs.common import Contained
from host_programs.files.directory import FAILURES


@dataclass(frozen=True)
class Start:
    """How the container is started. `attempt`: another number makes a container that never got ready anew; `failures`:
    how often the bridge did not go live; `timeout`: seconds until it must be ready; `tokens`: their generation;
    `restore`: what the database begins or began with, "" if it is somebody else's."""

    attempt: int
    failures: int
    timeout: int
    tokens: int
    restore: str

    @property
    def new_keys(self) -> bool:
        """Whether the bot may get new cross-signing keys: that of a database that began empty."""
        return self.restore == NO_ARCHIVE

    def attempt_at(self, deployment: BridgeDeployment) -> Contained:
        """As `Host.scripts` takes it."""
        return Contained(f"{deployment.place.directory}/{FAILURES}", self.failures + 1)
