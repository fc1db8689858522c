"""A bridge's image on the host."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from components.host import MatrixHost
from documents.places import BridgeDeployment


def bridge_image(name: str, host: MatrixHost, bridge: BridgeDeployment) -> docker.RemoteImage:
    """Pulled unless it is there, beside whatever else is made. It is no part of the container's component, which waits
    for the check: a pull takes its time, and by then the old bridge may be without its password.

    It stays when it is not wanted any more, for the way back: it goes with the bridge, or with the change after the
    next."""
    return docker.RemoteImage(
        f"{name}-image",
        name=bridge.place.image,
        keep_locally=True,
        opts=pulumi.ResourceOptions(provider=host.docker),
    )
