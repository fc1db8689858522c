"""A way to Postgres that outlives its operation or ends before it; one that leads elsewhere; a provider that says
`connection refused` and not why. With a client that stands in for ssh: `-W` is a connection of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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


class Engine:
    """Stands for Pulumi's engine: it answers at an address until its operation ends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:
                return

    def end(self) -> None:
        with contextlib.suppress(OSError):  # twice
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@dataclass
class Operation:
    """A Pulumi operation, and how it wants to reach Postgres."""

    engine: Engine
    wanted: Forward
    log: Path

    def end(self) -> None:
        self.engine.end()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The forwarders that were started, running and ended."""
    processes: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(words: list[str], **options: Any) -> Any:
        process = popen(words, **options)
        if "workstation.forward" in words:
            processes.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", start)
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> Iterator[Callable[..., Operation]]:
    engines: list[Engine] = []
    monkeypatch.setattr(forward, "control_directory", lambda: tmp_path)

    def make(target: str, says: str = "", **changed: object) -> Operation:
        client, log = tmp_path / f"ssh{len(engines)}", tmp_path / "log"
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
        engines.append(Engine())
        wanted = Forward(
            deployment="project/one", port=free_port(), target=target, ssh=(str(client),), name="host",
            url="ssh://host", engine=engines[-1].address,
        )  # fmt: skip
        return Operation(engines[-1], replace(wanted, **changed), log)  # type: ignore[arg-type]

    yield make
    for engine in engines:
        engine.end()


def running(started: list[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    return [process for process in started if process.poll() is None]


def all_ended(started: list[subprocess.Popen[bytes]], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while running(started) and time.monotonic() < end:
        time.sleep(0.05)
    return not running(started)


def test_it_leads_to_postgres_and_ends_with_the_operation(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        assert len(started) == 1
        assert f"-W 127.0.0.1:{port} -- host\n" in operation.log.read_text()
        with socket.create_connection(("127.0.0.1", operation.wanted.port)) as client:
            client.sendall(b"12345678")
            assert client.recv(10) == b"N"
        assert not all_ended(started, 3), "as long as the engine answers"
        operation.end()
        assert all_ended(started)
        assert operation.log.read_text().endswith("-O stop -- host\n"), "the shared connection is let go of"
        assert not operation.wanted.control.exists()
        socket.create_server(("127.0.0.1", operation.wanted.port)).close()


def test_it_listens_on_loopback_alone(operations: Callable[..., Operation]) -> None:
    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", operation.wanted.port)).close()


def test_a_second_run_of_the_program_uses_the_same(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with postgres(b"S") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        ensure(operation.wanted)
        assert len(started) == len(running(started)) == 1


def test_another_operation_of_the_stack_shares_it_and_keeps_it_when_the_first_ends(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    """`pulumi up` has an engine for its preview and one for the update."""
    with postgres(b"N") as port:
        first = operations(f"127.0.0.1:{port}")
        second = operations("")
        wanted = replace(first.wanted, engine=second.wanted.engine)
        ensure(first.wanted)
        ensure(wanted)
        first.end()
        assert not all_ended(started, 4)
        ensure(wanted)
        assert len(started) == 1
        second.end()
        assert all_ended(started)


def test_two_programs_at_once_share_one(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with postgres(b"N") as port, ThreadPoolExecutor() as pool:
        operation = operations(f"127.0.0.1:{port}")
        list(pool.map(ensure, [operation.wanted] * 6))
        assert len(started) == len(running(started)) == 1


def test_a_way_that_an_ended_operation_left_is_not_taken_for_ours(operations: Callable[..., Operation]) -> None:
    """Neither that of another stack, nor before the forwarder has seen the end itself."""
    with postgres(b"N") as old, postgres(b"N") as new:
        first = operations(f"127.0.0.1:{old}")
        ensure(first.wanted)
        second = operations(f"127.0.0.1:{new}", port=first.wanted.port, deployment="project/two")
        first.end()
        ensure(second.wanted)
        assert f"-W 127.0.0.1:{new} " in second.log.read_text().splitlines()[-1]


def test_a_forwarder_that_was_killed_is_replaced(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        started[0].kill()
        started[0].wait()
        ensure(operation.wanted)
        assert len(running(started)) == 1


def test_another_address_of_postgres_counts_from_the_next_run_of_the_program(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with postgres(b"N") as old, postgres(b"N") as new:
        operation = operations(f"127.0.0.1:{old}")
        ensure(operation.wanted)
        ensure(replace(operation.wanted, target=f"127.0.0.1:{new}"))
        assert f"-W 127.0.0.1:{new} " in operation.log.read_text().splitlines()[-1]
        assert len(running(started)) == 1


def test_a_connection_that_is_open_at_the_end_is_carried_to_its_own_end(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    """The port is free meanwhile."""
    with postgres(b"N") as port:
        operation = operations(f"127.0.0.1:{port}")
        ensure(operation.wanted)
        with socket.create_connection(("127.0.0.1", operation.wanted.port)) as client:
            time.sleep(1)
            operation.end()
            assert not all_ended(started, 4)
            client.sendall(b"12345678")
            assert client.recv(10) == b"N"
        assert all_ended(started)


def test_a_stranger_at_the_engine_s_address_does_not_keep_it_for_ever(
    operations: Callable[..., Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = operations("192.0.2.1:5432")
    monkeypatch.setattr(forward, "LIMIT", 0.5)
    monkeypatch.setattr(forward, "POLL_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as control:
        control.bind(str(operation.wanted.control))
        control.listen()
        forwarder = threading.Thread(target=forward.Forwarder(operation.wanted, listener, control).serve, daemon=True)
        forwarder.start()
        forwarder.join(10)
        assert not forwarder.is_alive() and forward.engine_runs(operation.wanted.engine)


def test_an_engine_that_is_stopped_or_busy_still_runs() -> None:
    """As after a Ctrl-Z: the kernel answers nobody once its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as stopped:
        address = "{}:{}".format(*stopped.getsockname())
        with socket.create_connection(stopped.getsockname()):
            assert forward.engine_runs(address) and forward.engine_runs(address)
    assert not forward.engine_runs(address)


def test_the_engine_s_address_is_the_one_that_pulumi_gives() -> None:
    """As pulumi 3.259.0 starts the program."""
    words = "/venv/bin/python3 /bin/pulumi-language-python-exec --monitor 127.0.0.1:1 --engine 127.0.0.1:37137 ."
    assert forward.engine_address(words.split()) == "127.0.0.1:37137"
    assert forward.engine_address(["python3", "-m", "pytest", "-q"]) == ""


def test_without_an_engine_there_is_no_way(
    operations: Callable[..., Operation], started: list[subprocess.Popen[bytes]]
) -> None:
    with pytest.raises(ForwardError, match=r"no engine of Pulumi .* run this program with the Pulumi CLI"):
        ensure(operations("192.0.2.1:5432", engine="").wanted)
    assert not started


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
    operations: Callable[..., Operation],
    started: list[subprocess.Popen[bytes]],
    changed: dict[str, str],
    words: str,
) -> None:
    with postgres(b"N") as port:
        first = operations(f"127.0.0.1:{port}")
        ensure(first.wanted)
        second = operations(**{"target": first.wanted.target, "port": first.wanted.port, **changed})
        with pytest.raises(ForwardError, match=words):
            ensure(second.wanted)
        assert len(started) == len(running(started)) == 1
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
