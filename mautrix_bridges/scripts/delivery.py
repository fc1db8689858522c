"""Do events arrive? A ping shows that Synapse reaches the bridge, and is sent by the process that is asked; events come
from the one that pushes to appservices, which may be a worker with registrations of before.

The registration's own sender, which is nobody's account and no user of the bridge's, makes a room, invites the bot and
sees what the bridge does about it: it has the bot refuse, since its config lets that sender do nothing, or join
(mautrix-go: bridgev2/queue.go, matrixinvite.go). Both then leave the room and forget it, and no person has seen it.
"""

from __future__ import annotations

import time
from typing import Optional
from urllib.parse import quote

from mautrix_bridges.scripts.common import ScriptError, say
from mautrix_bridges.scripts.exchange import Request, ask
from mautrix_bridges.verdicts.auth import came

API = "/_matrix/client/v3"
LIMIT = 10.0  # seconds for one request
SLOWER = 1.5  # each pause is longer than the one before


def prove(url: str, bot: str, as_token: str, deadline: float, pause: float) -> Optional[float]:
    """Seconds from the invitation until the bridge has acted on it; None if it has not by `deadline` (of
    time.monotonic). ScriptError if Synapse does not let the sender make the room or look at it."""
    room = _asked(
        url,
        Request(
            "POST", f"{API}/createRoom", as_token,
            {"preset": "private_chat", "invite": [bot], "creation_content": {"m.federate": False}},
        ),
        "room_id",
    )  # fmt: skip
    begun, there = time.monotonic(), "invite"
    where = f"{API}/rooms/{quote(room, safe='')}"
    try:
        while True:
            member = Request("GET", f"{where}/state/m.room.member/{quote(bot, safe='')}", as_token)
            there = _asked(url, member, "membership")
            if there != "invite":
                return time.monotonic() - begun
            if time.monotonic() + pause >= deadline:
                return None
            time.sleep(pause)
            pause *= SLOWER
    finally:
        own = f"?user_id={quote(bot, safe='')}"
        left = () if there == "leave" else (f"leave{own}",)
        for step in (*left, f"forget{own}", "leave", "forget"):  # the bot first: the bridge then forgets it, too
            done = ask(step, url, Request("POST", f"{where}/{step}", as_token, {}), LIMIT)
            if done.status != 200:
                say(f"note: the room of the proof, {room}: {step}: {came(done)}")


def _asked(url: str, request: Request, key: str) -> str:
    exchange = ask("delivery", url, request, LIMIT)
    value = (exchange.json() or {}).get(key)
    if exchange.status != 200 or not isinstance(value, str):
        raise ScriptError(
            f"whether events arrive could not be seen: {request.method} {request.target}: {came(exchange)}"
        )
    return value
