"""The bridge itself: its config, its database's content, its container, and the proof that it works."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components.host import HostCommand, MatrixHost
from components.registration import Registered
from documents.bridge.config import render_bridge_config
from documents.bridge.kinds import CONFIG_PATH, GID, READY_PATH, TEMPORARY_PATH, UID
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.fingerprint import fingerprint
from documents.marks import ATTEMPT_LABEL, CONFIG_LABEL, STACK_LABEL, TOKENS_LABEL
from documents.places import BridgeDeployment
from host_programs.backup.archives import BridgeData
from host_programs.bridge import config, database_life, readiness, removal
from host_programs.bridge.config import SettingsQuestion
from host_programs.bridge.database_life import DatabaseOrigin
from host_programs.files import directory
from host_programs.files.files import OwnedFile
from host_programs.wire import plain


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
    fixed = (place.image, place.container, place.network, place.directory, TEMPORARY_PATH)
    numbers = str(place.port), str(attempt), str(generation)
    version = pulumi.Output.from_input(text).apply(lambda known: fingerprint(known, *fixed, *numbers))
    return pulumi.Output.unsecret(version)


class BridgeContainer(pulumi.ComponentResource):
    """`mautrix:bridge:Container`: the bridge, running and proven.

    Makes: the config, in a directory of its own for each version, so that the container that runs keeps the one it has;
    the database's content, which begins empty or with an archive, goes into an archive before another image, and into
    the last one when the bridge goes; the container; the proof that the bridge works. When the proof is deleted, first
    of all, it asks whether the last archive can be made.
    Outputs: `container_id`; `ready`, what was seen; `origin`, where the database's content is from, and the way back.
    Errors: settings that the bridge does not take, an archive that does not fit, a bridge that does not get ready in
    time, with its exit code's meaning and the last lines of its log.
    """

    container_id: pulumi.Output[str]
    ready: pulumi.Output[readiness.Ready]
    origin: pulumi.Output[DatabaseOrigin]

    def __init__(self, name: str, args: BridgeContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:bridge:Container", name, None, opts)
        self._args = args
        bridge, place, found = args.bridge, args.bridge.place, args.host.observed.bridges[args.bridge.key]
        text = pulumi.Output.from_input(args.config_text)
        version = pulumi.Output.unsecret(text.apply(fingerprint))
        folder = version.apply(lambda known: f"{place.directory}/{directory.CONFIGS}{known[:12]}")
        path = folder.apply(lambda known: f"{known}/{CONFIG_PATH.rpartition('/')[2]}")
        written = self._config(name, path, text)
        data = self._data(name, path, written)
        container = docker.Container(
            f"{name}-container",
            name=place.container,
            image=args.image_id,
            # Not the image's entrypoint: it would chown /data and write a config of its own. Nor the program itself:
            # one that is not there is then an exit code, which readiness explains, and no failure of the provider's.
            entrypoints=["/bin/sh", "-c", 'exec "$0" "$@"'],
            command=bridge.bridge.run_command(),
            user=f"{UID}:{GID}",
            restart="unless-stopped",
            read_only=True,
            capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
            security_opts=["no-new-privileges:true"],
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=place.network, aliases=[place.container])],
            volumes=[
                docker.ContainerVolumeArgs(host_path=folder, container_path="/data", read_only=True),
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
                docker.ContainerLabelArgs(label=STACK_LABEL, value=bridge.stack),
                docker.ContainerLabelArgs(label=CONFIG_LABEL, value=version),
                docker.ContainerLabelArgs(label=ATTEMPT_LABEL, value=str(found.attempt)),
                docker.ContainerLabelArgs(label=TOKENS_LABEL, value=str(args.generation)),
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                provider=args.host.docker,
                delete_before_replace=True,  # its name can be taken once only
                # The database's content: no value of it goes into the container, and none may, since what the step says
                # is unknown at preview whenever it will run.
                depends_on=[data.resource],
            ),
        )
        ready = self._ready(name, container.id, folder)
        self.container_id, self.ready, self.origin = container.id, ready.result, data.result
        self.register_outputs(
            {"container_id": container.id, "ready": ready.result.apply(plain), "origin": data.result.apply(plain)}
        )

    def _config(
        self, name: str, path: pulumi.Output[str], text: pulumi.Output[str]
    ) -> HostCommand[config.WrittenConfig]:
        bridge, owner = self._args.bridge, self._args.host.observed.bridge_owner
        return self._args.host.command(
            f"{name}-config",
            pulumi.Output.all(self._args.image_id, path, text).apply(
                lambda k: config.ConfigFile(
                    stack=bridge.stack,
                    asked=SettingsQuestion.of(bridge, bridge.place.image),
                    image_id=k[0],
                    file=OwnedFile(k[1], k[2], *owner, own_directory=True),
                )
            ),
            create=config.write_config,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _data(
        self, name: str, path: pulumi.Output[str], written: HostCommand[config.WrittenConfig]
    ) -> HostCommand[DatabaseOrigin]:
        bridge, found = self._args.bridge, self._args.host.observed.bridges[self._args.bridge.key]

        def arguments(path: str, keys: Keys) -> database_life.DatabaseArguments:
            data = BridgeData(
                stack=bridge.stack,
                domain=bridge.synapse.domain,
                bridge=bridge.bridge.name,
                image=bridge.place.image,
                directory=bridge.archive.directory,
                database=bridge.place.database,
                files=(path, bridge.registration_path, bridge.doublepuppet_path),
                pickle_key=keys.pickle_key,
            )
            return database_life.DatabaseArguments(
                data=data,
                container=bridge.place.container,
                ready_mark=f"{bridge.place.directory}/{directory.READY}",
                restore=found.restore,
                go_back=bridge.archive.go_back,
                keep=bridge.archive.keep,
                keep_images=bridge.keep_images,
                attempt=found.attempt,
            )

        return self._args.host.command(
            f"{name}-data",
            pulumi.Output.all(path, self._args.keys, written.then(None)).apply(lambda k: arguments(k[0], k[1])),
            create=database_life.prepare_database,
            delete=database_life.archive_database,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _ready(
        self, name: str, container_id: pulumi.Output[str], folder: pulumi.Output[str]
    ) -> HostCommand[readiness.Ready]:
        args, bridge, place = self._args, self._args.bridge, self._args.bridge.place
        found = args.host.observed.bridges[bridge.key]
        known = pulumi.Output.all(container_id, folder, args.registered, args.doublepuppet_as_token)
        return args.host.command(
            f"{name}-readiness",
            known.apply(
                lambda k: readiness.ReadinessArguments(
                    bridge=place,
                    container_id=k[0],
                    synapse=bridge.synapse,
                    bot=bridge.bot,
                    appservice_id=bridge.bridge.appservice_id,
                    as_token=k[2].as_token,
                    doublepuppet_as_token=k[3],
                    timeout=float(args.ready_timeout),
                    mark=f"{place.directory}/{directory.READY}",
                    attempt=found.attempt,
                    new_keys=found.restore == "none",
                    stack=bridge.stack,
                    config=k[1],
                    archives=bridge.archive.directory,
                    archive_owner=bridge.archive_owner,
                    program=bridge.bridge.name,
                )
            ),
            create=readiness.wait_until_ready,
            delete=removal.check_before_removal,
            opts=pulumi.ResourceOptions(parent=self),
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
    known = pulumi.Output.all(tokens, keys, doublepuppet, url, proven)
    return pulumi.Output.secret(known.apply(lambda k: render_bridge_config(bridge, k[3], k[0], k[1], k[2])))
