"""One HTTP request, limited in time and size whatever the server does.

http.client's timeout limits each read, so a server that sends a byte a second never exceeds it: here a timer ends the
connection. The request follows no redirect and uses no proxy of the environment: only the named server gets the token.
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
from host_programs.messages import ScriptError
from verdicts.answers import Exchange

MEDIA_CONFIG = "/_matrix/media/v3/config"  # of whoever serves the media repository; 401 without a token
LONGEST_BODY = 64 * 1024  # bytes of an answer that are read, and kept as evidence; Synapse's answers have under 1 KiB


@dataclass(frozen=True)
class Request:
    """One request. `target`: path and query from the server's root; `token`: for the header; `body`: JSON."""

    method: str
    target: str
    token: Optional[str] = field(default=None, repr=False)
    body: Optional[Mapping[str, Any]] = None


def ping_request(appservice_id: str, as_token: str) -> Request:
    """The request that has Synapse ping the appservice at the bridge's port. A success also says that token and id
    match."""
    return Request("POST", f"/_matrix/client/v1/appservice/{quote(appservice_id, safe='')}/ping", as_token, {})


def send_request(step: str, base: str, request: Request, seconds: float, secrets: Sequence[str] = ()) -> Exchange:
    """Send the request to the server at `base`; the answer as far as it came, without any of `secrets`.

    `seconds` limits the whole exchange, with connecting (to each address of the name) and reading. At most LONGEST_BODY
    bytes of the body are read. Nothing that the server does raises. ScriptError if `base` is no http(s) URL, or if the
    token fits into no header.
    """
    url, token = parse_url(base), request.token
    if token is not None and (not token or not token.isascii() or not token.isprintable() or " " in token):
        raise ScriptError(f"{step}: the token holds characters that no token has; make new ones (tokenGeneration)")
    data = b"" if request.body is None else json.dumps(request.body).encode()
    headers = {"Host": url.netloc, **({"Authorization": "Bearer …"} if token else {})}
    headers |= {"Accept": "application/json", "Connection": "close"}
    if request.body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    exchange: dict[str, Any] = {"step": step, "method": request.method, "url": base.rstrip("/") + request.target}
    exchange |= {"sent_body": data.decode(), "sent_headers": tuple(headers.items())}
    connection, late = make_connection(url, seconds), threading.Event()
    sockets: list[socket.socket] = []  # http.client forgets its own once a body without a length begins
    timer = threading.Timer(seconds, _end_connection, (sockets, late))
    timer.daemon = True
    timer.start()
    try:
        connection.connect()
        sockets.append(connection.sock)
        connection.putrequest(
            request.method, url.path.rstrip("/") + request.target, skip_host=True, skip_accept_encoding=True
        )
        for key, value in {**headers, **({"Authorization": f"Bearer {token}"} if token else {})}.items():
            connection.putheader(key, value)
        connection.endheaders(data or None)
        _read_response(connection.getresponse(), exchange)
        if late.is_set():  # the end of a body without a length, as it seems
            raise TimeoutError(f"over {seconds:g} s")
    except Exception as error:
        _note_fault(exchange, "timeout" if late.is_set() else _classify_error(error), error)
    finally:
        timer.cancel()
        connection.close()
    return _mask_exchange(Exchange(**exchange), [*([token] if token else []), *secrets])


def make_connection(url: SplitResult, seconds: float) -> http.client.HTTPConnection:
    """A connection that follows no redirect and asks no proxy; `seconds` limits each single wait."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.hostname or "", url.port, timeout=seconds)


def _end_connection(sockets: Sequence[socket.socket], late: threading.Event) -> None:
    """Shut the sockets down: whoever waits for the server finds the connection closed."""
    late.set()
    for connected in sockets:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _classify_error(error: Exception) -> str:
    """The key of verdicts.answers.FAULTS. Any other error is a defect of ours, and is raised."""
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


def _mask_exchange(exchange: Exchange, secrets: Sequence[str]) -> Exchange:
    """The exchange without the secrets: a server may send a token back, as in a Location header."""
    body = exchange.body.decode(errors="surrogateescape")
    return replace(
        exchange,
        reason=mask(exchange.reason, secrets),
        headers=tuple((mask(key, secrets), mask(value, secrets)) for key, value in exchange.headers),
        body=mask(body, secrets).encode(errors="surrogateescape"),
        detail=mask(exchange.detail, secrets),
    )


def parse_url(base: str) -> SplitResult:
    """The parts of a base URL. ScriptError if it is none."""
    try:
        url = urlsplit(base)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
        if usable and not (url.query or url.fragment or url.username):
            return url
    except ValueError:
        pass  # a port that is no number, a bracket that is not closed
    raise ScriptError(f"synapseUrl {base!r}: should be a URL such as http://127.0.0.1:8008")


def _note_fault(exchange: dict[str, Any], fault: str, error: Exception) -> None:
    exchange |= {"fault": fault, "detail": str(error)[:200]}


def _read_response(response: http.client.HTTPResponse, exchange: dict[str, Any]) -> None:
    """Fill in status, headers and body as they come, so that a fault later leaves what came before it."""
    exchange |= {"status": response.status, "reason": response.reason, "headers": tuple(response.getheaders())}
    exchange["body"] = b""
    while piece := response.read1(LONGEST_BODY + 1 - len(exchange["body"])):
        exchange["body"] += piece
        if len(exchange["body"]) > LONGEST_BODY:
            exchange["body"] = exchange["body"][:LONGEST_BODY]
            _note_fault(exchange, "too-long", ValueError(f"over {LONGEST_BODY} bytes"))
            return
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
