"""The one file that has all programs of the host: a zipapp, named by its SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from documents.launcher import RUN_FROM_STDIN, stdin_of
from host_programs.docker import run_docker_bytes
from host_programs.messages import ScriptError
from host_programs.verbs import words_of
from host_programs.wire import plain, result_of, typed

A = TypeVar("A")
R = TypeVar("R")

NAME = "mautrix-host-"  # how the file's name begins
_PACKAGES = ("documents", "verdicts", "host_programs")
_MAIN = "from host_programs.dispatch import main\n\nmain()\n"
_CHECKOUT = Path(__file__).resolve().parents[1]
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ProgramFile:
    """`data` are the file's bytes; its first line names the stack, so that a later run knows whose it is."""

    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        return f"{NAME}{self.sha256[:12]}.pyz"


@cache
def build_program_file(stack: str) -> ProgramFile:
    """The file for a stack ("project/name") out of this checkout. The same checkout gives the same bytes, whatever
    machine it is on: nothing is compressed, and no time or owner is kept."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        _add(file, "__main__.py", _MAIN.encode())
        for package in _PACKAGES:
            for path in sorted((_CHECKOUT / package).rglob("*")):
                if path.suffix in (".py", ".sh"):
                    _add(file, str(path.relative_to(_CHECKOUT)), path.read_bytes())
    return ProgramFile(f"# Programs: written by the Pulumi stack {stack}.\n".encode() + archive.getvalue())


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system, info.external_attr = 3, 0o644 << 16
    file.writestr(info, data)


def running_file() -> bytes:
    """The bytes of the program file that is running; out of a checkout, those that it would have."""
    archive = _archive()
    return Path(archive).read_bytes() if archive else build_program_file("none").data


def text_of(name: str) -> str:
    """A file's text, by its path below the checkout, out of the checkout or of the program file that is running."""
    archive = _archive()
    if not archive:
        return (_CHECKOUT / name).read_text(encoding="utf-8")
    with zipfile.ZipFile(archive) as file:
        return file.read(name).decode()


def _archive() -> str:
    """The path of the program file that is running, "" out of a checkout (zipimport.zipimporter.archive)."""
    return str(getattr(globals().get("__loader__"), "archive", ""))


class InsideError(ScriptError):
    """A verb failed in its container; its text is the last line of what was said."""


def run_inside(container: str, verb: Callable[[A], R], arguments: A, timeout: float) -> R:
    """Run a verb of ours in a container that has python3. InsideError if it fails there; ScriptError if Docker does not
    answer in `timeout` seconds."""
    done = run_docker_bytes(
        "exec", "-i", container, "python3", "-c", RUN_FROM_STDIN, *words_of(verb).split(),
        stdin=inside_order(arguments), timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise InsideError(said.splitlines()[-1])
    return typed(result_of(verb), json.loads(done.stdout), f"the answer of {container}")


def inside_order(arguments: Any) -> bytes:
    """What a verb in a container gets on standard input: the program itself, and what it is told."""
    return stdin_of(running_file(), json.dumps({"arguments": plain(arguments)}))
