"""The bridge itself: its image, its config, its database's content, its container, and the proof that it works."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.host import MatrixHost
from components.registration import Registered
from documents.bridge.config import render_bridge_config
from documents.bridge.kinds import CONFIG_PATH, GID, READY_PATH, TEMPORARY_PATH, UID
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.fingerprint import fingerprint
from documents.marks import ATTEMPT_LABEL, STACK_LABEL, TOKENS_LABEL
from documents.places import NO_ARCHIVE, BridgeDeployment
from host_programs.backup.archives import BridgeData
from host_programs.bridge import config, database_life, readiness, removal
from host_programs.bridge.config import SettingsQuestion
from host_programs.bridge.container import ContainerName, remove_leftover
from host_programs.bridge.database_life import DatabaseOrigin
from host_programs.files import directory
from host_programs.files.files import OwnedFile
from host_programs.wire import to_json


@dataclass
class BridgeContainerArgs:
    """`image_id`: Docker's id of the bridge's image; `config_text`: of config.yaml, a secret; `keys`: those that the
    database's content is encrypted with; `registered` and `doublepuppet_as_token` are for the proof; `generation`: of
    the tokens; `ready_timeout`: seconds until the bridge must be ready."""

    host: MatrixHost
    bridge: BridgeDeployment
    image_id: pulumi.Input[str]
    config_text: pulumi.Input[str]
    keys: pulumi.Input[Keys]
    registered: pulumi.Input[Registered]
    doublepuppet_as_token: pulumi.Input[str]
    generation: int
    ready_timeout: int


def container_version(
    host: MatrixHost, bridge: BridgeDeployment, text: pulumi.Input[str], generation: int
) -> pulumi.Output[str]:
    """Changes with whatever replaces the container, and tells nothing of the config's `text`."""
    place, attempt = bridge.place, host.observed.bridges[bridge.key].attempt
    fixed = (place.image, place.container, place.network, place.directory, TEMPORARY_PATH, place.port)
    parts = [str(part) for part in (*fixed, attempt, generation)]
    return pulumi.Output.unsecret(pulumi.Output.from_input(text).apply(lambda rendered: fingerprint(rendered, *parts)))


def bridge_image(
    name: str, host: MatrixHost, bridge: BridgeDeployment, claimed: pulumi.Input[bool]
) -> docker.RemoteImage:
    """The image, pulled while other resources are made. It is not part of the container's component, which waits for
    the stop-and-check: by then the old bridge may be without its password, and must not wait for a download. `claimed`:
    the bridge's directory notes whether the image was there before. The image of the version before stays for the way
    back, until the next upgrade or until the bridge is removed."""
    return docker.RemoteImage(
        f"{name}-image",
        name=pulumi.Output.from_input(claimed).apply(lambda _: bridge.place.image),
        keep_locally=True,
        opts=pulumi.ResourceOptions(provider=host.docker),
    )


