"""Emulated `command` provider: `command:local:Command` and `command:remote:Command`.

Behaves as pulumi-command 1.2.1 (provider/pkg/provider/local and remote) on pulumi-go-provider's `infer`:

- any change of an input is an update (`update`, else `create`); the SDK makes a change of `triggers` a replacement;
- `delete` runs the text in the state, with the state's inputs;
- stdout and stderr lose one newline at their end; a failed command keeps no output and no new state, and its error
  holds its text and its output;
- secrets stay where they are: an output is secret when the input of its name is, so stdout and stderr are not secret
  unless `additional_secret_outputs` says so; `connection` always is;
- output lines are shown at the CLI as they come, unless `logging` says otherwise.

Not implemented, and refused: `assetPaths`, `archivePaths`; remotely `environment`, and of a connection `password`,
`privateKeyPassword`, `agentSocketPath` and `proxy`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckRequest,
    CheckResponse,
    ConfigureRequest,
    ConfigureResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    InvokeRequest,
    InvokeResponse,
    PropertyDiffKind,
    Provider,
    UpdateRequest,
    UpdateResponse,
)

from lab.plugins.base import (
    UNKNOWN,
    EngineLog,
    Prop,
    ProviderError,
    Schema,
    diff_response,
    engine_address,
    failures,
    has_unknown,
    one_of,
    own_type,
    plain,
    plain_map,
    serve,
    strings,
    wrap,
)

LOCAL = "command:local:Command"
REMOTE = "command:remote:Command"

_COMMON: Schema = {
    "create": Prop(),
    "update": Prop(),
    "delete": Prop(),
    "triggers": Prop("list", of=Prop("any"), replace=True),
    "stdin": Prop(),
    "logging": Prop(validate=one_of("stdout", "stderr", "stdoutAndStderr", "none")),
    "addPreviousOutputInEnv": Prop("boolean"),
}

CONNECTION: Schema = {
    "host": Prop(required=True),
    "port": Prop("integer", default=22),
    "user": Prop(default="root"),
    "privateKey": Prop(),
    "hostKey": Prop(),
    "dialErrorLimit": Prop("integer", default=10),
    "perDialTimeout": Prop("integer", default=15),
}

SCHEMAS: Mapping[str, Schema] = {
    LOCAL: {**_COMMON, "interpreter": strings(), "dir": Prop(), "environment": strings("map")},
    REMOTE: {**_COMMON, "connection": Prop("object", required=True, fields=CONNECTION)},
}

OUTPUTS = ("stdout", "stderr")
_VARIABLES = {"stdout": "PULUMI_COMMAND_STDOUT", "stderr": "PULUMI_COMMAND_STDERR"}

Log = Callable[[str], None]


def go_quote(text: str) -> str:
    """`text` as Go's %q writes it (strconv.Quote)."""
    short = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
    out = []
    for char in text:
        if char in '"\\':
            out.append(f"\\{char}")
        elif char in short:
            out.append(short[char])
        elif char == " " or char.isprintable():
            out.append(char)
        elif ord(char) < 0x80:
            out.append(f"\\x{ord(char):02x}")
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def _ending(code: int) -> str:
    """How a process ended, in the words of Go's os/exec."""
    return f"signal: {_signal_name(-code)}" if code < 0 else f"exit status {code}"


def _signal_name(number: int) -> str:
    words = {
        signal.SIGKILL: "killed",
        signal.SIGTERM: "terminated",
        signal.SIGINT: "interrupt",
        signal.SIGHUP: "hangup",
    }
    return words.get(signal.Signals(number), (signal.strsignal(number) or str(number)).lower())


class Output:
    """What a command has written: each stream, both together in the order they came, and the lines for the CLI.

    A shown line of LONGEST bytes and more ends the reading of what is shown, as in the real plugin (bufio.Scanner,
    which gives up without a word): the pipe fills, and the command hangs until it is cancelled (`ended`).
    """

    LONGEST = 64 * 1024  # bufio.MaxScanTokenSize

    def __init__(self, logging: str | None, log: Log, ended: threading.Event) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._streams: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._both = bytearray()
        self._partial = b""
        self._shown = {"none": (), "stdout": ("stdout",), "stderr": ("stderr",)}.get(logging or "", OUTPUTS)
        self._log = log

    def pump(self, name: str, pipe: IO[bytes]) -> None:
        """Reads `pipe` to its end."""
        descriptor = pipe.fileno()
        while chunk := os.read(descriptor, 65536):
            with self._lock:
                self._streams[name] += chunk
                self._both += chunk
                *lines, self._partial = (self._partial + chunk * (name in self._shown)).split(b"\n")
                whole = list(itertools.takewhile(lambda line: len(line) < self.LONGEST, lines))
                for line in whole:
                    self._log(line.removesuffix(b"\r").decode(errors="replace"))
                stuck = whole != lines or len(self._partial) >= self.LONGEST
            if stuck:
                self._ended.wait()
        pipe.close()

    def finish(self) -> None:
        """Shows a last line that has no newline."""
        if self._partial:
            self._log(self._partial.decode(errors="replace"))
            self._partial = b""

    @property
    def combined(self) -> str:
        """Both streams as they came."""
        return self._both.decode(errors="replace")

    def texts(self) -> dict[str, str]:
        """stdout and stderr, each without one newline at its end."""
        return {name: data.decode(errors="replace").removesuffix("\n") for name, data in self._streams.items()}


