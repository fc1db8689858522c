"""One bridge as preflight observes it, and which parts of it belong to this stack. Each part is known by its own
mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from documents.marks import STACK_LABEL, TOKENS_LABEL, explain_other_owner, parse_owner_comment
from documents.places import BridgeDeployment
from verdicts.host_facts.archive import SourceFacts
from verdicts.host_facts.host import BridgeFacts, PostgresFacts


@dataclass(frozen=True)
class Owned:
    """Whose a role or a database is. `other_owner`: why it is not this stack's; "" if it is."""

    exists: bool
    other_owner: str = ""

    @property
    def is_ours(self) -> bool:
        return self.exists and not self.other_owner


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
    def role(self) -> Owned:
        """Its role in Postgres."""
        place = self.deployment.place.database
        return self._find_owner(place.names[0], self.postgres.roles.get(place.role))

    @property
    def database(self) -> Owned:
        """Its database."""
        place = self.deployment.place.database
        return self._find_owner(place.names[1], self.postgres.databases.get(place.database))

    def _find_owner(self, name: str, comment: str | None) -> Owned:
        if comment is None:
            return Owned(exists=False)
        return Owned(True, explain_other_owner(comment, self.deployment.stack, name in self.facts.claimed))

    @property
    def generation(self) -> str | None:
        """The setting tokenGeneration as the container has it; None if there is no container of ours."""
        container = self.facts.container
        return container.labels.get(TOKENS_LABEL) if container and self.owns_container else None

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

    @property
    def going_back(self) -> str:
        """What `up` will put in place of the content that is there, as the setting goBackTo; "" if nothing. Each path
        counts once."""
        go_back = self.deployment.archive.go_back
        return go_back if self.origin and go_back != self.comment.get("back") else ""

    @property
    def pending_source(self) -> SourceFacts | None:
        """What `up` will put into its database, whether that can be used or not; None if nothing."""
        if not self.origin:
            return self.facts.restoring
        return self.facts.going_back if self.going_back else None

    @property
    def has_unknown_content(self) -> bool:
        """Whether its database may hold something, and its comment does not tell with which key and image it was made:
        a restore of a dump without the comment loses it."""
        known = {"began", "key"} <= self.comment.keys()
        empty = self.postgres.objects.get(self.deployment.place.database.database) == 0
        return self.database.is_ours and not known and not empty
