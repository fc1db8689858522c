"""One HTTP request with limits that hold: a time for the whole of it and a size, whatever the server does.

http.client's timeout is one for each read, so a server that sends a byte a second is never too late for it. Here
every read of the socket gets what is left of the request's time. No redirect is followed, and no proxy of the
environment is used: a token must go to no other place than the one named.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import SplitResult, quote, urlsplit

from documents.masking import masked
from scripts.common import ScriptError
from verdicts.auth import Exchange

BODY = 64 * 1024  # bytes of an answer that are read, and kept as evidence; Synapse's answers here have under 1 KiB


@dataclass(frozen=True)
class Request:
    """One request: path and query from the server's root, the token for its header, a JSON body or none."""

    method: str
    target: str
    token: str = field(repr=False)
    body: Optional[Mapping[str, Any]] = None


class _Limited(io.RawIOBase):
    """The socket as a file: each read waits until `end` (time.monotonic) at the longest."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.connection, self.end = connection, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class _Wire:
    """What http.client.HTTPResponse wants of a socket."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self.file = io.BufferedReader(_Limited(connection, end))

    def makefile(self, mode: str) -> io.BufferedIOBase:
        return self.file


def ping_request(appservice_id: str, as_token: str) -> Request:
    """Synapse's ping of the appservice: it asks the bridge's own port, and says that token and id belong together."""
    return Request("POST", f"/_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping", as_token, {})


def ask(step: str, base: str, request: Request, seconds: float, secrets: Sequence[str] = ()) -> Exchange:
    """Send the request to the server at `base` and give what came, as far as it came, without any of `secrets`.

    `seconds` is for all of it, connecting and reading included (a name's lookup is the system's own time); of the
    body at most BODY bytes are taken. Nothing the server does raises. A `base` that is no http(s) URL, or a token that
    fits no header: ScriptError.
    """
    end = time.monotonic() + seconds
    where = address(base)
    token = request.token
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ScriptError(f"{step}: the token holds characters that no token has; make new ones (tokenGeneration)")
    data = b"" if request.body is None else json.dumps(request.body).encode()
    headers = {"Host": where.netloc, "Authorization": "Bearer …", "Accept": "application/json", "Connection": "close"}
    if request.body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    exchange: dict[str, Any] = {"step": step, "method": request.method, "url": base.rstrip("/") + request.target}
    exchange |= {"sent_body": data.decode(), "sent_headers": tuple(headers.items())}
    head = "".join(f"{key}: {value}\r\n" for key, value in {**headers, "Authorization": f"Bearer {token}"}.items())
    wire = f"{request.method} {where.path.rstrip('/')}{request.target} HTTP/1.1\r\n{head}\r\n".encode() + data
    try:
        with _connect(where.scheme, where.hostname or "", where.port, end) as connection:
            connection.settimeout(max(end - time.monotonic(), 0.001))
            connection.sendall(wire)
            _read(request.method, connection, end, exchange)
    except ConnectionRefusedError as error:
        _fault(exchange, "refused", error)
    except TimeoutError as error:
        _fault(exchange, "timeout", error)
    except (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError) as error:
        _fault(exchange, "closed", error)
    except (http.client.HTTPException, ssl.SSLError, ValueError) as error:
        _fault(exchange, "no-http", error)
    except OSError as error:
        _fault(exchange, "unreachable", error)
    return _hidden(Exchange(**exchange), [token, *secrets])


def _hidden(exchange: Exchange, secrets: Sequence[str]) -> Exchange:
    """The exchange without the secrets: a server may send a token back, in a Location header for one."""
    body = exchange.body.decode(errors="surrogateescape")
    return replace(
        exchange,
        reason=masked(exchange.reason, secrets),
        headers=tuple((masked(key, secrets), masked(value, secrets)) for key, value in exchange.headers),
        body=masked(body, secrets).encode(errors="surrogateescape"),
        detail=masked(exchange.detail, secrets),
    )


def address(base: str) -> SplitResult:
    """The parts of a base URL; ScriptError if it is not one."""
    try:
        where = urlsplit(base)
        good = where.scheme in ("http", "https") and where.hostname and where.port != 0
        if good and not (where.query or where.fragment or where.username):
            return where
    except ValueError:
        pass  # a port that is no number, a bracket that is not closed
    raise ScriptError(f"synapseUrl {base!r}: should be a URL such as http://127.0.0.1:8008")


def _fault(exchange: dict[str, Any], fault: str, error: Exception) -> None:
    exchange |= {"fault": fault, "detail": str(error)[:200]}


def _connect(scheme: str, host: str, port: int | None, end: float) -> socket.socket:
    failed: OSError = OSError("no address")
    found = socket.getaddrinfo(host, port or {"http": 80, "https": 443}[scheme], type=socket.SOCK_STREAM)
    for family, kind, protocol, _, place in found:
        connection = socket.socket(family, kind, protocol)
        try:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            connection.connect(place)
            if scheme == "https":
                return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
            return connection
        except OSError as error:
            connection.close()
            failed = error
    raise failed


def _read(method: str, connection: socket.socket, end: float, exchange: dict[str, Any]) -> None:
    """Fill in status, headers and body as they come, so that a fault later leaves what came before it."""
    response = http.client.HTTPResponse(_Wire(connection, end), method=method)  # type: ignore[arg-type]
    response.begin()
    exchange |= {"status": response.status, "reason": response.reason, "headers": tuple(response.getheaders())}
    exchange["body"] = b""
    while piece := response.read1(BODY + 1 - len(exchange["body"])):
        exchange["body"] += piece
        if len(exchange["body"]) > BODY:
            exchange["body"] = exchange["body"][:BODY]
            _fault(exchange, "too-long", ValueError(f"over {BODY} bytes"))
            return
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
