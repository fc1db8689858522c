"""Both appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

import pulumi

from components.host import Host, later
from documents.fingerprint import fingerprint
from documents.homeserver import Entries
from documents.places import Deployment
from scripts import files, synapse


def homeserver_edit(deployment: Deployment, fingerprint: str = "") -> synapse.Arguments:
    """What Synapse needs to know of this deployment."""
    entries = Entries.of(deployment)
    return synapse.Arguments(
        synapse=deployment.synapse,
        owner=entries.owner,
        registrations=entries.registrations,
        experimental_features=entries.experimental_features,
        watch=deployment.registration_paths,
        journal=f"{deployment.place.directory}/{files.JOURNAL}",
        fingerprint=fingerprint,
    )


class SynapseRegistration(pulumi.ComponentResource):
    """Whoever needs Synapse to run with the registrations depends on this component."""

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: Deployment,
        texts: tuple[pulumi.Output[str], pulumi.Output[str]],
        owner: tuple[int, int],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`texts`: the bridge's registration, and the one for double puppeting; `owner`: Synapse's uid and gid."""
        super().__init__("mautrix:bridge:Registration", name, None, opts)
        server, paths = deployment.synapse, deployment.registration_paths
        registrations = tuple(
            files.OwnedFile(path, later(text), *owner) for path, text in zip(paths, texts, strict=True)
        )
        written = host.script(
            f"{name}-registrations",
            files.OwnedFiles(
                deployment.stack, registrations, listed_in=server.homeserver_file, listed_below=server.data_mount
            ),
            create=files.create,
            delete=files.erase,
            triggers=[*paths],
            opts=pulumi.ResourceOptions(parent=self),
        ).resource
        # New tokens have to reach Synapse: what is in the files is part of what the restart depends on.
        version: pulumi.Output[str] = pulumi.Output.all(*texts).apply(lambda known: fingerprint(*known))
        host.script(
            f"{name}-synapse-restart",
            homeserver_edit(deployment, later(version)),
            create=synapse.apply,
            delete=synapse.remove,
            triggers=[server.homeserver_file],
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[written]),
        )
        self.register_outputs({})
