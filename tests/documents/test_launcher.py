"""A program that arrives cut off and runs all the same; one that swallows its own input, or leaves a file behind."""

from __future__ import annotations

import ast
import io
import json
import os
import random
import subprocess
import sys
import zipfile

import pytest

from documents.launcher import RUN_FROM_STDIN, stdin_of

SHOW = """
import json, sys
from package import module
print(json.dumps({"argv": sys.argv, "rest": REST, "size": module.size(), "name": __name__}))
"""
MODULE = """
import pkgutil
def size():
    return len(pkgutil.get_data("package", "data"))
"""


def zipapp(main: str, **files: bytes) -> bytes:
    """A zip file with this __main__.py; `files`: by their names in package/."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("__main__.py", main)
        archive.writestr("package/__init__.py", "")
        archive.writestr("package/module.py", MODULE)
        for name, content in files.items():
            archive.writestr(f"package/{name}", content)
    return data.getvalue()


def run(stdin: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-I", "-c", RUN_FROM_STDIN, *arguments]
    return subprocess.run(words, input=stdin, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("size", [0, 10, 9_000_000])
@pytest.mark.parametrize("arguments", ["", '{"a": 1}', "a line\nand another, \u00e4\n", "x" * 300_000])
@pytest.mark.parametrize("rest", ["sys.stdin.read()", "sys.stdin.buffer.read().decode()"])
def test_a_program_runs_with_its_words_and_has_exactly_the_rest_of_stdin(size: int, arguments: str, rest: str) -> None:
    program = zipapp(SHOW.replace("REST", rest), data=random.Random(1).randbytes(size))
    done = run(stdin_of(program, arguments), "verb", "a word")
    assert done.stderr == b""
    result = json.loads(done.stdout)
    assert result.pop("argv")[0].startswith("/proc/self/fd/")
    assert result == {"rest": arguments, "size": size, "name": "__main__"}
    assert json.loads(done.stdout)["argv"][1:] == ["verb", "a word"]


def test_the_exit_code_and_the_errors_are_the_program_s() -> None:
    done = run(stdin_of(zipapp("import sys; sys.exit('one line')"), ""))
    assert (done.returncode, done.stderr, done.stdout) == (1, b"one line\n", b"")
    done = run(stdin_of(zipapp("import sys; sys.exit(7)"), ""))
    assert done.returncode == 7


def test_a_program_that_was_cut_off_does_not_run() -> None:
    stdin = stdin_of(zipapp("print('ran')"), "")
    done = run(stdin[:-5])
    size = len(stdin.partition(b"\n")[2])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"the program did not arrive as a whole: {size - 5} of {size} bytes\n"


def test_it_writes_no_file() -> None:
    """A container's root may be read-only. The audit of Python itself tells every file that is opened (sys.audit)."""
    program, tell = stdin_of(zipapp("print('ran')"), ""), "lambda event, args: event == 'open' and print(args)"
    words = [sys.executable, "-I", "-c", f"import sys\nsys.addaudithook({tell})\n{RUN_FROM_STDIN}"]
    done = subprocess.run(words, input=program, capture_output=True, check=True)
    *opened, last = done.stdout.decode().splitlines()
    written = [line for line in opened if ast.literal_eval(line)[2] & (os.O_WRONLY | os.O_RDWR)]
    assert last == "ran" and len(written) == 1 and "/proc/self/fd/" in written[0]


def test_it_is_short_enough_for_a_command_line_and_has_no_quote_that_a_reader_trips_over() -> None:
    assert len(RUN_FROM_STDIN) < 600 and "'" not in RUN_FROM_STDIN
