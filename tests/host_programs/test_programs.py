"""Programs that root runs and somebody else put there; a step in the state whose program file an update took away; a
destroy that leaves its own program behind, or ends half-way since it took away what it runs out of.

Run as Pulumi runs it: the file in the project copies itself to the host, and the copy removes itself.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.cleanup import stack_parts
from documents.launcher import RUN_FROM_STDIN, stdin_of
from host_programs.files.directory import CLAIM, ClaimedDirectory
from host_programs.files.programs import Programs, install_programs
from host_programs.messages import ScriptError
from host_programs.program_file import build_program_file
from host_programs.wire import to_json
from tests.facts import STACK, whole
from tests.host_programs.private_postgres import Postgres, postgres
from tests.host_programs.steps import PYTHON

__all__ = ["postgres"]

BUILT = build_program_file(STACK)
with zipfile.ZipFile(io.BytesIO(BUILT.data)) as _file:
    SOURCES = {name: _file.read(name) for name in _file.namelist()}
INSTALL, CLEANUP = "programs install", "stack cleanup"


class Host:
    def __init__(self, folder: Path, server: Postgres) -> None:
        self.server, self.shared, self.project = server, folder / "shared", folder / BUILT.name
        self.project.write_bytes(BUILT.data)
        (folder / "synapse").mkdir()
        plan = whole(
            {"directory": str(folder / "bridge")},
            synapseDir=str(folder / "synapse"),
            sharedDir=str(self.shared),
            backupScript="none",
            backupDir=str(folder / "dumps"),
            keepImage="true",
        )
        self.path = self.shared / BUILT.name
        self.programs = Programs(ClaimedDirectory(str(self.shared), STACK, "sharedDir"), str(self.path), BUILT.sha256)
        self.parts = stack_parts(plan, ("synapse", "mas"), "cron")

    def run(self, words: str, file: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Out of the `file`, the project's if none is named."""
        arguments = self.programs if words == INSTALL else self.parts
        return subprocess.run(
            [*PYTHON, file or self.project, *words.split()],
            input=json.dumps({"arguments": to_json(arguments), "step": f"{self.path} {words}"}),
            text=True, capture_output=True, env=self.server.environment(**environment), cwd="/", timeout=60,
            check=False,
        )  # fmt: skip

    def read_sources(self) -> dict[str, bytes]:
        """What is installed, but the bytecode, which is there for each module."""
        with zipfile.ZipFile(self.path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        sources = {name: content for name, content in members.items() if name.endswith(".py")}
        assert members.keys() == {*sources, *(f"{name}c" for name in sources)}
        return sources

    def install(self) -> None:
        done = self.run(INSTALL)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["path"] == str(self.path)


@pytest.fixture
def host(tmp_path: Path, postgres: Postgres) -> Iterator[Host]:
    yield Host(tmp_path, postgres)


def test_the_program_file_is_copied_into_the_stack_s_own_directory_and_is_root_s_alone(host: Host) -> None:
    host.install()
    assert host.read_sources() == SOURCES
    status = host.path.stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o700, os.geteuid())
    assert (host.shared / CLAIM).read_text() == f"{STACK}\n"
    assert sorted(path.name for path in host.shared.iterdir()) == [CLAIM, BUILT.name, "mautrix-host.pyz"]
    assert (host.shared / "mautrix-host.pyz").readlink() == Path(BUILT.name), "for a person"


def test_a_step_runs_compiled_and_from_the_source_where_the_host_s_python_is_another_by_then(host: Host) -> None:
    """Each step compiled some forty modules anew. After an upgrade of Python the bytecode is of another version."""
    host.install()
    told = "import sys; sys.path.insert(0, sys.argv[1]); from host_programs import dispatch as d; print(d.__file__)"

    def find_code() -> str:
        done = subprocess.run([*PYTHON, "-c", told, host.path], capture_output=True, text=True, cwd="/", check=False)
        return f"{done.stdout}{done.stderr}".strip()

    assert find_code() == f"{host.path}/host_programs/dispatch.pyc"
    other = bytes([importlib.util.MAGIC_NUMBER[0] ^ 1]) + importlib.util.MAGIC_NUMBER[1:]
    data = host.path.read_bytes()
    assert data.count(importlib.util.MAGIC_NUMBER) > 40
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(host.path, "w") as file:
        for name, content in members.items():
            file.writestr(name, other + content[4:] if name.endswith(".pyc") else content)
    assert find_code() == f"{host.path}/host_programs/dispatch.py"


