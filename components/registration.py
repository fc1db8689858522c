"""Both appservice registrations, homeserver.yaml, and the one restart of Synapse that reads them."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from components.host import Host
from documents.fingerprint import fingerprint
from documents.homeserver import Entries


class SynapseRegistration(pulumi.ComponentResource):
    """`files` maps a file name in Synapse's directory to its content; `written` are those files on the host. `restart`
    is done once Synapse runs with them."""

    written: list[pulumi.Resource]
    restart: pulumi.Output[dict[str, object]]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        directory: str,
        data_mount: str,
        files: Mapping[str, pulumi.Output[str]],
        owner: tuple[int, int],
        entries: Entries,
        container: str,
        synapse_url: str,
        deadline: int,
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Registration", name, None, opts)
        uid, gid = owner
        self.written = []
        for file, content in files.items():
            self.written.append(
                host.script(
                    f"{name}-{file}",
                    "scripts.files",
                    {
                        "path": f"{directory}/{file}",
                        "content": content,
                        "mode": 0o600,
                        "uid": uid,
                        "gid": gid,
                        "unless_listed_in": f"{directory}/homeserver.yaml",
                        "listed_as": f"{data_mount}/{file}",
                        "reapply": reapply,
                    },
                    create="create",
                    update="update",
                    delete="erase",
                    triggers=[f"{directory}/{file}"],
                    opts=pulumi.ResourceOptions(parent=self),
                ).resource
            )
        homeserver = host.script(
            f"{name}-homeserver",
            "scripts.synapse",
            {
                "file": f"{directory}/homeserver.yaml",
                "container": container,
                "inside_file": f"{data_mount}/homeserver.yaml",
                "owner": entries.owner,
                "registrations": list(entries.registrations),
                "experimental_features": list(entries.experimental_features),
                "watch": [f"{directory}/{file}" for file in files],
                "health_url": f"{synapse_url}/health",
                "health_deadline": deadline,
                # New tokens have to reach Synapse: what is in the files is part of what this step depends on.
                "fingerprint": pulumi.Output.all(*files.values()).apply(lambda texts: fingerprint(*texts)),
                "reapply": reapply,
            },
            create="apply",
            delete="remove",
            triggers=[f"{directory}/homeserver.yaml"],
            shown=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=self.written),
        )
        self.restart = homeserver.plain()
        self.register_outputs({"restart": self.restart})
