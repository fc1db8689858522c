"""Postgres' superuser password in the hands of whoever listens on the port of this machine through which the provider
reaches a host behind SSH: it is told to no server that does not prove itself. With libpq, as the lab's provider has it,
and a real Postgres."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.host_programs.private_postgres import Postgres, postgres
from workstation import postgres_relay
from workstation.postgres_relay import LOOPBACK, SSLMODE, bind_relay, open_tls, start_relay
from workstation.ssh_client import SSL_REQUEST, ForwardError, open_socket

__all__ = ["postgres"]

PASSWORD = "the-superuser-s-password"


def connect(port: int, certificate: Path) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=LOOPBACK, port=port, user="synapse", password=PASSWORD, dbname="postgres", sslmode=SSLMODE,
        sslrootcert=str(certificate), connect_timeout=5,
    )  # fmt: skip


@pytest.fixture
def relay(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port, and its certificate."""
    certificate = tmp_path / "relay.crt"
    with bind_relay(0) as listener:
        start_relay(listener, lambda: open_socket(postgres.socket / ".s.PGSQL.5432"), certificate)
        yield listener.getsockname()[1], certificate


def test_the_provider_reaches_postgres_through_it(relay: tuple[int, Path]) -> None:
    with connect(*relay) as one, connect(*relay) as other:
        (many,) = one.execute("select repeat('x', 300000)").fetchone() or ("",)
        assert many == "x" * 300000
        assert other.execute("select 1").fetchone() == (1,)


def test_who_has_the_port_without_the_key_is_told_nothing(relay: tuple[int, Path], tmp_path: Path) -> None:
    """A user who takes the port first, or after the program, when the state still holds port and password (`pulumi
    refresh` without the program); with a certificate of his own, or without TLS and a request for the password."""
    heard: list[bytes] = []
    stranger = postgres_relay._make_context(tmp_path / "stranger.crt")

    def serve(server: socket.socket, tls: bool) -> None:
        client, _ = server.accept()
        with client:
            heard.append(client.recv(1024))
            client.sendall(b"S" if tls else b"N")
            try:
                inner = stranger.wrap_socket(client, server_side=True) if tls else client
                while data := inner.recv(1024):
                    heard.append(data)
                    inner.sendall(b"R\0\0\0\x08\0\0\0\x03")  # AuthenticationCleartextPassword
            except OSError:
                pass

    for tls in (True, False):
        with socket.create_server((LOOPBACK, 0)) as server:
            thread = threading.Thread(target=serve, args=(server, tls))
            thread.start()
            with pytest.raises(psycopg.OperationalError, match=r"certificate verify failed|does not support SSL"):
                connect(server.getsockname()[1], relay[1])
            thread.join()
    assert heard == [SSL_REQUEST, SSL_REQUEST], "the user's name and the password come after the proof"


def test_who_does_not_ask_for_tls_gets_no_way_to_postgres(relay: tuple[int, Path]) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=LOOPBACK, port=relay[0], user="synapse", dbname="postgres", sslmode="disable")


def test_a_port_that_is_taken_is_told_before_anything_goes_to_it() -> None:
    with socket.create_server((LOOPBACK, 0)) as stranger:
        stranger.settimeout(0.2)
        port = stranger.getsockname()[1]
        with pytest.raises(ForwardError, match=rf"^127.0.0.1:{port}: .*: end what listens on it .* postgresLocalPort"):
            bind_relay(port)
        with pytest.raises(TimeoutError):
            stranger.accept()


def test_each_run_has_a_certificate_of_its_own_and_its_key_is_in_no_file(tmp_path: Path) -> None:
    certificates = [tmp_path / name for name in ("first", "second")]
    for certificate in certificates:
        postgres_relay._make_context(certificate)
        assert "PRIVATE" not in certificate.read_text()
    assert certificates[0].read_text() != certificates[1].read_text()
    assert sorted(tmp_path.iterdir()) == certificates


def test_a_postgres_that_wants_tls_gets_it_and_one_without_is_told(tmp_path: Path) -> None:
    context = postgres_relay._make_context(tmp_path / "postgres.crt")

    def serve(server: socket.socket, answer: bytes) -> None:
        with server:
            server.recv(8)
            server.sendall(answer)
            if answer == b"S":
                with context.wrap_socket(server, server_side=True) as inner:
                    inner.sendall(b"hello")

    for answer in (b"S", b"N"):
        client, server = socket.socketpair()
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        with client:
            if answer == b"S":
                with open_tls(client) as inner:
                    assert isinstance(inner, ssl.SSLSocket) and inner.recv(5) == b"hello"
            else:
                with pytest.raises(ConnectionError, match="Postgres has no TLS"):
                    open_tls(client)
