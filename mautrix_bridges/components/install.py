"""What a bridge is made of, on the host before Synapse is touched: its directory, its config, its image."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from mautrix_bridges.components.host import DockerAddress, Host, later
from mautrix_bridges.documents.bridges import CONFIG_PATH
from mautrix_bridges.documents.fingerprint import fingerprint
from mautrix_bridges.documents.places import BridgeDeployment, Deployment
from mautrix_bridges.scripts import directory, files
from mautrix_bridges.scripts.config_check import Question


@dataclass(frozen=True)
class DockerMachine:
    """The host's Docker, and uid and gid that a bridge's user in its container has there."""

    docker: docker.Provider
    bridge_owner: tuple[int, int]


def own_directory(deployment: Deployment) -> directory.OwnDirectory:
    """The stack's own, which its bridges share."""
    return directory.OwnDirectory(deployment.shared_directory, deployment.stack, "sharedDir")


def docker_provider(name: str, address: DockerAddress, opts: pulumi.ResourceOptions | None = None) -> docker.Provider:
    """The host's Docker."""
    return docker.Provider(f"{name}-docker", host=address.host, ssh_opts=address.ssh_opts or None, opts=opts)


def shared_directory(name: str, host: Host, deployment: Deployment, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """The stack's own directory: first of all, and last at the end. `Host.keep_programs` makes it."""
    own = own_directory(deployment)
    return host.at_deletion(f"{name}-directory", own, directory.release, alone=True, triggers=[own.path], opts=opts)


class BridgeInstall:
    """The image, and the step `written`, which claims the bridge's directory and writes config.yaml, if the image takes
    it; `parts` are both.

    The config is in a directory of its own for each version (`config_dir`, `config_file`), so that the running
    container keeps the one it has until its successor may start; `fingerprint` names the version. `docker` is the
    host's Docker, `image_id` the image's.
    """

    written: pulumi.Resource
    parts: tuple[pulumi.Resource, ...]
    config_dir: pulumi.Output[str]
    config_file: pulumi.Output[str]
    fingerprint: pulumi.Output[str]
    docker: docker.Provider
    image_id: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: BridgeDeployment,
        config: pulumi.Output[str],
        machine: DockerMachine,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        place, stack = deployment.place, deployment.stack
        self.fingerprint = pulumi.Output.unsecret(config.apply(fingerprint))
        self.config_dir = self.fingerprint.apply(lambda version: f"{place.directory}/{directory.CONFIGS}{version[:12]}")
        self.config_file = pulumi.Output.concat(self.config_dir, "/", CONFIG_PATH.rpartition("/")[2])
        self.docker = machine.docker
        image = docker.RemoteImage(
            f"{name}-image",
            name=place.image,
            keep_locally=True,  # the way back needs the old one; what goes at the end is for scripts/leftovers.py
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(provider=self.docker)),
        )
        self.image_id = image.image_id
        asked = Question.of(deployment, later(self.image_id)) if deployment.config else None
        owned = files.OwnedFile(later(self.config_file), later(config), *machine.bridge_owner, own_directory=True)
        own = directory.OwnDirectory(place.directory, stack, f"directory for the bridge {deployment.key}")
        self.written = host.script(
            f"{name}-config",
            files.OwnedFiles(stack, (owned,), mounted_by=place.container, asked=asked, within=own),
            create=files.create,
            delete=files.erase,
            triggers=[self.config_dir],
            opts=opts,
        ).resource
        self.parts = (image, self.written)
