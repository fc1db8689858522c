"""What a bridge is made of, on the host before Synapse is touched: its directory, its config, its image."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from mautrix_bridges.components.host import DockerAddress, Host, later
from mautrix_bridges.components.start import Start
from mautrix_bridges.documents.bridges import CONFIG_PATH
from mautrix_bridges.documents.fingerprint import fingerprint
from mautrix_bridges.documents.places import BridgeDeployment, Deployment
from mautrix_bridges.scripts import directory, files, install
from mautrix_bridges.scripts.config_check import Question
from mautrix_bridges.scripts.wire import Failed


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
    """What a bridge is made of, but for its database: the step `step` claims its directory, has its image, and writes
    config.yaml if that takes it; `outcome` says whether it did.

    The config is in a directory of its own for each version (`config_dir`, `config_file`), so that the running
    container keeps the one it has until its successor may start; `fingerprint` names the version. `machine` is
    where it is; `image` is there after `with_image`.
    """

    step: pulumi.Resource
    outcome: pulumi.Output[install.Installed | Failed]
    config_dir: pulumi.Output[str]
    config_file: pulumi.Output[str]
    fingerprint: pulumi.Output[str]
    machine: DockerMachine
    image: docker.RemoteImage

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: BridgeDeployment,
        config: pulumi.Output[str],
        machine: DockerMachine,
        start: Start,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        place, stack, owner = deployment.place, deployment.stack, machine.bridge_owner
        self.machine, self._name, self._image = machine, name, place.image
        self.fingerprint = pulumi.Output.unsecret(config.apply(fingerprint))
        self.config_dir = self.fingerprint.apply(lambda version: f"{place.directory}/{directory.CONFIGS}{version[:12]}")
        self.config_file = pulumi.Output.concat(self.config_dir, "/", CONFIG_PATH.rpartition("/")[2])
        script = host.script(
            f"{name}-install",
            install.Arguments(
                own=directory.OwnDirectory(place.directory, stack, f"directory for the bridge {deployment.key}"),
                image=place.image,
                asked=Question.of(deployment, place.image),
                config=files.OwnedFile(later(self.config_file), later(config), *owner, own_directory=True),
                container=place.container,
                failures=start.failures,
            ),
            create=install.install,
            delete=install.remove,
            triggers=[self.config_dir],
            shown=True,
            attempt=start.attempt_at(deployment),
            opts=opts,
        )
        self.step, self.outcome = script.resource, script.outcome

    def with_image(self, opts: pulumi.ResourceOptions | None = None) -> docker.RemoteImage:
        """The image, once the step has had it: Docker's provider would end the run of all if it cannot be pulled."""
        self.image = docker.RemoteImage(
            f"{self._name}-image",
            name=self._image,
            keep_locally=True,  # the way back needs the old one; what goes at the end is for scripts/leftovers.py
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(provider=self.machine.docker)),
        )
        return self.image
