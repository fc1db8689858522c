"""Why this program does not edit a file of the operator's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One reason: its line (from 1, as an editor counts), what is wrong there, and the fix."""

    line: int
    reason: str
    fix: str


class Refused(Exception):
    """The file cannot be edited safely. Its text has one line for each problem: `LINE: reason: fix`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(self.lines()))

    def lines(self, path: str = "") -> tuple[str, ...]:
        """One line for each problem; with a path, `PATH:LINE: reason: fix`."""
        prefix = f"{path}:" if path else ""
        return tuple(f"{prefix}{problem.line}: {problem.reason}: {problem.fix}" for problem in self.problems)
