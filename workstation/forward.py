"""A local port for Postgres on a host behind SSH: whoever connects to it talks to the container on the host. Nothing
listens on the host, and Postgres publishes nothing.

The forwarder is a process of its own, because the provider may need the port after the Pulumi program has ended. Each
connection to the port is one `ssh -W` (ssh(1)) through the client's shared connection. If that fails, the forwarder
tells the Postgres client why, in Postgres' own protocol.

Its end: the engine of every Pulumi operation answers at a TCP address for as long as the operation runs. The forwarder
connects to that address every second, and closes the connection at once: an engine waits at its end for connections
that stay. When all engines that it serves refuse, it lets go of the port, waits for the connections that are still
open, and ends the shared SSH connection. If another program gets an engine's address later, the forwarder takes it for
the engine: so it also ends at LIMIT, whoever answers.

For each port there is one forwarder, which all operations of a deployment share. They reach it through a Unix socket in
the directory of the SSH client's shared connection: only this user can use that.

    python -m workstation.forward PORT_FD CONTROL_FD '{"port": …, "engine": …, …}'       see Forward
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workstation.ssh_client import control_directory

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 40.0  # for Postgres, through a connection to the host that is yet to be made
START_SECONDS = 2.0  # for a forwarder that is just starting or ending
POLL_SECONDS = 1.0
REFUSALS = 3  # in a row: the engine has ended
LIMIT = 12 * 3600.0  # seconds from the last operation's start
DRAIN_SECONDS = 600.0  # for connections that are still open at the end
JOINED = "joined"
SESSION_REFUSED = "refused by peer"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a Postgres client asks first. Any server answers it with one byte (PostgreSQL 15, protocol-message-formats)."""


class ForwardError(Exception):
    """Its text is one line: what does not work, and what to do."""


@dataclass(frozen=True)
class Forward:
    """`port` of this machine leads to `target` (HOST:PORT as the host sees it). `deployment`: its name among all on the
    host. `ssh`: the SSH client's words, up to further flags; `name`: the host's; `url`: the setting host. `engine`:
    HOST:PORT of the Pulumi engine that the forward ends with, see `engine_address`."""

    deployment: str
    port: int
    target: str
    ssh: tuple[str, ...]
    name: str
    url: str
    engine: str

    @property
    def route(self) -> tuple[object, ...]:
        """Two forwards with the same route may stand in for each other."""
        return self.deployment, self.port, self.target, self.ssh, self.name

    @property
    def control(self) -> Path:
        """The Unix socket of this port's forwarder."""
        return control_directory() / f"mautrix-forward-{self.port}"


# ---------------------------------------------------------------- for the program


