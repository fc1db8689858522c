"""The OpenSSH client of this machine: its settings for a host, and the way to Postgres through its shared connection.

The shared connection (`ControlMaster`) stays for a minute after the last command. Nothing listens on the host.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from documents.ssh import CONTROL_DIRECTORY, SshAddress

_ANSWER_SECONDS = 40.0
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a Postgres client asks first. Any server answers it with one byte (PostgreSQL 15, protocol-message-formats)."""


class ForwardError(Exception):
    """Its text is one line: what does not work, and what to do."""


def read_client_settings(address: SshAddress) -> dict[str, str]:
    """The client's own settings for this host, by key in lower case (`ssh -G`); empty if the client does not say."""
    try:
        lines = _run(address.words("-G")).stdout.splitlines()
    except ForwardError:
        return {}
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


def make_control_directory() -> Path:
    """The client does not make it. It is in the account's home, as the client takes `~`."""
    directory = Path(CONTROL_DIRECTORY.replace("~", pwd.getpwuid(os.getuid()).pw_dir))
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def forward_socket(address: SshAddress, name: str, target: str) -> Path:
    """Have a socket of this name lead to Postgres at `target` (HOST:PORT as the host sees it), and prove it by a
    question. Nobody else can open it: it is in the control directory, with mode 0600 (StreamLocalBindMask). The client
    must have a shared connection already. A file beside the socket keeps the target: the client takes the way to an
    earlier one away only if it is named. Raises ForwardError."""
    path = make_control_directory() / name
    note = path.with_suffix(".target")
    if note.exists() and note.read_text() != target:
        _run(address.words("-O", "cancel", "-L", f"{path}:{note.read_text()}"))
    note.write_text(target)
    done = _run(address.words("-O", "forward", "-L", f"{path}:{target}"))
    if done.returncode:
        raise ForwardError(f"{address.url}: no shared connection: {_first_line(done.stderr)}: run this again")
    try:
        with open_socket(path) as connection:
            connection.sendall(SSL_REQUEST)
            answer = connection.recv(1)
    except ConnectionError:
        answer = b""
    except OSError as error:
        raise ForwardError(f"{path}: {error}") from None
    if answer not in (b"S", b"N"):
        raise ForwardError(_explain(address, target))
    return path


def open_socket(path: Path) -> socket.socket:
    """A connection to the socket. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER_SECONDS)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _explain(address: SshAddress, target: str) -> str:
    # The shared connection does not say why it does not lead there; a new one does. The client's first option counts.
    words = ("ssh", "-o", "ControlPath=none", "-o", "LogLevel=INFO", *address.words("-W", target)[1:])
    try:
        stderr = _run(words).stderr
    except ForwardError:  # it leads somewhere
        stderr = ""
    if "administratively prohibited" in stderr:
        fix = "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"
    elif "open failed" in stderr:
        fix = "nothing answers there; if the container has another address now, run this again"
    elif stderr:
        fix = "the connection to the host is lost; run this again"
    else:
        return f"{address.url}: {target} does not answer as Postgres: check the setting postgresPort"
    return f"{address.url}: Postgres at {target}: {_first_line(stderr)}: {fix}"


def _first_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in lines if "open failed" in line), lines[0])


def _run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Raises ForwardError if the client does not end in time."""
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ForwardError(f"{words[0]}: no answer in {_ANSWER_SECONDS:g} s: run this again") from None