def test_it_is_copied_through_a_connection_too(host: Host) -> None:
    """Over SSH the file and what it is told come on standard input."""
    done = subprocess.run(
        [*PYTHON, "-c", RUN_FROM_STDIN, *INSTALL.split()],
        input=stdin_of(BUILT.data, json.dumps({"arguments": to_json(host.programs)})),
        capture_output=True, env=host.server.environment(), cwd="/", timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert host.read_sources() == SOURCES


@pytest.mark.parametrize("found", ["the same", "cut", "longer"])
def test_a_file_in_its_place_is_replaced_by_the_whole_one(host: Host, found: str) -> None:
    host.install()
    if found != "the same":
        host.path.write_bytes(BUILT.data[:5000] if found == "cut" else BUILT.data + b"more")
    host.path.chmod(0o755)
    host.install()
    assert host.read_sources() == SOURCES and host.path.stat().st_mode & 0o777 == 0o700
    assert len([*host.shared.iterdir()]) == 3


def test_files_of_earlier_versions_stay(host: Host) -> None:
    """A step in Pulumi's state may be theirs, and a destroy runs it."""
    host.install()
    earlier = host.shared / "mautrix-host-0123456789ab.pyz"
    earlier.write_bytes(f"# Programs: written by the Pulumi stack {STACK}.\n".encode() + b"PK\xff")
    host.install()
    assert earlier.exists() and host.path.exists()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({CLAIM: "other/x\n"}, "belongs to the stack other/x: set another sharedDir"),
        ({"notes": "mine"}, "holds files that this stack did not make: move them away or set another sharedDir"),
        (
            {BUILT.name: "# Programs: written by the Pulumi stack other/x.\n"},
            "holds files that this stack did not make: move them away or set another sharedDir",
        ),
    ],
    ids=["claimed", "files", "programs"],
)
def test_a_directory_of_somebody_else_s_is_refused_and_left_as_it_is(
    host: Host, found: dict[str, str], words: str
) -> None:
    host.shared.mkdir()
    for name, text in found.items():
        (host.shared / name).write_text(text)
    done = host.run(INSTALL)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{host.shared}: {words}\n")
    assert {path.name: path.read_text() for path in host.shared.iterdir()} == found


def test_another_file_than_the_one_that_was_meant_is_not_installed(host: Host) -> None:
    """Somebody changed the checkout between the plan and the copy."""
    host.programs = replace(host.programs, sha256="0" * 64)
    done = host.run(INSTALL)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (f"{host.path}: its SHA-256 should be {'0' * 64}, and is {BUILT.sha256}: run this again\n")
    assert not host.shared.exists()


def test_a_parent_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    own, running = ClaimedDirectory(str(tmp_path / "no/shared"), STACK, "sharedDir"), build_program_file("none").sha256
    with pytest.raises(ScriptError, match=f"{tmp_path}/no: no such directory: make it \\(setting sharedDir"):
        install_programs(Programs(own, f"{own.path}/x.pyz", running))
    assert not (tmp_path / "no").exists()


def test_the_file_that_removes_the_stack_s_directory_runs_out_of_it(host: Host, tmp_path: Path) -> None:
    host.install()
    (host.shared / "mautrix-host-0123456789ab.pyz").write_bytes(BUILT.data)
    done = host.run(CLEANUP, host.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "null\n", "")
    assert not host.shared.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([BUILT.name, "synapse"])


def test_what_is_of_the_stack_goes_by_it_and_of_others_nothing(host: Host) -> None:
    """Pulumi's state knows nothing of any of these: a run was killed."""
    host.install()
    registration = Path(host.parts.synapse.registrations[0].path)
    registration.write_text(f"# x: written by the Pulumi stack {STACK}.\n")
    (registration.parent / "mine.yaml").write_text("id: mine\n")
    foreign = host.shared / "mautrix-host-b.pyz"
    foreign.write_text("# Programs: written by the Pulumi stack other/x.\n")
    host.server.sql("create database of_ours;")
    host.server.sql("""comment on database of_ours is 'mautrix-bridge: {"stack": "mautrix-signal/contabo"}';""")
    done = host.run(CLEANUP, host.path)
    assert done.returncode == 0, done.stderr
    warning = f"warning: {host.shared} stays: it holds files that this stack did not make: {foreign.name}"
    gone = f"warning: {host.parts.synapse.homeserver_file}: is gone, so there is nothing to take out"
    assert done.stderr.splitlines() == [gone, f"removed: {registration}", "removed: database of_ours", warning]
    assert [*host.shared.iterdir()] == [foreign]
    assert [path.name for path in registration.parent.iterdir()] == ["mine.yaml"]
    assert host.server.databases() == {"synapse", "mas"}


def test_a_destroy_that_stops_can_be_run_again(host: Host) -> None:
    """Postgres is down: the program file must still be there for the next try."""
    host.install()
    done = host.run(CLEANUP, host.path, STUB_STATUS="exited")
    assert (done.returncode, done.stdout) == (1, "")
    assert "matrix-postgres: is exited: the role mautrix_signal and the database mautrix_signal cannot" in done.stderr
    assert host.read_sources() == SOURCES
    assert host.run(CLEANUP, host.path).returncode == 0 and not host.shared.exists()
