"""Pins a worker that is taken for one that works, and is not up, or takes its registrations from somewhere else; and a
process that is taken for Synapse's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside.synapse_facts import SynapseRequest, read_worker
from tests.host_programs.scripted_server import closed_port
from verdicts.host_facts.synapse import WorkerFacts

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"
TALKS = "   0: 0100007F:1F90 0200007F:18EB 01 00000000:00000000\n"
LISTENS = "   1: 00000000:1F93 00000000:0000 0A 00000000:00000000\n"


@dataclass
class Container:
    """A process, its two files, and the connections that it has."""

    folder: Path

    def says(self, homeserver: str = "a: 1\n", worker: str = "", connections: str = TALKS) -> WorkerFacts:
        process, shared, own = self.folder / "proc/17", self.folder / "homeserver.yaml", self.folder / "worker.yaml"
        (process / "net").mkdir(parents=True)
        words = ["python", "-m", "synapse.app.generic_worker", "-c", str(shared), f"--config-path={own}"]
        (process / "cmdline").write_bytes(b"\0".join(map(str.encode, words)))
        (process / "root").symlink_to("/")
        (process / "net/tcp").write_text(HEAD + connections)
        (process / "net/tcp6").write_text(HEAD)
        shared.write_text(homeserver)
        own.write_text(f"worker_name: w\n{worker}")
        return read_worker(SynapseRequest(str(shared)))


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    monkeypatch.setattr(synapse_process, "PROC", tmp_path / "proc")
    monkeypatch.setattr(synapse_process, "list_files", lambda words: [word for word in words if word.startswith("/")])
    return Container(tmp_path)


class Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server whose /health answers what the test is parametrized with, else 200."""
    handler = type("Answers", (Health,), {"status": getattr(request, "param", 200)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def listener(port: int, more: str = "") -> str:
    return f"worker_listeners: [{{type: http, port: {port}{more}, resources: [{{names: [client]}}]}}]\n"


def test_the_file_that_decides_is_the_last_one_that_has_the_list(container: Container) -> None:
    both = tuple(str(container.folder / name) for name in ("homeserver.yaml", "worker.yaml"))
    assert container.says("app_service_config_files: []\n") == WorkerFacts(both, both[0])


def test_a_list_of_its_own_is_seen(container: Container) -> None:
    said = container.says("app_service_config_files: []\n", "app_service_config_files: [/data/x.yaml]\n")
    assert said.decided_in == str(container.folder / "worker.yaml")


@pytest.mark.parametrize("more", ["", ", bind_addresses: ['::', '0.0.0.0']", ", bind_address: 127.0.0.1"])
def test_a_worker_that_listens_is_asked(container: Container, port: int, more: str) -> None:
    said = container.says(worker=listener(port, more.replace("'::', ", "")), connections="")
    assert (said.unwell, said.error) == ("", "")


@pytest.mark.parametrize("port", [503], indirect=True)
def test_one_that_is_not_well_says_so(container: Container, port: int) -> None:
    assert (
        container.says(worker=listener(port)).unwell == f"http://127.0.0.1:{port}/health: 503 no content type, 0 bytes"
    )


@pytest.mark.parametrize(("status", "words"), [(200, ""), (503, "/health answered 503")])
def test_one_that_listens_on_a_unix_socket_alone_is_asked_there(container: Container, status: int, words: str) -> None:
    """Pins a worker that is never healthy, or always: with its database on a socket, too, it has no TCP connection."""
    path = container.folder / "w.sock"
    handler = type("Answers", (Health,), {"status": status})
    with UnixStreamServer(str(path), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = container.says(worker=f"worker_listeners: [{{type: http, path: {path}}}]\n", connections="")
        server.shutdown()
    assert (said.unwell, said.error) == (f"{path}: {words}" if words else "", "")


def test_one_whose_unix_socket_is_not_there_yet_is_not_up(container: Container) -> None:
    said = container.says(worker="worker_listeners: [{type: http, path: /nowhere/w.sock}]\n")
    assert said.unwell == "/nowhere/w.sock: [Errno 2] No such file or directory"


def test_one_that_does_not_listen_yet_is_not_up(container: Container) -> None:
    port = int(closed_port().rpartition(":")[2])
    assert container.says(worker=listener(port)).unwell == f"http://127.0.0.1:{port}/health: connection refused"


@pytest.mark.parametrize(
    ("worker", "connections", "unwell"),
    [
        ("", TALKS, ""),
        ("worker_listeners: [{type: metrics, port: 1}, {type: http, tls: true, port: 1}]\n", TALKS, ""),
        ("", LISTENS, "it has no connection to anybody yet"),
        ("worker_listeners:\n", "", "it has no connection to anybody yet"),
    ],
)
def test_one_that_never_listens_is_up_once_it_speaks_with_the_others(
    container: Container, worker: str, connections: str, unwell: str
) -> None:
    assert container.says(worker=worker, connections=connections).unwell == unwell


@pytest.mark.parametrize("text", ["a: [\n", "- a\n", "worker_listeners: [5]\n", "worker_listeners: [{type: http}]\n"])
def test_a_configuration_that_cannot_be_judged_is_one_line(container: Container, text: str) -> None:
    assert "worker.yaml: " in (error := container.says(worker=text).error) and "\n" not in error


def test_a_container_without_a_worker_says_so(container: Container) -> None:
    assert read_worker(SynapseRequest("/nowhere")) == WorkerFacts(error="runs no worker of Synapse")


MAIN, WORKER = synapse_process.MAIN, synapse_process.WORKER


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["python3", "-m", "synapse.app.homeserver", "-c", "/data/homeserver.yaml"], [MAIN]),
        (["/usr/bin/python3", "/opt/venvs/matrix-synapse/bin/synapse_homeserver", "-c", "x"], [MAIN]),
        (["python3", "/usr/lib/python3/dist-packages/synapse/app/homeserver.py"], [MAIN]),
        (["python3", "-m", "synapse.app.generic_worker", "-c", "x"], [WORKER]),
        (["python3", "-m", "synapse.app.federation_sender"], [WORKER]),
        (["/opt/bin/synapse_worker", "-c", "x"], [WORKER]),
        (["/sbin/docker-init", "--", "python3", "-m", "synapse.app.generic_worker"], [WORKER]),
        (["sh", "-c", "cd /data && python3 -m synapse.app.homeserver -c x"], []),
        (["grep", "synapse.app"], []),
        (["tail", "-f", "/var/log/synapse_worker.log"], []),
    ],
)
def test_processes_are_known_by_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], kinds: list[bytes]
) -> None:
    monkeypatch.setattr(synapse_process, "PROC", tmp_path)
    (tmp_path / "9").mkdir()
    (tmp_path / "9/cmdline").write_bytes(b"\0".join(map(str.encode, words)) + b"\0")
    os.symlink("/", tmp_path / "9/root")
    assert [kind for kind in (MAIN, WORKER) if synapse_process.find_processes(kind)] == kinds
