"""How this program behaves as a process of Pulumi's: two habits of the SDK that an operator must not meet."""

from __future__ import annotations

import signal
from typing import Any

import pulumi


def prepare_process() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT; Python would put a traceback of ours after the
    error that counts. And the SDK writes what it registers as outputs, secrets in plain text, into the engine's debug
    log (pulumi 3.259.0, runtime/resource.py, register_resource_outputs): `pulumi up -v=3` would show every token.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.debug = _nothing


def _nothing(*_: Any, **__: Any) -> None:
    """Says nothing."""
