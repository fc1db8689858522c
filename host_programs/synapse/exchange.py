"""One HTTP request, limited in time and size whatever the server does. It follows no redirect and uses no proxy of the
environment: only the named server gets the token."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import SplitResult, quote, urlsplit

from documents.masking import mask
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
    """Send the request to the server at `base`; the answer as far as it came in `seconds`, without any of `secrets`.

    At most LONGEST_BODY bytes of the body are read. Nothing that the server does raises.
    """
    url, token = urlsplit(base), request.token
    body = "" if request.body is None else json.dumps(request.body)
    headers = {"Host": url.netloc, **({"Authorization": f"Bearer {token}"} if token else {})}
    headers |= {"Accept": "application/json", "Connection": "close"}
    headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
    answer: dict[str, Any] = {}
    errors: list[Exception] = []

    def talk() -> None:
        try:
            _talk(url, request, headers, body, seconds, answer)
        except Exception as error:
            errors.append(error)

    # http.client limits each read alone: a server that sends a byte a second would never exceed that.
    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        errors.append(TimeoutError(f"over {seconds:g} s"))
    if errors:
        answer = {**answer, "fault": _classify_error(errors[0]), "detail": str(errors[0])[:200]}
    shown = {**headers, **({"Authorization": "Bearer …"} if token else {})}
    exchange = Exchange(step, request.method, base + request.target, tuple(shown.items()), body, **answer)
    return _mask_exchange(exchange, [*([token] if token else []), *secrets])


class _AnswerTooLong(Exception):
    """The answer is longer than LONGEST_BODY."""


def _talk(
    url: SplitResult,
    request: Request,
    headers: Mapping[str, str],
    body: str,
    seconds: float,
    answer: dict[str, Any],
) -> None:
    """Fill in status, headers and body as they come, so that a fault later leaves what came before it."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=seconds + 1)  # send_request tells of the timeout
    try:
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for key, value in headers.items():
            connection.putheader(key, value)
        connection.endheaders(body.encode() or None)
        response = connection.getresponse()
        answer |= {"status": response.status, "reason": response.reason, "headers": tuple(response.getheaders())}
        answer["body"] = b""
        while piece := response.read1(LONGEST_BODY + 1 - len(answer["body"])):
            if len(answer["body"] + piece) > LONGEST_BODY:
                answer["body"] = (answer["body"] + piece)[:LONGEST_BODY]
                raise _AnswerTooLong(f"over {LONGEST_BODY} bytes")
            answer["body"] += piece
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
    finally:
        connection.close()


def _classify_error(error: Exception) -> str:
    """The key of verdicts.answers.FAULTS. Any other error is a defect of ours, and is raised."""
    for fault, kinds in (
        ("too-long", (_AnswerTooLong,)),
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
