"""A program file that is another one on another machine, so that every step runs again; one that works in the checkout
and not on the host; a failure in a container that is taken for another one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from documents.launcher import RUN_FROM_STDIN, stdin_of
from documents.marks import file_owner
from host_programs import program_file, secrets
from host_programs.messages import ScriptError
from host_programs.program_file import InsideError, build_program_file, run_inside
from host_programs.secrets import NoArguments
from tests.host_programs.steps import PYTHON, ROOT, program_path, run_step
from tests.host_programs.stub_docker import StubDocker, out

INSIDE = f"exec -i matrix-synapse python3 -c {RUN_FROM_STDIN} secrets make-seed"
PACKAGES = ("documents", "verdicts", "host_programs")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_same_checkout_gives_the_same_bytes_wherever_it_is(tmp_path: Path) -> None:
    """Another sum is another path in every step: all of them would run again."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    for path in tmp_path.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (tmp_path / "host_programs/__pycache__").mkdir(exist_ok=True)
    (tmp_path / "host_programs/__pycache__/facts.cpython-39.pyc").write_bytes(b"\0")
    program = "from host_programs.program_file import build_program_file; print(build_program_file('p/a').sha256)"
    # Text read in the encoding of whoever runs this would be other bytes: such a read is an error here.
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", program],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "1"}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    built = build_program_file("p/a")
    assert done.stdout.strip() == built.sha256 == sha256(built.data), done.stderr
    build_program_file.cache_clear()
    assert build_program_file("p/a").data == built.data


def test_its_name_is_that_of_its_content_and_its_first_line_names_the_stack() -> None:
    """By these a destroy knows which program files are the stack's own."""
    built, other = build_program_file("p/a"), build_program_file("p/b")
    assert built.name == f"mautrix-host-{built.sha256[:12]}.pyz" and built.name != other.name
    assert built.data.startswith(b"# Programs: written by the Pulumi stack p/a.\n")
    assert file_owner(built.data.partition(b"\n")[0].decode()) == "p/a"


def test_it_holds_what_runs_on_the_host_and_nothing_of_the_other_rooms() -> None:
    with zipfile.ZipFile(io.BytesIO(build_program_file("p/a").data)) as archive:
        names = archive.namelist()
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {name.partition("/")[0] for name in names} == {"__main__.py", *PACKAGES}
    assert "host_programs/bridge/readiness.py" in names
    assert not [name for name in names if not name.endswith(".py")]


def test_it_runs_where_there_is_no_checkout() -> None:
    done = run_step("secrets make-seed", {}, {"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [*json.loads(done.stdout)] == ["seed"]


@pytest.mark.parametrize("is_there", [True, False], ids=["it is cut", "it is gone"])
def test_one_that_is_cut_or_gone_is_named_and_does_nothing(tmp_path: Path, is_there: bool) -> None:
    """Python says so by itself, in a text of a few lines with the file's path."""
    path = tmp_path / "mautrix-host-0.pyz"
    if is_there:
        path.write_bytes(program_path().read_bytes()[:-100_000])
    done = subprocess.run(
        [*PYTHON, path, "secrets", "make-seed"], input='{"arguments": {}}', text=True, capture_output=True, check=False
    )
    assert done.returncode and not done.stdout
    assert str(path) in done.stderr and len(done.stderr.splitlines()) <= 4, done.stderr
    assert is_there or "No such file or directory" in done.stderr


def zipped(text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", text)
    return b"# A first line, as ours has one.\n" + archive.getvalue()


def test_the_file_that_runs_reads_its_own_bytes() -> None:
    """It is copied to the host by itself, and sends itself into Synapse's container."""
    program = zipped(
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from host_programs import program_file\n"
        "import hashlib\n"
        "print(hashlib.sha256(program_file.running_file()).hexdigest())\n"
    )
    done = subprocess.run(
        [*PYTHON, "-c", RUN_FROM_STDIN, program_path()],
        input=stdin_of(program, ""), capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.decode().strip() == sha256(program_path().read_bytes()), done.stderr
    assert program_file.running_file() == build_program_file("none").data, "out of a checkout, what it would be"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    stub = StubDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", stub.environment["PATH"])
    return stub


def test_in_a_container_it_is_told_and_answers_as_a_dataclass(docker: StubDocker) -> None:
    docker.on(INSIDE, out('{"seed": "0123"}\n', err="a note\n"))
    assert run_inside("matrix-synapse", secrets.make_seed, NoArguments(), timeout=30).seed == "0123"
    assert docker.calls == [INSIDE]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (out(err="a note\nTraceback …\nValueError: the last line says why\n", code=1), "ValueError: the last line sa"),
        (out(code=137), "exit code 137"),
    ],
)
def test_a_failure_in_a_container_is_one_line(docker: StubDocker, answer: dict[str, object], words: str) -> None:
    docker.on(INSIDE, answer)
    with pytest.raises(InsideError) as failed:
        run_inside("matrix-synapse", secrets.make_seed, NoArguments(), timeout=30)
    assert str(failed.value).startswith(words) and "\n" not in str(failed.value)


def test_a_container_that_does_not_answer_is_no_failure_inside(docker: StubDocker) -> None:
    docker.on(INSIDE, out(sleep=30))
    with pytest.raises(ScriptError, match=r"docker exec: no answer in 0 s") as failed:
        run_inside("matrix-synapse", secrets.make_seed, NoArguments(), timeout=0.3)
    assert not isinstance(failed.value, InsideError)


@pytest.mark.parametrize("packed", [False, True], ids=["from the checkout", "from the program file"])
def test_it_really_runs_in_a_container(tmp_path: Path, packed: bool) -> None:
    """`docker exec` runs the words right here; the program goes along on standard input."""
    (tmp_path / "docker").write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(program_path() if packed else ROOT)!r})\n"
        "from host_programs import program_file, secrets\n"
        "print(program_file.run_inside('any', secrets.make_seed, secrets.NoArguments(), timeout=30).seed)\n"
    )
    done = subprocess.run(
        [*PYTHON, "-c", program],
        text=True, capture_output=True, cwd="/", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert len(done.stdout.strip()) == 64, done.stderr
