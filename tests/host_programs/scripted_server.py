"""A homeserver that plays a script and keeps to it.

It answers only the requests it was told of, each exactly as often as it was told to, and only if token, query and
body are right. Whatever else comes is answered with 418 and kept in `wrong`; leaving the `with` block raises if there
was anything wrong or an answer was left over.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMIT = 20.0  # seconds; an endless answer ends here if nobody hangs up


@dataclass(frozen=True)
class Call:
    """A request that is expected: its target with the query, the bearer token ("": none), the JSON body (or None)."""

    method: str
    target: str
    token: str
    body: Any = None


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; `after` replaces what follows the headers by what it does to the connection."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    length: int | None = None  # Content-Length, if it is not the body's; -1: none
    after: Callable[[socket.socket, threading.Event], None] | None = None

    def play(self, connection: socket.socket, stop: threading.Event) -> None:
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{key}: {value}" for key, value in self.headers.items())]
        lines += [] if length < 0 else [f"Content-Length: {length}"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + self.body)
        if self.after:
            self.after(connection, stop)


@dataclass(frozen=True)
class Raw:
    """Anything but an orderly answer: `act` gets the connection once the request is read."""

    act: Callable[[socket.socket, threading.Event], None]

    def play(self, connection: socket.socket, stop: threading.Event) -> None:
        self.act(connection, stop)


def reply(status: int, **body: Any) -> Answer:
    return Answer(status, json.dumps(body).encode())


def error(status: int, errcode: str, message: str = "") -> Answer:
    return reply(status, errcode=errcode, error=message)


def endless(connection: socket.socket, stop: threading.Event) -> None:
    until = time.monotonic() + LIMIT
    while not stop.is_set() and time.monotonic() < until:
        connection.sendall(b" " * 4096)


def drip(connection: socket.socket, stop: threading.Event) -> None:
    until = time.monotonic() + LIMIT
    while not stop.wait(0.02) and time.monotonic() < until:
        connection.sendall(b" ")


def silent(connection: socket.socket, stop: threading.Event) -> None:
    stop.wait(LIMIT)


def hang_up(connection: socket.socket, stop: threading.Event) -> None:
    """Closes without a byte: the caller's request is read, so it is an end and no reset."""


class ScriptedServer:
    """`with ScriptedServer() as server: server.on(call, answer, …)`; each answer is for one request.

    With `closed`, connections are refused until `open()`."""

    def __init__(self, closed: bool = False) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.script: dict[tuple[str, str], tuple[Call, list[Answer | Raw]]] = {}
        self.asked: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.stop = threading.Event()
        self.opened = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        if not closed:
            self.open()

    def open(self) -> None:
        self.socket.listen()
        self.opened.set()

    def on(self, call: Call, *answers: Answer | Raw) -> None:
        self.script[call.method, call.target] = (call, list(answers))

    def __enter__(self) -> ScriptedServer:
        self.thread.start()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.stop.set()
        self.thread.join(LIMIT)
        self.socket.close()
        if kind is None:
            left = [f"{call.method} {call.target}" for call, answers in self.script.values() if answers]
            assert not self.wrong and not left, f"wrong requests: {self.wrong}; never asked: {left}"

    def _serve(self) -> None:
        self.opened.wait(LIMIT)
        self.socket.settimeout(0.05)
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self.socket.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError, TimeoutError):
            connection.settimeout(5)
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head, _, body = self._read(connection)
        request, *rest = head.decode().split("\r\n")
        method, target, version = request.split(" ")
        headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in rest)}
        self.asked.append((method, target))
        known, answers = self.script.get((method, target), (None, []))
        for complaint in self._complaints(known, version, headers, body, answers):
            self.wrong.append(f"{method} {target}: {complaint}")
            Answer(418).play(connection, self.stop)
            return
        answers.pop(0).play(connection, self.stop)

    def _read(self, connection: socket.socket) -> tuple[bytes, bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._some(connection)
        head, gap, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self._some(connection)
        return head, gap, body

    @staticmethod
    def _some(connection: socket.socket) -> bytes:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the request is not whole")
        return piece

    @staticmethod
    def _complaints(
        call: Call | None, version: str, headers: Mapping[str, str], body: bytes, answers: list[Answer | Raw]
    ) -> Iterator[str]:
        if call is None:
            yield "not in the script"
            return
        if not answers:
            yield "asked once too often"
        if version != "HTTP/1.1" or not headers.get("host", "").startswith("127.0.0.1:"):
            yield "not an HTTP/1.1 request for this host"
        if headers.get("authorization", "") != (f"Bearer {call.token}" if call.token else ""):
            yield "another token"
        if (json.loads(body) if body else None) != call.body:
            yield f"another body: {body!r}"
        if body and headers.get("content-type") != "application/json":
            yield "a body that is not called JSON"


def closed_port() -> str:
    """The URL of a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
