"""Two habits of Pulumi's SDK that an operator must not meet."""

from __future__ import annotations

import signal
from typing import Any

import pulumi


def end_quietly() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT: Python would put a traceback of ours behind the
    error that counts. And the SDK writes what a component registers as outputs, secrets in plain text, into the
    engine's debug log (pulumi 3.259.0, runtime/resource.py): `pulumi up -v=3` would show every token.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.debug = _say_nothing


def _say_nothing(*_: Any, **__: Any) -> None:
    pass
