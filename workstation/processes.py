"""Where this program stands among the processes of its machine: the Pulumi CLI above it."""

from __future__ import annotations

import re
from pathlib import Path

import psutil

from verdicts import cli


def pulumi_above() -> psutil.Process | None:
    """The CLI that runs this program; None if there is none, as in a program of the Automation API's own process."""
    for process in psutil.Process().parents():
        words = command_line(process)
        if words and re.fullmatch(r"pulumi(-v?\d.*)?", Path(words[0]).name):  # and not its plugins
            return process
    return None


def operation() -> psutil.Process:
    """The process that lives as long as the operation does."""
    return pulumi_above() or psutil.Process()


def destroying() -> bool:
    """Whether `pulumi destroy --run-program` runs this program. Pulumi does not tell (pkg/v3 v3.259.0: the run request
    has no such field), so the command line of the CLI above this process does."""
    above = pulumi_above()
    return above is not None and cli.destroys(command_line(above)[1:])


def making() -> bool:
    """Whether what this program registers is made, as an `up` does."""
    above = pulumi_above()
    return above is None or not cli.makes_nothing(command_line(above)[1:])


def command_line(process: psutil.Process) -> list[str]:
    """Its words; none if it has gone, or is somebody else's."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
