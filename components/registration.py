"""The appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.host import Host, later
from documents.bridge.registrations import render_bridge_registration, render_doublepuppet_registration
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.fingerprint import fingerprint
from documents.homeserver.entries import Entries
from documents.places import BridgeDeployment, Deployment, StackConfig
from host_programs.files import files
from host_programs.files.directory import JOURNAL
from host_programs.synapse import synapse


def homeserver_edit(deployment: Deployment, fingerprint: str = "") -> synapse.Arguments:
    """What Synapse needs to know of this stack's bridges."""
    entries = Entries.of(deployment)
    return synapse.Arguments(
        synapse=deployment.synapse,
        owner=entries.owner,
        registrations=entries.registrations,
        experimental_features=entries.experimental_features,
        watch=deployment.registration_paths,
        journal=f"{deployment.shared_directory}/{JOURNAL}",
        bridges=tuple(each.place.container for each in deployment.bridges),
        fingerprint=fingerprint,
    )


@dataclass(frozen=True)
class Registration:
    """One registration's text (a secret), the file in Synapse's directory that holds it, as a path on the host, and the
    resource that removes that at its end."""

    text: pulumi.Output[str]
    path: str
    removal: pulumi.Resource


def registration(
    name: str, host: Host, deployment: StackConfig, path: str, text: pulumi.Output[str], opts: pulumi.ResourceOptions
) -> Registration:
    """One that `SynapseRegistration` writes."""
    file = files.OwnedFile(path, "", 0, 0)
    listed = deployment.synapse.homeserver_file, deployment.synapse.data_mount
    own = files.OwnedFiles(deployment.stack, (file,), *listed)
    removal = host.at_deletion(f"{name}-registration", own, files.erase, triggers=[path], opts=opts)
    return Registration(text, path, removal)


def bridge_appservice(
    name: str,
    host: Host,
    deployment: BridgeDeployment,
    known: tuple[pulumi.Output[Tokens], pulumi.Output[Keys]],
    opts: pulumi.ResourceOptions,
) -> Registration:
    """A bridge's own registration."""
    both: pulumi.Output[list[Any]] = pulumi.Output.all(*known)
    text = both.apply(lambda own: render_bridge_registration(deployment, *own))
    return registration(name, host, deployment, deployment.registration_path, text, opts)


def doublepuppet_appservice(
    name: str, host: Host, deployment: Deployment, tokens: pulumi.Output[DoublePuppet], opts: pulumi.ResourceOptions
) -> Registration:
    """The one that all bridges share."""
    text, path = (
        tokens.apply(lambda own: render_doublepuppet_registration(deployment, own)),
        deployment.doublepuppet_path,
    )
    return registration(f"{name}-doublepuppet", host, deployment, path, text, opts)


class SynapseRegistration:
    """The registrations' files, our entries in homeserver.yaml, and Synapse's restart: the step `resource`, on which
    all depends that needs Synapse to run with the registrations."""

    resource: pulumi.Resource

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: Deployment,
        registrations: Sequence[Registration],
        owner: tuple[int, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`owner`: Synapse's uid and gid on the host."""
        own = tuple(files.OwnedFile(each.path, later(each.text), *owner) for each in registrations)
        removals = pulumi.ResourceOptions(depends_on=[each.removal for each in registrations])
        written = host.script(
            f"{name}-registrations",
            files.OwnedFiles(deployment.stack, own),
            create=files.create,
            opts=pulumi.ResourceOptions.merge(opts, removals),
        ).resource
        # New tokens have to reach Synapse: what is in the files is part of what the restart depends on.
        texts = pulumi.Output.all(*(each.text for each in registrations))
        version: pulumi.Output[str] = texts.apply(lambda known: fingerprint(*known))
        self.resource = host.script(
            f"{name}-synapse-restart",
            homeserver_edit(deployment, later(version)),
            create=synapse.apply,
            delete=synapse.remove,
            triggers=[deployment.synapse.homeserver_file],
            shown=True,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[written])),
        ).resource
