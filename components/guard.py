"""Habits of Pulumi's SDK (3.259.0) that an operator must not meet."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pulumi

_log_error = pulumi.log.error


def guard_program() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT, and Python would put a traceback of ours behind
    the error that counts; with `--continue-on-error` the SDK ends the program with an exception of its own, and shows
    its traceback. And it writes what a component registers as outputs, secrets in plain text, into the engine's debug
    log (runtime/resource.py): `pulumi up -v=3` would show every token.

    At the program's end the SDK awaits each registration in turn, but only those that have begun. For the others it
    waits for all outputs together, again after each one (runtime/stack.py, wait_for_rpcs): with 20 bridges that took
    three quarters of the program's time. So the program ends once its registrations have begun.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.error = _say_error
    pulumi.log.debug = _say_nothing
    pulumi.run(begin_registrations)


async def begin_registrations() -> None:
    """The program's end, for `pulumi.run`: what was registered is a task, and begins when the loop runs once."""
    await asyncio.sleep(0)


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
