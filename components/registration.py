"""Both appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

import pulumi

from components.host import LocalHost, later
from documents.fingerprint import fingerprint
from documents.homeserver import Entries
from documents.places import Synapse
from scripts import files, synapse


class SynapseRegistration(pulumi.ComponentResource):
    """`written` are the registrations on the host; `restart` is done once Synapse runs with them."""

    written: pulumi.Resource
    restart: pulumi.Output[synapse.Applied]

    def __init__(
        self,
        name: str,
        host: LocalHost,
        server: Synapse,
        entries: Entries,
        registrations: tuple[files.OwnedFile, ...],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The content of `registrations` may be outputs."""
        super().__init__("mautrix:bridge:Registration", name, None, opts)
        paths = [file.path for file in registrations]
        self.written = host.script(
            f"{name}-registrations",
            files.OwnedFiles(registrations, listed_in=server.homeserver_file, listed_below=server.data_mount),
            create=files.create,
            update=files.update,
            delete=files.erase,
            triggers=paths,
            opts=pulumi.ResourceOptions(parent=self),
        ).resource
        # New tokens have to reach Synapse: what is in the files is part of what the restart depends on.
        contents = pulumi.Output.all(*(file.content for file in registrations))
        version: pulumi.Output[str] = contents.apply(lambda texts: fingerprint(*texts))
        restart = host.script(
            f"{name}-synapse-restart",
            synapse.Arguments(
                synapse=server,
                owner=entries.owner,
                registrations=entries.registrations,
                experimental_features=entries.experimental_features,
                watch=tuple(paths),
                fingerprint=later(version),
            ),
            create=synapse.apply,
            delete=synapse.remove,
            triggers=[server.homeserver_file],
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.written]),
        )
        self.restart = restart.result
        self.register_outputs({})
