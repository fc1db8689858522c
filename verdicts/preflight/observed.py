"""One bridge as preflight observes it, and which parts of it belong to this stack. Each part is known by its own
mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from documents.marks import STACK_LABEL, parse_owner_comment
from documents.places import BridgeDeployment
from verdicts.host_facts.host import BridgeFacts, PostgresFacts


@dataclass(frozen=True)
class ObservedBridge:
    """One bridge: its settings, its facts and Postgres'."""

    deployment: BridgeDeployment
    facts: BridgeFacts
    postgres: PostgresFacts

    @property
    def setting(self) -> str:
        """Where its settings are, as bridges[0]."""
        return self.deployment.setting

    @property
    def owns_container(self) -> bool:
        container = self.facts.container
        return container is not None and container.labels.get(STACK_LABEL) == self.deployment.stack

    @property
    def owns_directory(self) -> bool:
        """Without its mark, by a config in it."""
        stack, owner = self.deployment.stack, self.facts.directory.stack
        return owner == stack or (owner is None and stack in self.facts.directory_writers)

    @property
    def comment(self) -> Mapping[str, Any]:
        """The values in the comment on its database; empty if the database is not this stack's."""
        values = parse_owner_comment(self.postgres.databases.get(self.deployment.place.database.database))
        return values if values.get("stack") == self.deployment.stack else {}

    @property
    def owns_any(self) -> bool:
        """Whether an earlier `up` of this stack made any part of it."""
        stack, registration = self.deployment.stack, self.facts.registration
        role = parse_owner_comment(self.postgres.roles.get(self.deployment.place.database.role)).get("stack")
        written = registration is not None and registration.stack == stack
        return self.owns_container or self.owns_directory or bool(self.comment) or role == stack or written

    @property
    def ready_container(self) -> str:
        """The id of the container that got ready last; "" if none did."""
        return self.facts.ready_mark.partition(" ")[0] if self.owns_directory else ""

    @property
    def was_deployed(self) -> bool:
        """Whether an earlier `up` of this stack got as far as its container, whatever is left of it."""
        return self.owns_container or bool(self.ready_container) or bool(self.origin)

    @property
    def origin(self) -> str:
        """What its database began with, as the setting restore; "" before it has begun."""
        return str(self.comment.get("began", ""))
