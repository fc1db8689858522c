"""One bridge as preflight observes it: its settings, its facts, and which parts of it belong to this stack."""

from __future__ import annotations

from dataclasses import dataclass

from documents.marks import STACK_LABEL, parse_owner_comment
from documents.places import BridgeDeployment, Deployment
from verdicts import versions
from verdicts.host_facts.bridge import BridgeFacts
from verdicts.host_facts.docker import Container
from verdicts.host_facts.host import HostFacts
from verdicts.host_facts.postgres import PostgresFacts


@dataclass(frozen=True)
class OwnedParts:
    """Which parts of a bridge exist and belong to this stack. Each part is known by its own mark; the directory also by
    a config in it."""

    container: bool
    directory: bool
    role: bool
    database: bool
    registration: bool

    @property
    def any(self) -> bool:
        """Whether an earlier `up` of this stack made any of them."""
        return self.container or self.directory or self.role or self.database or self.registration

    @classmethod
    def find(cls, facts: BridgeFacts, postgres: PostgresFacts, deployment: BridgeDeployment) -> OwnedParts:
        stack, database = deployment.stack, deployment.place.database
        return cls(
            container=container_owner(facts.container) == stack,
            directory=facts.directory.stack == stack
            or (facts.directory.stack is None and stack in facts.directory_writers),
            role=parse_owner_comment(postgres.roles.get(database.role)).get("stack") == stack,
            database=parse_owner_comment(postgres.databases.get(database.database)).get("stack") == stack,
            registration=facts.registration is not None and facts.registration.stack == stack,
        )


@dataclass(frozen=True)
class ObservedBridge:
    """One bridge: its settings, its facts and Postgres', and which parts this stack owns."""

    deployment: BridgeDeployment
    facts: BridgeFacts
    postgres: PostgresFacts
    owned: OwnedParts

    @property
    def origin(self) -> str:
        """What its database began with, as the setting restore; "" before it has begun."""
        return str(versions.database_comment(self.postgres, self.deployment).get("began", ""))

    @property
    def setting(self) -> str:
        """Where its settings are, as bridges[0]."""
        return self.deployment.setting


def observe_bridges(facts: HostFacts, deployment: Deployment) -> tuple[ObservedBridge, ...]:
    return tuple(
        ObservedBridge(bridge, found, facts.postgres, OwnedParts.find(found, facts.postgres, bridge))
        for bridge, found in zip(deployment.bridges, facts.bridges, strict=True)
    )


def container_owner(container: Container | None) -> str | None:
    """The stack that made the container; None if it names none, or does not exist."""
    return container.labels.get(STACK_LABEL) if container else None
