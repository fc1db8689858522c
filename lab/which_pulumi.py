"""Which Pulumi CLI the lab uses: the one that LAB_PULUMI names, else an installed one, else the one that set-up built.

`python lab/which_pulumi.py` prints the path and version of the installed one; exit status 1 if there is none, with the
reason if there is one that cannot be used. Standard library only: set-up runs it before there is anything else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BUILT = ROOT / ".tools/bin"
LANGUAGE_HOST = "pulumi-language-python"


@dataclass(frozen=True)
class Installed:
    """An installed Pulumi CLI, the folder of its Python language host, and its version such as v3.260.1."""

    program: Path
    host_folder: Path
    version: str


@dataclass(frozen=True)
class Unusable:
    """The `pulumi` on PATH cannot be used: `reason` says which one it is and why."""

    reason: str


def oldest() -> str:
    """The oldest version that will do: the Python SDK's, which is the one that set-up would build (tools/go.mod)."""
    match = re.search(r"^\s*github\.com/pulumi/pulumi/sdk/v3 (v[\d.]+)", (ROOT / "tools/go.mod").read_text(), re.M)
    if match is None:
        raise ValueError("tools/go.mod names no github.com/pulumi/pulumi/sdk/v3")
    return match[1]


@lru_cache
def installed(path: str) -> Installed | Unusable | None:
    """The first `pulumi` of this PATH, None if there is none. One that set-up built does not count.

    Unusable: it does not run, is too old, or has no Python language host beside it or on PATH.
    """
    search = _without_built(path)
    name = shutil.which("pulumi", path=search)
    if name is None or Path(name).resolve().parent == BUILT.resolve():
        return None
    program = Path(name).absolute()
    version = _version(program)
    if version is None:
        return Unusable(f"{program} does not tell its version (`pulumi version`)")
    if _numbers(version) < _numbers(oldest()):
        return Unusable(f"{program} is {version}, older than {oldest()}")
    # Beside the link and beside the file that it leads to, as the CLI itself looks.
    beside = os.pathsep.join(map(str, (program.parent, program.resolve().parent)))
    host = shutil.which(LANGUAGE_HOST, path=f"{beside}{os.pathsep}{search}")
    if host is None:
        return Unusable(f"{program} ({version}) has no {LANGUAGE_HOST} beside it or on PATH")
    return Installed(program, Path(host).absolute().parent, version)


def path_with_pulumi() -> str:
    """This process' PATH with the folders before it in which `pulumi`, its language host and our Python are."""
    path = os.environ.get("PATH", os.defpath)
    given = os.environ.get("LAB_PULUMI")
    if given:
        # A CLI of one's own comes with its language host beside it.
        folders = [Path(given).resolve().parent, BUILT]
    elif isinstance(found := installed(path), Installed):
        folders = [found.program.parent, found.host_folder]
    else:
        folders = [BUILT]
    # The virtual environment first: a CLI's folder may hold another python3.
    return os.pathsep.join([str(VENV / "bin"), *map(str, folders), _without_built(path)])


def program() -> str | None:
    """Path of the Pulumi CLI to use, None if there is none."""
    name = os.environ.get("LAB_PULUMI") or shutil.which("pulumi", path=path_with_pulumi())
    return name if name and os.access(name, os.X_OK) else None


def _without_built(path: str) -> str:
    """A PATH without the folder of what set-up built, which `make` puts there."""
    folders = [folder for folder in path.split(os.pathsep) if folder]
    return os.pathsep.join(folder for folder in folders if Path(folder).resolve() != BUILT.resolve())


def _version(program: Path) -> str | None:
    env = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run([program, "version"], env=env, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = done.stdout.strip()
    return version if done.returncode == 0 and re.match(r"v\d+\.\d+\.\d+", version) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


if __name__ == "__main__":
    chosen = installed(os.environ.get("PATH", os.defpath))
    if isinstance(chosen, Unusable):
        sys.exit(chosen.reason)
    if chosen is None:
        sys.exit(1)
    print(f"{chosen.program} ({chosen.version})")