class Processes:
    """The commands that run now, so that a cancelled `up` ends them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.ended = threading.Event()

    @contextlib.contextmanager
    def started(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Keeps `process` while the body runs."""
        with self._lock:
            self._running.add(process)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def kill(self) -> None:
        """Ends them all at once, as Go's CommandContext does."""
        with self._lock:
            self.ended.set()
            for process in self._running:
                process.kill()


def _run(
    processes: Processes,
    argv: Sequence[str],
    *,
    stdin: str | None,
    output: Output,
    directory: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs argv to its end and returns its exit code (negative: the signal). Raises OSError when it cannot start."""
    process = subprocess.Popen(
        argv,
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    pumps = [
        threading.Thread(target=output.pump, args=("stdout", process.stdout), daemon=True),
        threading.Thread(target=output.pump, args=("stderr", process.stderr), daemon=True),
    ]
    with processes.started(process):
        for pump in pumps:
            pump.start()
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a command need not read what it is given
                process.stdin.write((stdin or "").encode())
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        code = process.wait()
        for pump in pumps:
            pump.join()
    output.finish()
    return code


def run_local(processes: Processes, command: str, state: Mapping[str, Any], log: Log) -> dict[str, str]:
    """Runs `command` here with the state's inputs and returns its stdout and stderr."""
    environment = {**os.environ, **state.get("environment", {})}
    if state.get("addPreviousOutputInEnv", True):
        environment |= {_VARIABLES[name]: state[name] for name in OUTPUTS if state.get(name)}
    argv = [*(state.get("interpreter") or ["/bin/sh", "-c"]), command]
    output = Output(state.get("logging"), log, processes.ended)
    directory = state.get("dir")
    try:
        code = _run(
            processes, argv, stdin=state.get("stdin"), output=output, directory=directory, environment=environment
        )
    except OSError as error:
        raise ProviderError(f"{_start_failure(error, argv[0], directory)}: running {go_quote(command)}:\n") from None
    except ValueError as error:  # a null byte in the text or in a variable
        raise ProviderError(f"{error}: running {go_quote(command)}:\n") from None
    if code != 0:
        raise ProviderError(f"{_ending(code)}: running {go_quote(command)}:\n{output.combined}")
    return output.texts()


def _start_failure(error: OSError, program: str, directory: str | None) -> str:
    """Why a process could not be started, in the words of Go's os/exec."""
    reason = os.strerror(error.errno or 0)
    reason = reason[:1].lower() + reason[1:]
    if directory is not None and error.filename == directory:
        return f"chdir {directory}: {reason}"
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f"exec: {go_quote(program)}: executable file not found in $PATH"
    return f"fork/exec {program}: {reason}"


# --- remote ----------------------------------------------------------------------------------------------------------
_HOST_ALIAS = "pulumi-host"


def _ssh_options(connection: Mapping[str, Any], folder: Path) -> list[str]:
    """The options of the OpenSSH client for this connection. Keys go through files in `folder`, never through argv."""
    options = [
        *("-F", "none", "-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
        *("-o", f"HostKeyAlias={_HOST_ALIAS}", "-o", "GlobalKnownHostsFile=/dev/null"),
        *("-o", f"ControlPath={folder / 'master'}", "-p", str(connection["port"]), "-l", connection["user"]),
    ]
    if connection["perDialTimeout"] > 0:
        options += ["-o", f"ConnectTimeout={connection['perDialTimeout']}"]
    if host_key := connection.get("hostKey"):
        fields = host_key.split()
        if len(fields) < 2:
            raise ProviderError("failed to parse host key: it should be a line like `ssh-ed25519 AAAA...`")
        known = folder / "known_hosts"
        known.write_text(f"{_HOST_ALIAS} {fields[0]} {fields[1]}\n")
        options += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}"]
        options += ["-o", f"HostKeyAlgorithms={fields[0]}"]
    else:
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    if private_key := connection.get("privateKey"):
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_text(private_key if private_key.endswith("\n") else private_key + "\n")
        options += ["-o", "IdentitiesOnly=yes", "-i", str(key)]
    else:
        options += ["-o", "IdentityFile=none"]  # an agent in SSH_AUTH_SOCK is all that is left, as in the real one
    return options


def _dial(processes: Processes, options: Sequence[str], host: str, folder: Path) -> subprocess.Popen[bytes]:
    """Opens the connection that the command then goes through. Raises ProviderError with ssh's own reason."""
    errors = folder / "errors"
    with errors.open("wb") as sink:
        argv = ["ssh", *options, "-M", "-N", host]
        master = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=sink)
    try:
        with processes.started(master):
            # The client makes the socket when it has authenticated.
            while not (folder / "master").exists():
                if master.poll() is not None:
                    lines = errors.read_text(errors="replace").split("\n")
                    raise ProviderError("; ".join(line.strip() for line in lines if line.strip()) or "ssh failed")
                time.sleep(0.02)
    except BaseException:
        master.kill()
        raise
    return master


