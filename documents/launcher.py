"""Runs a program of ours where its file is not: on a host at preview and before the first `up`, and in a container.

    python3 -I -c RUN_FROM_STDIN VERB …      with `stdin_of(program, arguments)` on stdin

The program is a zipapp. It is kept in memory alone, because a container may have no place to write.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

RUN_FROM_STDIN = """\
import os, runpy, sys
size = int(sys.stdin.buffer.readline())
program = sys.stdin.buffer.read(size)
if len(program) != size:
    sys.exit("the program did not arrive as a whole: %d of %d bytes" % (len(program), size))
path = "/proc/self/fd/%d" % os.memfd_create("program")
with open(path, "wb") as file:
    file.write(program)
runpy.run_path(path, run_name="__main__")
"""
"""Python's text for `python3 -I -c`: reads a line with a number N, then N bytes of a zipapp, and runs that as `python3
-I FILE` would. What follows on stdin is the program's: it reads `sys.stdin` or `sys.stdin.buffer`, not descriptor 0.
Linux, Python 3.8 or newer."""

RUN_IF_DIRECTORY = (
    "import os,sys;os.path.lexists(sys.argv[1]) and os.execv(sys.executable,[sys.executable,'-I',*sys.argv[2:]])"
)
"""Run as `python3 -I -c … DIRECTORY FILE WORDS`: the file, unless the directory is gone. Behind sudo it takes the place
of a shell's test, since sudo may be allowed for python3 alone."""


def stdin_of(program: bytes, arguments: str) -> bytes:
    """What RUN_FROM_STDIN reads: the zipapp's bytes, and behind them what the program has on its stdin."""
    return b"%d\n%b%b" % (len(program), program, arguments.encode())


FILE_LOST = 2
"""Exit code of `python3 -I FILE` if Python cannot open the file (Modules/main.c). No verb ends with it."""


def interpreter_of(messages: Mapping[int, str]) -> list[str]:
    """The interpreter of a Command: it runs the text as the shell does, and ends with the text's exit code; for some
    codes it says a line on stderr first. So the text itself, which Pulumi shows, stays short."""
    cases = " ".join(f"{code}) echo {shlex.quote(message)} >&2;;" for code, message in messages.items())
    return ["/bin/sh", "-c", f'eval "$0"; c=$?; case $c in {cases} esac; exit $c']
