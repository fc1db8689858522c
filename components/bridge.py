"""One bridge's parts in the plan's order, and the steps that run for all bridges at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pulumi
import pulumi_postgresql as postgresql

from components.container import BridgeContainer, container_version, readiness_arguments
from components.database import BridgeDatabase
from components.gate import archived_at_deletion, gate_arguments, may_go_at_deletion, own_data
from components.host import Host, HostScripts, later, resolved
from components.install import BridgeConfig, DockerMachine, install_arguments
from components.leftovers import bridge_leftovers
from components.registration import Registration, bridge_appservice
from components.secrets import StackSecrets
from components.start import Start
from documents import operator
from documents.bridge_config import bridge_config, bridge_database_url
from documents.places import NOTHING, BridgeDeployment
from host_programs.bridge import bridge_data, gate, install, readiness
from host_programs.bridge.gate import Admitted
from host_programs.bridge.install import Installed
from host_programs.bridge.readiness import Ready
from host_programs.common import Contained
from host_programs.postgres.access import AccessProof, RolePassword
from host_programs.wire import Failed
from verdicts.host_facts import BridgeStatus

R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True)
class Shared:
    """What the bridges of a stack share: its host, Docker, Postgres, what their secrets are made of,
    and the names of the databases that their roles are kept out of; `whole`: whether all of a bridge is registered,
    whatever an outcome says, since nothing is made of it now."""

    host: Host
    machine: DockerMachine
    postgres: postgresql.Provider
    secrets: StackSecrets
    isolated: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class Live:
    """What became of a bridge. An outcome behind one that failed is that failure."""

    admitted: pulumi.Output[Admitted | Failed]
    ready: pulumi.Output[Ready | Failed]


class Bridge(pulumi.ComponentResource):
    """One bridge. Its secrets and the text of its config come with it; its database, its registration, its archive at
    the end and its container come step by step. What runs on the host runs for all bridges at once (`installed`,
    `go_live`)."""

    def __init__(
        self,
        shared: Shared,
        deployment: BridgeDeployment,
        start: Start,
        opts: pulumi.ResourceOptions,
    ) -> None:
        self.name, self.key = deployment.bridge.name, deployment.key
        super().__init__("mautrix:bridges:Bridge", self.name, None, opts)
        self.shared, self.deployment, self.start = shared, deployment, start
        host, own = shared.host, self._after()
        key, restore = deployment.bridge.name, start.restore or NOTHING
        self.tokens, self.keys = shared.secrets.tokens(key), shared.secrets.keys(key, self.name, restore, own)
        self.as_token: pulumi.Output[str] = self.tokens.apply(lambda known: known.as_token)
        puppet: pulumi.Output[str] = shared.secrets.doublepuppet.apply(lambda known: known.as_token)
        self._as_tokens = self.as_token, puppet
        all_known = pulumi.Output.all(self.tokens, self.keys, shared.secrets.doublepuppet)
        self.config = BridgeConfig(deployment, all_known.apply(lambda known: bridge_config(deployment, *known)))
        # First of all, and last at the end.
        self.leftovers = bridge_leftovers(self.name, host, deployment, shared.isolated, own)
        # Its own, each of which goes before those that it names: when this bridge alone goes, what all share stays, and
        # the engine sees no order through that.
        self._own: list[pulumi.Resource] = [self.leftovers]
        self._data: bridge_data.Arguments | None = None
        self.register_outputs({})

    def _after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*needed])

    @property
    def made_of(self) -> install.Arguments:
        """What of it is there before Synapse is touched: steps 6 to 8."""
        return install_arguments(self.deployment, self.config, self.shared.machine.bridge_owner, self.start)

    def own_database(self, there: tuple[bool, bool], claimed: pulumi.Resource) -> pulumi.Resource:
        """Step 2, once its directory is `claimed`, whose mark says that the database is this stack's. `there`: whether
        role and database are, and are this stack's."""
        database, server = self.deployment.place.database, self.shared.postgres
        own = BridgeDatabase(self.name, database, server, *there, opts=self._after(claimed, self.leftovers))
        self._data = own_data(self.deployment, self.config, self.keys, self.start)
        self._own.append(own.database)
        return own.database

    @property
    def password(self) -> RolePassword:
        """Its role's, with the database that it is for."""
        password: pulumi.Output[str] = self.tokens.apply(lambda known: known.database_password)
        return RolePassword(self.deployment.place.database, later(password))

    def registration(self) -> Registration:
        """Step 9."""
        known = self.tokens, self.keys
        made = bridge_appservice(self.name, self.shared.host, self.deployment, known, self._after(self.leftovers))
        self._own.append(made.removal)
        return made

    def archived(self, *needed: pulumi.Resource) -> None:
        """At its end, when its container is gone, and before all else of it and what it `needed` is."""
        if self._data:
            after = self._after(*needed, *self._own)
            self._own.append(archived_at_deletion(self.name, self.shared.host, self._data, after))

    def asked(self, installed: pulumi.Output[Installed | Failed]) -> gate.Arguments:
        """What the gate is told of it; None, if it was not `installed`."""
        version = container_version(self.deployment, self.config, _image(installed), self.start)
        told = gate_arguments(self.deployment, self._as_tokens, self.start, version, self._data)
        return _unless_failed(installed, lambda _: told)

    def container(
        self,
        installed: pulumi.Output[Installed | Failed],
        admitted: pulumi.Output[Admitted | Failed],
        passed: pulumi.Resource,
    ) -> pulumi.Output[str | Failed]:
        """Steps 16 and 17, if it is `admitted`: its id. What is not registered for that stays as it was: the program
        then ends with an error, and the engine deletes nothing."""
        name, deployment, machine = self.name, self.deployment, self.shared.machine

        def made() -> pulumi.Output[str]:
            after = self._after(passed, *self._own)
            image_id, start = _image(installed), self.start
            it = BridgeContainer(name, deployment, self.config, image_id, machine, start, after).resource
            if self._data:
                may_go_at_deletion(name, self.shared.host, deployment, self._after(it))
            return it.id

        return self.then(admitted, made)

    def awaited(self, container: pulumi.Output[str | Failed]) -> readiness.Arguments:
        """What readiness is told of it; None, if it has no `container`."""
        own = self.deployment, self.config, self._as_tokens, self.start
        return _unless_failed(container, lambda container_id: readiness_arguments(container_id, *own))

    def then(
        self, outcome: pulumi.Output[R | Failed], register: Callable[[], pulumi.Output[S]]
    ) -> pulumi.Output[S | Failed]:
        """What comes behind the outcome, unless that is a failure."""
        if self.shared.whole:
            return register()
        return outcome.apply(lambda seen: seen if isinstance(seen, Failed) else register())

    def outputs(
        self, proven: pulumi.Output[AccessProof], live: Live, status: pulumi.Output[BridgeStatus]
    ) -> dict[str, Any]:
        """What the operator gets of it; `proven`: who gets into which database, `status`: how it is.
        Tokens are secrets."""

        def of(outcome: pulumi.Output[Any], value: Callable[[Any], Any], failed: Callable[[Failed], Any]) -> Any:
            return outcome.apply(lambda seen: failed(seen) if isinstance(seen, Failed) else value(seen))

        role = self.deployment.place.database.role
        return {
            "isolation": proven.apply(lambda seen: seen.of(role)),
            "verdict": of(live.admitted, lambda seen: seen.checked.verdict, lambda _: "FAIL"),
            "authCheck": of(live.admitted, lambda seen: seen.checked.table, lambda seen: seen.failed),
            "ready": of(live.ready, lambda seen: seen, lambda _: None),
            "status": status,
            "previousVersion": of(live.admitted, lambda seen: seen.begun.previous, lambda _: ""),
            "bot": self.deployment.bot,
            "nextSteps": operator.next_steps(self.deployment),
            "servicesEntry": operator.services_entry(self.deployment),
            "databaseUrl": self.tokens.apply(lambda known: bridge_database_url(self.deployment, known)),
            "asToken": self.as_token,
            "hsToken": self.tokens.apply(lambda known: known.hs_token),
            "provisioningSecret": self.tokens.apply(lambda known: known.provisioning_secret),
        }


