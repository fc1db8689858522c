"""A way to Postgres that leads elsewhere, that other users can enter, or that does not work and nobody says why. With a
client that stands in for ssh, and a listener for what its shared connection listens on."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from documents.ssh import SshAddress
from workstation import ssh_client
from workstation.ssh_client import ForwardError, forward_socket

ADDRESS = SshAddress("host", "matt", 2222)
TARGET = "172.20.0.3:5432"
# Words of OpenSSH 9.2.
PROHIBITED = "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed"
NO_ROUTE = "channel 0: open failed: connect failed: No route to host\nstdio forwarding failed"
REFUSED = "ssh: connect to host 192.0.2.1 port 22: Connection refused"
NO_MASTER = "Control socket connect(/home/matt/.ssh/mautrix-0): No such file or directory"

Client = Callable[..., Path]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A stub of ssh that fails with these texts, and the log of its words, one run a line."""

    def make(forward: str = "", stdio: str = "") -> Path:
        log = tmp_path / "log"
        (tmp_path / "ssh").write_text(
            f"#!{sys.executable}\nimport sys\nwith open({str(log)!r}, 'a') as log: print(*sys.argv[1:], file=log)\n"
            f"sys.exit(({stdio!r} if '-W' in sys.argv else {forward!r}) or 0)\n"
        )
        (tmp_path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return log

    return make


@pytest.fixture(autouse=True)
def control_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ssh_client, "CONTROL_DIRECTORY", str(tmp_path / ".ssh"))
    return tmp_path / ".ssh"


@contextmanager
def listener(directory: Path, answer: bytes) -> Iterator[str]:
    """What answers the first question at a socket so, once; the socket's name."""
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "way.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield path.name


@pytest.mark.parametrize("answer", [b"N", b"S"])
def test_the_socket_leads_to_postgres_and_is_in_a_directory_of_this_user(
    client: Client, control_directory: Path, answer: bytes
) -> None:
    """A port of this machine is everybody's: who took it first, or got it later, was sent the password."""
    log = client()
    with listener(control_directory, answer) as name:
        assert forward_socket(ADDRESS, name, TARGET) == control_directory / name
    (words,) = log.read_text().splitlines()
    assert words.endswith(f"-l matt -p 2222 -O forward -L {control_directory / name}:{TARGET} -- host")
    assert " -o StreamLocalBindUnlink=yes " in words and control_directory.stat().st_mode & 0o777 == 0o700


def test_a_way_to_an_earlier_address_of_postgres_is_taken_away_first(client: Client, control_directory: Path) -> None:
    """It would lead to whatever has that address now, for a minute after the operation that made it."""
    log = client()
    for target in ("172.20.0.9:5432", TARGET, TARGET):
        with listener(control_directory, b"N") as name:
            forward_socket(ADDRESS, name, target)
    cancelled = [words for words in log.read_text().splitlines() if " -O cancel " in words]
    assert len(cancelled) == 1 and cancelled[0].endswith(":172.20.0.9:5432 -- host")


def test_without_a_shared_connection_there_is_no_way(client: Client) -> None:
    client(forward=NO_MASTER)
    with pytest.raises(ForwardError, match=r"^ssh://matt@host:2222: no shared connection: Control socket .*: run this"):
        forward_socket(ADDRESS, "way.sock", TARGET)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (PROHIBITED, "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"),
        (NO_ROUTE, "nothing answers there; if the container has another address now, run this again"),
        (REFUSED, "the connection to the host is lost; run this again"),
    ],
)
def test_why_it_does_not_lead_there_is_asked_of_a_connection_of_its_own(
    client: Client, control_directory: Path, text: str, fix: str
) -> None:
    """The shared one says only that it was refused. Of an option that is given twice the client takes the first."""
    log = client(stdio=text)
    with listener(control_directory, b"") as name, pytest.raises(ForwardError) as error:
        forward_socket(ADDRESS, name, TARGET)
    assert str(error.value) == f"ssh://matt@host:2222: Postgres at {TARGET}: {text.splitlines()[0]}: {fix}"
    words = log.read_text().splitlines()[1]
    assert words.index("ControlPath=none") < words.index("ControlPath=~") and f"-W {TARGET} -- host" in words


def test_something_else_than_postgres_is_told(client: Client, control_directory: Path) -> None:
    client()
    expected = pytest.raises(ForwardError, match="does not answer as Postgres: check the setting postgresPort")
    with listener(control_directory, b"HTTP/1.1 400 Bad Request") as name, expected:
        forward_socket(ADDRESS, name, TARGET)


def test_a_client_that_does_not_end_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback told nothing, and the look at the host ended with it."""
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 20\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(ssh_client, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(ForwardError, match=r"^ssh: no answer in 0.2 s: run this again$"):
        forward_socket(ADDRESS, "way.sock", TARGET)
    assert ssh_client.read_client_settings(ADDRESS) == {}
