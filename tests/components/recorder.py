"""The whole program under Pulumi's mocks, with every RegisterResource request kept: who depends on whom, what is a
secret, which options it has. No engine, no provider, no host.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import runpy
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pulumi
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import ResourceRegistrationFailed, wait_for_rpcs

from host_programs.backup.nightly_backup import ProvenBackup
from host_programs.backup.proof import ProvenDump
from host_programs.bridge.config import WrittenConfig
from host_programs.bridge.database_life import DatabaseOrigin
from host_programs.bridge.pickle_keys import FoundKey
from host_programs.bridge.readiness import Ready
from host_programs.facts.host import ObservedFacts
from host_programs.files.directory import ClaimedDirectory
from host_programs.files.programs import Programs
from host_programs.postgres.access import AccessProof, RoleProof
from host_programs.postgres.isolation import PublicRights
from host_programs.status.deployed import RecordedDeployment
from host_programs.synapse.appservices import SynapseChanges
from host_programs.synapse.stop_and_check import StopAndCheckResult
from host_programs.verbs import VERBS
from host_programs.wire import to_json
from tests.facts import ARCHIVED_KEY, PERMANENT_SEED, SEED
from verdicts.host_facts.host import HostFacts
from workstation.machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]

# As Pulumi's own runner does: what waits for a failed resource is never asked.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)

COMMAND = "command:local:Command"

ROLES = ("mautrix_signal", "mautrix_whatsapp", "mautrix_irc", "box_role")
AT = "2026-11-24T14:12:35.123456+00:00"
READY = Ready("mautrix-signal-container-id", 3.0, 0, 2.0, 30, "Signal bridge bot", AT)

# What each verb returns, by its words, for the outputs that are made of it.
RESULTS: dict[str, Any] = {
    "programs install": Programs(ClaimedDirectory("", "", ""), "/opt/matrix/mautrix-bridges/mautrix-host.pyz", ""),
    "secrets make-seed": SEED,
    "secrets make-permanent": PERMANENT_SEED,
    "archive read-key": FoundKey(ARCHIVED_KEY),
    "directory claim": ClaimedDirectory("", "", ""),
    "public shut-out": PublicRights({}),
    "passwords prove": AccessProof(tuple(RoleProof(role, (), ("synapse", "mas"), {}) for role in ROLES), AT),
    "backup install": ProvenBackup(dumps=(ProvenDump("mautrix_signal", "/opt/matrix/backups/x.sql.gz", 1, ""),)),
    "synapse register": SynapseChanges(changed=True, restarted=True),
    "synapse stop-and-check": StopAndCheckResult(verdict="PASS", table="all well", at=AT),
    "config write": WrittenConfig("/opt/matrix/mautrix-signal/config/config.yaml"),
    "database prepare": DatabaseOrigin("none"),
    "bridge wait": READY,
    "deployment record": RecordedDeployment("/opt/matrix/mautrix-bridges/deployed.json"),
}


def words_in(text: str) -> str:
    """The verb's words in a Command's text, here or behind SSH."""
    (words,) = (words for words in VERBS if re.search(rf" {words}(?!\S)|(?<= ){words}(?=')", text))
    return words


class Answers(mocks.Mocks):
    """Plays the providers: a Command prints what its verb would; at preview nothing that is known, where its name
    matches `unknown`. Everything else has its inputs for outputs."""

    def __init__(self, unknown: str) -> None:
        self._unknown = unknown

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.typ == COMMAND and "create" in args.inputs:
            result = RESULTS[words_in(args.inputs["create"])]
            will_run = self._unknown and re.search(self._unknown, args.name)
            outputs["stdout"] = rpc.UNKNOWN if will_run else json.dumps(to_json(result))
        if args.typ == "docker:index/remoteImage:RemoteImage":
            outputs["imageId"] = f"sha256:{args.inputs['name']}"
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program asked {args.token}")


class Monitor(mocks.MockMonitor):
    """Keeps the requests. The resources `failing` fail as the engine's do with `--continue-on-error`."""

    def __init__(self, failing: Collection[str], unknown: str) -> None:
        super().__init__(Answers(unknown))
        self._failing = failing
        self.requests: list[Any] = []
        self.outputs: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:
        self.requests.append(request)
        if request.name in self._failing and request.custom:
            urn = self.make_urn(request.parent, request.type, request.name)
            return resource_pb2.RegisterResourceResponse(urn=urn, result=resource_pb2.Result.FAIL)
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]

    def RegisterResourceOutputs(self, request: Any) -> Any:
        self.outputs.append(request)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


