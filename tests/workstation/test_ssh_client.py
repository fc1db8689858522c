"""A way to Postgres that leads elsewhere, that others than this machine can use, or that does not work and nobody says
why. With a client that stands in for ssh, and a listener for what its shared connection listens on."""

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
from workstation.ssh_client import ForwardError, forward_port

ADDRESS = SshAddress("host", "matt", 2222)
TARGET = "172.20.0.3:5432"
# Words of OpenSSH 9.2.
PROHIBITED = "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed"
NO_ROUTE = "channel 0: open failed: connect failed: No route to host\nstdio forwarding failed"
REFUSED = "ssh: connect to host 192.0.2.1 port 22: Connection refused"
TAKEN = (
    "mux_client_forward: forwarding request failed: Port forwarding failed\nmuxclient: master forward request failed"
)
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


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


@contextmanager
def listener(answer: bytes) -> Iterator[int]:
    """What answers the first question at a port so, once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("answer", [b"N", b"S"])
def test_the_port_leads_to_postgres_from_loopback_alone(client: Client, note: Path, answer: bytes) -> None:
    log = client()
    with listener(answer) as port:
        forward_port(ADDRESS, port, TARGET, note)
    (words,) = log.read_text().splitlines()
    assert words.endswith(f"-l matt -p 2222 -O forward -L 127.0.0.1:{port}:{TARGET} -- host")


def test_a_way_to_an_earlier_address_of_postgres_is_taken_away_first(client: Client, note: Path) -> None:
    """It would hold the port for a minute after the operation that made it."""
    log = client()
    for target in ("172.20.0.9:5432", TARGET, TARGET):
        with listener(b"N") as port:
            forward_port(ADDRESS, port, target, note)
    cancelled = [words for words in log.read_text().splitlines() if " -O cancel " in words]
    assert len(cancelled) == 1 and cancelled[0].endswith(":172.20.0.9:5432 -- host")


def test_a_port_that_is_taken_is_told_and_nothing_is_sent_to_it(client: Client, note: Path) -> None:
    client(forward=TAKEN)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        with pytest.raises(ForwardError, match=r"listens on it, and Postgres on ssh://matt@host:2222 .* postgresLocal"):
            forward_port(ADDRESS, stranger.getsockname()[1], TARGET, note)
        with pytest.raises(TimeoutError):
            stranger.accept()


def test_without_a_shared_connection_there_is_no_way(client: Client, note: Path) -> None:
    client(forward=NO_MASTER)
    with pytest.raises(ForwardError, match=r"^ssh://matt@host:2222: no shared connection: Control socket .*: run this"):
        forward_port(ADDRESS, 1, TARGET, note)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (PROHIBITED, "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"),
        (NO_ROUTE, "nothing answers there; if the container has another address now, run this again"),
        (REFUSED, "the connection to the host is lost; run this again"),
    ],
)
def test_why_it_does_not_lead_there_is_asked_of_a_connection_of_its_own(
    client: Client, note: Path, text: str, fix: str
) -> None:
    """The shared one says only that it was refused. Of an option that is given twice the client takes the first."""
    log = client(stdio=text)
    with listener(b"") as port, pytest.raises(ForwardError) as error:
        forward_port(ADDRESS, port, TARGET, note)
    assert str(error.value) == f"ssh://matt@host:2222: Postgres at {TARGET}: {text.splitlines()[0]}: {fix}"
    words = log.read_text().splitlines()[1]
    assert words.index("ControlPath=none") < words.index("ControlPath=~") and f"-W {TARGET} -- host" in words


def test_something_else_than_postgres_is_told(client: Client, note: Path) -> None:
    client()
    expected = pytest.raises(ForwardError, match="does not answer as Postgres: check the setting postgresPort")
    with listener(b"HTTP/1.1 400 Bad Request") as port, expected:
        forward_port(ADDRESS, port, TARGET, note)


def test_a_client_that_does_not_end_is_an_error_of_one_line(
    tmp_path: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback told nothing, and the look at the host ended with it."""
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 20\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(ssh_client, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(ForwardError, match=r"^ssh: no answer in 0.2 s: run this again$"):
        forward_port(ADDRESS, 1, TARGET, note)
    assert ssh_client.read_client_settings(ADDRESS) == {}
