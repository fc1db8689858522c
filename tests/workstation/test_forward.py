"""A way to Postgres that outlives its operation or ends before it; one that leads elsewhere; a provider that says
`connection refused` and not why. With a client that stands in for ssh: `-W` is a connection of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from workstation import forward
from workstation.forward import Forward, ForwardError, ensure

# Words of OpenSSH 9.2.
PROHIBITED = "channel 0: open failed: administratively prohibited: open failed\nstdio forwarding failed"
NO_ROUTE = "channel 0: open failed: connect failed: No route to host\nstdio forwarding failed"
SHARED = "Stdio forwarding request failed: Session open refused by peer"
REFUSED = "ssh: connect to host 192.0.2.1 port 22: Connection refused"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def postgres(answer: bytes) -> Iterator[int]:
    """What answers the first question of a client so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(8)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@dataclass
class Operation:
    """Something that stands for the CLI, and how it wants to reach Postgres."""

    process: subprocess.Popen[bytes]
    wanted: Forward
    log: Path

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def operations(tmp_path: Path) -> Iterator[Callable[..., Operation]]:
    made: list[subprocess.Popen[bytes]] = []
    ports: set[int] = set()

    def make(target: str, says: str = "", **changed: object) -> Operation:
        client, log = tmp_path / f"ssh{len(made)}", tmp_path / "log"
        client.write_text(
            f"#!{sys.executable}\nimport socket, subprocess, sys\n"
            f"with open({str(log)!r}, 'a') as log: print(*sys.argv[1:], file=log)\n"
            f"if {says!r}: sys.exit({says!r})\n"
            "if '-W' not in sys.argv: sys.exit()\n"
            "host, _, port = sys.argv[sys.argv.index('-W') + 1].rpartition(':')\n"
            "with socket.create_connection((host, int(port))) as there:\n"
            "    there.sendall(sys.stdin.buffer.read1())\n"
            "    sys.stdout.buffer.write(there.recv(4096))\n"
        )
        client.chmod(0o755)
        process = subprocess.Popen(["sleep", "600"])
        made.append(process)
        wanted = Forward(
            deployment="project/one", port=free_port(), target=target, ssh=(str(client),), name="host",
            url="ssh://host", until=process.pid, since=psutil.Process(process.pid).create_time(),
        )  # fmt: skip
        wanted = replace(wanted, **changed)  # type: ignore[arg-type]
        ports.add(wanted.port)
        return Operation(process, wanted, log)

    yield make
    for each in made:
        each.kill()
        each.wait()
    for port in ports:
        gone(port)


def forwards(port: int) -> list[psutil.Process]:
    return [process for process, each in forward._running() if each.port == port]


