"""What the emulated plugins share: schemas and strictness, values, diffs, and errors that reach the CLI as they are.

Semantics follow the two frameworks that the real plugins are built on: pulumi-terraform-bridge (docker, postgresql)
and pulumi-go-provider's `infer` (command).
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from pulumi.provider.experimental import server
from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
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
    PropertyDiff,
    PropertyDiffKind,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
    UpdateResponse,
)
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, status_pb2
from pulumi.runtime.rpc import UNKNOWN as _UNKNOWN_WIRE

from lab.plugins.boundary import watch

DEFAULTS = "__defaults"  # the names of the inputs that `check` filled in, as the bridge keeps them


# --- values ----------------------------------------------------------------------------------------------------------
def resource_type(type_token: str) -> str:
    """The type of the resource alone: the SDK's `request.type` has its parents' before it (`a:b:C$d:e:F`)."""
    return type_token.rpartition("$")[2]


class Unknown:
    """A value that is known only after the resources it comes from are made."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = Unknown()


def plain(value: PropertyValue) -> Any:
    """The value as plain Python (None, bool, int, float, str, list, dict, UNKNOWN), secretness taken off.

    Assets and the like, which no plugin here uses, are kept as they are.
    """
    inner = value.value
    if isinstance(inner, Computed) or inner == _UNKNOWN_WIRE:
        return UNKNOWN
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    if isinstance(inner, Mapping):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(item) for item in inner]
    return inner


