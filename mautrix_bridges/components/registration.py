"""The appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from mautrix_bridges.components.host import Host, later
from mautrix_bridges.documents.appservice import bridge_registration, doublepuppet_registration
from mautrix_bridges.documents.credentials import DoublePuppet, Keys, Tokens
from mautrix_bridges.documents.fingerprint import fingerprint
from mautrix_bridges.documents.homeserver import Entries
from mautrix_bridges.documents.places import BridgeDeployment, Deployment, Surroundings
from mautrix_bridges.scripts import files, synapse
from mautrix_bridges.scripts.directory import JOURNAL


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
    """One registration's text (a secret), and the file in Synapse's directory that holds it."""

    text: pulumi.Output[str]
    file: pulumi.Resource


def registration_file(
    name: str,
    host: Host,
    deployment: Surroundings,
    path: str,
    text: pulumi.Output[str],
    owner: tuple[int, int],
    opts: pulumi.ResourceOptions,
) -> Registration:
    """`path` is the host's; `owner`: Synapse's uid and gid there."""
    written = host.script(
        f"{name}-registration",
        files.OwnedFiles(
            deployment.stack,
            (files.OwnedFile(path, later(text), *owner),),
            listed_in=deployment.synapse.homeserver_file,
            listed_below=deployment.synapse.data_mount,
        ),
        create=files.create,
        delete=files.erase,
        triggers=[path],
        opts=opts,
    )
    return Registration(text, written.resource)


def bridge_appservice(
    name: str,
    host: Host,
    deployment: BridgeDeployment,
    known: tuple[pulumi.Output[Tokens], pulumi.Output[Keys]],
    owner: tuple[int, int],
    opts: pulumi.ResourceOptions,
) -> Registration:
    """A bridge's own registration; `owner` as of `registration_file`."""
    both: pulumi.Output[list[Any]] = pulumi.Output.all(*known)
    text = both.apply(lambda own: bridge_registration(deployment, *own))
    return registration_file(name, host, deployment, deployment.registration_path, text, owner, opts)


def doublepuppet_appservice(
    name: str,
    host: Host,
    deployment: Deployment,
    tokens: pulumi.Output[DoublePuppet],
    owner: tuple[int, int],
    opts: pulumi.ResourceOptions,
) -> Registration:
    """The one that all bridges share; `owner` as of `registration_file`."""
    text, path = tokens.apply(lambda own: doublepuppet_registration(deployment, own)), deployment.doublepuppet_path
    return registration_file(f"{name}-doublepuppet", host, deployment, path, text, owner, opts)


class SynapseRegistration:
    """Our entries in homeserver.yaml, and Synapse's restart: the step `resource`, on which all depends that needs
    Synapse to run with the registrations."""

    resource: pulumi.Resource

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: Deployment,
        registrations: Sequence[Registration],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        # New tokens have to reach Synapse: what is in the files is part of what the restart depends on.
        texts = pulumi.Output.all(*(each.text for each in registrations))
        version: pulumi.Output[str] = texts.apply(lambda known: fingerprint(*known))
        written = pulumi.ResourceOptions(depends_on=[each.file for each in registrations])
        self.resource = host.script(
            f"{name}-synapse-restart",
            homeserver_edit(deployment, later(version)),
            create=synapse.apply,
            delete=synapse.remove,
            triggers=[deployment.synapse.homeserver_file],
            shown=True,
            opts=pulumi.ResourceOptions.merge(opts, written),
        ).resource
