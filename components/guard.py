"""Habits of Pulumi's SDK (3.259.0) that an operator must not meet."""

from __future__ import annotations

import signal
from typing import Any

import pulumi

_log_error = pulumi.log.error


def end_quietly() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT, and Python would put a traceback of ours behind
    the error that counts; with `--continue-on-error` the SDK ends the program with an exception of its own, and shows
    its traceback. And it writes what a component registers as outputs, secrets in plain text, into the engine's debug
    log (runtime/resource.py): `pulumi up -v=3` would show every token.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.error = _say_error
    pulumi.log.debug = _say_nothing


def _say_error(
    msg: str,
    resource: pulumi.Resource | None = None,
    stream_id: int | None = None,
    ephemeral: bool | None = None,
) -> None:
    if "ResourceRegistrationFailed: " in msg:
        msg = "a step failed, and what depends on it was left out: its own error says why. All else went on."
    _log_error(msg, resource, stream_id, ephemeral)


def _say_nothing(*_: Any, **__: Any) -> None:
    pass
