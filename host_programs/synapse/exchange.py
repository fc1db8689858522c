"""One HTTP request with limits that hold: a time for the whole of it and a size, whatever the server does.

http.client's timeout is one for each read, so a server that sends a byte a second is never too late for it; here a
timer ends the connection. No redirect is followed, and no proxy of the environment is used: a token must go to no other
place than the one named.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import SplitResult, quote, urlsplit

from documents.masking import mask
from host_programs.common import ScriptError
from verdicts.answers import Exchange

MEDIA_CONFIG = "/_matrix/media/v3/config"  # of whoever serves the media repository; 401 without a token
BODY = 64 * 1024  # bytes of an answer that are read, and kept as evidence; Synapse's answers here have under 1 KiB


@dataclass(frozen=True)
class Request:
    """One request: path and query from the server's root, the token for its header (None: none), a JSON body or
    none."""

    method: str
    target: str
    token: Optional[str] = field(default=None, repr=False)
    body: Optional[Mapping[str, Any]] = None


def ping_request(appservice_id: str, as_token: str) -> Request:
    """Synapse's ping of the appservice: it asks the bridge's own port, and says that token and id belong together."""
    return Request("POST", f"/_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping", as_token, {})


def ask(step: str, base: str, request: Request, seconds: float, secrets: Sequence[str] = ()) -> Exchange:
    """Send the request to the server at `base` and give what came, as far as it came, without any of `secrets`.

    `seconds` is for all of it, connecting (to each address of the name) and reading included; of the body at most BODY
    bytes are taken. Nothing the server does raises. A `base` that is no http(s) URL, or a token that fits no header:
    ScriptError.
    """
    where, token = address(base), request.token
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise ScriptError(f"{step}: the token holds characters that no token has; make new ones (tokenGeneration)")
    data = b"" if request.body is None else json.dumps(request.body).encode()
    headers = {"Host": where.netloc, **({"Authorization": "Bearer …"} if token else {})}
    headers |= {"Accept": "application/json", "Connection": "close"}
    if request.body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    exchange: dict[str, Any] = {"step": step, "method": request.method, "url": base.rstrip("/") + request.target}
    exchange |= {"sent_body": data.decode(), "sent_headers": tuple(headers.items())}
    connection, late = connect(where, seconds), threading.Event()
    sockets: list[socket.socket] = []  # http.client forgets its own once a body without a length begins
    timer = threading.Timer(seconds, _end, (sockets, late))
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        sockets.append(connection.sock)
        connection.putrequest(
            request.method, where.path.rstrip("/") + request.target, skip_host=True, skip_accept_encoding=True
        )
        for key, value in {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}.items():
            connection.putheader(key, value)
        connection.endheaders(data or None)
        _read(connection.getresponse(), exchange)
        if late.is_set():  # the end of a body without a length, as it seems
            raise TimeoutError(f"over {seconds:g} s")
    except Exception as error:
        _fault(exchange, "timeout" if late.is_set() else _fault_of(error), error)
    finally:
        timer.cancel()
        connection.close()
    return _hidden(Exchange(**exchange), [*([token] if token else []), *secrets])


def connect(where: SplitResult, seconds: float) -> http.client.HTTPConnection:
    """A connection to be, which follows no redirect and asks no proxy; `seconds` for each thing that it waits for."""
    kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
    return kind(where.hostname or "", where.port, timeout=seconds)


def _end(sockets: Sequence[socket.socket], late: threading.Event) -> None:
    """Whoever waits for the server finds the connection closed."""
    late.set()
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _fault_of(error: Exception) -> str:
    """The key of verdicts.auth.FAULTS; any other error is a defect of ours and raised."""
    for fault, kinds in (
        ("refused", (ConnectionRefusedError,)),
        ("timeout", (TimeoutError,)),
        ("closed", (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError)),
        ("no-http", (http.client.HTTPException, ssl.SSLError, ValueError)),
        ("unreachable", (OSError,)),
    ):
        if isinstance(error, kinds):
            return fault
    raise error


def _hidden(exchange: Exchange, secrets: Sequence[str]) -> Exchange:
    """The exchange without the secrets: a server may send a token back, in a Location header for one."""
    body = exchange.body.decode(errors="surrogateescape")
    return replace(
        exchange,
        reason=mask(exchange.reason, secrets),
        headers=tuple((mask(key, secrets), mask(value, secrets)) for key, value in exchange.headers),
        body=mask(body, secrets).encode(errors="surrogateescape"),
        detail=mask(exchange.detail, secrets),
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


def _read(response: http.client.HTTPResponse, exchange: dict[str, Any]) -> None:
    """Fill in status, headers and body as they come, so that a fault later leaves what came before it."""
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