def wrap(value: Any) -> PropertyValue:
    """The reverse of `plain`."""
    if isinstance(value, PropertyValue):
        return value
    if isinstance(value, Unknown):
        return PropertyValue(_UNKNOWN_WIRE)
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    if isinstance(value, Mapping):
        return PropertyValue({key: wrap(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return PropertyValue([wrap(item) for item in value])
    return PropertyValue(value)


def plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    """`plain` of each value; null ones are left out."""
    return {key: item for key, value in values.items() if (item := plain(value)) is not None}


def wrap_map(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    """`wrap` of each value; None is left out."""
    return {key: wrap(value) for key, value in values.items() if value is not None}


def has_unknown(value: Any) -> bool:
    """Whether an UNKNOWN is in it, at any depth."""
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return isinstance(value, Unknown)


# --- schemas ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Prop:
    """One input property.

    kind: string, integer, boolean, any, list (ordered), set (order does not matter), map or object.
    of: what a list, set or map holds. fields: what an object holds.
    replace: a change replaces the resource. computed: without an input the resource's own value stands.
    validate: returns why a known value of the right type is refused, or None.
    """

    kind: str = "string"
    required: bool = False
    default: Any = None
    replace: bool = False
    computed: bool = False
    of: Prop | None = None
    fields: Mapping[str, Prop] | None = None
    validate: Callable[[Any], str | None] | None = None


Schema = Mapping[str, Prop]


def strings(kind: str = "list", *, replace: bool = False, computed: bool = False) -> Prop:
    """A list, set or map of strings."""
    return Prop(kind, of=Prop(), replace=replace, computed=computed)


def one_of(*allowed: str) -> Callable[[Any], str | None]:
    """A validator: the value is one of these."""

    def validate(value: Any) -> str | None:
        return None if value in allowed else f"is {value!r}; it should be one of: {', '.join(allowed)}"

    return validate


def at_least(low: int) -> Callable[[Any], str | None]:
    """A validator: the number is `low` or more."""

    def validate(value: Any) -> str | None:
        return None if value >= low else f"is {value}; it should be {low} or more"

    return validate


def not_implemented_unless(*allowed: Any) -> Callable[[Any], str | None]:
    """A validator for a property of which the emulated plugin does only some values."""

    def validate(value: Any) -> str | None:
        if value in allowed:
            return None
        return (
            f"is {value!r}, which the lab's emulated plugin does not implement (only {', '.join(map(repr, allowed))})"
        )

    return validate


_NOUNS = {
    "string": "a string",
    "integer": "an integer",
    "boolean": "a boolean (true or false)",
    "list": "a list",
    "set": "a list",
    "map": "an object",
    "object": "an object",
}


def _type_matches(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "list" | "set":
            return isinstance(value, list)
        case "map" | "object":
            return isinstance(value, dict)
    return True


def _failures(prop: Prop, value: Any, path: str) -> Iterator[CheckFailure]:
    if isinstance(value, Unknown):
        return
    if not _type_matches(prop.kind, value):
        # Never the value itself: it may be a secret.
        yield CheckFailure(path, f"is {_described(value)}; it should be {_NOUNS[prop.kind]}")
        return
    if prop.kind in ("list", "set") and prop.of is not None:
        for index, item in enumerate(value):
            yield from _failures(prop.of, item, f"{path}[{index}]")
    elif prop.kind == "map" and prop.of is not None:
        for key, item in value.items():
            yield from _failures(prop.of, item, f"{path}.{key}")
    elif prop.fields is not None:
        yield from failures(prop.fields, value, f"{path}.")
    if prop.validate is not None and not has_unknown(value) and (reason := prop.validate(value)):
        yield CheckFailure(path, reason)


def _described(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def failures(schema: Schema, values: Mapping[str, Any], prefix: str = "") -> Iterator[CheckFailure]:
    """What is wrong with these values: one CheckFailure a property, with its path and the reason."""
    for name, value in values.items():
        if name.startswith("__"):
            continue
        if name not in schema:
            yield CheckFailure(prefix + name, "is not implemented by the lab's emulated plugin, or does not exist")
        elif value is not None:
            yield from _failures(schema[name], value, prefix + name)
    for name, prop in schema.items():
        if prop.required and values.get(name) is None:
            yield CheckFailure(prefix + name, "is required and missing")


# --- differences -----------------------------------------------------------------------------------------------------
def normal(prop: Prop, value: Any) -> Any:
    """The value in a form in which equal means the same: defaults filled in, sets ordered, empty equal to absent."""
    if value is None:
        value = prop.default
    if isinstance(value, Unknown):
        return value
    if prop.kind == "set" and prop.of is not None and isinstance(value, list):
        value = sorted((normal(prop.of, item) for item in value), key=lambda item: json.dumps(item, default=str))
    elif prop.kind == "list" and prop.of is not None and isinstance(value, list):
        value = [normal(prop.of, item) for item in value]
    elif prop.fields is not None and isinstance(value, dict):
        items = {name: normal(field, value.get(name)) for name, field in prop.fields.items()}
        value = {name: item for name, item in items.items() if item is not None}
    if prop.default is None and not isinstance(value, Unknown) and value in ("", 0, False, [], {}):
        return None
    return value


def diff(
    schema: Schema,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    ignore: Iterable[str] = (),
    *,
    delete_before_replace: bool = False,
) -> DiffResponse:
    """The difference between the state (what was last read) and the wanted inputs, as Terraform would plan it."""
    ignored = {path.split(".")[0].split("[")[0] for path in ignore}
    kinds: dict[str, PropertyDiffKind] = {}
    for name, prop in schema.items():
        if name in ignored or (prop.computed and new.get(name) is None):
            continue
        before, after = normal(prop, old.get(name)), normal(prop, new.get(name))
        if not has_unknown(after) and before == after:
            continue
        verb = "ADD" if before is None else "DELETE" if after is None else "UPDATE"
        kinds[name] = PropertyDiffKind[f"{verb}_REPLACE" if prop.replace else verb]
    return diff_response(kinds, delete_before_replace=delete_before_replace)


def diff_response(kinds: Mapping[str, PropertyDiffKind], *, delete_before_replace: bool = False) -> DiffResponse:
    """A DiffResponse from property paths and their kinds of difference."""
    replaces = [path for path, kind in kinds.items() if kind.name.endswith("_REPLACE")]
    return DiffResponse(
        changes=bool(kinds),
        replaces=replaces,
        diffs=list(kinds),
        detailed_diff={path: PropertyDiff(kind, input_diff=False) for path, kind in kinds.items()},
        delete_before_replace=delete_before_replace and bool(replaces),
    )


# --- errors and the way to the engine --------------------------------------------------------------------------------
class ProviderError(Exception):
    """An operation failed; its text is shown by the CLI as it is."""


class InitFailed(ProviderError):
    """The resource was made but is not well: the engine keeps it in the state, and the operation has failed.

    The next `up` then calls `update` for it even when no input has changed.
    """

    def __init__(self, resource_id: str, state: Mapping[str, Any], inputs: Mapping[str, Any], reason: str) -> None:
        super().__init__(reason)
        self.resource_id, self.state, self.inputs, self.reason = resource_id, dict(state), dict(inputs), reason

    def status(self) -> grpc.Status:
        """The gRPC status that carries the resource's state to the engine."""
        detail = provider_pb2.ErrorResourceInitFailed(
            id=self.resource_id,
            properties=PropertyValue.marshal_map(wrap_map(self.state)),
            inputs=PropertyValue.marshal_map(wrap_map(self.inputs)),
            reasons=[self.reason],
        )
        packed = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=self.reason)
        packed.details.add().Pack(detail)
        status = grpc.Status()
        status.code = grpc.StatusCode.UNKNOWN
        status.details = self.reason
        status.trailing_metadata = (("grpc-status-details-bin", packed.SerializeToString()),)
        return status


_SdkServicer = server.ProviderServicer


class _Servicer(_SdkServicer):
    """The SDK's servicer, with our errors turned into what the engine shows as they are.

    Without it, the CLI shows "Unexpected <class '...'>: " before each message.
    """


def _guarded(name: str) -> Any:
    async def call(self: _SdkServicer, request: Any, context: Any) -> Any:
        try:
            return await getattr(_SdkServicer, name)(self, request, context)
        except InitFailed as error:
            await context.abort_with_status(error.status())
        except ProviderError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))

    return call


for _name in ("CheckConfig", "Configure", "Invoke", "Check", "Diff", "Create", "Read", "Update", "Delete"):
    setattr(_Servicer, _name, _guarded(_name))


class EngineLog:
    """Lines for the person at the CLI, sent to the engine that started the plugin."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._stub: Any = None

    def send(self, urn: str, message: str, *, severity: str = "INFO", status: bool = False) -> None:
        """Shows `message` beside the resource `urn`. A status line is one that the next replaces on a terminal."""
        if self._address is None:
            return
        if self._stub is None:
            self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self._address))
        request = engine_pb2.LogRequest(
            severity=engine_pb2.LogSeverity.Value(severity), message=message, urn=urn, streamId=0, ephemeral=status
        )
        try:
            self._stub.Log(request, timeout=10)
        except grpc.RpcError:
            pass  # a line that cannot be shown must not fail the operation


def engine_address() -> str | None:
    """The engine's address from the command line: its first argument that is no option."""
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)


def serve(provider: Provider, package: str) -> None:
    """Runs the plugin until the engine ends it. `package` is the SDK's: its version is the plugin's."""
    gc.disable()  # the real ones are no Python: what they compute is the operations
    watch(provider)
    server.ProviderServicer = _Servicer  # type: ignore[misc]  # `server.main` makes it by this name
    server.main(sys.argv[1:], importlib.metadata.version(package), provider)


# --- providers as the Terraform bridge makes them --------------------------------------------------------------------
class Resource:
    """One resource type. All values are plain Python; every operation may block."""

    schema: ClassVar[Schema] = {}
    outputs: Sequence[str] = ()  # outputs that are no inputs

    def delete_before_replace(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether a replacement deletes first: as in the bridge, where two of one name would collide."""
        return bool(old.get("name") == new.get("name"))

    def create(self, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Makes it; returns its id and its state."""
        raise NotImplementedError

    def read(self, resource_id: str, state: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """What it is now, or None when it is gone."""
        raise NotImplementedError

    def update(
        self, resource_id: str, old: dict[str, Any], new: dict[str, Any], changed: frozenset[str]
    ) -> dict[str, Any]:
        """Changes it in place; returns its state. `changed` names the properties that differ."""
        raise NotImplementedError

    def delete(self, resource_id: str, state: dict[str, Any]) -> None:
        """Takes it away."""
        raise NotImplementedError


class BridgedProvider(Provider):
    """A provider of Resources that are named by type token, configured by `config`.

    Like the bridge, it accepts no secrets: the engine takes secretness off what it sends, and puts it back on each
    output that has a secret input's name.
    """

    name = ""
    config_schema: ClassVar[Schema] = {}

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.resources: dict[str, Resource] = {}

    def resource(self, request_type: str) -> Resource:
        """The resource of this type token."""
        try:
            return self.resources[request_type]
        except KeyError:
            known = ", ".join(self.resources)
            raise ProviderError(
                f"the resource type {request_type} is not implemented by the lab's emulated {self.name} plugin; "
                f"it should be one of: {known}"
            ) from None

    def decoded_config(self, values: Mapping[str, PropertyValue]) -> dict[str, Any]:
        """The provider's settings. Those that are no strings arrive as JSON in a string."""
        decoded: dict[str, Any] = {}
        for key, value in plain_map(values).items():
            if key in ("version", "pluginDownloadURL") or key.startswith("__"):
                continue
            prop = self.config_schema.get(key)
            if prop is not None and prop.kind != "string" and isinstance(value, str):
                try:
                    value = json.loads(value)
                except ValueError:
                    pass  # reported by its type
            decoded[key] = value
        return decoded

    async def check_config(self, request: CheckRequest) -> CheckResponse:
        """Refuses settings that are unknown, not implemented or of a wrong type."""
        found = list(failures(self.config_schema, self.decoded_config(request.new_inputs)))
        return CheckResponse(inputs=dict(request.new_inputs), failures=found)

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        """Takes the settings over; nothing is contacted yet."""
        self.config.clear()  # others hold this very dictionary
        self.config.update(self.decoded_config(request.args))
        for failure in failures(self.config_schema, self.config):
            raise ProviderError(f"provider setting {failure.property} {failure.reason}")
        return ConfigureResponse(supports_preview=True)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """Strictness and defaults."""
        resource = self.resource(resource_type(request.type))
        inputs = plain_map(request.new_inputs)
        found = list(failures(resource.schema, inputs))
        defaults = []
        for key, prop in resource.schema.items():
            if prop.default is not None and key not in inputs:
                inputs[key] = prop.default
                defaults.append(key)
        inputs[DEFAULTS] = sorted(defaults)
        return CheckResponse(inputs=wrap_map(inputs), failures=found)

    def _diff(
        self, resource: Resource, old: Mapping[str, Any], new: Mapping[str, Any], ignore: Iterable[str]
    ) -> DiffResponse:
        before = resource.delete_before_replace(old, new)
        return diff(resource.schema, old, new, ignore, delete_before_replace=before)

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """The state against the inputs, so that drift that a refresh has found is put right too."""
        resource = self.resource(resource_type(request.type))
        old, new = plain_map(request.old_state), plain_map(request.new_inputs)
        return self._diff(resource, old, new, request.ignore_changes)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """Makes it; at preview everything the provider decides is unknown."""
        resource, inputs = self.resource(resource_type(request.type)), plain_map(request.properties)
        inputs.pop(DEFAULTS, None)
        if request.preview:
            computed = [key for key, prop in resource.schema.items() if prop.computed and key not in inputs]
            unknown = dict.fromkeys([*resource.outputs, *computed], UNKNOWN)
            return CreateResponse(resource_id="", properties=wrap_map({**inputs, **unknown}))
        resource_id, state = await asyncio.to_thread(resource.create, inputs)
        return CreateResponse(resource_id=resource_id, properties=wrap_map(state))

    async def read(self, request: ReadRequest) -> ReadResponse:
        """What it is now; the inputs follow where the resource has drifted from them."""
        resource = self.resource(resource_type(request.type))
        old, inputs = plain_map(request.properties), plain_map(request.inputs)
        found = await asyncio.to_thread(resource.read, request.resource_id, old)
        if found is None:
            return ReadResponse(resource_id="", properties={}, inputs={})
        resource_id, state = found
        for key, prop in resource.schema.items():
            if key in inputs and normal(prop, state.get(key)) != normal(prop, inputs[key]):
                inputs[key] = state.get(key)
        return ReadResponse(resource_id=resource_id, properties=wrap_map(state), inputs=wrap_map(inputs))

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """Changes it in place. Nothing to change (a resource that failed to start is tried again): nothing is done."""
        resource = self.resource(resource_type(request.type))
        old, new = plain_map(request.olds), plain_map(request.news)
        changed = frozenset(self._diff(resource, old, new, request.ignore_changes).diffs)
        if not changed:
            return UpdateResponse(properties=dict(request.olds))
        for key in {path.split(".")[0].split("[")[0] for path in request.ignore_changes}:
            if key in old:
                new[key] = old[key]
        new.pop(DEFAULTS, None)
        kept = {key: old[key] for key in old if key not in resource.schema or resource.schema[key].computed}
        if request.preview:
            return UpdateResponse(properties=wrap_map({**kept, **new}))
        state = await asyncio.to_thread(resource.update, request.resource_id, old, {**kept, **new}, changed)
        return UpdateResponse(properties=wrap_map(state))

    async def delete(self, request: DeleteRequest) -> None:
        """Takes it away."""
        resource = self.resource(resource_type(request.type))
        await asyncio.to_thread(resource.delete, request.resource_id, plain_map(request.properties))

    async def invoke(self, request: InvokeRequest) -> InvokeResponse:
        """No functions, unless a provider has some."""
        raise ProviderError(f"the function {request.tok} is not implemented by the lab's emulated {self.name} plugin")
