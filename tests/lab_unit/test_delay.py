"""A benchmark of a host that is far away, with a host that is not."""

from __future__ import annotations

import socket
import threading
import time

from lab.delay import Delay


def send(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def test_each_way_takes_its_time_and_nothing_is_lost_or_swapped() -> None:
    sent = b"".join(number.to_bytes(4, "big") for number in range(200_000))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        with Delay(server.getsockname()[1], 0.05) as far, socket.create_connection(("127.0.0.1", far.port)) as client:
            begun = time.monotonic()
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            assert time.monotonic() - begun >= 0.1
            threading.Thread(target=send, args=(client, sent), daemon=True).start()
            received = b""
            while data := client.recv(65536):
                received += data
    assert received == sent
