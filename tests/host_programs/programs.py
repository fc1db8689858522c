"""The program file, as a host has it, and the command that runs a step of it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from host_programs.dispatch import Order
from host_programs.program_file import build_program_file
from host_programs.verbs import words_of
from host_programs.wire import to_json


@cache
def install() -> Path:
    """The file, outside of the checkout."""
    program = build_program_file("p/tests")
    path = Path(tempfile.mkdtemp(prefix="mautrix-host-")) / program.name
    path.write_bytes(program.data)
    return path


def command_of(verb: Callable[..., Any], *options: str) -> list[str]:
    """The words that run the verb's step; `options`: python3's."""
    return [sys.executable, *options, str(install()), *words_of(verb).split()]


def order_of(arguments: Any) -> str:
    """What the step reads from standard input."""
    return json.dumps(to_json(Order(arguments)))
