"""Pins the drift of a house: a room that reaches into one above it, Pulumi where it cannot be tested, a component with
more parameters than a reader can hold, a plan that no longer reads in a minute."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [
    "documents",
    "settings",
    "verdicts",
    "scripts",
    "workstation",
    "components",
    "host_check",
    "beginning",
    "plan",
    "standalone",
    "provider",
    "__main__",
]  # from the ground up
HOUSE = ROOT / "mautrix_bridges"
FILES = [
    path
    for room in ROOMS[:-1]
    for path in ([HOUSE / f"{room}.py"] if (HOUSE / f"{room}.py").exists() else sorted((HOUSE / room).glob("*.py")))
] + [ROOT / "__main__.py"]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.removeprefix("mautrix_bridges.").partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.removeprefix("mautrix_bridges.").partition(".")[0]


def room(path: Path) -> str:
    return path.stem if path.parent in (HOUSE, ROOT) else path.parent.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{room(path)}/{path.stem}")
def test_no_room_imports_one_above_it_and_pulumi_stays_upstairs(path: Path) -> None:
    floor = ROOMS.index(room(path))
    taken = set(imports(path))
    assert not taken & set(ROOMS[floor + 1 :])
    if floor < ROOMS.index("components"):
        assert not [name for name in taken if name.startswith("pulumi_")]
        assert "pulumi" not in taken or path.stem == "settings", "settings reads the config, in one function"
    if room(path) in ("documents", "verdicts", "scripts"):
        own = {"documents", "verdicts", "scripts", "settings", "yaml", "synapse"}  # these two in Synapse's container
        assert taken <= own | sys.stdlib_module_names, "the host has the standard library alone"


def test_the_plan_reads_in_a_minute_and_each_part_is_headed() -> None:
    lines = (HOUSE / "plan.py").read_text().splitlines()
    assert len(lines) <= 125
    assert len([line for line in lines if line.startswith("    # ") and "tep" in line]) >= 7
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 25


def test_no_part_has_more_than_seven_parameters() -> None:
    components = import_module("mautrix_bridges.components")
    assert len(components.__all__) > 12
    for name in components.__all__:
        assert len(inspect.signature(getattr(components, name)).parameters) <= 7, name
