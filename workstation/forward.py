"""A local port for Postgres on a host behind SSH: whatever connects here talks to the container there. Nothing listens
on the host, and Postgres publishes nothing.

It is a process of its own: the provider needs it after the Pulumi program has ended (`destroy --run-program`, a
refresh). It ends when the CLI does, and then lets go of the shared SSH connection. Each connection to the port is one
`ssh -W` (ssh(1)) through that; where it does not come about, Postgres' own protocol tells the client why.

    python -m workstation.forward '{"port": …, "until": …, …}'       see Forward
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from workstation.processes import command_line

LOOPBACK = "127.0.0.1"
PAUSE = 0.2  # seconds between two looks at whether the CLI still runs
DEADLINE = 40.0
MARK = "workstation.forward"
REFUSED = "refused by peer"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a Postgres client asks first, and any server answers with one byte (PostgreSQL 15, protocol-message-formats)."""


class ForwardError(Exception):
    """Its text is one line: what does not work, and what to do."""


@dataclass(frozen=True)
class Forward:
    """`port` of this machine leads to `target` (HOST:PORT as the host sees it). `ssh`: the client's words, up to its
    flags; `name`: the host's; `url`: as it is set; `until`: the pid of the process that it ends with, and when that
    began."""

    deployment: str
    port: int
    target: str
    ssh: tuple[str, ...]
    name: str
    url: str
    until: int
    since: float

    @property
    def needed(self) -> bool:
        """Whether that process still runs. A clock that is set moves the time when it began (psutil, create_time)."""
        try:
            process = psutil.Process(self.until)
            return abs(process.create_time() - self.since) < 5 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    @property
    def same_way(self) -> tuple[object, ...]:
        """What two forwards have in common that may stand in for each other."""
        return self.deployment, self.port, self.target, self.ssh, self.name


# ---------------------------------------------------------------- for the program


def ensure(wanted: Forward) -> None:
    """The port works afterwards, proven by a question to Postgres through it. Raises ForwardError."""
    there = []
    for process, each in _running():
        if each.port != wanted.port:
            continue
        if not each.needed or (each.until == wanted.until and each.same_way != wanted.same_way):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
                process.wait()
        elif each.deployment != wanted.deployment:
            raise ForwardError(
                f"127.0.0.1:{wanted.port}: {each.deployment} has it: wait until its operation has ended, "
                "or set postgresLocalPort to another port"
            )
        elif each.same_way != wanted.same_way:
            raise ForwardError(
                f"127.0.0.1:{wanted.port}: another operation of this deployment (pid {each.until}) reaches Postgres at "
                f"{each.target} through it, not at {wanted.target}: wait until it has ended"
            )
        else:
            there.append(each.until)
    if not there and not _free(wanted.port):
        raise ForwardError(
            f"127.0.0.1:{wanted.port}: another program listens on it, and Postgres on {wanted.url} is to be reached "
            "through it: end that, or set postgresLocalPort to a free port"
        )
    _prove(wanted, None if wanted.until in there else _start(wanted))


def _start(wanted: Forward) -> subprocess.Popen[bytes]:
    """One that waits for the port while its like has it."""
    return subprocess.Popen(
        [sys.executable, "-m", MARK, json.dumps(asdict(wanted))],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is the CLI's
    )  # fmt: skip


def _prove(wanted: Forward, process: subprocess.Popen[bytes] | None) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            with socket.create_connection((LOOPBACK, wanted.port), timeout=DEADLINE) as connection:
                connection.sendall(_SSL_REQUEST)
                answer = connection.recv(4096)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end or (process and process.poll() is not None):
                raise ForwardError(f"127.0.0.1:{wanted.port}: nothing listens: the forward has ended") from None
            time.sleep(0.02)
        except OSError as error:
            raise ForwardError(f"127.0.0.1:{wanted.port}: {error}") from None
    if answer[:1] == b"E":
        raise ForwardError(_told(answer))
    if answer not in (b"S", b"N"):
        raise ForwardError(f"{wanted.url}: {wanted.target} does not answer as Postgres: check the setting postgresPort")


def _free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def _running() -> Iterator[tuple[psutil.Process, Forward]]:
    """Those of this user, by their command lines."""
    for process in psutil.process_iter():
        words = command_line(process)
        if MARK in words:
            try:
                if process.uids().real == os.getuid():
                    yield process, _parse(words[-1])
            except (ValueError, TypeError, psutil.Error):
                continue  # another version's, or it has gone


def _parse(text: str) -> Forward:
    known = Forward(**json.loads(text))
    return replace(known, ssh=tuple(known.ssh))


# ---------------------------------------------------------------- the process


def serve(forward: Forward) -> None:
    """Until the CLI has ended. A port that is taken is waited for: by another operation of this deployment."""
    while forward.needed:
        try:
            listener = socket.create_server((LOOPBACK, forward.port))
        except OSError:
            time.sleep(PAUSE)
            continue
        with listener:
            while forward.needed:
                if select.select([listener], [], [], PAUSE)[0]:
                    connection, _ = listener.accept()
                    threading.Thread(target=_carry, args=(forward, connection), daemon=True).start()
    _ssh(forward, "-O", "stop")


def _ssh(forward: Forward, *flags: str, stream: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    program, *options = forward.ssh
    words = [program, *flags, *options, "--", forward.name]
    return subprocess.run(
        words, stdin=stream, stdout=stream, stderr=subprocess.PIPE, text=True, errors="replace", check=False
    )


def _carry(forward: Forward, connection: socket.socket) -> None:
    with connection:
        done = _ssh(forward, "-W", forward.target, stream=connection.fileno())
        if done.returncode:
            said = done.stderr
            if REFUSED in said:  # which is all that the shared connection says; one of its own has the reason
                alone = ("-o", "ControlPath=none", "-o", "LogLevel=INFO")
                said = _ssh(forward, *alone, "-W", forward.target).stderr or said
            try:
                connection.sendall(_error(_why(forward, said)))
            except OSError:
                pass  # the client has gone


def _why(forward: Forward, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
    reason = next((line for line in lines if "open failed" in line), lines[0])
    if "administratively prohibited" in said:
        fix = "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"
    elif "open failed" in said:
        fix = "nothing answers there; if the container has another address now, run this again"
    else:
        fix = "the connection to the host is lost; run this again"
    return f"{forward.url}: Postgres at {forward.target}: {reason}: {fix}"


def _error(text: str) -> bytes:
    """Postgres' ErrorResponse: what a client shows of a server that does not let it in."""
    fields = b"".join(each + b"\0" for each in (b"SFATAL", b"VFATAL", b"C08006", b"M" + text.encode()))
    return b"E" + struct.pack("!i", 4 + len(fields) + 1) + fields + b"\0"


def _told(answer: bytes) -> str:
    """The message of an ErrorResponse."""
    parts: Sequence[bytes] = answer[5:].split(b"\0")
    return next((part[1:].decode(errors="replace") for part in parts if part[:1] == b"M"), "an error without a text")


if __name__ == "__main__":
    os.chdir("/")
    serve(_parse(sys.argv[1]))
