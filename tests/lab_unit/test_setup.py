"""A demo on a new machine that stops at a package which only development installs."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Of imports: the package that a requirements file names, where that is another word.
PACKAGES = {"yaml": "PyYAML", "grpc": "pulumi", "google": "pulumi"}
DEVELOPMENT_ONLY = {"lab/growth.py"}  # draws a picture of the benchmark


def required(name: str) -> set[str]:
    """The packages that a requirements file names, those of the files that it includes among them."""
    packages: set[str] = set()
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            packages |= required(line.removeprefix("-r "))
        elif match := re.match(r"[\w-]+", line):
            packages.add(match[0].replace("-", "_"))
    return packages


def imported(path: Path) -> set[str]:
    """The first words of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_lab_imports_nothing_that_a_demo_does_not_install() -> None:
    known = {path.stem for path in ROOT.glob("*") if path.is_dir() or path.suffix == ".py"} | set(
        sys.stdlib_module_names
    )
    files = [path for path in ROOT.glob("lab/**/*.py") if str(path.relative_to(ROOT)) not in DEVELOPMENT_ONLY]
    assert len(files) > 20
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in imported(path) - known
        if PACKAGES.get(name, name) not in required("requirements-lab.txt")
    }
    assert missing == set()


def test_development_installs_what_a_demo_does_and_more() -> None:
    assert required("requirements.txt") < required("requirements-lab.txt") < required("requirements-dev.txt")
