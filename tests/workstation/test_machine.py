"""A command line that says another thing there than here; an argument, which may be a secret, in a process list; a
failure on the host that ends in a traceback, or in no word of why; a program file that is half written or another
checkout's. With a client that stands in for ssh: it runs on this machine what it is told to run there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from documents.credentials import Seed
from documents.ssh import SshAddress
from host_programs.bridge.container import ContainerName
from host_programs.bridge.pickle_keys import KeyPlace, find_key
from host_programs.dispatch import Order
from host_programs.program_file import ProgramFile, build_program_file
from host_programs.secrets import NoArguments, make_seed
from host_programs.wire import from_json
from workstation import machine
from workstation.machine import LocalMachine, Machine, MachineError, SshMachine
from workstation.ssh_client import ForwardError

ADDRESS = SshAddress("host.example.org", "matt", 2222)
WORDS = "secrets make-seed"
POSTGRES = machine.PostgresAddress("172.20.0.3", 5432, "disable")

# Tells how it was run, in the place of a result.
ECHO = ProgramFile(
    b"import json, sys\n"
    b"print(json.dumps({'seed': json.dumps({'words': sys.argv[1:], 'stdin': json.loads(sys.stdin.read()),"
    b" 'isolated': sys.flags.isolated})}))\n"
)
CLIENT = """#!/bin/sh
echo "$*" >> {log}
while [ "$1" != -- ]; do shift; done
shift 2
exec /bin/sh -c "$*"
"""


def failing(code: int, text: str) -> ProgramFile:
    """A program that says this on stderr, and ends so."""
    return ProgramFile(f"import sys\nsys.stderr.write({text!r})\nsys.exit({code})\n".encode())


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of what stands in for ssh."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text(CLIENT.format(log=tmp_path / "log"))
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machine, "make_control_directory", lambda: None)
    return tmp_path / "log"


def local(project: Path, program: ProgramFile = ECHO, docker_host: str = "") -> LocalMachine:
    return LocalMachine(program, docker_host, project)


def behind_ssh(project: Path, program: ProgramFile = ECHO, address: SshAddress = ADDRESS) -> SshMachine:
    with patch.object(machine, "make_control_directory"):
        return SshMachine(address, 23456, program, "", project)


@pytest.fixture(params=[local, behind_ssh], ids=["local", "ssh"])
def either(request: pytest.FixtureRequest, client: Path, tmp_path: Path) -> Machine:
    made: Machine = request.param(tmp_path)
    return made


# the program file in the project ---------------------------------------------------------------------------------


def test_the_program_file_has_its_length_beside_it_and_leaves_those_of_others(tmp_path: Path) -> None:
    earlier, program = ProgramFile(b"earlier"), ProgramFile(b"a program")
    machine.write_program_file(earlier, tmp_path)
    path = machine.write_program_file(program, tmp_path)
    assert path == Path(".host-programs") / program.name, "relative: the project may be anywhere"
    assert (tmp_path / path).read_bytes() == program.data
    assert (tmp_path / path).with_suffix(".head").read_text() == "9\n"
    assert (tmp_path / ".host-programs" / earlier.name).read_bytes() == earlier.data, "another operation may copy it"


def test_a_program_file_that_is_half_written_is_written_again_and_a_good_one_left(tmp_path: Path) -> None:
    path = tmp_path / machine.write_program_file(ECHO, tmp_path)
    path.write_bytes(ECHO.data[:10])
    machine.write_program_file(ECHO, tmp_path)
    assert path.read_bytes() == ECHO.data
    before = path.stat()
    machine.write_program_file(ECHO, tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# a look ----------------------------------------------------------------------------------------------------------


def test_a_look_runs_the_verb_and_has_no_argument_in_a_process_list(either: Machine, client: Path) -> None:
    told = json.loads(either.run(make_seed, NoArguments()).seed)
    assert told == {"words": WORDS.split(), "stdin": {"arguments": {}, "docker_host": ""}, "isolated": 1}
    if client.exists():
        assert "docker_host" not in client.read_text() and "arguments" not in client.read_text()


def test_a_look_returns_what_the_checkout_s_own_programs_return(client: Path, tmp_path: Path) -> None:
    program = build_program_file("mautrix-signal/contabo")
    for reached in (local(tmp_path, program), behind_ssh(tmp_path, program)):
        seed = reached.run(make_seed, NoArguments())
        assert isinstance(seed, Seed) and len(seed.seed) == 64


def test_a_verb_that_fails_says_why_in_one_line(client: Path, tmp_path: Path) -> None:
    program, missing = build_program_file("mautrix-signal/contabo"), str(tmp_path / "none.tar.gz")
    for reached in (local(tmp_path, program), behind_ssh(tmp_path, program)):
        with pytest.raises(MachineError) as failed:
            reached.run(find_key, KeyPlace("", "", "", str(tmp_path), missing))
        assert missing in str(failed.value) and len(str(failed.value).splitlines()) == 1


@pytest.mark.parametrize("make", [local, behind_ssh], ids=["local", "ssh"])
def test_a_program_that_says_nothing_is_named_with_its_exit_code(make: Any, client: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"^secrets make-seed: exit code 3$"):
        make(tmp_path, failing(3, "")).run(make_seed, NoArguments())


@pytest.mark.parametrize("make", [local, behind_ssh], ids=["local", "ssh"])
def test_a_host_that_does_not_answer_ends_the_look(make: Any, client: Path, tmp_path: Path) -> None:
    with (
        patch.object(machine, "ANSWER_LIMIT", 0.5),
        pytest.raises(MachineError, match=r"^secrets make-seed: no answer from the host in 0\.5 s$"),
    ):
        make(tmp_path, ProgramFile(b"import time\ntime.sleep(5)\n")).run(make_seed, NoArguments())


def test_a_connection_that_does_not_come_about_is_told_as_one(client: Path, tmp_path: Path) -> None:
    said = "ssh: connect to host host.example.org port 2222: Connection refused\n"
    with pytest.raises(MachineError, match=r"^ssh://matt@host\.example\.org:2222: not reached: ssh: connect to host"):
        behind_ssh(tmp_path, failing(255, said)).run(make_seed, NoArguments())


def test_a_sudo_that_refuses_is_told_with_its_fix(client: Path, tmp_path: Path) -> None:
    address = SshAddress("host.example.org", "matt", become=True)
    (client.parent / "bin" / "sudo").write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    (client.parent / "bin" / "sudo").chmod(0o755)
    with pytest.raises(MachineError, match=r"^become: sudo on ssh://matt@host\.example\.org refuses"):
        behind_ssh(tmp_path, ECHO, address).run(make_seed, NoArguments())


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"^ssh: not on this machine, or not in PATH: install it$"):
        behind_ssh(tmp_path).run(make_seed, NoArguments())


# a step ----------------------------------------------------------------------------------------------------------


def end_step(machine: Machine, text: str, order: str, project: Path) -> subprocess.CompletedProcess[str]:
    """As pulumi-command runs it: with the interpreter, in the project."""
    words = [*machine.interpreter("a-step"), text]
    return subprocess.run(words, input=order, capture_output=True, text=True, check=False, cwd=project, timeout=60)


def run_step(machine: Machine, text: str, order: str, project: Path) -> dict[str, Any]:
    done = end_step(machine, text, order, project)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(json.loads(done.stdout)["seed"])
    return told


def test_a_step_runs_the_file_on_the_host_and_a_copy_the_one_of_the_project(either: Machine, tmp_path: Path) -> None:
    """The copy's program travels before what it reads itself: nothing of it may get lost, nor be read as the other."""
    installed = tmp_path / "on the host" / "programs.pyz"
    installed.parent.mkdir()
    installed.write_bytes(ECHO.data)
    order = either.order(NoArguments(), "step", 1)
    for text in (either.step_command(str(installed), WORDS), either.copy_command(WORDS)):
        told = run_step(either, text, order, tmp_path)
        assert told == {"words": WORDS.split(), "stdin": json.loads(order), "isolated": 1}


