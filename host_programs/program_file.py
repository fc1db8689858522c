"""The one file that has all programs of the host: a zipapp, named by its SHA-256."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import marshal
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from documents.launcher import RUN_FROM_STDIN, stdin_of
from host_programs.docker import run_docker_bytes
from host_programs.files.directory import PROGRAMS
from host_programs.messages import ScriptError
from host_programs.verbs import words_of
from host_programs.wire import from_json, result_of, to_json

A = TypeVar("A")
R = TypeVar("R")

_PACKAGES = ("documents", "verdicts", "host_programs")
_MAIN = b"from host_programs.dispatch import main\n\nmain()\n"
_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class ProgramFile:
    """`data` are the file's bytes; its first line names the stack, so that a later run knows whose it is."""

    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        return f"{PROGRAMS}{self.sha256[:12]}.pyz"


@cache
def build_program_file(stack: str) -> ProgramFile:
    """The file for a stack ("project/name") out of this checkout. The same checkout gives the same bytes, whatever
    machine it is on: nothing is compressed, and no time or owner is kept."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        sources = [path for package in _PACKAGES for path in sorted((_CHECKOUT / package).rglob("*.py"))]
        texts = {str(path.relative_to(_CHECKOUT)): path.read_bytes() for path in sources}
        for name, text in {"__main__.py": _MAIN, **texts}.items():
            file.writestr(_make_member(name), text)
    return ProgramFile(f"# Programs: written by the Pulumi stack {stack}.\n".encode() + archive.getvalue())


def _make_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # of 1980
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def add_compiled(data: bytes, path: str) -> bytes:
    """A program file that starts faster: with each module as this Python compiles it, for the file at `path`. Another
    Python takes the source beside it (zipimport passes over bytecode of another version)."""
    archive = io.BytesIO(data)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as file:
        for name in file.namelist():
            code, digest = compile(file.read(name), f"{path}/{name}", "exec", dont_inherit=True), bytes(8)
            # "Unchecked": the file is written as a whole, and nothing changes a source in it.
            head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + digest
            file.writestr(_make_member(f"{name}c"), head + marshal.dumps(code))
    return archive.getvalue()


def running_file() -> bytes:
    """The bytes of the program file that is running; out of a checkout, those that it would have."""
    archive = getattr(globals().get("__loader__"), "archive", "")  # of a zipimporter
    return Path(archive).read_bytes() if archive else build_program_file("none").data


class InsideError(ScriptError):
    """A verb failed in its container; the text is its last line."""


def run_inside(container: str, verb: Callable[[A], R], arguments: A, timeout: float) -> R:
    """Run a verb of ours in a container that has python3. InsideError if it fails there; ScriptError if Docker does not
    answer in `timeout` seconds."""
    done = run_docker_bytes(
        "exec", "-i", container, "python3", "-c", RUN_FROM_STDIN, *words_of(verb).split(),
        stdin=inside_order(arguments), timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise InsideError(lines[-1] if lines else f"exit code {done.returncode}")
    return from_json(result_of(verb), json.loads(done.stdout), f"the answer of {container}")


def inside_order(arguments: Any) -> bytes:
    """Standard input of a verb in a container: the program itself, and its arguments."""
    return stdin_of(running_file(), json.dumps({"arguments": to_json(arguments)}))
