"""How this program behaves as a process of Pulumi's: habits of the SDK that an operator must not meet."""

from __future__ import annotations

import gc
import signal
from typing import Any

import pulumi
from pulumi.runtime import resource
from pulumi.runtime.proto import source_pb2


def prepare_process() -> None:
    """Call it before anything is registered.

    When a step fails, the language host ends the program with SIGINT; Python would put a traceback of ours after the
    error that counts. And the SDK writes what it registers as outputs, secrets in plain text, into the engine's debug
    log (pulumi 3.259.0, runtime/resource.py, register_resource_outputs): `pulumi up -v=3` would show every token. It
    also keeps a stack trace with each resource, through asyncio and the language host: a kilobyte that says nothing of
    the plan, and is written with the whole state at each step. Its futures and outputs all live to the end: to look for
    garbage among them is a quarter of what a program with twenty bridges computes, and finds none.
    """
    gc.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    pulumi.log.debug = _nothing
    resource._get_stack_trace = source_pb2.StackTrace


def _nothing(*_: Any, **__: Any) -> None:
    """Says nothing."""
