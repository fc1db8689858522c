"""Proves that events arrive at the bridge. A ping does not: the process of Synapse that is asked sends it. Events come
from the process that pushes to appservices, which may be a worker that still has the old registrations.

The sender of the double-puppet registration invites the bot into a room. It is nobody's account, and the bridge's
config lets it do nothing, so the bot refuses. Where another config lets it in, the bot joins and says hello
(mautrix-go: bridgev2/queue.go, matrixinvite.go). To join alone proves nothing: with auto_accept_invites Synapse joins
the bot itself. The refusal, or the hello, came to Synapse from the bridge: so the other direction is proven, too. Both
then leave the room and forget it. No person has seen it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar
from urllib.parse import quote

from host_programs.messages import ScriptError, say
from host_programs.synapse.exchange import Request, send_request
from verdicts.answers import summarize_answer

API = "/_matrix/client/v3"
LIMIT = 10.0  # seconds for one request
SLOWER = 1.5  # each pause is longer than the one before
LONGEST_PAUSE = 2.0  # seconds
PRIVATE = {"preset": "private_chat", "creation_content": {"m.federate": False}}

R = TypeVar("R")


@dataclass(frozen=True)
class Delivery:
    """One proof. `url` is Synapse's client-server API; `sender_token` is the double puppet's as_token; `bot` is the
    bridge's, a user id, and `as_token` the bridge's."""

    url: str
    sender_token: str = field(repr=False)
    bot: str
    as_token: str = field(repr=False)


def prove_delivery(delivery: Delivery, ends_before: Callable[[float], bool], pause: float) -> Optional[float]:
    """Seconds from the invitation until the bridge has acted on it; None if it has not when the wait `ends_before` the
    next look (a moment of time.monotonic). `pause`: seconds between the first two looks. ScriptError if Synapse does
    not let the sender make a room, invite or look at its members."""
    creation = Request("POST", f"{API}/createRoom", delivery.sender_token, PRIVATE)
    room = f"{API}/rooms/{_read_answer(delivery.url, creation, lambda made: quote(made['room_id'], safe=''))}"
    try:
        return _invite_bot(delivery, room, ends_before, pause)
    finally:
        _take_out(delivery.url, room, delivery.sender_token, "leave", "forget")


def _invite_bot(delivery: Delivery, room: str, ends_before: Callable[[float], bool], pause: float) -> Optional[float]:
    invited_at = time.monotonic()
    invitation = Request("POST", f"{room}/invite", delivery.sender_token, {"user_id": delivery.bot})
    _read_answer(delivery.url, invitation, lambda _: None)
    membership = "invite"
    try:
        while True:
            membership = _read_membership(delivery, room)
            if membership == "leave" or (membership == "join" and _has_said_hello(delivery, room)):
                return time.monotonic() - invited_at
            if ends_before(time.monotonic() + pause):
                return None
            time.sleep(pause)
            pause = min(pause * SLOWER, LONGEST_PAUSE)
    finally:
        as_bot = f"?user_id={quote(delivery.bot, safe='')}"
        leaving = () if membership == "leave" else (f"leave{as_bot}",)
        _take_out(delivery.url, room, delivery.as_token, *leaving, f"forget{as_bot}")


def _read_membership(delivery: Delivery, room: str) -> str:
    """The bot's. One that Synapse does not show yet has done nothing about its invitation."""

    def of_bot(answer: Mapping[str, Any]) -> str:
        memberships = {event["state_key"]: event["content"]["membership"] for event in answer["chunk"]}
        return str(memberships.get(delivery.bot, "invite"))

    return _read_answer(delivery.url, Request("GET", f"{room}/members", delivery.sender_token), of_bot)


def _has_said_hello(delivery: Delivery, room: str) -> bool:
    """Whether the bot has written into the room."""

    def of_bot(answer: Mapping[str, Any]) -> bool:
        written = (event for event in answer["chunk"] if event["type"] in ("m.room.message", "m.room.encrypted"))
        return any(event["sender"] == delivery.bot for event in written)

    return _read_answer(delivery.url, Request("GET", f"{room}/messages?dir=b", delivery.sender_token), of_bot)


def _take_out(url: str, room: str, as_token: str, *steps: str) -> None:
    """Those `steps` (leave, forget) of whom the token is for."""
    for step in steps:
        exchange = send_request(step, url, Request("POST", f"{room}/{step}", as_token, {}), LIMIT)
        if exchange.status != 200:
            say(f"note: the room of the proof, {room}: {step}: {summarize_answer(exchange)}")


def _read_answer(url: str, request: Request, read: Callable[[Mapping[str, Any]], R]) -> R:
    """What is `read` in the answer. ScriptError if it is not there, or the answer is none."""
    exchange = send_request("delivery", url, request, LIMIT)
    if exchange.status == 200:
        with contextlib.suppress(KeyError, TypeError):
            return read(exchange.json() or {})
    raise ScriptError(
        f"whether events arrive could not be seen: {request.method} {request.target}: {summarize_answer(exchange)}"
    )
