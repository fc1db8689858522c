"""The listener through which Pulumi's provider reaches Postgres on a host behind SSH.

The provider speaks TCP alone: it puts its host into a URL, where no path of a socket fits
(terraform-provider-postgresql, config.go, connStr), and it gives the password to any server that asks for it. So the
server has to prove itself first. This listener speaks TLS with a certificate that is made anew for each run of the
program, and whose key nobody else has. The provider accepts no other (sslmode verify-ca, sslrootcert).

The listener ends with the program. Later the state still holds the port and the password, and `pulumi refresh` without
the program would go there: whoever listens on the port by then has no key for the certificate, and is told nothing.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from workstation.ssh_client import SSL_REQUEST, ForwardError

LOOPBACK = "127.0.0.1"
SSLMODE = "verify-ca"
_BYTES = 1 << 16
_HANDSHAKE_SECONDS = 20.0


def bind_relay(port: int) -> socket.socket:
    """The listener; nobody else can have the port from now on. Raises ForwardError."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ForwardError(
            f"{LOOPBACK}:{port}: {os.strerror(error.errno or 0)}: Postgres behind SSH is to be reached through it: end "
            "what listens on it (another run of this stack?), or set postgresLocalPort to a free port"
        ) from None


def start_relay(listener: socket.socket, connect: Callable[[], socket.socket], certificate: Path) -> None:
    """Hand each connection on to one that `connect` makes, until the program ends. `certificate`: the path of a file,
    which will hold what the listener proves itself with. Raises ForwardError."""
    context = _make_context(certificate)

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, context, connect), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def open_tls(connection: socket.socket) -> socket.socket:
    """The same connection to Postgres, in TLS, as libpq does with sslmode require. Raises OSError."""
    connection.sendall(SSL_REQUEST)
    if connection.recv(1) != b"S":
        raise ConnectionError("Postgres has no TLS, and postgresSslmode is require")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # SSH has proven the host
    return context.wrap_socket(connection)


def _make_context(certificate: Path) -> ssl.SSLContext:
    """The key is nowhere but in this process's memory afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # 0700
        key, made = Path(folder) / "key", Path(folder) / "certificate"
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=relay"
        try:
            done = subprocess.run(
                [*words.split(), "-keyout", key, "-out", made], capture_output=True, text=True, timeout=60, check=False
            )
        except FileNotFoundError:
            raise ForwardError("openssl: not on this machine, or not in PATH: install it") from None
        if done.returncode:
            raise ForwardError(f"openssl: makes no certificate: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        context.load_cert_chain(made, key)
        certificate.write_bytes(made.read_bytes())
    return context


def _serve(client: socket.socket, context: ssl.SSLContext, connect: Callable[[], socket.socket]) -> None:
    """One connection. Whatever is wrong with it ends it, and the provider says so."""
    try:
        with client:
            client.settimeout(_HANDSHAKE_SECONDS)
            if client.recv(len(SSL_REQUEST), socket.MSG_WAITALL) != SSL_REQUEST:
                return
            client.sendall(b"S")
            with context.wrap_socket(client, server_side=True) as inner, connect() as server:
                inner.settimeout(None)
                server.settimeout(None)
                _pass_on(inner, server)
    except OSError:
        pass


def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Until one side ends. Postgres' protocol is questions and answers, so one side at a time is enough."""
    pairs: dict[socket.socket, socket.socket] = {client: server, server: client}
    while True:
        waiting = [one for one in pairs if isinstance(one, ssl.SSLSocket) and one.pending()]
        for one in waiting or select.select([*pairs], [], [])[0]:
            data = one.recv(_BYTES)
            if not data:
                return
            pairs[one].sendall(data)
