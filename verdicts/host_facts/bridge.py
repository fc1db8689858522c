"""How a bridge is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class BridgeStatus:
    """The bridge's state now. None of it changes while a bridge runs well.

    `container` is Docker's status, "absent" or "unknown"; `ping` is "200" or what came instead; `exit_code` is that of
    the last run (None if it never ended); `problem` is why something is unknown.
    """

    container: str = "unknown"
    ready: bool = False
    ping: str = "not asked"
    last_error: str = ""
    restart_count: int = 0
    exit_code: Optional[int] = None
    exit_meaning: str = ""
    image: str = ""
    problem: str = ""
