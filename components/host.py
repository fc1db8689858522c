"""The machine with Docker: where our scripts run, at program start and as resources."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import pulumi
from pulumi_command import local

from scripts import bundle
from scripts.wire import plain, result_of, typed

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")

# Everything of a Command but its triggers: a Command runs again whenever an input changes, so an edit of a script
# would otherwise turn every secret without a word.
MADE_ONCE = ["create", "update", "delete", "stdin", "environment", "dir", "interpreter", "logging"]
MADE_ONCE += ["addPreviousOutputInEnv"]


class HostError(Exception):
    """A script failed at program start; its text is what the script said."""


def later(value: pulumi.Output[T]) -> T:
    """An output where a script's arguments want a value: `Host.script` resolves it before the script is sent. To mypy
    it is the value, so the arguments stay typed."""
    return cast(T, value)


class HostScript(Generic[R]):
    """A script's Command resource, and the dataclass that its verb returned. `secret` is as secret as the Command's
    output; `result` is for a verb that returns no secret."""

    def __init__(self, resource: local.Command, kind: type[R]) -> None:
        self.resource = resource
        self._kind = kind

    @property
    def secret(self) -> pulumi.Output[R]:
        text: pulumi.Output[str] = pulumi.Output.secret(self.resource.stdout)
        return text.apply(self._read)

    @property
    def result(self) -> pulumi.Output[R]:
        return pulumi.Output.unsecret(self.resource.stdout).apply(self._read)

    def _read(self, text: str) -> R:
        return typed(self._kind, json.loads(text))


class LocalHost:
    """This machine. Runs the scripts of `scripts/`; scripts/bundle.py says how they travel. Another `reapply` number
    runs every step again."""

    def __init__(self, reapply: int = 0, docker_host: str = "") -> None:
        """`docker_host`: as `bundle.pack`."""
        self._reapply, self._docker_host = reapply, docker_host

    def read(self, verb: Callable[[A], R], arguments: A) -> R:
        """Run a read-only verb now, also at preview. Raises HostError."""
        done = subprocess.run(
            [sys.executable, "-c", bundle.LAUNCH, verb.__name__],
            input=bundle.pack(verb.__module__, arguments, docker_host=self._docker_host),
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise HostError(done.stderr.strip() or f"{verb.__module__} {verb.__name__}: exit code {done.returncode}")
        return typed(result_of(verb), json.loads(done.stdout))

    def script(
        self,
        name: str,
        arguments: A,
        *,
        create: Callable[[A], R],
        update: Callable[[A], R] | None = None,
        delete: Callable[[A], object] | None = None,
        triggers: list[Any] | None = None,
        shown: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostScript[R]:
        """A resource whose create, update (default: create) and delete run verbs of one script with `arguments`.

        The arguments may hold outputs (`later`) and secrets. `shown`: what the script tells a person (stderr) appears
        in the CLI as it runs; an error's text always does. Any change of script or arguments runs the update.
        """
        script = create.__module__
        known: pulumi.Output[Any] = pulumi.Output.from_input(plain(arguments))
        text: pulumi.Output[str] = known.apply(
            lambda values: bundle.pack(script, values, self._reapply, self._docker_host)
        )
        stdin: pulumi.Output[str] = pulumi.Output.secret(text)
        command = local.Command(
            name,
            create=bundle.command(script, create.__name__),
            update=bundle.command(script, (update or create).__name__),
            delete=bundle.command(script, delete.__name__) if delete else None,
            stdin=stdin,
            triggers=triggers,
            logging=local.Logging.STDERR if shown else local.Logging.NONE,
            add_previous_output_in_env=False,
            dir="/",
            opts=opts,
        )
        return HostScript(command, result_of(create))

    def made_once(
        self, name: str, arguments: A, create: Callable[[A], R], triggers: list[Any], parent: pulumi.Resource
    ) -> HostScript[R]:
        """A resource whose result is a secret, made again only when a trigger changes."""
        secret = ["stdout", "stderr"]
        opts = pulumi.ResourceOptions(parent=parent, ignore_changes=MADE_ONCE, additional_secret_outputs=secret)
        return self.script(name, arguments, create=create, triggers=triggers, opts=opts)
