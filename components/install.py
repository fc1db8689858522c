"""What a bridge is made of, on the host before Synapse is touched: its directory, its config, its image."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.host import DockerAddress, Host, later
from components.start import Start
from documents.bridge.kinds import CONFIG_PATH
from documents.fingerprint import fingerprint
from documents.places import BridgeDeployment, Deployment
from host_programs.bridge import install
from host_programs.bridge.config_check import Question
from host_programs.files import directory, files


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


class BridgeConfig:
    """A bridge's config.yaml on the host. It is in a directory of its own for each version (`directory`, `file`), so
    that the running container keeps the one it has until its successor may start; `fingerprint` names the version."""

    fingerprint: pulumi.Output[str]
    directory: pulumi.Output[str]
    file: pulumi.Output[str]

    def __init__(self, deployment: BridgeDeployment, text: pulumi.Output[str]) -> None:
        place = deployment.place
        self.text = text
        self.fingerprint = pulumi.Output.unsecret(text.apply(fingerprint))
        self.directory = self.fingerprint.apply(lambda version: f"{place.directory}/{directory.CONFIGS}{version[:12]}")
        self.file = pulumi.Output.concat(self.directory, "/", CONFIG_PATH.rpartition("/")[2])


def install_arguments(
    deployment: BridgeDeployment, config: BridgeConfig, owner: tuple[int, int], start: Start
) -> install.Arguments:
    """What a bridge is made of, but for its database: its directory is claimed, its image is there, and its config.yaml
    written if that takes it. `owner`: of the config, uid and gid.

    The image is no resource of Docker's provider, which would end the run of all bridges if one cannot be pulled. What
    goes at the end is for host_programs/bridge/leftovers.py.
    """
    place = deployment.place
    return install.Arguments(
        own=directory.OwnDirectory(place.directory, deployment.stack, f"directory for the bridge {deployment.key}"),
        image=place.image,
        asked=Question.of(deployment, place.image),
        config=files.OwnedFile(later(config.file), later(config.text), *owner, own_directory=True),
        failures=start.failures,
    )
