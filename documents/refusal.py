"""Why a file of the operator's is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Its line (from 1, as an editor counts), the reason, and what to do about it."""

    line: int
    reason: str
    fix: str


class Refused(Exception):
    """The file cannot be edited safely. Its text has one line a problem: `LINE: reason: fix`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(self.lines()))

    def lines(self, path: str = "") -> tuple[str, ...]:
        """The same lines; with a path, `PATH:LINE: reason: fix`."""
        where = f"{path}:" if path else ""
        return tuple(f"{where}{each.line}: {each.reason}: {each.fix}" for each in self.problems)