def _unless_failed(outcome: pulumi.Output[R | Failed], told: Callable[[R], S]) -> S:
    """As `Host.scripts` takes it."""

    def arguments(seen: R | Failed) -> pulumi.Output[Any] | None:
        return None if isinstance(seen, Failed) else resolved(told(seen))

    return later(cast("pulumi.Output[S]", outcome.apply(arguments)))


def _image(installed: pulumi.Output[Installed | Failed]) -> pulumi.Output[str]:
    return installed.apply(lambda seen: "" if isinstance(seen, Failed) else seen.image_id)


def installed(
    name: str, shared: Shared, bridges: Sequence[Bridge], opts: pulumi.ResourceOptions
) -> HostScripts[Installed]:
    """Steps 6 to 8 for all of them: directory, image, config."""
    made_of = {each.key: each.made_of for each in bridges}
    return shared.host.scripts(
        f"{name}-install", made_of, create=install.install, attempts=_attempts(bridges), opts=opts
    )


def go_live(
    name: str,
    shared: Shared,
    bridges: Sequence[Bridge],
    installed: HostScripts[Installed],
    opts: pulumi.ResourceOptions,
) -> list[Live]:
    """Steps 15 to 18 for all of them, side by side: the gate, the container, readiness, each for a bridge that did not
    fail before."""
    host, attempts = shared.host, _attempts(bridges)
    asked = {each.key: each.asked(installed.of(each.key)) for each in bridges}
    passed = host.scripts(f"{name}-gate", asked, create=gate.admit, attempts=attempts, opts=opts)

    def admitted(bridge: Bridge) -> pulumi.Output[Admitted | Failed]:
        return bridge.then(installed.of(bridge.key), lambda: passed.of(bridge.key))

    containers = {each: each.container(installed.of(each.key), admitted(each), passed.resource) for each in bridges}
    awaited = {each.key: each.awaited(container) for each, container in containers.items()}
    ready = host.scripts(f"{name}-readiness", awaited, create=readiness.wait, attempts=attempts, opts=opts)

    def seen(bridge: Bridge) -> pulumi.Output[Ready | Failed]:
        return bridge.then(containers[bridge], lambda: ready.of(bridge.key))

    return [Live(admitted(each), seen(each)) for each in bridges]


def _attempts(bridges: Sequence[Bridge]) -> dict[str, Contained]:
    return {each.key: each.start.attempt_at(each.deployment) for each in bridges}
