"""What a destroy ends with: whatever of this stack Pulumi's state does not know."""

from __future__ import annotations

import pulumi

from components.host import Host
from components.registration import homeserver_edit
from documents.places import Deployment
from scripts import isolation, leftovers, nightly_backup


def leftovers_of(
    name: str, host: Host, deployment: Deployment, isolated: isolation.Isolation, backup: nightly_backup.Arguments
) -> pulumi.Resource:
    """Made before anything else, without a trace on the host; deleted after everything else."""
    return host.script(
        f"{name}-leftovers",
        leftovers.Arguments(
            stack=deployment.stack,
            container=deployment.place.container,
            directory=deployment.place.directory,
            image="" if deployment.keep_images else deployment.place.image,
            archives=deployment.archive.directory,
            program=deployment.bridge.name,
            whose=deployment.whose,
            isolation=isolated,
            backup=backup,
            synapse=homeserver_edit(deployment),
        ),
        create=leftovers.nothing,
        delete=leftovers.sweep,
        shown=True,
    ).resource