def test_a_cleanup_runs_the_file_on_the_host_and_nothing_where_nothing_was_made(
    either: Machine, tmp_path: Path
) -> None:
    """A destroy after a run that was killed before its first step: there is no program file, and nothing to clean."""
    directory = tmp_path / "of the stack"
    order = either.order(NoArguments(), "step", 1)
    text = either.cleanup_command(str(directory), str(directory / "programs.pyz"), "stack cleanup")
    done = end_step(either, text, order, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    directory.mkdir()
    (directory / "programs.pyz").write_bytes(ECHO.data)
    told = run_step(either, text, order, tmp_path)
    assert told == {"words": ["stack", "cleanup"], "stdin": json.loads(order), "isolated": 1}
    (directory / "programs.pyz").write_bytes(failing(3, "a reason").data)
    done = end_step(either, text, order, tmp_path)
    assert (done.returncode, done.stderr) == (3, "a reason")


def test_behind_sudo_every_step_is_python_s_alone(tmp_path: Path) -> None:
    """The fix that is told for a sudo that refuses allows python3, and no shell."""
    reached = behind_ssh(tmp_path, ECHO, SshAddress("host.example.org", "matt", become=True))
    for text in (
        reached.step_command("/opt/x.pyz", WORDS),
        reached.copy_command(WORDS),
        reached.cleanup_command("/opt/x", "/opt/x/x.pyz", WORDS),
    ):
        remote = shlex.split(text.rpartition(" | ")[2])[-1]
        assert shlex.split(remote)[:4] == ["sudo", "-n", "python3", "-I"]


def test_a_local_step_reads_as_a_person_would_type_it(tmp_path: Path) -> None:
    path = "/opt/matrix/mautrix-bridges/mautrix-host-0123.pyz"
    assert local(tmp_path).step_command(path, "synapse register") == f"python3 -I {path} synapse register"
    assert local(tmp_path).copy_command("programs install") == (
        f"python3 -I .host-programs/{ECHO.name} programs install"
    )


def test_a_step_whose_program_file_is_gone_says_the_command_that_puts_it_back(either: Machine, tmp_path: Path) -> None:
    """Python alone says that it can't open a file, and a destroy ends there."""
    done = end_step(either, either.step_command(str(tmp_path / "x.pyz"), WORDS), "{}", tmp_path)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert line.startswith("a-step: its program file is gone from the host: `pulumi up --target-replace '**host-prog")
    cleanup = either.cleanup_command(str(tmp_path), str(tmp_path / "x.pyz"), "stack cleanup")
    assert end_step(either, cleanup, "{}", tmp_path).stderr.splitlines()[-1] == line


@pytest.mark.parametrize(("code", "told"), [(1, False), (255, True)])
def test_a_lost_connection_is_told_and_the_exit_code_stays(
    code: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a client that ends as the real one would."""
    stub = tmp_path / "ssh"
    stub.write_text(f"#!/bin/sh\nexit {code}\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    reached = behind_ssh(tmp_path)
    done = end_step(reached, reached.step_command("/opt/x.pyz", WORDS), "{}", tmp_path)
    assert done.returncode == code
    line = "a-step: cut off from the host, where it may still be at work: the next run waits for it\n"
    assert done.stderr == (line if told else "")


def test_a_step_behind_ssh_takes_the_rights_that_it_needs(tmp_path: Path) -> None:
    reached = behind_ssh(tmp_path, ECHO, SshAddress("host.example.org", "matt", 2222, become=True))
    for text in (reached.step_command("/opt/x.pyz", WORDS), reached.copy_command(WORDS)):
        words = shlex.split(text.rpartition(" | ")[2])
        assert words[0] == "ssh" and words[words.index("--") + 1] == "host.example.org"
        assert words[-1].startswith("sudo -n python3 -I ") and words[-1].endswith(f" {WORDS}")


def test_a_command_s_text_holds_neither_the_program_nor_an_argument(either: Machine) -> None:
    for text in (either.step_command("/opt/x.pyz", WORDS), either.copy_command(WORDS)):
        assert "isolated" not in text and len(text) < 1_500


def test_what_a_step_is_told_is_what_the_dispatcher_reads_and_the_same_each_time(tmp_path: Path) -> None:
    """Another order of the same keys would run every step again."""
    reached = local(tmp_path, docker_host="unix:///run/docker.sock")
    text = reached.order(ContainerName("a", "p/a"), "stack step", 2)
    assert text == reached.order(ContainerName("a", "p/a"), "stack step", 2)
    assert from_json(Order, json.loads(text)) == Order(
        {"name": "a", "stack": "p/a"}, "stack step", "unix:///run/docker.sock", 2
    )
    assert [*json.loads(text)] == sorted(json.loads(text))
    assert reached.order(ContainerName("a", "p/a"), "stack step", 3) != text, "reapply runs the step again"


# what the providers get ------------------------------------------------------------------------------------------


def test_the_providers_reach_this_machine_s_docker_and_postgres_as_they_are(tmp_path: Path) -> None:
    reached = local(tmp_path)
    assert reached.docker("unix:///var/run/docker.sock") == machine.DockerAddress("unix:///var/run/docker.sock")
    assert reached.postgres(POSTGRES) == POSTGRES


def test_the_providers_reach_a_host_behind_ssh_through_the_client_s_options_and_a_local_port(tmp_path: Path) -> None:
    reached = behind_ssh(tmp_path)
    docker = reached.docker("unix:///var/run/docker.sock")
    assert docker.host == "ssh://matt@host.example.org:2222" and "StrictHostKeyChecking=yes" in docker.ssh_opts
    with (
        patch.object(machine, "bind_relay"),
        patch.object(machine, "start_relay"),
        patch.object(machine, "forward_socket") as forward_socket,
    ):
        for address in (POSTGRES, machine.PostgresAddress("[fd00::3]", 5432, "require")):
            assert reached.postgres(address) == machine.PostgresAddress(
                "127.0.0.1", 23456, "verify-ca", ".host-programs/postgres-23456.crt"
            )
    assert [call.args for call in forward_socket.call_args_list] == [
        (ADDRESS, "mautrix-23456.sock", "172.20.0.3:5432"),
        (ADDRESS, "mautrix-23456.sock", "[fd00::3]:5432"),
    ]


def test_a_way_to_postgres_that_does_not_work_is_an_error_of_the_machine(tmp_path: Path) -> None:
    """Which the preflight shows as one line; another exception would be a traceback."""
    reached = behind_ssh(tmp_path)
    with (
        patch.object(machine, "bind_relay", side_effect=ForwardError("127.0.0.1:23456: taken")),
        pytest.raises(MachineError, match=r"^127\.0\.0\.1:23456: taken$"),
    ):
        reached.postgres(POSTGRES)


def test_a_local_look_runs_with_the_python_that_runs_pulumi(tmp_path: Path) -> None:
    """Which may not be in PATH as python3."""
    done = subprocess.CompletedProcess([], 0, b'{"seed": "x"}', b"")
    with patch.object(subprocess, "run", return_value=done) as run:
        local(tmp_path).run(make_seed, NoArguments())
    assert run.call_args.args[0][:2] == [sys.executable, "-I"]
