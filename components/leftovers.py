"""What a destroy ends with: whatever of this stack Pulumi's state does not know."""

from __future__ import annotations

import pulumi

from components.host import Host
from components.registration import homeserver_edit
from documents.places import BridgeDeployment, Deployment
from host_programs.backup import nightly_backup
from host_programs.bridge import leftovers


def shared_leftovers(
    name: str,
    host: Host,
    deployment: Deployment,
    backup: nightly_backup.NightlyBackup,
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """Made before all but the stack's directory, without a trace on the host; deleted after all but that."""
    shared = leftovers.Shared(
        stack=deployment.stack,
        directory=deployment.shared_directory,
        postgres=deployment.postgres,
        backup=backup,
        synapse=homeserver_edit(deployment),
    )
    return host.at_deletion(f"{name}-leftovers", shared, leftovers.finish, opts=opts)


def bridge_leftovers(
    name: str,
    host: Host,
    deployment: BridgeDeployment,
    isolated: tuple[str, ...],
    opts: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """The same for one bridge: made before anything of it, deleted after all of it."""
    own = leftovers.Bridge(
        stack=deployment.stack,
        container=deployment.place.container,
        directory=deployment.place.directory,
        image="" if deployment.keep_images else deployment.place.image,
        archives=deployment.archive.directory,
        program=deployment.bridge.name,
        whose=deployment.whose,
        postgres=deployment.postgres,
        database=deployment.place.database,
        isolated=isolated,
    )
    return host.at_deletion(f"{name}-leftovers", own, leftovers.sweep, opts=opts)
