"""What all programs on the host need: how they end with an error, how they speak to a person, and Docker's client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TextIO


class ScriptError(Exception):
    """An expected end: its text is the one line (and, below it, the evidence) that the operator reads."""


NO_DOCKER = "docker: command not found on the host: install Docker Engine and its client"

LONGEST = 4096  # bytes of a line
"""Pulumi's command provider stops reading a stream that it shows at a line of 64 KiB, and the command then hangs
(pulumi-command 1.2.1, provider/pkg/provider/util/util.go: bufio.Scanner)."""


_speaking = threading.Lock()  # one at a time: print writes a line and its end by themselves


def say(text: str) -> None:
    """Lines for the person: stderr, since stdout is the result. A carriage return ends a line, too, and none is longer
    than LONGEST."""
    with _speaking:
        for line in re.split(r"\r\n|\n|\r", text):
            for piece in _pieces(line):
                print_line(piece, sys.stderr)


def print_line(text: str, stream: TextIO) -> None:
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


def docker_bytes(*words: str, stdin: bytes | None = None, timeout: float = 600) -> subprocess.CompletedProcess[bytes]:
    """`docker WORDS`, whatever comes of it. ScriptError if there is no docker, or no answer in `timeout` seconds."""
    try:
        return subprocess.run(["docker", *words], input=stdin, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise ScriptError(NO_DOCKER) from None
    except subprocess.TimeoutExpired:
        raise ScriptError(f"docker {words[0]}: no answer in {timeout:.0f} s") from None


def docker(
    *words: str, stdin: str | None = None, check: bool = True, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """The same with text; with `check`, a failure is a ScriptError in Docker's own words. Secrets go to stdin, never to
    words."""
    raw = docker_bytes(*words, stdin=None if stdin is None else stdin.encode(), timeout=timeout)
    out, err = (data.decode(errors="replace") for data in (raw.stdout, raw.stderr))
    done = subprocess.CompletedProcess(raw.args, raw.returncode, out, err)
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
