"""A script of ours with all it imports, packed so that a machine without a checkout can run it.

The command's text stays short and the same for every script (`command`); sources and arguments travel on stdin
(`pack`), so neither a secret nor a page of code shows up in an error message or in a process list.
"""

from __future__ import annotations

import ast
import base64
import bz2
import importlib
import importlib.util
import json
import pkgutil
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.abc import InspectLoader
from typing import Any, TypeVar

from host_programs.common import Contained, ScriptError, docker
from host_programs.wire import plain, result_of, typed

A = TypeVar("A")
R = TypeVar("R")

ROOTS = ("documents", "verdicts", "host_programs")
ROOMS = {
    "documents": ("backup", "bridge", "homeserver"),
    "verdicts": ("host_facts", "preflight"),
    "host_programs": ("backup", "bridge", "files", "postgres", "synapse"),
}
PACKAGES = (*ROOTS, *(f"{root}.{room}" for root, rooms in ROOMS.items() for room in rooms))
LAUNCHER, LOADER, LOCK = "host_programs.launch", "host_programs.load", "host_programs.host_lock"
LAUNCH = (
    "import base64,bz2,json,sys;job=json.loads(bz2.decompress(base64.b85decode(sys.stdin.read())));"
    'exec(job["launcher"]);launch(job)'
)
ALONE = "-IS"  # python3's options: nothing but its own library, whatever is installed there or in the environment


@cache
def source(module: str) -> str:
    """The text of a module of ours, from the checkout or from the bundle that is running."""
    spec = importlib.util.find_spec(module) if _is_module(module) else None
    loader = spec.loader if spec else None
    text = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if text is None:
        raise LookupError(f"{module}: no source of this module is at hand")
    return text


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports; `from package import name` may name a module or not."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names if name.name.split(".")[0] in ROOTS}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ROOTS:
            modules |= {node.module, *filter(_is_module, (f"{node.module}.{name.name}" for name in node.names))}
    return frozenset(modules)


def _needed(*modules: str) -> dict[str, str]:
    """The sources of the modules and of all that they import."""
    todo, seen = [*modules], {}
    while todo:
        module = todo.pop()
        if module not in seen:
            seen[module] = source(module)
            todo += sorted(_imports(module) | {module.rpartition(".")[0]} - {""})
            if module == __name__:  # it packs again, on the host
                todo.append(LAUNCHER)
    return seen


@cache
def everything() -> dict[str, str]:
    """The sources of all that may run on a host, by module."""
    job = getattr(__spec__.loader, "job", None)
    if job:  # from a bundle: all that it may send on
        return dict(job["sources"])
    modules = [
        f"{package}.{module.name}"
        for package in PACKAGES
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
        if not module.ispkg
    ]
    return {each: source(each) for each in (*PACKAGES, *modules)}


@dataclass(frozen=True)
class Stored:
    """A file on the host that holds, behind its first line, `everything` as JSON, and the SHA-256 of its bytes."""

    path: str
    sha256: str
    launcher: str = LAUNCHER


def pack(
    script: str,
    arguments: object,
    reapply: int = 0,
    docker_host: str = "",
    step: str = "",
    each: Mapping[str, Contained] | None = None,
    stored: Stored | None = None,
    least: bool = False,
) -> str:
    """The stdin of `command(…)`, `packed`: the sources, and the arguments of `script` (a dataclass, or what
    host_programs/wire.py made of one). Another `reapply` makes another text, which runs a step again; `docker_host` is
    Docker's address for every docker command of it ("": the one that docker takes by itself); `step` ("DEPLOYMENT
    RESOURCE") has it wait for another run of the same; `each`: it runs for each of these bridges, and `arguments` are
    those of all by the same keys; `stored`: where the host has the sources, so that they need not travel along;
    `least`: only those that it imports do.

    The same input gives the same text. A script that sends another one on, into a container, imports that one.
    """
    source(script)
    sources = {} if stored else _needed(script, *([LOCK] if step else [])) if least else everything()
    job = {
        "launcher": source(LOADER if stored else LAUNCHER),
        "script": script,
        "packages": list(PACKAGES),
        "sources": sources,
        "stored": plain(stored),
        "arguments": plain(arguments),
        "reapply": reapply,
        "docker_host": docker_host,
        "step": step,
        "each": plain(each),
    }
    return packed(json.dumps(job, sort_keys=True))


def packed(text: str) -> str:
    """Compressed, as text; bzip2, since another zlib makes other bytes of the same, which would be a change."""
    return base64.b85encode(bz2.compress(text.encode())).decode()


def unpacked(text: str) -> Any:
    """What `packed` was given, a JSON value; LAUNCH does the same."""
    return json.loads(bz2.decompress(base64.b85decode(text)))


class InsideError(ScriptError):
    """A script ended with a failure in its container; its text is the last line of what was said."""


def run_inside(container: str, verb: Callable[[A], R], arguments: A, timeout: float) -> R:
    """Run a verb of one of our scripts in a container that has python3. InsideError if it fails there; ScriptError if
    Docker does not answer in `timeout` seconds."""
    done = docker(
        "exec", "-i", container, "python3", "-c", LAUNCH, verb.__name__,
        stdin=pack(verb.__module__, arguments), check=False, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise InsideError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    return typed(result_of(verb), json.loads(done.stdout), f"the answer of {container}")


def command(verb: str) -> str:
    """The shell text that runs a verb of the script in the bundle on stdin."""
    return f"python3 {ALONE} -c {shlex.quote(LAUNCH)} {shlex.quote(verb)}"
