"""A `destroy` that is taken for an `up` and refused by what the host looks like; an `up` that is taken for a destroy
and not refused at all."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab import which_pulumi
from verdicts.cli import destroys, operation

LINES = [
    ("destroy --yes --run-program", "destroy"),
    ("down", "down"),
    ("dn -y", "dn"),
    ("up destroy", "up"),  # a template of that name
    ("preview -s destroy", "preview"),
    ("-C destroy up", "up"),
    ("-C preview destroy", "destroy"),
    ("--cwd=destroy up", "up"),
    ("--cwd up destroy --yes", "destroy"),
    ("--color never --non-interactive destroy", "destroy"),
    ("-e -Q destroy", "destroy"),
    ("-v 3 destroy", "destroy"),
    ("-v=3 --logtostderr up", "up"),
    ("-s destroy up", "up"),
    ("-s preview destroy", "destroy"),
    ("--stack destroy up", "up"),
    ("--tracing file:./destroy preview", "preview"),
    ("-Cdestroy up", "up"),
    # the Automation API
    ("destroy --yes --skip-preview --exec-kind auto.local --stack org/destroy/up --non-interactive", "destroy"),
    ("up --client=127.0.0.1:12345 --exec-kind auto.inline --exec-agent destroy --stack up", "up"),
    ("--non-interactive destroy --exec-kind auto.local --run-program", "destroy"),
    ("", ""),
    ("--version", ""),
    ("-- destroy", ""),
    ("-C destroy", ""),
]


@pytest.mark.parametrize(("line", "command"), LINES)
def test_flags_are_read_with_their_values(line: str, command: str) -> None:
    assert operation(line.split()) == command
    assert destroys(line.split()) == (command in ("destroy", "down", "dn"))


# A flag that the root does not know, before the command, is an error of the whole line: nothing runs then.
KNOWN = [line for line, command in LINES if command and not line.startswith(("-s", "--stack", "-Cdestroy"))]


@pytest.mark.parametrize("line", KNOWN)
def test_the_real_cli_reads_them_so(line: str, tmp_path: Path) -> None:
    program = which_pulumi.program()
    if program is None:
        pytest.skip("no Pulumi CLI here")
    for name in ("destroy", "preview", "up"):
        (tmp_path / name).mkdir()
    said = subprocess.run([program, *line.split(), "--help"], capture_output=True, text=True, cwd=tmp_path, check=False)
    usage = re.search(r"Usage:\n  pulumi (\w+)", said.stdout)
    aliases = {"down": "destroy", "dn": "destroy"}
    command = operation(line.split())
    assert usage and usage[1] == aliases.get(command, command), said
