"""The bridge itself: its container, and the proof that it is ready."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from mautrix_bridges.components.host import Host, later
from mautrix_bridges.components.install import BridgeInstall
from mautrix_bridges.components.start import Start
from mautrix_bridges.documents.bridges import GID, READY_PATH, UID
from mautrix_bridges.documents.fingerprint import fingerprint
from mautrix_bridges.documents.marks import ATTEMPT_LABEL, CONFIG_LABEL, STACK_LABEL, TOKENS_LABEL
from mautrix_bridges.documents.places import BridgeDeployment
from mautrix_bridges.scripts import readiness
from mautrix_bridges.scripts.directory import READY
from mautrix_bridges.scripts.wire import Failed


def container_version(install: BridgeInstall, deployment: BridgeDeployment, start: Start) -> pulumi.Output[str]:
    """Changes with everything that replaces the container, so that the check comes before the new one."""
    place = deployment.place
    still = (place.container, place.network, place.directory, str(place.port), str(start.attempt), str(start.tokens))
    known = pulumi.Output.all(install.fingerprint, install.image.image_id)
    version: pulumi.Output[str] = known.apply(lambda texts: fingerprint(*texts, *still))
    return version


class BridgeContainer:
    """Container and readiness. The container is Pulumi's, labelled so, and joins the network by name.

    `outcome` says what the readiness check saw, the bridge's status among it. A destroy begins with that step, and
    stops with everything as it is if the archive could not be made, unless the database is somebody else's.
    """

    outcome: pulumi.Output[readiness.Ready | Failed]

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: BridgeDeployment,
        install: BridgeInstall,
        as_token: pulumi.Output[str],
        start: Start,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        bridge, place = deployment.bridge, deployment.place
        running = docker.Container(
            f"{name}-container",
            name=place.container,
            image=install.image.image_id,
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
            volumes=[docker.ContainerVolumeArgs(host_path=install.config_dir, container_path="/data", read_only=True)],
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
                docker.ContainerLabelArgs(label=CONFIG_LABEL, value=install.fingerprint),
                docker.ContainerLabelArgs(label=ATTEMPT_LABEL, value=str(start.attempt)),
                docker.ContainerLabelArgs(label=TOKENS_LABEL, value=str(start.tokens)),
            ],
            opts=pulumi.ResourceOptions.merge(
                opts,
                pulumi.ResourceOptions(
                    provider=install.machine.docker,
                    depends_on=[install.step],
                    delete_before_replace=True,  # its name can be taken once only
                ),
            ),
        )
        self.outcome = host.script(
            f"{name}-readiness",
            readiness.Arguments(
                bridge=place,
                container_id=later(running.id),
                synapse=deployment.synapse,
                bot=deployment.bot,
                appservice_id=bridge.appservice_id,
                as_token=later(as_token),
                timeout=float(start.timeout),
                mark=f"{place.directory}/{READY}",
                attempt=start.attempt,
                new_keys=start.new_keys,
                failures=start.failures,
                archives=deployment.archive.directory,
            ),
            create=readiness.wait,
            delete=readiness.may_go if start.restore else None,
            shown=True,
            attempt=start.attempt_at(deployment),
            opts=opts,
        ).outcome
