"""How every program on the host ends with an error, and how it speaks to a person."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import TextIO


class ScriptError(Exception):
    """An expected end: its text is the one line (and, below it, the evidence) that the operator reads."""


LONGEST_LINE = 4096  # bytes
"""Pulumi's command provider stops reading a stream that it shows at a line of 64 KiB, and the command then hangs
(pulumi-command 1.2.1, provider/pkg/provider/util/util.go: bufio.Scanner)."""


_printing = threading.Lock()  # one thread at a time: print writes a line and its end separately


def say(text: str) -> None:
    """Print lines for a person: to stderr, since stdout is the result. A carriage return ends a line, too. No line is
    longer than LONGEST_LINE."""
    with _printing:
        for line in re.split(r"\r\n|\n|\r", text):
            for piece in _split_line(line):
                print_line(piece, sys.stderr)


def print_line(text: str, stream: TextIO) -> None:
    """Print, also when the reader is gone (a lost connection, a killed run): the step must still finish its work, or
    take it back."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _split_line(line: str) -> Iterator[str]:
    data = line.encode(errors="replace")
    while len(data) > LONGEST_LINE:
        end = LONGEST_LINE
        while data[end] & 0xC0 == 0x80:  # never inside of a character
            end -= 1
        yield data[:end].decode()
        data = data[end:]
    yield data.decode()