def gone(port: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while forwards(port) and time.monotonic() < end:
        time.sleep(0.05)
    return not forwards(port)


def test_it_leads_to_postgres_and_ends_with_the_operation(operations: Callable[..., Operation]) -> None:
    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        (process,) = forwards(operation.wanted.port)
        assert f"-W 127.0.0.1:{port} -- host\n" in operation.log.read_text()
        with socket.create_connection(("127.0.0.1", operation.wanted.port)) as client:
            client.sendall(b"12345678")
            assert client.recv(10) == b"N"
        assert process.is_running()
        operation.end()
        assert gone(operation.wanted.port)
        assert operation.log.read_text().endswith("-O stop -- host\n"), "the shared connection is let go of"
        assert forward._free(operation.wanted.port)


def test_a_second_run_of_the_program_uses_the_same(operations: Callable[..., Operation]) -> None:
    """`pulumi up` runs the program for its preview and for the update."""
    with postgres(b"S") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        before = forwards(operation.wanted.port)
        ensure(operation.wanted)
        assert forwards(operation.wanted.port) == before


def test_another_operation_of_the_stack_takes_over_when_the_first_ends(operations: Callable[..., Operation]) -> None:
    with postgres(b"N") as port:
        first = operations(f"127.0.0.1:{port}")
        second = operations("")
        wanted = replace(first.wanted, until=second.wanted.until, since=second.wanted.since)
        ensure(first.wanted)
        ensure(wanted)
        first.end()
        end = time.monotonic() + 10
        while len(forwards(wanted.port)) > 1 and time.monotonic() < end:
            time.sleep(0.05)
        ensure(wanted)
        assert len(forwards(wanted.port)) == 1


def test_a_way_that_an_ended_operation_left_is_not_taken_for_ours(operations: Callable[..., Operation]) -> None:
    with postgres(b"N") as old, postgres(b"N") as new:
        first = operations(f"127.0.0.1:{old}")
        ensure(first.wanted)
        second = operations(f"127.0.0.1:{new}", port=first.wanted.port)
        first.end()
        ensure(second.wanted)
        assert f"-W 127.0.0.1:{new} " in second.log.read_text().splitlines()[-1]


def test_another_address_of_postgres_counts_from_the_next_run_of_the_program(
    operations: Callable[..., Operation],
) -> None:
    with postgres(b"N") as old, postgres(b"N") as new:
        operation = operations(f"127.0.0.1:{old}")
        ensure(operation.wanted)
        ensure(replace(operation.wanted, target=f"127.0.0.1:{new}"))
        assert f"-W 127.0.0.1:{new} " in operation.log.read_text().splitlines()[-1]
        assert len(forwards(operation.wanted.port)) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"deployment": "project/two"}, "project/one has it: wait until its operation has ended, or set postgres"),
        (
            {"target": "192.0.2.7:5432"},
            "another operation of this deployment .* at .* not at 192.0.2.7:",
        ),
    ],
)
def test_another_s_way_is_not_disturbed(
    operations: Callable[..., Operation], changed: dict[str, str], words: str
) -> None:
    with postgres(b"N") as port:
        first = operations(f"127.0.0.1:{port}")
        ensure(first.wanted)
        second = operations(**{"target": first.wanted.target, "port": first.wanted.port, **changed})
        with pytest.raises(ForwardError, match=words):
            ensure(second.wanted)
        assert len(forwards(first.wanted.port)) == 1
        ensure(first.wanted)


def test_a_port_that_another_program_has_is_told_and_nothing_is_sent_to_it(
    operations: Callable[..., Operation],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        operation = operations("192.0.2.1:5432", port=stranger.getsockname()[1])
        with pytest.raises(ForwardError, match=r"another program listens on it, and Postgres on ssh://host .* postgr"):
            ensure(operation.wanted)
        with pytest.raises(TimeoutError):
            stranger.accept()


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (PROHIBITED, "sshd there forbids it: AllowTcpForwarding local (or yes) in sshd_config"),
        (NO_ROUTE, "nothing answers there; if the container has another address now, run this again"),
        (REFUSED, "the connection to the host is lost; run this again"),
    ],
)
def test_why_it_does_not_lead_there_is_told(operations: Callable[..., Operation], said: str, fix: str) -> None:
    operation = operations("172.20.0.3:5432", said)
    with pytest.raises(ForwardError) as error:
        ensure(operation.wanted)
    assert str(error.value) == f"ssh://host: Postgres at 172.20.0.3:5432: {said.splitlines()[0]}: {fix}"


def test_the_reason_that_a_shared_connection_does_not_say_is_asked_for(operations: Callable[..., Operation]) -> None:
    operation = operations("172.20.0.3:5432")
    Path(operation.wanted.ssh[0]).write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"alone = 'ControlPath=none' in sys.argv\nsys.exit({PROHIBITED!r} if alone else {SHARED!r})\n"
    )
    with pytest.raises(ForwardError, match="administratively prohibited: open failed: sshd there forbids it"):
        ensure(operation.wanted)


def test_a_provider_is_told_too_in_postgres_own_words(operations: Callable[..., Operation]) -> None:
    import psycopg

    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        Path(operation.wanted.ssh[0]).write_text(f"#!{sys.executable}\nimport sys; sys.exit({REFUSED!r})")
        with pytest.raises(psycopg.OperationalError) as error:
            psycopg.connect(host="127.0.0.1", port=operation.wanted.port, user="x", sslmode="disable")
    assert f"{REFUSED}: the connection to the host is lost; run this again" in str(error.value)


def test_something_else_than_postgres_is_told(operations: Callable[..., Operation]) -> None:
    with postgres(b"HTTP/1.1 400 Bad Request") as port:
        operation = operations(f"127.0.0.1:{port}")
        with pytest.raises(ForwardError, match="does not answer as Postgres: check the setting postgresPort"):
            ensure(operation.wanted)
