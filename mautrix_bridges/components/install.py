"""What a bridge is made of, on the host before Synapse is touched: its directory, its config, its image."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from mautrix_bridges.components.host import DockerAddress, Host, later
from mautrix_bridges.documents.bridges import CONFIG_PATH
from mautrix_bridges.documents.fingerprint import fingerprint
from mautrix_bridges.documents.places import BridgeDeployment, Deployment
from mautrix_bridges.scripts import files
from mautrix_bridges.scripts.config_check import Question


@dataclass(frozen=True)
class DockerMachine:
    """The host's Docker, and uid and gid that a bridge's user in its container has there."""

    docker: docker.Provider
    bridge_owner: tuple[int, int]


def docker_provider(name: str, address: DockerAddress) -> docker.Provider:
    """The host's Docker."""
    return docker.Provider(f"{name}-docker", host=address.host, ssh_opts=address.ssh_opts or None)


def shared_directory(name: str, host: Host, deployment: Deployment, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """The stack's own directory, claimed before anything else is made."""
    return _claimed(name, host, files.OwnDirectory(deployment.shared_directory, deployment.stack, "sharedDir"), opts)


def _claimed(name: str, host: Host, own: files.OwnDirectory, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    return host.script(
        f"{name}-directory", own, create=files.claim, delete=files.release, triggers=[own.path], opts=opts
    ).resource


class BridgeInstall(pulumi.ComponentResource):
    """`directory` is the step that claims the bridge's directory, before anything else is made, and takes it away last.

    config.yaml is in a directory of its own for each version (`config_dir`, `config_file`), so that the running
    container keeps the one it has until its successor may start; `fingerprint` names the version. `docker` is the
    host's Docker, `image_id` the image's.
    """

    directory: pulumi.Resource
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
        super().__init__("mautrix:bridge:Install", name, None, opts)
        place, stack = deployment.place, deployment.stack
        own = files.OwnDirectory(place.directory, stack, f"directory for the bridge {deployment.key}")
        self.directory = _claimed(name, host, own, pulumi.ResourceOptions(parent=self))
        inside = pulumi.ResourceOptions(parent=self, depends_on=[self.directory])
        self.fingerprint = pulumi.Output.unsecret(config.apply(fingerprint))
        self.config_dir = self.fingerprint.apply(lambda version: f"{place.directory}/config-{version[:12]}")
        self.config_file = pulumi.Output.concat(self.config_dir, "/", CONFIG_PATH.rpartition("/")[2])
        self.docker = machine.docker
        self.image_id = docker.RemoteImage(
            f"{name}-image",
            name=place.image,
            keep_locally=True,  # the way back needs the old one; what goes at the end is for scripts/leftovers.py
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(provider=self.docker)),
        ).image_id
        asked = Question.of(deployment, later(self.image_id)) if deployment.config else None
        owned = files.OwnedFile(later(self.config_file), later(config), *machine.bridge_owner, own_directory=True)
        host.script(
            f"{name}-config",
            files.OwnedFiles(stack, (owned,), mounted_by=place.container, asked=asked),
            create=files.create,
            delete=files.erase,
            triggers=[self.config_dir],
            opts=inside,
        )
        self.register_outputs({"config_file": self.config_file, "image_id": self.image_id})
