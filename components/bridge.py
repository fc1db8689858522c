"""The bridge itself: its config on the host, its image, its container, and the proof that it is ready."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_docker as docker

from components.host import Host
from documents.bridges import CONFIG_PATH, GID, READY_PATH, UID, Bridge
from documents.fingerprint import fingerprint
from verdicts.preflight import ATTEMPT, LABEL

CHANGES = "mautrix-bridge.config"


class BridgeFiles(pulumi.ComponentResource):
    """config.yaml in a directory of its own for each version, so that the running container keeps the one it has
    until its successor may start. `path` is that directory, `config` the file, `fingerprint` names the version."""

    path: pulumi.Output[str]
    config: pulumi.Output[str]
    fingerprint: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        directory: str,
        container: str,
        config: pulumi.Output[str],
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Files", name, None, opts)
        self.fingerprint = pulumi.Output.unsecret(config.apply(fingerprint))
        self.path = self.fingerprint.apply(lambda version: f"{directory}/config-{version[:12]}")
        self.config = pulumi.Output.concat(self.path, "/", CONFIG_PATH.rpartition("/")[2])
        host.script(
            f"{name}-config",
            "scripts.files",
            {
                "path": self.config,
                "content": config,
                "mode": 0o600,
                "uid": UID,
                "gid": GID,
                "parent_mode": 0o700,
                "unless_mounted_by": container,
                "reapply": reapply,
            },
            create="create",
            update="update",
            delete="erase",
            triggers=[self.path],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"path": self.path, "config": self.config, "fingerprint": self.fingerprint})


class BridgeImage(pulumi.ComponentResource):
    """The image, at hand before Synapse is touched; `engine` is the host's Docker."""

    engine: docker.Provider
    image_id: pulumi.Output[str]

    def __init__(
        self, name: str, host: Host, *, image: str, keep: bool, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("mautrix:bridge:Image", name, None, opts)
        self.engine = docker.Provider(f"{name}-engine", host=host.docker_host, opts=pulumi.ResourceOptions(parent=self))
        pulled = docker.RemoteImage(
            f"{name}-remote",
            name=image,
            keep_locally=keep,
            opts=pulumi.ResourceOptions(parent=self, provider=self.engine),
        )
        self.image_id = pulled.image_id
        self.register_outputs({"image_id": self.image_id})


class BridgeContainer(pulumi.ComponentResource):
    """Container and readiness. The container is Pulumi's, labelled so, and joins the network by name.

    `ready` is what the readiness check found: how long it took, the ping, the bot's profile. `new_keys`: where the
    bridge's database is (container, role, database), if its bot may get new cross-signing keys there.
    """

    container_id: pulumi.Output[str]
    ready: pulumi.Output[dict[str, object]]

    def __init__(
        self,
        name: str,
        host: Host,
        *,
        bridge: Bridge,
        stack: str,
        image: BridgeImage,
        container: str,
        network: str,
        port: int,
        directory: str,
        files: BridgeFiles,
        attempt: int,
        synapse_url: str,
        domain: str,
        as_token: pulumi.Input[str],
        ready_timeout: int,
        new_keys: Mapping[str, pulumi.Input[str]] | None,
        reapply: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Container", name, None, opts)
        running = docker.Container(
            f"{name}-container",
            name=container,
            image=image.image_id,
            # Not the image's entrypoint: it would chown /data and write a config of its own.
            entrypoints=[bridge.binary],
            command=bridge.run_command()[1:],
            user=f"{UID}:{GID}",
            restart="unless-stopped",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network, aliases=[container])],
            volumes=[docker.ContainerVolumeArgs(host_path=files.path, container_path="/data", read_only=True)],
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", "curl", "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{port}{READY_PATH}"],
                interval="30s",  # as Go writes it: "60s" would read back as "1m0s" and show as a change
                timeout="5s",
                start_period="1m0s",
                retries=3,
            ),
            destroy_grace_seconds=30,
            labels=[
                docker.ContainerLabelArgs(label=LABEL, value=stack),
                docker.ContainerLabelArgs(label=CHANGES, value=files.fingerprint),
                docker.ContainerLabelArgs(label=ATTEMPT, value=str(attempt)),
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=image.engine,
                depends_on=[files],
                delete_before_replace=True,  # its name can be taken once only
            ),
        )
        ready = host.script(
            f"{name}-ready",
            "scripts.readiness",
            {
                "container": container,
                "container_id": running.id,
                "mark": f"{directory}/.ready",
                "attempt": attempt,
                "port": port,
                "synapse_url": synapse_url,
                "domain": domain,
                "bot_localpart": bridge.bot_localpart,
                "appservice_id": bridge.appservice_id,
                "as_token": as_token,
                "timeout": ready_timeout,
                "new_keys": new_keys,
                "reapply": reapply,
            },
            create="wait",
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_id, self.ready = running.id, ready.plain()
        self.register_outputs({"container_id": self.container_id, "ready": self.ready})