def _dial_with_retry(
    processes: Processes, options: Sequence[str], host: str, folder: Path, limit: int, log: Log
) -> subprocess.Popen[bytes]:
    """Dials until it works, or `limit` retries have failed (-1: without end)."""
    delay, tries = 0.1, 0
    while True:
        try:
            return _dial(processes, options, host, folder)
        except ProviderError as error:
            if -1 < limit < tries + 1:
                raise ProviderError(f"after {tries} failed attempts: {error}") from None
            log(f"Dial {tries + 1}/{'inf' if limit == -1 else limit} failed: retrying")
        time.sleep(delay)
        delay, tries = min(delay * 1.5, 5.0), tries + 1


def run_remote(processes: Processes, command: str, state: Mapping[str, Any], log: Log, warn: Log) -> dict[str, str]:
    """Runs `command` on the connection's host and returns its stdout and stderr."""
    connection = {**{key: prop.default for key, prop in CONNECTION.items()}, **state["connection"]}
    if state.get("addPreviousOutputInEnv", True):
        for name in OUTPUTS:
            if state.get(name):
                # sshd's AcceptEnv names neither by default, and the OpenSSH client is not told when it refuses one.
                warn(f"Unable to set '{_VARIABLES[name]}'. This only works if your SSH server accepts it (AcceptEnv).")
    with tempfile.TemporaryDirectory(prefix="pulumi-command-") as name:
        folder = Path(name)
        options = _ssh_options(connection, folder)
        host = connection["host"]
        master = _dial_with_retry(processes, options, host, folder, connection["dialErrorLimit"], log)
        try:
            output = Output(state.get("logging"), log, processes.ended)
            argv = ["ssh", *options, "-o", "ControlMaster=no", "--", host, command]
            code = _run(processes, argv, stdin=state.get("stdin"), output=output)
        finally:
            master.terminate()
            try:
                master.wait(2)
            except subprocess.TimeoutExpired:  # OpenSSH loses a signal that comes just before it waits
                master.kill()
                master.wait()
    if code != 0:
        raise ProviderError(f"Process exited with status {code}: running {go_quote(command)}:\n{output.combined}")
    return output.texts()


# --- the provider ----------------------------------------------------------------------------------------------------
def _paths(old: Any, new: Any, path: str, kinds: dict[str, PropertyDiffKind]) -> None:
    """The differences between two plain values, at the deepest paths, as the engine's own object diff names them."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            _compare(old.get(key), new.get(key), f"{path}.{key}" if key.isidentifier() else f'{path}["{key}"]', kinds)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            _compare(before, after, f"{path}[{index}]", kinds)
    else:
        kinds[path] = PropertyDiffKind.UPDATE


def _compare(old: Any, new: Any, path: str, kinds: dict[str, PropertyDiffKind]) -> None:
    if old == new and not has_unknown(new):
        return
    if old is None:
        kinds[path] = PropertyDiffKind.ADD
    elif new is None:
        kinds[path] = PropertyDiffKind.DELETE
    else:
        _paths(old, new, path, kinds)


def differences(schema: Schema, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, PropertyDiffKind]:
    """Each input that differs, with its path. A whole property that forces replacement is marked so; its elements are
    left to the SDK's `replace_on_changes`, as in the real provider."""
    kinds: dict[str, PropertyDiffKind] = {}
    for name, prop in schema.items():
        found: dict[str, PropertyDiffKind] = {}
        _compare(old.get(name), new.get(name), name, found)
        if prop.replace and name in found:
            found[name] = PropertyDiffKind[f"{found[name].name}_REPLACE"]
        kinds |= found
    return kinds


