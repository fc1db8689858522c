"""The real bridge core for these tests: built once, kept in .tools/bin, built anew only when its sources change."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lab import bridge_build

ROOT = Path(__file__).resolve().parents[2]

# Nobody in particular: the bridge must not be helped by root's right to read and write everything.
UNPRIVILEGED = 1337


class Core:
    """The bridge core in a directory of its own, run as an ordinary user."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.binary = binary
        self.directory = directory

    def command(self, *words: str) -> list[str]:
        return [str(self.binary), *words]

    def as_user(self) -> Mapping[str, object]:
        return {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **self.as_user(),  # type: ignore[call-overload]
        )
        return done

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_text(text)
        self.give(path, mode)
        return path

    def give(self, path: Path, mode: int) -> None:
        """Hand a file or directory to the bridge's user."""
        if os.geteuid() == 0:
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
        path.chmod(mode)


@pytest.fixture(scope="session")
def core_binary() -> Path:
    return bridge_build.binary(ROOT / ".tools" / "bin" / "mautrix-signal-core", bridge_build.PINNED)


@pytest.fixture(scope="session")
def core_home(core_binary: Path) -> Iterator[Path]:
    """A place that any user can enter, with the binary in it (the checkout may be closed to others)."""
    with tempfile.TemporaryDirectory(prefix="bridge-core-") as home:
        Path(home).chmod(0o755)
        shutil.copy2(core_binary, Path(home, "mautrix-signal"))
        yield Path(home)


@pytest.fixture
def core(core_home: Path) -> Iterator[Core]:
    with tempfile.TemporaryDirectory(dir=core_home) as directory:
        made = Core(core_home / "mautrix-signal", Path(directory))
        made.give(Path(directory), 0o700)
        yield made
        made.give(Path(directory), 0o700)
