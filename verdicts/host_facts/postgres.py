"""Facts of the Postgres server that the stack shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from documents.marks import parse_owner_comment


@dataclass(frozen=True)
class PostgresFacts:
    """What Postgres tells the setting postgresSuperuser.

    `version` is server_version_num; `superuser`: whether the user is one; `roles` and `databases` are their comments
    (documents/marks.py) by name, `bytes` the sizes of the databases by name; `locked_out` maps a database to the roles
    that connect to it through PUBLIC alone; `error` is why Postgres could not be asked.
    """

    version: int = 0
    superuser: bool = False
    roles: dict[str, str] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    locked_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    error: str = ""

    def comment_of(self, stack: str, database: str) -> Mapping[str, Any]:
        """The values in the comment on this stack's database; empty if the database belongs to another stack."""
        values = parse_owner_comment(self.databases.get(database))
        return values if values.get("stack") == stack else {}
