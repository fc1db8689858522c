"""Emulated `command` provider: `command:local:Command`.

Behaves as pulumi-command 1.2.1 (provider/pkg/provider/local) on pulumi-go-provider's `infer`:

- any change of an input is an update (`update`, else `create`); the SDK makes a change of `triggers` a replacement;
- `delete` runs the text in the state, with the state's inputs;
- stdout and stderr lose one newline at their end; a failed command keeps no output and no new state, and its error
  holds its text and its output;
- secrets stay where they are: an output is secret when the input of its name is, so stdout and stderr are not secret
  unless `additional_secret_outputs` says so;
- output lines are shown at the CLI as they come, unless `logging` says otherwise.

Not implemented, and refused: `assetPaths`, `archivePaths`, and every other type.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    plain,
    plain_map,
    resource_type,
    serve,
    strings,
    wrap,
)

COMMAND = "command:local:Command"

SCHEMA: Schema = {
    "create": Prop(),
    "update": Prop(),
    "delete": Prop(),
    "triggers": Prop("list", of=Prop("any"), replace=True),
    "stdin": Prop(),
    "interpreter": strings(),
    "logging": Prop(validate=one_of("stdout", "stderr", "stdoutAndStderr", "none")),
    "addPreviousOutputInEnv": Prop("boolean"),
    "dir": Prop(),
    "environment": strings("map"),
}

SHELL = ("/bin/sh", "-c")

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


def _run_shell(
    processes: Processes,
    words: Sequence[str],
    *,
    stdin: str | None,
    output: Output,
    directory: str | None,
    environment: Mapping[str, str],
) -> int:
    """Runs a command to its end and returns its exit code (negative: the signal). Raises OSError when it cannot
    start."""
    process = subprocess.Popen(
        [*words],
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
            with contextlib.suppress(BrokenPipeError):  # a command need not read its stdin
                process.stdin.write((stdin or "").encode())
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        code = process.wait()
        for pump in pumps:
            pump.join()
    output.finish()
    return code


def run_command(processes: Processes, command: str, state: Mapping[str, Any], log: Log) -> dict[str, str]:
    """Runs `command` with the state's inputs and returns its stdout and stderr."""
    environment = {**os.environ, **state.get("environment", {})}
    if state.get("addPreviousOutputInEnv", True):
        environment |= {_VARIABLES[name]: state[name] for name in OUTPUTS if state.get(name)}
    output = Output(state.get("logging"), log, processes.ended)
    directory, interpreter = state.get("dir"), state.get("interpreter") or SHELL
    try:
        code = _run_shell(
            processes,
            [*interpreter, command],
            stdin=state.get("stdin"),
            output=output,
            directory=directory,
            environment=environment,
        )
    except OSError as error:
        raise ProviderError(
            f"{_start_failure(error, interpreter[0], directory)}: running {go_quote(command)}:\n"
        ) from None
    except ValueError as error:  # a null byte in the text or in a variable
        raise ProviderError(f"{error}: running {go_quote(command)}:\n") from None
    if code != 0:
        raise ProviderError(f"{_ending(code)}: running {go_quote(command)}:\n{output.combined}")
    return output.texts()


def _start_failure(error: OSError, program: str, directory: str | None) -> str:
    """Why the interpreter could not be started, in the words of Go's os/exec."""
    reason = os.strerror(error.errno or 0)
    reason = reason[:1].lower() + reason[1:]
    if directory is not None and error.filename == directory:
        return f"chdir {directory}: {reason}"
    return f"fork/exec {program}: {reason}"


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


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, PropertyDiffKind]:
    """Each input that differs, with its path. A whole property that forces replacement is marked so; its elements are
    left to the SDK's `replace_on_changes`, as in the real provider."""
    kinds: dict[str, PropertyDiffKind] = {}
    for name, prop in SCHEMA.items():
        found: dict[str, PropertyDiffKind] = {}
        _compare(old.get(name), new.get(name), name, found)
        if prop.replace and name in found:
            found[name] = PropertyDiffKind[f"{found[name].name}_REPLACE"]
        kinds |= found
    return kinds


