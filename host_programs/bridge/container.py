"""The bridge's container, as the last step before a new one sees it."""

from __future__ import annotations

from dataclasses import dataclass

from host_programs.docker import remove_container


@dataclass(frozen=True)
class ContainerName:
    """Of a container of this `stack` ("project/name")."""

    name: str
    stack: str


def remove_leftover(arguments: ContainerName) -> None:
    """Remove a container of this stack that has the name, right before Pulumi makes one of that name: its state does
    not know the old one (the run that made it was killed, or another state was brought back)."""
    remove_container(arguments.name, arguments.stack)
