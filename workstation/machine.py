"""The machine with Docker, as this side reaches it: right here, or behind SSH. Command lines, and one look."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from documents.launcher import FILE_LOST, RUN_FROM_STDIN, RUN_IF_DIRECTORY, interpreter_of, stdin_of
from documents.ssh import CONNECTION_LOST, SshAddress
from host_programs.program_file import ProgramFile
from host_programs.verbs import words_of
from host_programs.wire import from_json, result_of, to_json
from verdicts.ssh_errors import explain_lost_connection, explain_refused_command
from workstation.postgres_relay import LOOPBACK, SSLMODE, bind_relay, open_tls, start_relay
from workstation.ssh_client import (
    ForwardError,
    forward_socket,
    make_control_directory,
    open_socket,
    read_client_settings,
)

A = TypeVar("A")
R = TypeVar("R")

BUILD = Path(".host-programs")  # in the project: what is copied to the host comes from here
ANSWER_LIMIT = 300.0  # seconds
PUT_BACK = (
    "`pulumi up --target-replace '**host-programs'` puts it back (in a checkout of the version that made the step)"
)


class MachineError(Exception):
    """The machine cannot be reached, or a program failed there; the text is one line that says why."""


@dataclass(frozen=True)
class DockerAddress:
    """Docker on that machine, as Pulumi's provider takes it."""

    host: str
    ssh_opts: Sequence[str] = ()


@dataclass(frozen=True)
class PostgresAddress:
    """Postgres on that machine, as Pulumi's provider takes it. `sslmode`: disable, require, or verify-ca with the file
    `root_certificate`, whose path is below the project."""

    host: str
    port: int
    sslmode: str
    root_certificate: str = ""


def write_program_file(program: ProgramFile, project: Path) -> Path:
    """Write the program file into the project, unless it is there; its path below the project. Those of other stacks
    and versions stay: another operation may be copying one."""
    folder = project / BUILD
    folder.mkdir(exist_ok=True)
    path = folder / program.name
    if not path.is_file() or path.read_bytes() != program.data:
        path.write_bytes(program.data)
    head = path.with_suffix(".head")
    head.write_text(f"{len(program.data)}\n")
    return path.relative_to(project)


class Machine(ABC):
    """`program` is the program file, whose path in the project is `file`; `docker_host`: Docker's address there ("":
    the one that docker takes by itself)."""

    def __init__(self, program: ProgramFile, docker_host: str, project: Path) -> None:
        self.program, self.docker_host = program, docker_host
        self._project, self._file = project, write_program_file(program, project)

    @abstractmethod
    def docker(self, address: str) -> DockerAddress:
        """`address`: the daemon's on that machine."""

    @abstractmethod
    def postgres(self, address: PostgresAddress) -> PostgresAddress:
        """Where Pulumi's provider reaches what the machine reaches at that address, until this program ends. Raises
        MachineError."""

    @abstractmethod
    def step_command(self, path: str, words: str) -> str:
        """The shell text of a step: the program file at `path` there runs the verb of these `words`."""

    def cleanup_command(self, directory: str, path: str, words: str) -> str:
        """The same, if that directory is there: without it nothing of the stack is, nor the program file."""
        return f"test ! -e {shlex.quote(directory)} || {self.step_command(path, words)}"

    @abstractmethod
    def copy_command(self, words: str) -> str:
        """The same with the program file of the project, which is copied by it."""

    def interpreter(self, step: str) -> list[str]:
        """What runs the shell text of the step of that name, and explains its end."""
        return interpreter_of(self._endings(step))

    def _endings(self, step: str) -> dict[int, str]:
        """What to say of a step that ended with an exit code that is none of its verb's."""
        return {FILE_LOST: f"{step}: its program file is gone from the host: {PUT_BACK}; then run this again"}

    @abstractmethod
    def _program_command(self, words: str, order: str) -> tuple[Sequence[str], bytes]:
        """The command line that runs the project's program file there, and its standard input."""

    def _explain(self, stderr: str, code: int) -> str:
        """Why the machine did not run it; "" if it did."""
        return ""

    def run(self, verb: Callable[[A], R], arguments: A) -> R:
        """Run a verb that changes nothing, now, and as no resource. Raises MachineError."""
        words = words_of(verb)
        order = json.dumps({"arguments": to_json(arguments), "docker_host": self.docker_host})
        command, stdin = self._program_command(words, order)
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=ANSWER_LIMIT, check=False)
        except FileNotFoundError as error:
            raise MachineError(f"{error.filename}: not on this machine, or not in PATH: install it") from None
        except subprocess.TimeoutExpired:
            raise MachineError(f"{words}: no answer from the host in {ANSWER_LIMIT:g} s") from None
        if done.returncode:
            stderr = done.stderr.decode(errors="replace").strip()
            text = self._explain(stderr, done.returncode) or stderr
            raise MachineError(text or f"{words}: exit code {done.returncode}")
        return from_json(result_of(verb), json.loads(done.stdout))

    def order(self, arguments: Any, step: str, reapply: int) -> str:
        """Standard input of a step (host_programs/dispatch.py, Order)."""
        order = {"arguments": to_json(arguments), "step": step, "docker_host": self.docker_host, "reapply": reapply}
        return json.dumps(order, sort_keys=True)


