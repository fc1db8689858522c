"""A traceback of ours behind the error that counts; a secret in the engine's debug log."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from unittest.mock import Mock, patch

import pulumi
import pytest
from pulumi.runtime.stack import ResourceRegistrationFailed, wait_for_rpcs

from components import guard


@pytest.fixture
def said() -> Iterator[Mock]:
    """What reaches the engine as an error, once the guard is in place; it is taken away again."""
    before = signal.getsignal(signal.SIGINT)
    with (
        patch.object(pulumi.log, "error", pulumi.log.error),
        patch.object(pulumi.log, "debug", pulumi.log.debug),
        patch.object(guard, "_log_error") as error,
        patch.object(pulumi, "run") as run,
        patch("pulumi.runtime.register_stack_transformation") as transform,
    ):
        guard.guard_program()
        error.run, error.transform = run, transform
        yield error
    signal.signal(signal.SIGINT, before)


def test_a_failed_step_leaves_one_line_of_the_program_s_end_and_no_traceback(said: Mock) -> None:
    """The text is the one that the SDK's runner makes of the exception: it ends with the class's name and a colon."""
    failed = f"Program failed with an unhandled exception:\nTraceback …\n{ResourceRegistrationFailed.__module__}."
    pulumi.log.error(f"{failed}{ResourceRegistrationFailed.__name__}: resource x failed to register")
    text = said.call_args.args[0]
    assert text.startswith("a step failed") and len(text.splitlines()) == 1


def test_every_other_error_is_said_as_it_is(said: Mock) -> None:
    pulumi.log.error("the host is not ready", None, ephemeral=False)
    said.assert_called_once_with("the host is not ready", None, None, False)


def test_what_a_component_registers_is_in_no_debug_log(said: Mock) -> None:
    """pulumi/runtime/resource.py writes it there in plain text."""
    with patch.object(pulumi.log, "_log") as log:
        pulumi.log.debug("resource registration successful: props=token")
    log.assert_not_called()


def test_an_interrupt_ends_the_program_without_a_traceback(said: Mock) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_the_program_waits_until_every_resource_is_registered_or_failed() -> None:
    """The SDK waits for thousands of outputs at a time, anew after each. An end before the last one, or at the first
    that failed, would leave bridges out that could go live with --continue-on-error."""

    async def end() -> None:
        loop = asyncio.get_running_loop()
        first, failed, last = (loop.create_future() for _ in range(3))
        resources = [Mock(urn=pulumi.Output.from_input(future)) for future in (first, failed, last)]
        program = asyncio.ensure_future(guard.wait_for_registrations(resources))
        first.set_result("urn")
        failed.set_exception(ResourceRegistrationFailed("no"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not program.done()
        last.set_result("urn")
        await asyncio.wait_for(program, 10)
        await wait_for_rpcs()  # other tests' programs would find these outputs

    loop = asyncio.new_event_loop()
    loop.run_until_complete(end())
    loop.close()


def test_every_resource_is_waited_for(said: Mock) -> None:
    (note,) = said.transform.call_args.args
    note(Mock())
    (program,) = said.run.call_args.args
    with patch.object(guard, "wait_for_registrations", Mock()) as wait:
        program()
    assert len(wait.call_args.args[0]) == 1
