"""Do events arrive? A ping shows that Synapse reaches the bridge, and is sent by the process that is asked; events come
from the one that pushes to appservices, which may be a worker with registrations of before.

The sender of the registration for double puppeting, which is nobody's account and no user of the bridge's, invites the
bot into a room and sees what the bridge does about it: it has the bot refuse, since its config lets that sender do
nothing, or join (mautrix-go: bridgev2/queue.go, matrixinvite.go). Both then leave the room and forget it, and no person
has seen it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, TypeVar
from urllib.parse import quote

from host_programs.common import ScriptError, Together, Turn, say
from host_programs.synapse.exchange import Request, ask
from verdicts.answers import Exchange, summarize_answer

API = "/_matrix/client/v3"
LIMIT = 10.0  # seconds for one request
SLOWER = 2.0  # each pause is longer than the one before
GATHER = 0.01  # seconds for each bridge that is proven, between two looks at all of them
PRIVATE = {"preset": "private_chat", "creation_content": {"m.federate": False}}

R = TypeVar("R")


class Room:
    """Context manager: the path of a room of the sender's, which all that are proven at a time share: to make one is
    most of Synapse's work. The last of them leaves it. Those who wait for one that cannot be made do not try again."""

    def __init__(self, url: str, as_token: str) -> None:
        self._url, self._token = url, as_token
        self._turn, self._users, self._path, self._looked = Turn(), 0, "", 0.0
        self._memberships, self._invitations = Together(self._members), Together(self._invite)

    def __enter__(self) -> str:
        with self._turn:
            if not self._users:
                request = Request("POST", f"{API}/createRoom", self._token, PRIVATE)
                room = _asked(self._url, request, lambda made: quote(made["room_id"], safe=""))
                self._path = f"{API}/rooms/{room}"
            self._users += 1
        return self._path

    def invite(self, user: str) -> None:
        """ScriptError if Synapse does not let the sender."""
        if why := self._invitations(user)[user]:
            raise ScriptError(why)

    def _invite(self, users: Sequence[str]) -> dict[str, str]:
        """Why each was not, "" if it was. One after the other: events that a room gets at the same time fork its
        history, which Synapse then has to merge (twenty proofs take a tenth longer)."""
        why = dict.fromkeys(users, "")
        for user in users:
            request = Request("POST", f"{self._path}/invite", self._token, {"user_id": user})
            exchange = ask("delivery", self._url, request, LIMIT)
            if exchange.fault:  # what does not answer is not asked again for each of them
                raise ScriptError(_unseen(request, exchange))
            why[user] = "" if exchange.status == 200 else _unseen(request, exchange)
        return why

    def membership(self, user: str) -> str:
        """What that user, who was invited, is there: one whom Synapse does not show yet has done nothing about it.
        ScriptError if Synapse does not say."""
        return self._memberships(user).get(user, "invite")

    def _members(self, _: Sequence[str]) -> dict[str, str]:
        """Of all: one answer is for all who wait, and the more there are, the fewer are asked for."""
        time.sleep(max(self._looked + GATHER * self._users - time.monotonic(), 0))
        self._looked = time.monotonic()

        def memberships(answer: Mapping[str, Any]) -> dict[str, str]:
            return {each["state_key"]: each["content"]["membership"] for each in answer["chunk"]}

        return _asked(self._url, Request("GET", f"{self._path}/members", self._token), memberships)

    def __exit__(self, *_: object) -> None:
        with self._turn:  # nobody fails to make a room while one is in use
            self._users -= 1
            if not self._users:
                self.take_out(self._token, "leave", "forget")

    def take_out(self, as_token: str, *steps: str) -> None:
        """Those `steps` (leave, forget) of whom the token is for."""
        for step in steps:
            done = ask(step, self._url, Request("POST", f"{self._path}/{step}", as_token, {}), LIMIT)
            if done.status != 200:
                say(f"note: the room of the proof, {self._path}: {step}: {summarize_answer(done)}")


def prove(room: Room, bot: str, as_token: str, deadline: float, pause: float) -> Optional[float]:
    """Seconds from the invitation until the bridge, whose `as_token` it is, has acted on it; None if it has not by
    `deadline` (of time.monotonic). ScriptError if Synapse does not let the room's sender make it, invite or look at
    it."""
    with room:
        begun, there = time.monotonic(), "invite"
        room.invite(bot)
        try:
            while True:
                there = room.membership(bot)
                if there != "invite":
                    return time.monotonic() - begun
                if time.monotonic() + pause >= deadline:
                    return None
                time.sleep(pause)
                pause *= SLOWER
        finally:
            as_bot = f"?user_id={quote(bot, safe='')}"
            left = () if there == "leave" else (f"leave{as_bot}",)
            room.take_out(as_token, *left, f"forget{as_bot}")


def _asked(url: str, request: Request, read: Callable[[Mapping[str, Any]], R]) -> R:
    """What is `read` in the answer. ScriptError if it is not there, or the answer is none."""
    exchange = ask("delivery", url, request, LIMIT)
    if exchange.status == 200:
        with contextlib.suppress(KeyError, TypeError):
            return read(exchange.json() or {})
    raise ScriptError(_unseen(request, exchange))


def _unseen(request: Request, exchange: Exchange) -> str:
    return f"whether events arrive could not be seen: {request.method} {request.target}: {summarize_answer(exchange)}"
