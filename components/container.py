"""The bridge itself: its container, and what proves that it is ready."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from components.host import later
from components.install import BridgeConfig, DockerMachine
from components.start import Start
from documents.bridge.kinds import GID, READY_PATH, TEMPORARY_PATH, UID
from documents.fingerprint import fingerprint
from documents.marks import ATTEMPT_LABEL, CONFIG_LABEL, STACK_LABEL, TOKENS_LABEL
from documents.places import BridgeDeployment
from host_programs.bridge import readiness
from host_programs.files.directory import READY


def container_version(
    deployment: BridgeDeployment, config: BridgeConfig, image_id: pulumi.Output[str], start: Start
) -> pulumi.Output[str]:
    """Changes with everything that replaces the container, so that the check comes before the new one."""
    place = deployment.place
    still = (
        TEMPORARY_PATH,
        place.container,
        place.network,
        place.directory,
        str(place.port),
        str(start.attempt),
        str(start.tokens),
    )
    known = pulumi.Output.all(config.fingerprint, image_id)
    version: pulumi.Output[str] = known.apply(lambda texts: fingerprint(*texts, *still))
    return version


class BridgeContainer:
    """The container `resource`. It is Pulumi's, labelled so, and joins the network by name."""

    resource: docker.Container

    def __init__(
        self,
        name: str,
        deployment: BridgeDeployment,
        config: BridgeConfig,
        image_id: pulumi.Output[str],
        machine: DockerMachine,
        start: Start,
        opts: pulumi.ResourceOptions,
    ) -> None:
        bridge, place = deployment.bridge, deployment.place
        self.resource = docker.Container(
            f"{name}-container",
            name=place.container,
            image=image_id,
            # Not the image's entrypoint: it would chown /data and write a config of its own. Nor the program itself:
            # one that is not there is an exit code of this bridge's now, and not a failure of the provider's for all.
            entrypoints=["/bin/sh", "-c", 'exec "$0" "$@"'],
            command=bridge.run_command(),
            user=f"{UID}:{GID}",
            restart="unless-stopped",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=place.network, aliases=[place.container])],
            volumes=[
                docker.ContainerVolumeArgs(host_path=config.directory, container_path="/data", read_only=True),
                # A volume without a name: on Docker's disk, with the mode of the image's directory, and removed with
                # the container. A tmpfs would hold gigabytes in memory, and the provider cannot change it in place.
                docker.ContainerVolumeArgs(container_path=TEMPORARY_PATH),
            ],
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{place.port}{READY_PATH}"],
                interval="30s",  # as Go writes it: "60s" would read back as "1m0s" and show as a change
                timeout="5s",
                start_period="1m0s",
                retries=3,
            ),
            destroy_grace_seconds=30,
            labels=[
                docker.ContainerLabelArgs(label=STACK_LABEL, value=deployment.stack),
                docker.ContainerLabelArgs(label=CONFIG_LABEL, value=config.fingerprint),
                docker.ContainerLabelArgs(label=ATTEMPT_LABEL, value=str(start.attempt)),
                docker.ContainerLabelArgs(label=TOKENS_LABEL, value=str(start.tokens)),
            ],
            opts=pulumi.ResourceOptions.merge(
                opts,
                pulumi.ResourceOptions(
                    provider=machine.docker,
                    delete_before_replace=True,  # its name can be taken once only
                ),
            ),
        )


def readiness_arguments(
    container_id: str,
    deployment: BridgeDeployment,
    config: BridgeConfig,
    as_tokens: tuple[pulumi.Output[str], pulumi.Output[str]],
    start: Start,
) -> readiness.Arguments:
    """The proof that the bridge in that container works. `as_tokens`: its own, and the one for double puppeting."""
    place, (as_token, doublepuppet_as_token) = deployment.place, as_tokens
    return readiness.Arguments(
        bridge=place,
        container_id=container_id,
        synapse=deployment.synapse,
        bot=deployment.bot,
        appservice_id=deployment.bridge.appservice_id,
        as_token=later(as_token),
        doublepuppet_as_token=later(doublepuppet_as_token),
        timeout=float(start.timeout),
        mark=f"{place.directory}/{READY}",
        attempt=start.attempt,
        new_keys=start.new_keys,
        stack=deployment.stack,
        config=later(config.directory),
        failures=start.failures,
    )
