"""The arguments of the two cleanup steps: everything of a bridge, or of the stack, that may be on the host."""

from __future__ import annotations

from components.backup import backup_arguments
from components.registration import homeserver_edit
from documents.places import BridgeDeployment, Deployment
from host_programs.cleanup.bridge import BridgeParts
from host_programs.cleanup.stack import StackParts
from host_programs.files.directory import ClaimedDirectory


def bridge_parts(bridge: BridgeDeployment, isolated: tuple[str, ...]) -> BridgeParts:
    """`isolated`: the databases that the bridge's role is kept out of."""
    return BridgeParts(
        # Not the setting's path: its number changes when another bridge leaves the list.
        directory=ClaimedDirectory(
            bridge.place.directory, bridge.stack, f"directory of {bridge.bridge.name}", bridge.shared_directory
        ),
        container=bridge.place.container,
        image="" if bridge.keep_images else bridge.place.image,
        archives=bridge.archive.directory,
        program=bridge.bridge.name,
        owner=bridge.archive_owner,
        postgres=bridge.postgres,
        database=bridge.place.database,
        isolated=isolated,
        synapse=bridge.synapse,
        registration=bridge.registration_path,
    )


def stack_parts(deployment: Deployment, isolated: tuple[str, ...], scheduler: str) -> StackParts:
    """`isolated` as of `bridge_parts`, `scheduler` as of `backup_arguments`."""
    return StackParts(
        directory=ClaimedDirectory(deployment.shared_directory, deployment.stack, "sharedDir"),
        postgres=deployment.postgres,
        backup=backup_arguments(deployment, scheduler),
        synapse=homeserver_edit(deployment),
        bridges=tuple(bridge_parts(bridge, isolated) for bridge in deployment.bridges),
    )