@dataclass
class Resource:
    """One registration. `needs` are the names that it depends on, its parent among them: the engine makes a child
    after its parent, which waits for what the parent depends on, and deletes them the other way round. `dependencies`
    are those that it names itself: what no value of its inputs carries is in `ordered_after` alone. `registered`: the
    outputs of a component, None if it registered none."""

    type: str
    name: str
    parent: str
    inputs: Mapping[str, Any]
    needs: set[str]
    ordered_after: set[str]
    options: Any
    secret_inputs: set[str] = field(default_factory=set)
    stdin: Mapping[str, Any] = field(default_factory=dict)
    registered: Mapping[str, Any] | None = None

    @property
    def is_step(self) -> bool:
        return self.type == COMMAND

    @property
    def verbs(self) -> dict[str, str]:
        """The words that its create, update and delete run."""
        texts = {key: self.inputs[key] for key in ("create", "update", "delete") if self.inputs.get(key)}
        return {key: words_in(text) for key, text in texts.items()}


@dataclass
class Recording:
    resources: dict[str, Resource]
    outputs: dict[str, Any]
    told: list[str]
    looks: list[tuple[str, Any]]  # the verbs that were run at once, with their arguments
    program: dict[str, Any]  # the names of `__main__.py`

    def __getitem__(self, name: str) -> Resource:
        return self.resources[name]

    def named(self, pattern: str) -> Iterator[Resource]:
        return (resource for name, resource in self.resources.items() if re.search(pattern, name))

    @property
    def steps(self) -> dict[str, Resource]:
        return {name: resource for name, resource in self.resources.items() if resource.is_step}

    @property
    def components(self) -> dict[str, Resource]:
        return {name: found for name, found in self.resources.items() if found.type.startswith("mautrix:")}

    def after(self, name: str) -> set[str]:
        """Everything that must be there before `name`, through any number of steps."""
        found: set[str] = set()
        todo = [name]
        while todo:
            for need in self.resources[todo.pop()].needs - found:
                found.add(need)
                todo.append(need)
        return found


def _name(urn: str) -> str:
    """A resource's logical name; with a component's its type, since all components of a bridge have the bridge's."""
    head, _, name = urn.rpartition("::")
    type_ = re.split(r"::|\$", head)[-1]
    return f"{name} {type_.rpartition(':')[2]}" if type_.startswith("mautrix:") else name


def _resource(request: Any) -> Resource:
    sent = rpc.deserialize_properties(request.object, keep_unknowns=True)
    secrets = {key for key, value in sent.items() if rpc.is_rpc_secret(value)}
    inputs = {key: rpc.unwrap_rpc_secret(value) for key, value in sent.items()}
    carried = {_name(urn) for dependencies in request.propertyDependencies.values() for urn in dependencies.urns}
    needs = carried | {_name(urn) for urn in request.dependencies}
    parent = "" if "pulumi:pulumi:Stack" in request.parent.split("$")[-1] else _name(request.parent)
    stdin = inputs.get("stdin")
    return Resource(
        type=request.type,
        name=request.name,
        parent=parent,
        inputs=inputs,
        needs=needs | ({parent} if parent else set()),
        ordered_after=needs - carried,
        options=request,
        secret_inputs=secrets,
        stdin=json.loads(stdin) if isinstance(stdin, str) and stdin.startswith("{") else {},
    )


async def _wait(failing: Collection[str]) -> None:
    """Until the program has registered what it can. What depends on a failed resource ends the SDK's own wait; the rest
    is waited for then."""
    while True:
        try:
            return await wait_for_rpcs()
        except ResourceRegistrationFailed:
            assert failing
            pulumi.runtime.settings.SETTINGS.rpc_manager.unhandled_exception = None


