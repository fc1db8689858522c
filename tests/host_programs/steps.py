"""A step, run as the host runs it: the program file, two words, and an order on standard input."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from host_programs.program_file import build_program_file
from host_programs.wire import to_json

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-I", "-S"]  # nothing but the standard library, as on the barest host
_FOLDER = tempfile.TemporaryDirectory(prefix="program-file-")  # goes when the tests end


@cache
def program_path() -> Path:
    """Where the program file of the stack test/stack is."""
    built = build_program_file("test/stack")
    path = Path(_FOLDER.name) / built.name
    path.write_bytes(built.data)
    return path


def run_step(
    words: str,
    arguments: Any,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60,
    **order: Any,
) -> subprocess.CompletedProcess[str]:
    """The verb of these words with a dataclass of arguments, away from the checkout; `order`: more of
    dispatch.Order."""
    return run_with(words, json.dumps({"arguments": to_json(arguments), **order}), environment, timeout)


def run_with(
    words: str, stdin: str, environment: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """The same with whatever stands on standard input."""
    return subprocess.run(
        [*PYTHON, str(program_path()), *words.split()],
        input=stdin, text=True, capture_output=True, cwd="/", env=environment, timeout=timeout, check=False,
    )  # fmt: skip


def dispatching(verb: str) -> list[str]:
    """A command that runs a `verb` of the test's own: a function of that name, in Python, of `arguments: Any`, that
    gives a dict."""
    program = f"""
import sys
from typing import Any
from host_programs import dispatch, messages, verbs
from host_programs.messages import say
sys.modules["of_the_test"] = sys.modules["__main__"]
verbs.VERBS["test verb"] = "of_the_test:verb"
{verb}
dispatch.main()
"""
    return [sys.executable, "-c", program, "test", "verb"]
