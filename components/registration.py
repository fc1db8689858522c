"""The appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.host import MatrixHost
from documents.bridge.registrations import render_bridge_registration, render_doublepuppet_registration
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.homeserver.entries import Entries
from documents.places import Deployment
from host_programs.files.directory import JOURNAL
from host_programs.files.files import OwnedFile
from host_programs.synapse.appservices import Appservices, register_appservices, unregister_appservices
from host_programs.wire import to_json


def homeserver_edit(deployment: Deployment, registrations: Iterable[OwnedFile] = ()) -> Appservices:
    """What Synapse needs to know of this stack's bridges; without `registrations`, enough to unregister them."""
    paths = (OwnedFile(path, "", 0, 0) for path in deployment.registration_paths)
    return Appservices(
        synapse=deployment.synapse,
        postgres=deployment.postgres,
        stack=deployment.stack,
        registrations=tuple(registrations) or tuple(paths),
        experimental_features=Entries.of(deployment).experimental_features,
        journal=f"{deployment.shared_directory}/{JOURNAL}",
        bridges=tuple(bridge.place.container for bridge in deployment.bridges),
    )


@dataclass(frozen=True)
class Registered:
    """What Synapse knows of a bridge; a secret."""

    as_token: str
    hs_token: str


@dataclass
class SynapseRegistrationArgs:
    """`tokens` and `keys` of each bridge, by its name; `after`: what has to be proven before Synapse is touched."""

    host: MatrixHost
    deployment: Deployment
    tokens: Mapping[str, pulumi.Output[Tokens]]
    keys: Mapping[str, pulumi.Output[Keys]]
    doublepuppet: pulumi.Output[DoublePuppet]
    after: Sequence[pulumi.Input[Any]]


class SynapseRegistration(pulumi.ComponentResource):
    """`mautrix:stack:SynapseRegistration`: the bridges' appservices in Synapse, and the one for double puppeting.

    Makes: one step that writes the registrations into Synapse's directory, puts our lines into homeserver.yaml, and
    restarts Synapse once; at the end it takes all of it back, with one restart.
    Outputs: `running`, True once Synapse runs with them; secret: `registered`, by the bridge's key, and
    `doublepuppet_as_token`, from then on.
    Errors: a homeserver.yaml that Synapse's own loader does not take (nothing is written), a Synapse that does not come
    up with it (the old file is back).
    """

    running: pulumi.Output[bool]
    registered: dict[str, pulumi.Output[Registered]]
    doublepuppet_as_token: pulumi.Output[str]

    def __init__(self, name: str, args: SynapseRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:SynapseRegistration", name, None, opts)
        deployment, host = args.deployment, args.host
        tokens, keys = pulumi.Output.all(**args.tokens), pulumi.Output.all(**args.keys)

        def edit(tokens: Mapping[str, Tokens], keys: Mapping[str, Keys], doublepuppet: DoublePuppet) -> Appservices:
            texts = {}
            for bridge in deployment.bridges:
                name = bridge.bridge.name
                texts[bridge.registration_path] = render_bridge_registration(bridge, tokens[name], keys[name])
            texts[deployment.doublepuppet_path] = render_doublepuppet_registration(deployment, doublepuppet)
            files = (OwnedFile(path, text, *host.observed.synapse_owner) for path, text in texts.items())
            return homeserver_edit(deployment, files)

        step = host.command(
            f"{name}-appservices",
            pulumi.Output.all(tokens, keys, args.doublepuppet, *args.after).apply(lambda values: edit(*values[:3])),
            create=register_appservices,
            delete=unregister_appservices,
            triggers=[deployment.synapse.homeserver_file],
            # Another file: our lines leave the old one, and the registrations with them, before they come anew.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        self.running = step.then(True)
        self.registered = {
            bridge.key: pulumi.Output.all(args.tokens[bridge.bridge.name], self.running).apply(
                lambda both: Registered(both[0].as_token, both[0].hs_token)
            )
            for bridge in deployment.bridges
        }
        self.doublepuppet_as_token = pulumi.Output.all(args.doublepuppet, self.running).apply(
            lambda both: both[0].as_token
        )
        self.register_outputs(
            {
                "running": self.running,
                "registered": pulumi.Output.all(**self.registered).apply(to_json),
                "doublepuppet_as_token": self.doublepuppet_as_token,
            }
        )
