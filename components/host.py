"""The machine with Docker: where our scripts run, at program start and as resources."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import pulumi
from pulumi_command import local

from documents.credentials import Seed
from documents.ssh import LOST, SshAddress
from host_programs import bundle, generate
from host_programs.common import Contained
from host_programs.files import files
from host_programs.files.directory import PROGRAMS, OwnDirectory
from host_programs.wire import Failed, outcome, plain, result_of, typed
from verdicts import ssh_errors
from workstation import forward, processes
from workstation.ssh import make_control_directory, settings_for

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")

# Everything of a Command but its triggers: a Command runs again whenever an input changes, so an edit of a script
# would otherwise turn every secret without a word.
MADE_ONCE = ["create", "update", "delete", "stdin", "environment", "dir", "interpreter", "logging"]
MADE_ONCE += ["addPreviousOutputInEnv"]


class HostError(Exception):
    """The host cannot be reached, or a script failed there at program start; its text says why."""


@dataclass(frozen=True)
class DockerAddress:
    """The host's Docker, as Pulumi's provider takes it."""

    host: str
    ssh_opts: Sequence[str] = ()


def later(value: pulumi.Output[T]) -> T:
    """An output where a script's arguments want a value: `Host.script` resolves it before the script is sent. To mypy
    it is the value, so the arguments stay typed."""
    return cast(T, value)


def resolved(arguments: object) -> pulumi.Output[Any]:
    """Arguments that may hold outputs, as JSON knows them. (Output.from_input makes an output of every single value: a
    tenth of what the program with twenty bridges computes.)"""
    values = plain(arguments)
    return pulumi.Output.all(*_outputs(values)).apply(lambda found: _filled(values, iter(found)))


def _outputs(value: Any) -> Iterator[pulumi.Output[Any]]:
    if isinstance(value, pulumi.Output):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _outputs(item)


def _filled(value: Any, found: Iterator[Any]) -> Any:
    """In the order of `_outputs`."""
    if isinstance(value, pulumi.Output):
        return next(found)
    if isinstance(value, dict):
        return {key: _filled(item, found) for key, item in value.items()}
    return [_filled(item, found) for item in value] if isinstance(value, list) else value


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


class HostScripts(Generic[R]):
    """The one Command resource of a script that runs for each of several bridges, and what its verb, which returns no
    secret, said of each."""

    def __init__(self, resource: local.Command, kind: type[R]) -> None:
        self.resource = resource
        self._told = pulumi.Output.unsecret(resource.stdout).apply(json.loads)
        self._kind = kind

    def of(self, bridge: str) -> pulumi.Output[R | Failed]:
        """That of the bridge of this key."""
        return self._told.apply(lambda told: outcome(self._kind, told.get(bridge, plain(NOT_YET))))


NOT_YET = Failed("its turn has not come")  # of a bridge that a step in the state knows nothing of


class Host(ABC):
    """The machine with Docker. Runs the scripts of `scripts/` there; host_programs/bundle.py says how they travel."""

    def __init__(self, deployment: str, own: OwnDirectory, reapply: int = 0, docker_host: str = "") -> None:
        """`deployment`: its name among all on the host, without spaces; `own`: the stack's directory there; another
        `reapply` number runs every step again; `docker_host`: as in `bundle.pack`."""
        self._deployment, self._own, self._reapply, self._docker_host = deployment, own, reapply, docker_host
        programs = json.dumps(bundle.everything(), sort_keys=True)
        self._programs_text = f"# Programs: written by the Pulumi stack {own.stack}.\n{programs}"
        digest = hashlib.sha256(self._programs_text.encode()).hexdigest()
        self.programs = bundle.Stored(f"{own.path}/{PROGRAMS}{digest[:12]}", digest)

    def keep_programs(self, there: bool, directory: pulumi.Resource) -> pulumi.Output[pulumi.Resource]:
        """Have the host claim the stack's directory and keep in it the programs of all steps, unless they are `there`.
        Every step finds its own in them, so they depend on this. It is no resource: Pulumi writes the whole state at
        each step, and most of it would be these. `directory`, the resource, takes all of it away."""

        def keep(_: Any) -> pulumi.Resource:
            if not there and not pulumi.runtime.is_dry_run():
                file = files.OwnedFile(self.programs.path, self._programs_text, 0, 0)
                try:
                    self.run(files.create, files.OwnedFiles(self._own.stack, (file,), within=self._own))
                except HostError as error:
                    if not processes.destroying():
                        raise pulumi.RunError(str(error)) from None
                    pulumi.log.warn(str(error))
            return directory

        return directory.urn.apply(keep)

    @abstractmethod
    def docker(self, address: str) -> DockerAddress:
        """`address`: the daemon's on the host."""

    @abstractmethod
    def postgres(self, address: str, port: int) -> tuple[str, int]:
        """Where this program and its providers reach what the host reaches at `address` and `port`, until the operation
        ends. Raises HostError."""

    @abstractmethod
    def _words(self, verb: str) -> Sequence[str]:
        """The command line that runs a verb there, its bundle on stdin."""

    @abstractmethod
    def _text(self, command: str, step: str) -> str:
        """The shell text that runs a shell command there, for the step of that name."""

    @abstractmethod
    def _why(self, done: subprocess.CompletedProcess[str]) -> str:
        """Why the host did not run it; "" if it did."""

    def run(self, verb: Callable[[A], R], arguments: A) -> R:
        """Run a verb now, in no resource; at preview a read-only one alone. Raises HostError."""
        try:
            done = subprocess.run(
                self._words(verb.__name__),
                input=bundle.pack(verb.__module__, arguments, docker_host=self._docker_host),
                text=True,
                capture_output=True,
                timeout=300,
                check=False,
            )
        except FileNotFoundError as error:
            raise HostError(f"{error.filename}: not on this machine, or not in PATH: install it") from None
        if done.returncode:
            said = self._why(done) or done.stderr.strip()
            raise HostError(said or f"{verb.__module__} {verb.__name__}: exit code {done.returncode}")
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
        stdin: pulumi.Output[str] = pulumi.Output.secret(self._stdin(create, name, arguments))
        command = _resource(
            name,
            shown,
            opts,
            create=self._command(create, name),
            update=self._command(update, name) if update else None,
            delete=self._command(delete, name) if delete else None,
            stdin=stdin,
            triggers=triggers,
        )
        return HostScript(command, result_of(create))

    def scripts(
        self,
        name: str,
        arguments: Mapping[str, A],
        *,
        create: Callable[[A], R],
        attempts: Mapping[str, Contained],
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostScripts[R]:
        """The same for several bridges, by their keys: one resource, which runs the verb for all of them side by side.
        A bridge's failure is an outcome, and neither ends the run nor holds another bridge up; one whose arguments turn
        out to be None is left out. Any change of one bridge's arguments runs it for all."""
        told = resolved(arguments).apply(lambda all_: {key: value for key, value in all_.items() if value is not None})
        stdin: pulumi.Output[str] = pulumi.Output.secret(self._stdin(create, name, told, attempts))
        command = _resource(name, True, opts, create=self._command(create, name), stdin=stdin)
        return HostScripts(command, result_of(create))

    def at_deletion(
        self,
        name: str,
        arguments: A,
        delete: Callable[[A], object],
        *,
        alone: bool = False,
        triggers: list[Any] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> pulumi.Resource:
        """A resource that does nothing until it is deleted: then the verb runs, as of `script`, and tells a person.
        `alone`: it carries its program itself, since the host may not have it then."""
        stdin = self._stdin(delete, name, arguments, alone=alone)
        return _resource(name, True, opts, delete=self._command(delete, name), stdin=stdin, triggers=triggers)

    def seed(self, name: str, triggers: list[Any], opts: pulumi.ResourceOptions | None = None) -> HostScript[Seed]:
        """A resource with a new seed for secrets; as `made_once`."""
        create = f"{self._text(f'python3 {bundle.ALONE} -', name)} # generate"
        stdin = bundle.source(generate.__name__)
        command = _resource(name, False, _once(opts), create=create, stdin=stdin, triggers=triggers)
        return HostScript(command, Seed)

    def made_once(
        self,
        name: str,
        arguments: A,
        create: Callable[[A], R],
        triggers: list[Any],
        opts: pulumi.ResourceOptions | None = None,
    ) -> HostScript[R]:
        """A resource whose result is a secret, made again only when a trigger changes."""
        return self.script(name, arguments, create=create, triggers=triggers, opts=_once(opts))

    def _stdin(
        self,
        verb: Callable[[A], object],
        name: str,
        arguments: object,
        each: Mapping[str, Contained] | None = None,
        alone: bool = False,
    ) -> pulumi.Output[str]:
        """What the step of that name has on stdin; as secret as its arguments."""
        step, stored = f"{self._deployment} {name}", None if alone else self.programs

        def packed(values: object) -> str:
            return bundle.pack(
                verb.__module__, values, self._reapply, self._docker_host, step, each, stored, least=alone
            )

        return resolved(arguments).apply(packed)

    def _command(self, verb: Callable[[A], object], name: str) -> str:
        """The step's command line; it is the same for all, so a person reads behind it what it runs."""
        what = f"{verb.__module__.removeprefix('host_programs.')} {verb.__name__}"
        return f"{self._text(bundle.command(verb.__name__), name)} # {what}"


def _resource(name: str, shown: bool, opts: pulumi.ResourceOptions | None, **inputs: Any) -> local.Command:
    """`shown`: as of `Host.script`."""
    logging = local.Logging.STDERR if shown else local.Logging.NONE
    return local.Command(name, logging=logging, add_previous_output_in_env=False, dir="/", opts=opts, **inputs)


def _once(opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    secret = ["stdout", "stderr"]
    once = pulumi.ResourceOptions(ignore_changes=MADE_ONCE, additional_secret_outputs=secret)
    return pulumi.ResourceOptions.merge(opts, once)


class LocalHost(Host):
    """This machine."""

    def docker(self, address: str) -> DockerAddress:
        return DockerAddress(address)

    def postgres(self, address: str, port: int) -> tuple[str, int]:
        return address, port

    def _words(self, verb: str) -> Sequence[str]:
        return sys.executable, bundle.ALONE, "-c", bundle.LAUNCH, verb

    def _text(self, command: str, step: str) -> str:
        return command

    def _why(self, done: subprocess.CompletedProcess[str]) -> str:
        return ""


class SshHost(Host):
    """A host behind SSH: local commands that run the OpenSSH client, which makes one connection for all of them.

    Not pulumi-command's remote.Command (1.2.1): it reads neither ~/.ssh/config nor known_hosts, would have the key's
    text in the state, and makes a connection for each command.
    """

    def __init__(
        self,
        address: SshAddress,
        local_port: int,
        deployment: str,
        own: OwnDirectory,
        reapply: int,
        docker_host: str,
    ) -> None:
        """`local_port`: this machine's, for Postgres; the rest as of Host."""
        super().__init__(deployment, own, reapply, docker_host)
        self._address, self._local_port = address, local_port
        make_control_directory()

    def docker(self, address: str) -> DockerAddress:
        return DockerAddress(self._address.docker(address), self._address.options)

    def postgres(self, address: str, port: int) -> tuple[str, int]:
        above = processes.operation()
        wanted = forward.Forward(
            deployment=self._deployment,
            port=self._local_port,
            target=f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
            ssh=self._address.client,
            name=self._address.name,
            url=self._address.url,
            until=above.pid,
            since=above.create_time(),
        )
        try:
            forward.ensure(wanted)
        except forward.ForwardError as error:
            raise HostError(str(error)) from None
        return forward.LOOPBACK, self._local_port

    def _words(self, verb: str) -> Sequence[str]:
        return *self._address.words("-T"), self._address.remote(bundle.command(verb))

    def _text(self, command: str, step: str) -> str:
        return self._address.shell(command, step)

    def _why(self, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == LOST:
            return ssh_errors.explain_lost_connection(self._address, done.stderr, settings_for(self._address))
        return ssh_errors.explain_refused_command(self._address, done.stderr, done.returncode)