def engine_address(words: Sequence[str] = sys.orig_argv) -> str:
    """HOST:PORT where the engine of this operation answers; "" if no Pulumi CLI runs this program. `words`: the
    interpreter's, to which Pulumi's language host adds the address (pulumi 3.259.0, pulumi-language-python-exec): it is
    neither in the environment nor in a public name of the SDK."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--engine", default="")
    return str(parser.parse_known_args(words)[0].engine)


def ensure(wanted: Forward) -> None:
    """Have a forwarder serve the port, and prove it by a question to Postgres. Raises ForwardError."""
    if not wanted.engine:
        raise ForwardError(
            f"127.0.0.1:{wanted.port}: no engine of Pulumi that the way to Postgres on {wanted.url} could end with: "
            "run this program with the Pulumi CLI"
        )
    end = time.monotonic() + START_SECONDS
    while not (_start(wanted) or _join(wanted)):
        if time.monotonic() > end:
            raise ForwardError(
                f"127.0.0.1:{wanted.port}: another program listens on it, and Postgres on {wanted.url} is to be "
                "reached through it: end that, or set postgresLocalPort to a free port"
            )
        time.sleep(0.05)
    _ask_postgres(wanted)


def _start(wanted: Forward) -> bool:
    """Start a forwarder; False if the port is taken. Its sockets are made here, so the port works right away. Only who
    has the port makes or removes the Unix socket, so no two processes do at once. Raises ForwardError."""
    try:
        listener = socket.create_server((LOOPBACK, wanted.port))
    except OSError:
        return False
    with listener, socket.socket(socket.AF_UNIX) as control:
        try:
            wanted.control.unlink(missing_ok=True)  # of a forwarder that was killed
            control.bind(str(wanted.control))
        except OSError as error:
            raise ForwardError(f"{wanted.control}: {error.strerror}: it should be a place for a socket") from None
        control.listen()
        descriptors = listener.fileno(), control.fileno()
        subprocess.Popen(
            [sys.executable, "-m", "workstation.forward", *map(str, descriptors), json.dumps(asdict(wanted))],
            cwd=Path(__file__).parents[1],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is the CLI's
        )
    return True


def _join(wanted: Forward) -> bool:
    """Have the forwarder of this port serve this operation, too; False if there is none. Raises ForwardError."""
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(ANSWER_SECONDS)
            control.connect(str(wanted.control))
            control.sendall(json.dumps(asdict(wanted)).encode() + b"\n")
            answer = control.makefile(errors="replace").readline().strip()
    except OSError:
        return False
    if answer not in (JOINED, ""):
        raise ForwardError(answer)
    return answer == JOINED


def _ask_postgres(wanted: Forward) -> None:
    try:
        with socket.create_connection((LOOPBACK, wanted.port), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(_SSL_REQUEST)
            answer = connection.recv(4096)
    except ConnectionRefusedError:
        raise ForwardError(f"127.0.0.1:{wanted.port}: nothing listens: the forward has ended") from None
    except OSError as error:
        raise ForwardError(f"127.0.0.1:{wanted.port}: {error}") from None
    if answer[:1] == b"E":
        raise ForwardError(_message_of(answer))
    if answer not in (b"S", b"N"):
        raise ForwardError(f"{wanted.url}: {wanted.target} does not answer as Postgres: check the setting postgresPort")


# ---------------------------------------------------------------- the process


class Forwarder:
    """Serves the port for all operations that joined."""

    def __init__(self, forward: Forward, listener: socket.socket, control: socket.socket) -> None:
        self.forward, self.engines = forward, {forward.engine}
        self._listener, self._control = listener, control
        self._limit = time.monotonic() + LIMIT
        self._connections: list[threading.Thread] = []

    def serve(self) -> None:
        """Until the engines of all operations have ended; see the module's text."""
        looked = time.monotonic()
        while self.engines and time.monotonic() < self._limit:
            ready, _, _ = select.select([self._listener, self._control], [], [], POLL_SECONDS)
            if self._listener in ready:
                self._carry_next()
            if self._control in ready:
                self._answer_next()
            if time.monotonic() >= looked + POLL_SECONDS:
                self._drop_ended_engines()
                looked = time.monotonic()
        # Before the port is free: the next forwarder makes its own.
        Path(self._control.getsockname()).unlink(missing_ok=True)
        self._control.close()
        self._listener.close()
        end = time.monotonic() + DRAIN_SECONDS
        for connection in self._connections:
            connection.join(max(0, end - time.monotonic()))
        _run_ssh(self.forward, "-O", "stop")

    def _carry_next(self) -> None:
        connection, _ = self._listener.accept()
        carrier = threading.Thread(target=_carry, args=(self.forward, connection), daemon=True)
        carrier.start()
        self._connections = [thread for thread in (*self._connections, carrier) if thread.is_alive()]

    def _answer_next(self) -> None:
        client, _ = self._control.accept()
        with client:
            client.settimeout(POLL_SECONDS)
            try:
                answer = self._join(client.makefile(errors="replace").readline())
                client.sendall(f"{answer}\n".encode())
            except OSError:
                pass  # the program has gone

    def _join(self, request: str) -> str:
        """The answer to a program that wants the port: JOINED, an error, or "" if this forwarder is about to end."""
        self._drop_ended_engines()
        try:
            wanted = parse_forward(request)
        except (ValueError, TypeError, KeyError):  # another version's
            port, deployment = self.forward.port, self.forward.deployment
            error = f"127.0.0.1:{port}: {deployment} has it: wait until its operation has ended"
            return error if self.engines else ""
        if self.engines - {wanted.engine}:
            if wanted.deployment != self.forward.deployment:
                return (
                    f"127.0.0.1:{wanted.port}: {self.forward.deployment} has it: wait until its operation has ended, "
                    "or set postgresLocalPort to another port"
                )
            if wanted.route != self.forward.route:
                return (
                    f"127.0.0.1:{wanted.port}: another operation of this deployment reaches Postgres at "
                    f"{self.forward.target} through it, not at {wanted.target}: wait until it has ended"
                )
        self.forward = wanted  # if nobody else needs the old route, it is free to change
        self.engines.add(wanted.engine)
        self._limit = time.monotonic() + LIMIT
        return JOINED

    def _drop_ended_engines(self) -> None:
        self.engines = {engine for engine in self.engines if engine_runs(engine)}