def _keep_hook(hook: pulumi.ResourceHook) -> asyncio.Future[None]:
    """The mocks have no server for hooks; a request names its own."""
    done: asyncio.Future[None] = asyncio.get_event_loop().create_future()
    done.set_result(None)
    return done


class Stopped(Exception):
    """The program ended with a RunError, whose text this is; `registered` are the requests until then."""

    def __init__(self, text: str, registered: list[Any]) -> None:
        super().__init__(text)
        self.registered = registered


def record(
    facts: HostFacts,
    config: Mapping[str, str | None],
    stack: str = "contabo",
    failing: Collection[str] = (),
    preview: bool = False,
    unknown: str = "",
    began: str = "",
    secret: Collection[str] = (),
) -> Recording:
    """Run `__main__.py` on a host that looks like `facts`, as it `began`; the resources of the names `failing`
    fail. At preview, a step whose name matches `unknown` will run again, so that what it prints is not known.
    `secret`: settings that were set so. Raises Stopped."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = Monitor(failing, unknown)
    told: list[str] = []
    outputs: dict[str, Any] = {}
    looks: list[tuple[str, Any]] = []
    names: dict[str, Any] = {}
    mocks.set_mocks(monitor.mocks, project="mautrix-signal", stack=stack, preview=preview, monitor=monitor)
    values = {f"mautrix-signal:{key}": value for key, value in config.items() if value is not None}
    pulumi.runtime.set_all_config(values, [f"mautrix-signal:{key}" for key in secret])

    def tell(message: str, *_: Any, **__: Any) -> None:
        told.append(message)

    def run(_: Machine, verb: Callable[[Any], Any], arguments: Any) -> ObservedFacts:
        looks.append((verb.__name__, arguments))
        return ObservedFacts(replace(facts, began=began or facts.began))

    async def program() -> None:
        """As pulumi.runtime.run_in_stack does, without the stack's own resource."""
        try:
            names.update(runpy.run_path(str(CHECKOUT / "__main__.py"), run_name="__main__"))
        finally:
            await _wait(failing)

    with ExitStack() as patches:
        project = patches.enter_context(tempfile.TemporaryDirectory())  # the program writes the program file there
        for patched in (
            patch("components.preflight.Path.cwd", lambda: Path(project)),
            patch.object(Machine, "run", run),
            patch("workstation.machine.bind_relay"),
            patch("workstation.machine.start_relay"),
            patch("workstation.machine.forward_socket"),
            patch("workstation.machine.make_control_directory"),
            # What guard_program changes for good.
            patch("signal.signal"),
            patch.object(pulumi, "run"),
            patch("pulumi.resource_hooks.register_resource_hook", _keep_hook),
            patch("pulumi.runtime.register_stack_transformation"),
            patch.object(pulumi.log, "error", tell),
            patch.object(pulumi.log, "debug", lambda *_, **__: None),
            patch.object(pulumi.log, "warn", tell),
            patch.object(pulumi.log, "info", tell),
            patch.object(pulumi, "export", outputs.__setitem__),
        ):
            patches.enter_context(patched)
        try:
            asyncio.get_event_loop().run_until_complete(program())
        except pulumi.RunError as error:
            requests = [request for request in monitor.requests if request.type != "pulumi:pulumi:Stack"]
            pulumi.runtime.settings.SETTINGS.outputs.clear()  # what waits for the failure would wait for ever
            pulumi.runtime.settings.SETTINGS.rpc_manager.clear()
            raise Stopped(str(error), requests) from None
    requests = [request for request in monitor.requests if request.type != "pulumi:pulumi:Stack"]
    made = {_name(f"{request.type}::{request.name}"): _resource(request) for request in requests}
    assert len(made) == len(requests), "two resources of one name"
    for request in monitor.outputs:
        if _name(request.urn) in made:
            made[_name(request.urn)].registered = rpc.deserialize_properties(request.outputs, keep_unknowns=True)
    return Recording(made, outputs, told, looks, names)
