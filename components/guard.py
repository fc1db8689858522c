"""Habits of Pulumi's SDK (3.259.0) that an operator must not meet."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any

import pulumi

_log_error = pulumi.log.error


def guard_program() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT, and Python would put a traceback of ours behind
    the error that counts; with `--continue-on-error` the SDK ends the program with an exception of its own, and shows
    its traceback. And it writes what a component registers as outputs, secrets in plain text, into the engine's debug
    log (runtime/resource.py): `pulumi up -v=3` would show every token.

    While steps run, the SDK waits for all outputs that are left together, and begins that wait anew after each one
    (runtime/stack.py, wait_for_rpcs): with 20 bridges, three quarters of the program's time. So the program itself
    waits until every resource is registered or has failed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.error = _say_error
    pulumi.log.debug = _say_nothing
    resources: list[pulumi.Resource] = []

    def note_resource(args: pulumi.ResourceTransformationArgs) -> None:
        resources.append(args.resource)

    pulumi.runtime.register_stack_transformation(note_resource)
    pulumi.run(lambda: wait_for_registrations(resources))


async def wait_for_registrations(resources: Sequence[pulumi.Resource]) -> None:
    """Returns when each of them is registered, or has failed."""
    ended = asyncio.Event()
    urns = [resource.urn.recover(lambda _: "") for resource in resources]
    pulumi.Output.all(*urns).apply(lambda _: ended.set())
    await ended.wait()


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