def engine_runs(engine: str) -> bool:
    """Whether something answers at this HOST:PORT. An engine that is too busy to answer still runs: only one that
    refuses has ended."""
    host, _, port = engine.rpartition(":")
    for attempt in range(REFUSALS):
        time.sleep(0.2 if attempt else 0)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=POLL_SECONDS).close()
            return True
        except ConnectionRefusedError:
            continue
        except OSError:
            return True
    return False


def parse_forward(text: str) -> Forward:
    """Of JSON. Raises ValueError, TypeError or KeyError if it is not one of this version."""
    fields = json.loads(text)
    return Forward(**{**fields, "ssh": tuple(fields["ssh"])})


def _run_ssh(forward: Forward, *flags: str, stream: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    program, *options = forward.ssh
    words = [program, *flags, *options, "--", forward.name]
    return subprocess.run(
        words, stdin=stream, stdout=stream, stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )


def _carry(forward: Forward, connection: socket.socket) -> None:
    """One client's connection, from beginning to end."""
    with connection:
        done = _run_ssh(forward, "-W", forward.target, stream=connection.fileno())
        if done.returncode:
            stderr = done.stderr
            if SESSION_REFUSED in stderr:  # the shared connection says no more; a new one says the reason
                unshared = ("-o", "ControlPath=none", "-o", "LogLevel=INFO")
                stderr = _run_ssh(forward, *unshared, "-W", forward.target).stderr or stderr
            try:
                connection.sendall(_error_response(_explain(forward, stderr)))
            except OSError:
                pass  # the client has gone


def _explain(forward: Forward, stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it said nothing"]
    reason = next((line for line in lines if "open failed" in line), lines[0])
    if "administratively prohibited" in stderr:
        fix = "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"
    elif "open failed" in stderr:
        fix = "nothing answers there; if the container has another address now, run this again"
    else:
        fix = "the connection to the host is lost; run this again"
    return f"{forward.url}: Postgres at {forward.target}: {reason}: {fix}"


def _error_response(text: str) -> bytes:
    """Postgres' ErrorResponse: what a client shows of a server that does not let it in."""
    fields = b"".join(field + b"\0" for field in (b"SFATAL", b"VFATAL", b"C08006", b"M" + text.encode()))
    return b"E" + struct.pack("!i", 4 + len(fields) + 1) + fields + b"\0"


def _message_of(response: bytes) -> str:
    """The message of an ErrorResponse."""
    messages = [field[1:].decode(errors="replace") for field in response[5:].split(b"\0") if field[:1] == b"M"]
    return messages[0] if messages else "an error without a text"


if __name__ == "__main__":
    os.chdir("/")
    port_socket, control_socket = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    Forwarder(parse_forward(sys.argv[3]), port_socket, control_socket).serve()