class LocalMachine(Machine):
    """This machine."""

    def docker(self, address: str) -> DockerAddress:
        return DockerAddress(address)

    def postgres(self, address: PostgresAddress) -> PostgresAddress:
        return address

    def step_command(self, path: str, words: str) -> str:
        return f"python3 -I {shlex.quote(path)} {words}"

    def copy_command(self, words: str) -> str:
        return f"python3 -I {self._file} {words}"

    def _program_command(self, words: str, order: str) -> tuple[Sequence[str], bytes]:
        return [sys.executable, "-I", str(self._project / self._file), *words.split()], order.encode()


class SshMachine(Machine):
    """A machine behind SSH: local commands run the OpenSSH client, which makes one connection for all of them."""

    def __init__(
        self, address: SshAddress, local_port: int, program: ProgramFile, docker_host: str, project: Path
    ) -> None:
        """`local_port`: this side's, for Postgres."""
        super().__init__(program, docker_host, project)
        self._address, self._local_port = address, local_port
        make_control_directory()

    def docker(self, address: str) -> DockerAddress:
        return DockerAddress(self._address.docker_url(address), self._address.options)

    def postgres(self, address: PostgresAddress) -> PostgresAddress:
        certificate = BUILD / f"postgres-{self._local_port}.crt"
        try:
            listener = bind_relay(self._local_port)  # before anything is told of it
            path = forward_socket(self._address, f"mautrix-{self._local_port}.sock", f"{address.host}:{address.port}")

            def connect() -> socket.socket:
                connection = open_socket(path)
                return open_tls(connection) if address.sslmode == "require" else connection

            start_relay(listener, connect, self._project / certificate)
        except ForwardError as error:
            raise MachineError(str(error)) from None
        return PostgresAddress(LOOPBACK, self._local_port, SSLMODE, str(certificate))

    def step_command(self, path: str, words: str) -> str:
        return self._address.shell_text(f"python3 -I {shlex.quote(path)} {words}")

    def cleanup_command(self, directory: str, path: str, words: str) -> str:
        test = f"python3 -I -c {shlex.quote(RUN_IF_DIRECTORY)} {shlex.quote(directory)} {shlex.quote(path)} {words}"
        return self._address.shell_text(test)

    def copy_command(self, words: str) -> str:
        sent = f"cat {self._file.with_suffix('.head')} {self._file} -"
        return f"{sent} | {self._address.shell_text(self._from_stdin(words))}"

    def _endings(self, step: str) -> dict[int, str]:
        cut_off = f"{step}: cut off from the host, where it may still be at work: the next run waits for it"
        return {**super()._endings(step), CONNECTION_LOST: cut_off}

    def _from_stdin(self, words: str) -> str:
        return f"python3 -I -c {shlex.quote(RUN_FROM_STDIN)} {words}"

    def _program_command(self, words: str, order: str) -> tuple[Sequence[str], bytes]:
        command = self._address.with_rights(self._from_stdin(words))
        return [*self._address.words("-T"), command], stdin_of(self.program.data, order)

    def _explain(self, stderr: str, code: int) -> str:
        if code == CONNECTION_LOST:
            return explain_lost_connection(self._address, stderr, read_client_settings(self._address))
        return explain_refused_command(self._address, stderr, code)