class BridgeContainer(pulumi.ComponentResource):
    """`mautrix:bridge:Container`: the bridge, running and proven.

    Makes: the config, in a directory of its own for each version, so that the container that runs keeps the one it has;
    the database's content, which is archived before another image and before the bridge goes; the container; the proof
    that the bridge works. The proof's deletion comes first in a destroy: it asks whether the last archive can be made.
    Outputs: `container_id`; `ready`, what was seen; `origin`, where the database's content is from, and the way back.
    Errors: settings that the bridge does not take, an archive that does not fit, a bridge that does not get ready in
    time, with its exit code's meaning and the last lines of its log.
    """

    container_id: pulumi.Output[str]
    ready: pulumi.Output[readiness.Ready]
    origin: pulumi.Output[DatabaseOrigin]

    def __init__(self, name: str, args: BridgeContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:bridge:Container", name, None, opts)
        host, bridge, place = args.host, args.bridge, args.bridge.place
        found, child = host.observed.bridges[bridge.key], pulumi.ResourceOptions(parent=self)
        ready_mark = f"{place.directory}/{directory.READY}"
        text = pulumi.Output.from_input(args.config_text)
        digest = pulumi.Output.unsecret(text.apply(fingerprint))
        folder = digest.apply(lambda version: f"{place.directory}/{directory.CONFIGS}{version[:12]}")
        path = folder.apply(lambda parent: f"{parent}/{CONFIG_PATH.rpartition('/')[2]}")
        written = host.command(
            f"{name}-config",
            pulumi.Output.all(args.image_id, path, text).apply(
                lambda values: config.ConfigFile(
                    stack=bridge.stack,
                    asked=SettingsQuestion.of(bridge, place.image),
                    image_id=values[0],
                    file=OwnedFile(values[1], values[2], *host.observed.bridge_owner, own_directory=True),
                )
            ),
            create=config.write_config,
            opts=child,
        )
        data = host.command(
            f"{name}-data",
            pulumi.Output.all(path, args.keys, written.then(None)).apply(
                lambda values: database_life.DatabaseArguments(
                    data=BridgeData(
                        stack=bridge.stack,
                        domain=bridge.synapse.domain,
                        bridge=bridge.bridge.name,
                        image=place.image,
                        directory=bridge.archive.directory,
                        postgres=bridge.postgres,
                        database=place.database,
                        files=(values[0], bridge.registration_path, bridge.doublepuppet_path),
                        pickle_key=values[1].pickle_key,
                    ),
                    container=place.container,
                    place=place.directory,
                    restore=found.restore,
                    go_back=bridge.archive.go_back,
                    keep=bridge.archive.keep,
                    keep_images=bridge.keep_images,
                    attempt=found.attempt,
                )
            ),
            create=database_life.prepare_database,
            delete=database_life.archive_database,
            opts=child,
        )
        hooks = None
        if found.container_exists:  # the state may not know it, and Docker would refuse its name for ever
            leftover = host.hook(f"{name}-make-way", ContainerName(place.container, bridge.stack), remove_leftover)
            hooks = pulumi.ResourceHookBinding(before_create=[leftover])
        container = docker.Container(
            f"{name}-container",
            name=place.container,
            image=args.image_id,
            # Not the image's entrypoint, which would chown /data and write a config of its own. A shell, so that a
            # program that is not there is an exit code, which readiness explains, and no failure of the provider's.
            entrypoints=["/bin/sh", "-c", 'exec "$0" "$@"'],
            command=bridge.bridge.run_command(),
            user=f"{UID}:{GID}",
            restart="unless-stopped",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=place.network, aliases=[place.container])],
            volumes=[
                docker.ContainerVolumeArgs(
                    host_path=folder,
                    container_path="/data",
                    read_only=True,
                    # Without the label SELinux lets no container read it.
                    selinux_relabel="z" if host.observed.selinux else None,
                ),
                # Without a name: on Docker's disk, and removed with the container.
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
                docker.ContainerLabelArgs(label=STACK_LABEL, value=bridge.stack),
                docker.ContainerLabelArgs(label=ATTEMPT_LABEL, value=str(found.attempt)),
                docker.ContainerLabelArgs(label=TOKENS_LABEL, value=str(args.generation)),
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=host.docker,
                delete_before_replace=True,  # its name can be taken once only
                # The database's content: no value of it goes into the container, and none may, since what the step says
                # is unknown at preview whenever it will run.
                depends_on=[data.resource],
                hooks=hooks,
            ),
        )
        proof = host.command(
            f"{name}-readiness",
            pulumi.Output.all(container.id, folder, args.registered, args.doublepuppet_as_token, args.keys).apply(
                lambda values: readiness.ReadinessArguments(
                    bridge=place,
                    container_id=values[0],
                    synapse=bridge.synapse,
                    postgres=bridge.postgres,
                    bot=bridge.bot,
                    appservice_id=bridge.bridge.appservice_id,
                    as_token=values[2].as_token,
                    doublepuppet_as_token=values[3],
                    timeout=float(args.ready_timeout),
                    mark=ready_mark,
                    attempt=found.attempt,
                    new_keys=found.restore == NO_ARCHIVE,
                    stack=bridge.stack,
                    config=values[1],
                    archives=bridge.archive.directory,
                    archive_owner=bridge.archive_owner,
                    program=bridge.bridge.name,
                    pickle_key=values[4].pickle_key,
                )
            ),
            create=readiness.wait_until_ready,
            delete=removal.check_before_removal,
            opts=child,
        )
        self.container_id, self.ready, self.origin = container.id, proof.result, data.result
        self.register_outputs(
            {"container_id": container.id, "ready": self.ready.apply(to_json), "origin": self.origin.apply(to_json)}
        )


def config_text(
    bridge: BridgeDeployment,
    url: pulumi.Input[str],
    proven: pulumi.Input[bool],
    tokens: pulumi.Input[Tokens],
    keys: pulumi.Input[Keys],
    doublepuppet: pulumi.Input[DoublePuppet],
) -> pulumi.Output[str]:
    """The text of config.yaml, a secret. It holds the database's `url`, and comes with the proof that the password in
    it is the role's."""
    values = pulumi.Output.all(url, tokens, keys, doublepuppet, proven)
    return pulumi.Output.secret(values.apply(lambda values: render_bridge_config(bridge, *values[:4])))