class CommandProvider(Provider):
    """The provider. Secrets are accepted, and each input keeps its own secretness on its way into the state."""

    def __init__(self, log: EngineLog) -> None:
        self._engine = log
        self._processes = Processes()

    @staticmethod
    def _schema(type_token: str) -> Schema:
        try:
            return SCHEMAS[type_token]
        except KeyError:
            raise ProviderError(
                f"the resource type {type_token} is not implemented by the lab's emulated command plugin; "
                f"it should be one of: {', '.join(SCHEMAS)}"
            ) from None

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        """The provider has no settings."""
        given = {key: value for key, value in plain_map(request.new_inputs).items() if key != "version"}
        return CheckResponse(inputs=dict(request.new_inputs), failures=list(failures({}, given)))

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        """The provider has no settings."""
        return ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Strictness; a connection gets its defaults and is secret."""
        inputs = {key: value for key, value in request.new_inputs.items() if plain(value) is not None}
        found = list(failures(self._schema(own_type(request.type)), plain_map(inputs)))
        if "connection" in inputs and not found:
            inputs["connection"] = _with_defaults(inputs["connection"])
        return CheckResponse(inputs=inputs, failures=found)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Any change of an input is an update."""
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        for path in request.ignore_changes:
            if path in old:
                new[path] = old[path]
        return diff_response(differences(self._schema(own_type(request.type)), old, new))

    def _execute(self, urn: str, type_token: str, command: str, state: Mapping[str, Any]) -> dict[str, str]:
        def log(line: str) -> None:
            self._engine.send(urn, line, status=True)

        def warn(line: str) -> None:
            self._engine.send(urn, line, severity="WARNING")

        if type_token == LOCAL:
            return run_local(self._processes, command, state, log)
        return run_remote(self._processes, command, state, log, warn)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Runs `create`, if there is one."""
        schema = self._schema(own_type(request.type))
        if request.preview:
            unknown = {name: wrap(UNKNOWN) for name in OUTPUTS}
            return CreateResponse(resource_id="", properties={**request.properties, **unknown})
        inputs = plain_map(request.properties)
        texts = dict.fromkeys(OUTPUTS, "")
        if "create" in schema and (command := inputs.get("create")) is not None:
            texts = await asyncio.to_thread(self._execute, request.urn, own_type(request.type), command, inputs)
        resource_id = request.name + secrets.token_hex(4)
        return CreateResponse(resource_id=resource_id, properties={**request.properties, **_wrapped(texts)})

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """Runs `update`, else `create`; with neither the old output stays."""
        schema = self._schema(own_type(request.type))
        old, new = plain_map(request.olds), plain_map(request.news)
        for path in request.ignore_changes:
            if path in old:
                new[path] = old[path]
        inputs = {**request.news, **{path: request.olds[path] for path in request.ignore_changes if path in old}}
        previous = {name: request.olds.get(name, wrap("")) for name in OUTPUTS}
        if request.preview:
            changed = bool(differences(schema, old, new))
            shown = {name: wrap(UNKNOWN) for name in OUTPUTS} if changed else previous
            return UpdateResponse(properties={**inputs, **shown})
        command = new.get("update", new.get("create"))
        if command is None:
            return UpdateResponse(properties={**inputs, **previous})
        state = {**new, **{name: plain(value) for name, value in previous.items()}}
        texts = await asyncio.to_thread(self._execute, request.urn, own_type(request.type), command, state)
        return UpdateResponse(properties={**inputs, **_wrapped(texts)})

    async def delete(self, request: DeleteRequest) -> None:
        """Runs the `delete` that is in the state."""
        self._schema(own_type(request.type))
        state = plain_map(request.properties)
        if (command := state.get("delete")) is not None:
            await asyncio.to_thread(self._execute, request.urn, own_type(request.type), command, state)

    async def invoke(self, request: InvokeRequest) -> InvokeResponse:
        """No functions."""
        raise ProviderError(f"the function {request.tok} is not implemented by the lab's emulated command plugin")

    async def cancel(self) -> None:
        """Ends the commands that run."""
        self._processes.kill()


def _wrapped(texts: Mapping[str, str]) -> dict[str, PropertyValue]:
    return {name: wrap(text) for name, text in texts.items()}


def _with_defaults(connection: PropertyValue) -> PropertyValue:
    given = connection.value
    if not isinstance(given, Mapping):  # unknown as a whole
        return connection.with_secret(True)
    defaults = {key: wrap(prop.default) for key, prop in CONNECTION.items() if prop.default is not None}
    known = {key: value for key, value in given.items() if plain(value) is not None}
    return PropertyValue({**defaults, **known}, is_secret=True)


def main() -> None:
    """Runs the plugin; the engine's address is the first argument."""
    serve(CommandProvider(EngineLog(engine_address())), "pulumi_command")


if __name__ == "__main__":
    main()
