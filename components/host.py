"""The machine with Docker: its two providers, the program file on it, and the steps that run there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pulumi
import pulumi_docker as docker
import pulumi_postgresql as postgresql
from pulumi_command import local

from components.preflight import ObservedHost
from documents.places import Deployment
from host_programs.cleanup import stack
from host_programs.files.programs import Programs, install_programs
from host_programs.status.deployed import record_deployment, without_secrets
from host_programs.verbs import words_of
from host_programs.wire import from_json, result_of
from workstation.machine import Machine

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


class HostCommand(Generic[R]):
    """A step on the host: its Command `resource`, and the dataclass that its verb returned.

    `result` is for a verb that returns no secret; `secret` is as secret as the Command's output. Both are unknown at
    preview if the step will run. `then` is for what must come after the step and needs nothing that it said.
    """

    def __init__(self, resource: local.Command, kind: type[R]) -> None:
        self.resource = resource
        self._kind = kind

    @property
    def result(self) -> pulumi.Output[R]:
        return pulumi.Output.unsecret(self.resource.stdout).apply(self._read)

    @property
    def secret(self) -> pulumi.Output[R]:
        text: pulumi.Output[str] = pulumi.Output.secret(self.resource.stdout)
        return text.apply(self._read)

    def then(self, value: T) -> pulumi.Output[T]:
        """The value, which depends on this step and is known at preview also if the step will run: an input that is
        unknown there would show a replacement that `up` does not make."""
        return self.resource.urn.apply(lambda _: value)

    def _read(self, text: str) -> R:
        return from_json(self._kind, json.loads(text))


@dataclass
class MatrixHostArgs:
    """`machine`: how this side reaches it; `observed`: what was seen there before anything was registered; `parts`:
    whatever of the stack may be there, for the end of a destroy; another number of `reapply` runs every step again."""

    machine: Machine
    deployment: Deployment
    observed: ObservedHost
    parts: stack.StackParts
    reapply: int


class MatrixHost(pulumi.ComponentResource):
    """`mautrix:host:MatrixHost`: the machine with Docker, here or behind SSH.

    Makes: the cleanup, which removes at the end of a destroy whatever of the stack is still there, its own directory
    last; the program file in that directory; the providers `docker` and `postgres`, which connect to that machine.
    Output: `programs`, the path of the program file there. Every step depends on it.
    Errors: a directory that is somebody else's; a host that cannot be reached.
    """

    programs: pulumi.Output[str]
    docker: docker.Provider
    postgres: postgresql.Provider

    def __init__(self, name: str, args: MatrixHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:host:MatrixHost", name, None, opts)
        self._machine, self._deployment, self._reapply = args.machine, args.deployment, args.reapply
        self.observed = args.observed
        child = pulumi.ResourceOptions(parent=self)
        own, program = args.parts.directory, args.machine.program
        path = f"{own.path}/{program.name}"
        # It does nothing until a destroy, and is in the state before anything is on the host: a run that is killed
        # leaves nothing that the destroy does not know.
        cleanup = local.Command(
            f"{name}-cleanup",
            delete=args.machine.cleanup_command(own.path, path, words_of(stack.cleanup_stack)),
            interpreter=args.machine.interpreter(f"{name}-cleanup"),
            stdin=pulumi.Output.secret(self._order(f"{name}-cleanup", args.parts)),
            logging=local.Logging.STDERR,
            add_previous_output_in_env=False,
            dir="/",
            # No trigger, also if sharedDir changes: a replaced one would clean up a stack that lives.
            opts=child,
        )
        installed = local.Command(
            f"{name}-programs",
            create=args.machine.copy_command(words_of(install_programs)),
            interpreter=args.machine.interpreter(f"{name}-programs"),
            stdin=self._order(f"{name}-programs", Programs(own, path, program.sha256)),
            logging=local.Logging.STDERR,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[cleanup]),  # first in the state
        )
        self.programs = installed.urn.apply(lambda _: path)
        observed = args.observed
        self.docker = docker.Provider(
            f"{name}-docker", host=observed.docker.host, ssh_opts=[*observed.docker.ssh_opts] or None, opts=child
        )
        access = observed.postgres
        self.postgres = postgresql.Provider(
            f"{name}-postgres",
            host=access.address.host,
            port=access.address.port,
            username=access.superuser,
            password=access.password,
            database="postgres",
            sslmode=access.address.sslmode,
            sslrootcert=access.address.root_certificate or None,
            connect_timeout=15,
            superuser=False,  # it is one; so the provider does not ask for the role's password, which is not its own
            opts=child,
        )
        self.register_outputs({"programs": self.programs})

    def command(
        self,
        name: str,
        arguments: pulumi.Input[A],
        *,
        create: Callable[[A], R],
        update: Callable[[A], R] | None = None,
        delete: Callable[[A], object] | None = None,
        triggers: list[Any] | None = None,
        shown: bool = True,
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostCommand[R]:
        """A Command whose create, update (default: create) and delete run these verbs on the host.

        `arguments` are a dataclass; they travel on standard input, as a secret. Any change of them runs the update.
        `shown`: what the step tells a person (stderr) appears in the CLI; an error's text always does. No `stdout` is
        shown: it may hold a secret.
        """
        known: pulumi.Output[A] = pulumi.Output.from_input(arguments)
        stdin: pulumi.Output[str] = pulumi.Output.secret(known.apply(lambda told: self._order(name, told)))
        command = local.Command(
            name,
            create=self._text(create),
            update=self._text(update) if update else None,
            delete=self._text(delete) if delete else None,
            interpreter=self._machine.interpreter(name),
            stdin=stdin,
            triggers=triggers,
            logging=local.Logging.STDERR if shown else local.Logging.NONE,
            add_previous_output_in_env=False,
            dir="/",
            opts=opts,
        )
        return HostCommand(command, result_of(create))

    def hook(self, name: str, arguments: A, verb: Callable[[A], R]) -> pulumi.ResourceHook:
        """What the engine has the host do right before it makes a resource; never at preview."""

        async def run(_: pulumi.ResourceHookArgs) -> None:
            await asyncio.to_thread(self._machine.run, verb, arguments)

        return pulumi.ResourceHook(name, run)

    def record(self, deployment: Deployment, after: pulumi.Input[Any]) -> None:
        """Leave what is deployed in a file beside the program file, for its verb `status`; not before `after`: what an
        `up` did not get to is not deployed."""
        self.command(
            "deployment",
            pulumi.Output.from_input(after).apply(lambda _: without_secrets(deployment)),
            create=record_deployment,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def secret_once(
        self,
        name: str,
        arguments: pulumi.Input[A],
        create: Callable[[A], R],
        triggers: list[Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostCommand[R]:
        """A Command whose result is a secret. It runs again only when a trigger changes: a Command runs again whenever
        an input changes, so another version of the program file would silently rotate every secret."""
        once = pulumi.ResourceOptions(
            ignore_changes=["create", "update", "delete", "stdin", "environment", "dir", "interpreter", "logging"],
            additional_secret_outputs=["stdout", "stderr"],
        )
        merged = pulumi.ResourceOptions.merge(opts, once)
        return self.command(name, arguments, create=create, triggers=triggers, shown=False, opts=merged)

    def _text(self, verb: Callable[..., Any]) -> pulumi.Output[str]:
        return self.programs.apply(lambda path: self._machine.step_command(path, words_of(verb)))

    def _order(self, name: str, arguments: object) -> str:
        return self._machine.order(arguments, f"{self._deployment.deployment_id} {name}", self._reapply)
