"""The machine with Docker: where our scripts run, at program start and as resources.

A second kind of host (over SSH) is one more subclass: `read` and `_command` are all that differs.
"""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi_command import local

from scripts import bundle


class HostError(Exception):
    """A script failed at program start; its text is what the script said."""


class Host(ABC):
    """Runs the scripts of `scripts/`; see `scripts/bundle.py` for how they travel."""

    docker_host: str  # for the Docker provider

    @abstractmethod
    def read(self, script: str, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a read-only verb now, also at preview. Raises HostError."""

    @abstractmethod
    def _command(self, name: str, *, create: str, update: str, delete: str | None, **inputs: Any) -> pulumi.Resource:
        """A Command resource on this host."""

    def script(
        self,
        name: str,
        script: str,
        arguments: Mapping[str, Any],
        *,
        create: str,
        update: str | None = None,
        delete: str | None = None,
        triggers: list[Any] | None = None,
        shown: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostScript:
        """A resource whose create, update (default: create) and delete run a verb of `script` with `arguments`.

        The arguments may hold outputs and secrets. `shown`: what the script tells a person (stderr) appears in the
        CLI as it runs; an error's text always does. Any change of script or arguments runs the update.
        """
        known: pulumi.Output[dict[str, Any]] = pulumi.Output.all(**arguments)
        text: pulumi.Output[str] = known.apply(lambda values: bundle.pack(script, values))
        stdin: pulumi.Output[str] = pulumi.Output.secret(text)
        command = self._command(
            name,
            create=bundle.command(script, create),
            update=bundle.command(script, update or create),
            delete=bundle.command(script, delete) if delete else None,
            stdin=stdin,
            triggers=triggers,
            logging=local.Logging.STDERR if shown else local.Logging.NONE,
            opts=opts,
        )
        return HostScript(command)


class HostScript:
    """A script's Command resource and its result: the JSON object that it printed, a secret until `plain` says not."""

    def __init__(self, resource: Any) -> None:
        self.resource: pulumi.Resource = resource
        self.stdout: pulumi.Output[str] = resource.stdout

    def plain(self) -> pulumi.Output[dict[str, Any]]:
        """The result of a script that returns no secret."""
        return pulumi.Output.unsecret(self.stdout).apply(lambda text: dict(json.loads(text)) if text else {})


class LocalHost(Host):
    """This machine."""

    docker_host = "unix:///var/run/docker.sock"

    def read(self, script: str, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        done = subprocess.run(
            ["python3", "-c", bundle.LAUNCH, verb],
            input=bundle.pack(script, arguments),
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise HostError(done.stderr.strip() or f"{script} {verb}: exit code {done.returncode}")
        return dict(json.loads(done.stdout))

    def _command(self, name: str, *, create: str, update: str, delete: str | None, **inputs: Any) -> pulumi.Resource:
        return local.Command(
            name, create=create, update=update, delete=delete, add_previous_output_in_env=False, dir="/", **inputs
        )
