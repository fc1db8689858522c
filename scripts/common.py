"""What the host's scripts share: arguments, results, Docker, atomic files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn, get_type_hints

from scripts.wire import WireError, plain, typed


class ScriptError(Exception):
    """An expected end: its text is the one line (and, below it, the evidence) that the operator reads."""


def say(line: str) -> None:
    """A line for the person: stderr, since stdout is the result."""
    print(line, file=sys.stderr, flush=True)


def run(*verbs: Callable[[Any], Any]) -> NoReturn:
    """Run the verb that argv names on the JSON object of stdin; print its result as JSON; exit 0 or 1.

    Each verb takes one dataclass of arguments and returns one (scripts/wire.py). A `ScriptError` is printed as it is;
    anything else is a defect of ours and keeps its traceback.
    """
    known = {verb.__name__: verb for verb in verbs}
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        say(f"usage: one of {', '.join(sorted(known))}, with a JSON object of arguments on stdin")
        sys.exit(2)
    verb = known[sys.argv[1]]
    hints = get_type_hints(verb)
    kind = next(hint for name, hint in hints.items() if name != "return")
    try:
        result = verb(typed(kind, json.load(sys.stdin), f"{verb.__name__}: arguments"))
    except (ScriptError, WireError) as error:
        say(str(error))
        sys.exit(1)
    print(json.dumps(plain(result), sort_keys=True))
    sys.exit(0)


def docker(
    *words: str, stdin: str | None = None, check: bool = True, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """`docker WORDS`; with `check`, a failure is a ScriptError in Docker's own words. Secrets go to stdin, never to
    words."""
    try:
        done = subprocess.run(
            ["docker", *words], input=stdin, text=True, capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise ScriptError("docker: command not found on the host: install Docker Engine and its client") from None
    except subprocess.TimeoutExpired:
        raise ScriptError(f"docker {words[0]}: no answer in {timeout:.0f} s") from None
    if check and done.returncode:
        raise ScriptError(f"docker {' '.join(words[:3])}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done


def logs(container: str, lines: int = 50) -> str:
    """The last `lines` lines of a container's log, stdout and stderr in order, as they are: documents/masking.py
    cleans them."""
    try:
        done = subprocess.run(
            ["docker", "logs", "--tail", str(lines), container],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return f"(no log of {container}: {error})"
    return done.stdout
