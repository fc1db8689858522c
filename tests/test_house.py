"""Pins the drift of a house: a room that reaches into one above it, Pulumi where it cannot be tested, a component with
more parameters than a reader can hold, a plan that no longer reads in a minute."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["documents", "settings", "verdicts", "host_programs", "workstation", "components", "__main__"]  # ground up
FILES = [
    path
    for room in ROOMS
    for path in ([ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py")))
]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def room(path: Path) -> str:
    return path.stem if path.parent == ROOT else path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{room(path)}/{path.stem}")
def test_no_room_imports_one_above_it_and_pulumi_stays_upstairs(path: Path) -> None:
    floor = ROOMS.index(room(path))
    taken = set(imports(path))
    assert not taken & set(ROOMS[floor + 1 :])
    if floor < ROOMS.index("components"):
        assert not [name for name in taken if name.startswith("pulumi_")]
        assert "pulumi" not in taken or path == ROOT / "settings/reader.py", "it reads the config, in one function"
    if room(path) in ("documents", "verdicts", "host_programs"):
        own = {
            "documents",
            "verdicts",
            "host_programs",
            "settings",
            "yaml",
            "synapse",
        }  # these two in Synapse's container
        assert taken <= own | sys.stdlib_module_names, "the host has the standard library alone"


def test_the_plan_reads_in_a_minute() -> None:
    """At ninety lines; what does not fit is a component's, and no helper's that hides it."""
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 90
