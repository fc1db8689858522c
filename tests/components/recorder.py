"""The whole program under Pulumi's mocks, with every RegisterResource request kept: who depends on whom, what is a
secret, which options it has. No engine, no provider, no host.
"""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pulumi
from pulumi.runtime import mocks, rpc

from host_programs import bundle
from host_programs.backup import archived_keys, nightly_backup
from host_programs.bridge import bridge_data, gate, install, readiness
from host_programs.files import directory
from host_programs.postgres import isolation
from host_programs.synapse import appservices, stop_and_check
from host_programs.wire import Failed, plain
from tests.facts import ARCHIVED_KEY, SEED
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.host_facts.host import HostFacts

CHECKOUT = Path(__file__).resolve().parents[2]

ROLES = ("mautrix_signal", "mautrix_whatsapp", "mautrix_irc", "box_role")
STATUS = BridgeStatus(container="running", ready=True, ping="200", image="sha256:0123")

# What each script's verb returns, for the outputs that are made of it.
RESULTS = {
    "scripts.generate": SEED,
    "backup.archived_keys keys": archived_keys.ArchivedKeys(ARCHIVED_KEY),
    "bridge.install install": install.Installed("sha256:0123"),
    "files.files create": directory.Done(),
    "postgres.isolation isolate": isolation.Isolated({}),
    "postgres.isolation prove": isolation.Proven(
        tuple(isolation.Proof(role, (), ("synapse", "mas"), {}) for role in ROLES)
    ),
    "backup.nightly_backup apply": nightly_backup.Applied(changed=True, dumps=()),
    "synapse.appservices register_appservices": appservices.Registered(changed=True, restarted=True),
    "bridge.gate admit": gate.Admitted(
        stop_and_check.Checked(verdict="PASS", table="all well"), bridge_data.Begun("none")
    ),
    "bridge.readiness wait": readiness.Ready(
        "0123abcd", "mautrix-signal-container-id", 3.0, 0, 2.0, 30, "Signal bridge bot", STATUS
    ),
}


class Answers(mocks.Mocks):
    """Plays the providers: a Command prints what its script would; of a step for several bridges for each of them, or
    its failure in `failing` ("STEP BRIDGE", its key). Everything else has its inputs for outputs."""

    def __init__(self, failing: Mapping[str, Failed]) -> None:
        self.failing = failing

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.typ == "command:local:Command" and "create" in args.inputs:
            told, job = (
                RESULTS[args.inputs["create"].rsplit(" # ", 1)[1]],
                _job(rpc.unwrap_rpc_secret(args.inputs.get("stdin"))),
            )
            if job.get("each") is not None:
                told = {key: self.failing.get(f"{args.name} {key}", told) for key in job["arguments"]}
            outputs["stdout"] = json.dumps(plain(told))
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program asked {args.token}")


class Monitor(mocks.MockMonitor):
    """Keeps the requests."""

    def __init__(self, failing: Mapping[str, Failed]) -> None:
        super().__init__(Answers(failing))
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:
        self.requests.append(request)
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


@dataclass
class Resource:
    """One registration. `needs` are the names that it depends on, its parent among them: the engine makes a child
    after its parent, which waits for what the parent depends on, and deletes them the other way round."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    needs: set[str]
    options: Any
    secret_inputs: set[str] = field(default_factory=set)
    stdin: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Recording:
    resources: dict[str, Resource]
    outputs: dict[str, Any]
    told: list[str]
    ended: str
    run: list[tuple[str, Any]]  # the verbs that were run at once, with their arguments

    def __getitem__(self, name: str) -> Resource:
        return self.resources[name]

    def named(self, pattern: str) -> Iterator[Resource]:
        return (each for name, each in self.resources.items() if re.search(pattern, name))

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


def _job(stdin: Any) -> dict[str, Any]:
    """What a step is told; {} for one that is no bundle."""
    return dict(bundle.unpacked(stdin)) if isinstance(stdin, str) and " " not in stdin else {}


def _resource(request: Any) -> Resource:
    plain = rpc.deserialize_properties(request.object, keep_unknowns=True)
    secrets = {key for key, value in plain.items() if rpc.is_rpc_secret(value)}
    inputs = {key: rpc.unwrap_rpc_secret(value) for key, value in plain.items()}
    needs = {_name(urn) for urn in request.dependencies}
    if request.parent and "pulumi:pulumi:Stack" not in request.parent.split("::")[-2].split("$")[-1]:
        needs.add(_name(request.parent))
    for dependencies in request.propertyDependencies.values():
        needs |= {_name(urn) for urn in dependencies.urns}
    stdin = inputs.get("stdin")
    return Resource(
        request.type,
        request.name,
        inputs,
        needs,
        request,
        secrets,
        _job(stdin),
    )


def record(
    facts: HostFacts,
    config: Mapping[str, str | None],
    stack: str = "contabo",
    failing: Mapping[str, Failed] | None = None,
    preview: bool = False,
    main: Callable[[], Awaitable[None]] | None = None,
) -> Recording:
    """Run `__main__.py`, or another `main`, on a host that looks like `facts`; the steps `failing` fail. What the
    program raises is raised, unless one of them did: then it is in `ended`."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = Monitor(failing or {})
    ended = ""
    told: list[str] = []
    outputs: dict[str, Any] = {}
    mocks.set_mocks(monitor.mocks, project="mautrix-signal", stack=stack, preview=preview, monitor=monitor)
    pulumi.runtime.set_all_config(
        {f"mautrix-signal:{key}": value for key, value in config.items() if value is not None}
    )

    def tell(message: str, *_: Any, **__: Any) -> None:
        told.append(message)

    async def program() -> None:
        """As pulumi.runtime.run_in_stack does, without the stack's own resource."""
        mains = [main] if main else []
        if not main:
            with patch.object(pulumi, "run", mains.append):
                runpy.run_path(str(CHECKOUT / "__main__.py"), run_name="__main__")
        try:
            await mains[0]()
        finally:
            await pulumi.runtime.stack.wait_for_rpcs()

    from components.host import Host

    ran: list[tuple[str, Any]] = []

    def run(_: Host, verb: Callable[[Any], Any], arguments: Any) -> HostFacts:
        ran.append((verb.__name__, arguments))
        return facts

    with (
        patch.object(Host, "run", run),
        patch("workstation.forward.ensure"),
        patch("components.host.make_control_directory"),
        patch.object(pulumi.log, "warn", tell),
        patch.object(pulumi.log, "info", tell),
        patch.object(pulumi, "export", outputs.__setitem__),
    ):
        try:
            asyncio.get_event_loop().run_until_complete(program())
        except pulumi.RunError as error:
            if not failing:
                raise
            ended = str(error)
    made = {_name(f"{request.type}::{request.name}"): _resource(request) for request in monitor.requests}
    assert len(made) == len(monitor.requests), "two resources of one name"
    return Recording(made, outputs, told, ended, ran)