class CommandProvider(Provider):
    """The provider. It accepts secrets: an input that is secret is a secret in the state, too."""

    def __init__(self, log: EngineLog) -> None:
        self._engine = log
        self._processes = Processes()

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        """The provider has no settings."""
        settings = {key: value for key, value in plain_map(request.new_inputs).items() if key != "version"}
        return CheckResponse(inputs=dict(request.new_inputs), failures=list(failures({}, settings)))

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        """The provider has no settings."""
        return ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Refuses other types, and inputs that are unknown, not implemented or of a wrong type."""
        type_token = resource_type(request.type)
        if type_token != COMMAND:
            raise ProviderError(
                f"the resource type {type_token} is not implemented by the lab's emulated command plugin; "
                f"it should be {COMMAND}"
            )
        inputs = {key: value for key, value in request.new_inputs.items() if plain(value) is not None}
        return CheckResponse(inputs=inputs, failures=list(failures(SCHEMA, plain_map(inputs))))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """Any change of an input is an update."""
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        for path in request.ignore_changes:
            if path in old:
                new[path] = old[path]
        return diff_response(differences(old, new))

    async def _execute(self, urn: str, command: str, state: Mapping[str, Any]) -> dict[str, str]:
        def log(line: str) -> None:
            self._engine.send(urn, line, status=True)

        return await asyncio.to_thread(run_command, self._processes, command, state, log)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Runs `create`, if there is one."""
        if request.preview:
            unknown = {name: wrap(UNKNOWN) for name in OUTPUTS}
            return CreateResponse(resource_id="", properties={**request.properties, **unknown})
        inputs = plain_map(request.properties)
        texts = dict.fromkeys(OUTPUTS, "")
        if (command := inputs.get("create")) is not None:
            texts = await self._execute(request.urn, command, inputs)
        resource_id = request.name + secrets.token_hex(4)
        return CreateResponse(resource_id=resource_id, properties={**request.properties, **_wrapped(texts)})

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """Runs `update`, else `create`; with neither the old output stays."""
        old, new = plain_map(request.olds), plain_map(request.news)
        for path in request.ignore_changes:
            if path in old:
                new[path] = old[path]
        inputs = {**request.news, **{path: request.olds[path] for path in request.ignore_changes if path in old}}
        previous = {name: request.olds.get(name, wrap("")) for name in OUTPUTS}
        if request.preview:
            changed = bool(differences(old, new))
            shown = {name: wrap(UNKNOWN) for name in OUTPUTS} if changed else previous
            return UpdateResponse(properties={**inputs, **shown})
        command = new.get("update", new.get("create"))
        if command is None:
            return UpdateResponse(properties={**inputs, **previous})
        state = {**new, **{name: plain(value) for name, value in previous.items()}}
        texts = await self._execute(request.urn, command, state)
        return UpdateResponse(properties={**inputs, **_wrapped(texts)})

    async def delete(self, request: DeleteRequest) -> None:
        """Runs the `delete` that is in the state."""
        state = plain_map(request.properties)
        if (command := state.get("delete")) is not None:
            await self._execute(request.urn, command, state)

    async def invoke(self, request: InvokeRequest) -> InvokeResponse:
        """No functions."""
        raise ProviderError(f"the function {request.tok} is not implemented by the lab's emulated command plugin")

    async def cancel(self) -> None:
        """Ends the commands that run."""
        self._processes.kill()


def _wrapped(texts: Mapping[str, str]) -> dict[str, PropertyValue]:
    return {name: wrap(text) for name, text in texts.items()}


def main() -> None:
    """Runs the plugin; the engine's address is the first argument."""
    serve(CommandProvider(EngineLog(engine_address())), "pulumi_command")


if __name__ == "__main__":
    main()
