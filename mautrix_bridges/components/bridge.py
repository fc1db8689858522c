"""One bridge's parts in the plan's order: what is made before Synapse is touched, and what goes live after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pulumi
import pulumi_postgresql as postgresql

from mautrix_bridges.components.auth_check import auth_check
from mautrix_bridges.components.container import BridgeContainer, container_version
from mautrix_bridges.components.data import bridge_data_begun
from mautrix_bridges.components.database import BridgeDatabase
from mautrix_bridges.components.host import Host, later
from mautrix_bridges.components.install import BridgeInstall, DockerMachine
from mautrix_bridges.components.leftovers import bridge_leftovers
from mautrix_bridges.components.registration import Registration, bridge_appservice
from mautrix_bridges.components.secrets import BridgeSecrets
from mautrix_bridges.components.start import Start
from mautrix_bridges.documents import operator
from mautrix_bridges.documents.bridge_config import bridge_config, bridge_database_url
from mautrix_bridges.documents.credentials import DoublePuppet, Keys, Tokens
from mautrix_bridges.documents.places import NOTHING, BridgeDeployment
from mautrix_bridges.scripts.bridge_data import Begun
from mautrix_bridges.scripts.isolation import Proven, RolePassword
from mautrix_bridges.scripts.readiness import Ready
from mautrix_bridges.scripts.stop_and_check import Checked
from mautrix_bridges.scripts.wire import Failed
from mautrix_bridges.verdicts.host_facts import BridgeStatus

R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True)
class Shared:
    """What the bridges of a stack share: its host, Docker, Postgres (None: role and database are somebody else's), the
    secrets for double puppeting, and the names of the databases that their roles are kept out of; `whole`: whether all
    of a bridge is registered, whatever an outcome says, since nothing is made of it now; `prefix` begins the names of
    their resources."""

    host: Host
    machine: DockerMachine
    postgres: postgresql.Provider | None
    doublepuppet: pulumi.Output[DoublePuppet]
    isolated: tuple[str, ...]
    whole: bool
    prefix: str = ""


@dataclass(frozen=True)
class Given:
    """The secrets of a bridge whose registration and database are somebody else's; without `sender_localpart` it is not
    known here."""

    as_token: pulumi.Output[str]
    hs_token: pulumi.Output[str]
    database_password: pulumi.Output[str]
    pickle_key: pulumi.Output[str]
    sender_localpart: pulumi.Output[str] | None = None

    def tokens(self, own: pulumi.Output[Tokens]) -> pulumi.Output[Tokens]:
        """Ours, with those that are given in their place."""
        known = pulumi.Output.all(own, self.as_token, self.hs_token, self.database_password)
        return known.apply(lambda k: replace(k[0], as_token=k[1], hs_token=k[2], database_password=k[3]))

    def keys(self, own: pulumi.Output[Keys]) -> pulumi.Output[Keys]:
        """The same of the keys."""
        known = pulumi.Output.all(own, self.pickle_key, self.sender_localpart)
        return known.apply(lambda k: Keys(k[1], k[2] or k[0].sender_localpart))


@dataclass(frozen=True)
class Live:
    """What became of a bridge. An outcome behind one that failed is that failure."""

    checked: pulumi.Output[Checked | Failed]
    begun: pulumi.Output[Begun | Failed]
    ready: pulumi.Output[Ready | Failed]


class Bridge(pulumi.ComponentResource):
    """One bridge. What it is made of comes with it: secrets, directory, config and image, role and database, unless
    they are `given`; its way to the database, its registration and the bridge itself come step by step."""

    def __init__(
        self,
        shared: Shared,
        deployment: BridgeDeployment,
        start: Start,
        there: tuple[bool, bool],
        opts: pulumi.ResourceOptions,
        given: Given | None = None,
    ) -> None:
        """The plan's steps 1 to 3 and 6 to 8. `there`: whether role and database are, and are this stack's."""
        self.name = f"{shared.prefix}{deployment.bridge.name}"
        super().__init__("mautrix:bridges:Bridge", self.name, None, opts)
        self.shared, self.deployment, self.start = shared, deployment, start
        host, own = shared.host, self._after()
        secrets = BridgeSecrets(self.name, host, start.tokens, start.restore or NOTHING, own)
        self.tokens = given.tokens(secrets.tokens) if given else secrets.tokens
        self.keys = given.keys(secrets.keys) if given else secrets.keys
        self.as_token: pulumi.Output[str] = self.tokens.apply(lambda known: known.as_token)
        all_known = pulumi.Output.all(self.tokens, self.keys, shared.doublepuppet)
        config = all_known.apply(lambda known: bridge_config(deployment, *known))
        # First of all, and last at the end; then the directory, whose mark says that the database is this stack's.
        ours = shared.postgres is not None
        leftovers = bridge_leftovers(self.name, host, deployment, shared.isolated, ours, own)
        made = self._after(leftovers)
        self.install = BridgeInstall(self.name, host, deployment, config, shared.machine, start, made)
        self.database: postgresql.Database | None = None
        if ours:
            claimed, place = self._after(self.install.step), deployment.place
            self.database = BridgeDatabase(self.name, place.database, shared.postgres, *there, opts=claimed).database
        self.register_outputs({})

    def _after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*needed])

    @property
    def password(self) -> RolePassword:
        """Its role's, with the database that it is for."""
        password: pulumi.Output[str] = self.tokens.apply(lambda known: known.database_password)
        return RolePassword(self.deployment.place.database, later(password))

    def registration(self, owner: tuple[int, int], ready: pulumi.Resource) -> Registration:
        """Step 9, once it is `ready` for that. `owner`: Synapse's uid and gid."""
        known = self.tokens, self.keys
        return bridge_appservice(self.name, self.shared.host, self.deployment, known, owner, self._after(ready))

    def go_live(self, *needed: pulumi.Resource) -> Live:
        """Steps 15 to 18: the check, the data if they are ours, the container, each unless the one before failed, the
        first of them what the bridge is made of. What is not registered for that stays as it was: the program then ends
        with an error, and the engine deletes nothing."""
        name, host, deployment, start, install = (
            self.name, self.shared.host, self.deployment, self.start, self.install,
        )  # fmt: skip
        puppet = self.shared.doublepuppet.apply(lambda known: known.as_token)

        def container(*there: pulumi.Resource) -> pulumi.Output[Ready | Failed]:
            last = self._after(*there)
            return BridgeContainer(name, host, deployment, install, self.as_token, start, last).outcome

        def data(checked: pulumi.Resource) -> pulumi.Output[tuple[Begun | Failed, Ready | Failed]]:
            if self.database is None:
                return container(checked).apply(lambda ready: (Begun(NOTHING), ready))
            after_check = self._after(*needed, checked, install.step, self.database)
            begun = bridge_data_begun(name, host, deployment, install.config_file, self.keys, start, after_check)
            ready = self._then(begun.outcome, lambda: container(checked, begun.resource))
            return pulumi.Output.all(begun.outcome, ready).apply(lambda both: (*both,))

        def check() -> pulumi.Output[tuple[Checked | Failed, Begun | Failed, Ready | Failed]]:
            image = install.with_image(self._after(install.step))
            version, after = container_version(install, deployment, start), self._after(*needed, image)
            checked = auth_check(name, host, deployment, (self.as_token, puppet), start, version, after)
            rest = self._then(checked.outcome, lambda: data(checked.resource))
            return pulumi.Output.all(checked.outcome, _part(rest, 0), _part(rest, 1)).apply(lambda seen: (*seen,))

        all_of_it = self._then(install.outcome, check)
        return Live(_part(all_of_it, 0), _part(all_of_it, 1), _part(all_of_it, 2))

    def outputs(
        self, proven: pulumi.Output[Proven] | None, live: Live, status: pulumi.Output[BridgeStatus]
    ) -> dict[str, Any]:
        """What the operator gets of it; `proven`: who gets into which database, if that was asked; `status`: how it is.
        Tokens are secrets."""

        def of(outcome: pulumi.Output[Any], value: Callable[[Any], Any], failed: Callable[[Failed], Any]) -> Any:
            return outcome.apply(lambda seen: failed(seen) if isinstance(seen, Failed) else value(seen))

        role = self.deployment.place.database.role
        isolation = {"isolation": proven.apply(lambda seen: seen.of(role))} if proven else {}
        return isolation | {
            "verdict": of(live.checked, lambda seen: seen.verdict, lambda _: "FAIL"),
            "authCheck": of(live.checked, lambda seen: seen.table, lambda seen: seen.failed),
            "ready": of(live.ready, lambda seen: seen, lambda _: None),
            "status": status,
            "previousVersion": of(live.begun, lambda seen: seen.previous, lambda _: ""),
            "bot": self.deployment.bot,
            "nextSteps": operator.next_steps(self.deployment),
            "servicesEntry": operator.services_entry(self.deployment),
            "databaseUrl": self.tokens.apply(lambda known: bridge_database_url(self.deployment, known)),
            "asToken": self.as_token,
            "hsToken": self.tokens.apply(lambda known: known.hs_token),
            "provisioningSecret": self.tokens.apply(lambda known: known.provisioning_secret),
        }

    def _then(
        self, outcome: pulumi.Output[R | Failed], register: Callable[[], pulumi.Output[S]]
    ) -> pulumi.Output[S | Failed]:
        if self.shared.whole:
            return register()
        return outcome.apply(lambda seen: seen if isinstance(seen, Failed) else register())


def _part(outcome: pulumi.Output[Any], at: int) -> pulumi.Output[Any]:
    """One of several outcomes; the failure, if that is in their place."""
    return outcome.apply(lambda seen: seen if isinstance(seen, Failed) else seen[at])
