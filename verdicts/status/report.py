"""The report of `status`: rows with findings, and the exit code for a monitoring program."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HOUR, DAY = 3600.0, 86400.0
REAPPLY = "raise the setting reapply by one, then `pulumi up`"


class Level(IntEnum):
    """How bad it is; the number is the exit code that monitoring programs expect."""

    OK = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """Problems stand out in capitals."""
        return "ok" if self is Level.OK else self.name


@dataclass(frozen=True)
class Finding:
    """One problem: a line that says what, where, and what to do."""

    level: Level
    text: str


def warning(text: str) -> Finding:
    return Finding(Level.WARNING, " ".join(text.split()))


def critical(text: str) -> Finding:
    return Finding(Level.CRITICAL, " ".join(text.split()))


@dataclass(frozen=True)
class Row:
    """One row of the table: its name, the words in its cells, and its problems."""

    name: str
    cells: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.OK)


@dataclass(frozen=True)
class StatusReport:
    """The rows of the bridges, and of the parts that they share. `causes` (Docker, Synapse) come first in the text:
    they may be the reason why a bridge does not work."""

    stack: str
    causes: tuple[Row, ...]
    bridges: tuple[Row, ...]
    shared: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*self.causes, *self.bridges, *self.shared)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first."""
        findings = (finding for row in self.rows for finding in row.findings)
        return tuple(sorted(findings, key=lambda finding: -finding.level))

    @property
    def level(self) -> Level:
        """The worst of all; also the exit code."""
        return max((row.level for row in self.rows), default=Level.OK)


def describe_age(seconds: float) -> str:
    """In the largest unit that counts at least two."""
    seconds = max(seconds, 0)
    for length, unit in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
