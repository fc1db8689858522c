"""Do events arrive? A ping shows that Synapse reaches the bridge, and is sent by the process that is asked; events come
from the one that pushes to appservices, which may be a worker with registrations of before.

The sender of the registration for double puppeting, which is nobody's account and no user of the bridge's, invites the
bot into a room and sees what the bridge does about it: it has the bot refuse, since its config lets that sender do
nothing, or join (mautrix-go: bridgev2/queue.go, matrixinvite.go). Both then leave the room and forget it, and no person
has seen it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import quote

from mautrix_bridges.scripts.common import ScriptError, Turn, say
from mautrix_bridges.scripts.exchange import Request, ask
from mautrix_bridges.verdicts.auth import came

API = "/_matrix/client/v3"
LIMIT = 10.0  # seconds for one request
SLOWER = 2.0  # each pause is longer than the one before
PRIVATE = {"preset": "private_chat", "creation_content": {"m.federate": False}}


class Room:
    """Context manager: the path of a room of the sender's, which all that are proven at a time share: to make one is
    most of Synapse's work. The last of them leaves it. Those who wait for one that cannot be made do not try again."""

    def __init__(self, url: str, as_token: str) -> None:
        self._url, self._token = url, as_token
        self._turn, self._users, self._path = Turn(), 0, ""

    def __enter__(self) -> str:
        with self._turn:
            if not self._users:
                request = Request("POST", f"{API}/createRoom", self._token, PRIVATE)
                self._path = f"{API}/rooms/{quote(_asked(self._url, request, 'room_id'), safe='')}"
            self._users += 1
        return self._path

    def __exit__(self, *_: object) -> None:
        with self._turn:  # nobody fails to make a room while one is in use
            self._users -= 1
            if not self._users:
                _leave(self._url, self._path, self._token, "leave", "forget")


def prove(room: Room, url: str, bot: str, as_tokens: tuple[str, str], deadline: float, pause: float) -> Optional[float]:
    """Seconds from the invitation until the bridge has acted on it; None if it has not by `deadline` (of
    time.monotonic). `as_tokens`: the bridge's, and that of the room's sender. ScriptError if Synapse does not let the
    sender make the room, invite or look at it."""
    own, sender = as_tokens
    with room as where:
        begun, there = time.monotonic(), "invite"
        _asked(url, Request("POST", f"{where}/invite", sender, {"user_id": bot}))
        try:
            while True:
                member = Request("GET", f"{where}/state/m.room.member/{quote(bot, safe='')}", sender)
                there = _asked(url, member, "membership")
                if there != "invite":
                    return time.monotonic() - begun
                if time.monotonic() + pause >= deadline:
                    return None
                time.sleep(pause)
                pause *= SLOWER
        finally:
            as_bot = f"?user_id={quote(bot, safe='')}"
            left = () if there == "leave" else (f"leave{as_bot}",)
            _leave(url, where, own, *left, f"forget{as_bot}")


def _leave(url: str, where: str, token: str, *steps: str) -> None:
    for step in steps:
        done = ask(step, url, Request("POST", f"{where}/{step}", token, {}), LIMIT)
        if done.status != 200:
            say(f"note: the room of the proof, {where}: {step}: {came(done)}")


def _asked(url: str, request: Request, key: str = "") -> str:
    """The value of that key; of the answer alone, if none is named."""
    exchange = ask("delivery", url, request, LIMIT)
    answer: Mapping[str, Any] = exchange.json() or {}
    value = answer.get(key, "")
    if exchange.status != 200 or not isinstance(value, str) or bool(key) != bool(value):
        raise ScriptError(
            f"whether events arrive could not be seen: {request.method} {request.target}: {came(exchange)}"
        )
    return value
