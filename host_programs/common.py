"""What the host's scripts share: arguments, results, Docker, atomic files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TextIO, TypeVar, get_type_hints

from host_programs.wire import Failed, WireError, plain, typed

K = TypeVar("K")
V = TypeVar("V")


class ScriptError(Exception):
    """An expected end: its text is the one line (and, below it, the evidence) that the operator reads."""


NO_DOCKER = "docker: command not found on the host: install Docker Engine and its client"

LONGEST = 4096  # bytes of a line
"""Pulumi's command provider stops reading a stream that it shows at a line of 64 KiB, and the command then hangs
(pulumi-command 1.2.1, provider/pkg/provider/util/util.go: bufio.Scanner)."""


_about = threading.local()  # `.bridge`: of which one this thread speaks, where a step is about several
_speaking = threading.Lock()  # one at a time: print writes a line and its end by themselves


def say(text: str) -> None:
    """Lines for the person: stderr, since stdout is the result. A carriage return ends a line, too, and none is longer
    than LONGEST."""
    bridge = getattr(_about, "bridge", "")
    with _speaking:
        for line in re.split(r"\r\n|\n|\r", text):
            for piece in _pieces(f"{bridge} | {line}" if bridge else line):
                _print(piece, sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    """Whoever listened may be gone (a lost connection, a run that was killed): what is being done is done to its end
    nevertheless, or taken back."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _pieces(line: str) -> Iterator[str]:
    data = line.encode(errors="replace")
    while len(data) > LONGEST:
        end = LONGEST
        while data[end] & 0xC0 == 0x80:  # never inside of a character
            end -= 1
        yield data[:end].decode()
        data = data[end:]
    yield data.decode()


@dataclass(frozen=True)
class Contained:
    """One bridge's part of a step, whose failure ends neither the others' nor the run: a ScriptError is a result
    (wire.Failed). `mark`: a file's path on the host that then holds `number`, so that the next run has another one, and
    tries it again."""

    mark: str
    number: int


def run(
    *verbs: Callable[[Any], Any],
    during: AbstractContextManager[None] | None = None,
    each: Mapping[str, Contained] | None = None,
) -> NoReturn:
    """Run the verb that argv names on the JSON object of stdin, inside of `during`; print its result as JSON; exit 0 or
    1. With `each`, stdin has an object for each bridge, by its key, and so has the result: the verb runs for all of
    them side by side.

    A verb takes one dataclass of arguments and returns one (wire.py). Of a `ScriptError` the text is said;
    anything else is a defect of ours, and its traceback is.
    """
    known = {verb.__name__: verb for verb in verbs}
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        say(f"usage: one of {', '.join(sorted(known))}, with a JSON object of arguments on stdin")
        sys.exit(2)
    verb = known[sys.argv[1]]
    hints = get_type_hints(verb)
    kind = next(hint for name, hint in hints.items() if name != "return")
    told = json.load(sys.stdin)

    def run_one(arguments: Any) -> Any:
        return verb(typed(kind, arguments, f"{verb.__name__}: arguments"))

    try:
        with during or nullcontext():
            result = run_one(told) if each is None else _side_by_side(run_one, told, each)
    except (ScriptError, WireError) as error:
        say(str(error))
        sys.exit(1)
    except Exception:
        say(traceback.format_exc().rstrip())
        sys.exit(1)
    _print(json.dumps(plain(result), sort_keys=True), sys.stdout)
    sys.exit(0)


def _side_by_side(
    run_one: Callable[[Any], Any], told: Mapping[str, Any], each: Mapping[str, Contained]
) -> dict[str, Any]:
    """ScriptError, when all have ended, if a failure cannot be noted: the next run would not try it again."""

    def contained(bridge: str) -> Any:
        _about.bridge = bridge if len(told) > 1 else ""
        try:
            return run_one(told[bridge])
        except ScriptError as error:
            say(str(error))
            try:
                Path(each[bridge].mark).write_text(f"{each[bridge].number}\n")
            except OSError:  # the bridge has no directory yet
                raise ScriptError(f"{bridge}: failed, and has no directory to note it in") from None
            return Failed(str(error).partition("\n")[0])

    with ThreadPoolExecutor(max_workers=max(len(told), 1)) as pool:
        return dict(zip(told, pool.map(contained, told)))


class Turn:
    """Context manager: one thread at a time. A ScriptError of the one inside is that of all who waited for it: they do
    not try again one after the other what takes its time to fail."""

    def __init__(self) -> None:
        self._lock, self._failed = threading.Lock(), (0.0, "")

    def __enter__(self) -> None:
        came_at = time.monotonic()
        self._lock.acquire()
        if self._failed[0] > came_at:
            self._lock.release()
            raise ScriptError(self._failed[1])

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ScriptError):
            self._failed = time.monotonic(), str(error)
        self._lock.release()


class Together(Generic[K, V]):
    """`ask` for many threads: what they want to know while one question is being answered is asked in one, as soon as
    it is. No answer is older than its question."""

    def __init__(self, ask: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        """`ask`: what is known of those; raises ScriptError."""
        self._ask, self._turn, self._guard = ask, threading.Lock(), threading.Lock()
        self._next = _Question[K, V]()

    def __call__(self, *wanted: K) -> dict[K, V]:
        """What is known of those. A ScriptError is that of all who waited meanwhile, and what they wanted is not asked:
        they do not try again one after the other what takes its time to fail."""
        if not wanted:
            return {}
        with self._guard:
            question = self._next
            question.wanted.update(dict.fromkeys(wanted))
        with self._turn:
            if question.known is None and not question.failed:
                self._close()  # whoever comes from now on waits for the next
                try:
                    question.known = self._ask([*question.wanted])
                except ScriptError as error:
                    question.failed = self._close().failed = str(error)
            if question.known is None:
                raise ScriptError(question.failed)
        return {each: question.known[each] for each in wanted if each in question.known}

    def _close(self) -> _Question[K, V]:
        """The question that came next: nothing is added to it any more."""
        with self._guard:
            question, self._next = self._next, _Question[K, V]()
        return question


class _Question(Generic[K, V]):
    def __init__(self) -> None:
        self.wanted: dict[K, None] = {}
        self.known: Mapping[K, V] | None = None
        self.failed = ""


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
        raise ScriptError(NO_DOCKER) from None
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
