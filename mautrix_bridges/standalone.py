"""Parts of the plan that stand alone, beside what somebody else made: the appservices in Synapse for bridges that run
elsewhere, and a bridge whose registration and database are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pulumi

from mautrix_bridges.beginning import begin
from mautrix_bridges.components.bridge import Bridge, Given, Shared, go_live, installed
from mautrix_bridges.components.install import DockerMachine, docker_provider
from mautrix_bridges.components.registration import SynapseRegistration, bridge_appservice, doublepuppet_appservice
from mautrix_bridges.components.secrets import StackSecrets
from mautrix_bridges.documents.credentials import DoublePuppet, Tokens
from mautrix_bridges.documents.parts import Part
from mautrix_bridges.documents.places import NOTHING
from mautrix_bridges.settings import Settings


@dataclass(frozen=True)
class Registered:
    """What each bridge, by its key, needs to know of its registration, once Synapse runs with it; a secret."""

    registrations: dict[str, pulumi.Output[dict[str, str]]]
    doublepuppet_as_token: pulumi.Output[str]


def register(settings: Settings, part: str = "", parent: pulumi.Resource | None = None) -> Registered:
    """The plan's steps 9 to 14: tokens, registrations, homeserver.yaml, one restart of Synapse. `part` and `parent`,
    and what is raised, as of `deploy`."""
    begun = begin(settings, part, parent, Part.REGISTRATION)
    deployment, host, owner = begun.deployment, begun.host, begun.checked.synapse_owner
    first = begun.after(begun.leftovers)

    secrets = StackSecrets(begun.name, host, settings.token_generation, first)
    puppet = secrets.doublepuppet
    registrations, made = [doublepuppet_appservice(begun.name, host, deployment, puppet, first)], {}
    for each in deployment.bridges:
        name = f"{begun.prefix}{each.bridge.name}"
        known = secrets.tokens(each.bridge.name), secrets.keys(each.bridge.name, name, NOTHING)
        registrations.append(bridge_appservice(name, host, each, known, first))
        made[each.key] = known[0]
    synapse = SynapseRegistration(begun.name, host, deployment, registrations, owner, begun.after()).resource

    def told(known: pulumi.Output[Tokens]) -> pulumi.Output[dict[str, str]]:
        return pulumi.Output.all(known, synapse.urn).apply(lambda both: _told(both[0]))

    return Registered(
        registrations={key: told(known) for key, known in made.items()},
        doublepuppet_as_token=pulumi.Output.all(puppet, synapse.urn).apply(lambda both: both[0].as_token),
    )


def _told(tokens: Tokens) -> dict[str, str]:
    return {"asToken": tokens.as_token, "hsToken": tokens.hs_token}


@dataclass(frozen=True)
class Running:
    """One bridge's outputs, and why it did not go live, in one line; "" if it did."""

    outputs: dict[str, Any]
    failed: pulumi.Output[str]


def run(
    settings: Settings,
    given: Given,
    doublepuppet_as_token: pulumi.Output[str],
    part: str = "",
    parent: pulumi.Resource | None = None,
) -> Running:
    """The plan's steps 6 to 8 and 15 to 18 for the one bridge of the settings: directory, config and image, the
    stop-and-check, container and readiness. Nothing of the database is made, archived or removed. `part` and `parent`,
    and what is raised, as of `deploy`."""
    begun = begin(settings, part, parent, Part.CONTAINER)
    host, checked = begun.host, begun.checked
    (found,) = checked.bridges
    opts = begun.after(begun.leftovers)
    puppet = doublepuppet_as_token.apply(lambda as_token: DoublePuppet(as_token, ""))
    shared = Shared(
        host=host,
        machine=DockerMachine(docker_provider(begun.name, checked.docker, begun.after()), checked.bridge_owner),
        postgres=None,
        secrets=StackSecrets(begun.name, host, settings.token_generation, opts, puppet),
        isolated=(),
        whole=checked.whole,
        prefix=begun.prefix,
    )
    start = replace(found.start(settings), restore="")
    bridge = Bridge(shared, found.deployment, start, opts, given)
    install = installed(begun.name, shared, [bridge], begun.after(bridge.leftovers))
    (live,) = go_live(begun.name, shared, [bridge], install, begun.after(install.resource))
    none: pulumi.Output[str] = pulumi.Output.from_input("")
    return Running(
        outputs=bridge.outputs(None, live, found.status(live.ready)),
        failed=none if checked.whole else found.failure(live),
    )
