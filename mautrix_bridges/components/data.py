"""The bridge's database: how it begins, what happens to it when the image changes, the archive that a destroy makes
before it removes what is in it, and the check that it can, before the container goes."""

from __future__ import annotations

import pulumi

from mautrix_bridges.components.container import Start
from mautrix_bridges.components.host import Host, later
from mautrix_bridges.documents.credentials import Keys
from mautrix_bridges.documents.places import BridgeDeployment
from mautrix_bridges.scripts import bridge_data
from mautrix_bridges.scripts.archives import Subject
from mautrix_bridges.scripts.wire import Failed


class BridgeData(pulumi.ComponentResource):
    """Once the database is there it begins: empty, or with the archive `restore`, and once only. Before a container of
    another image it is archived, and replaced if the settings say so; whoever uses the database waits for this. Its
    deletion, which comes before that of what it depends on, writes the last archive.

    `outcome` says what it began with, and names the newest archive that was made before a change.
    """

    outcome: pulumi.Output[bridge_data.Begun | Failed]

    def __init__(
        self,
        name: str,
        host: Host,
        deployment: BridgeDeployment,
        config_file: pulumi.Output[str],
        keys: pulumi.Output[Keys],
        start: Start,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Data", name, None, opts)
        subject = Subject(
            stack=deployment.stack,
            domain=deployment.synapse.domain,
            bridge=deployment.bridge.name,
            image=deployment.place.image,
            directory=deployment.archive.directory,
            database=deployment.place.database,
            files=(later(config_file), deployment.registration_path, deployment.doublepuppet_path),
            pickle_key=later(keys.apply(lambda each: each.pickle_key)),
        )
        self.outcome = host.script(
            f"{name}-data",
            bridge_data.Arguments(
                subject=subject,
                container=deployment.place.container,
                restore=start.restore,
                go_back=deployment.archive.go_back,
                keep=deployment.archive.keep,
                keep_images=deployment.keep_images,
                attempt=start.attempt,
                failures=start.failures,
            ),
            create=bridge_data.begin,
            delete=bridge_data.archive,
            shown=True,
            attempt=start.attempt_at(deployment),
            opts=pulumi.ResourceOptions(parent=self),
        ).outcome
        self.register_outputs({})


def archive_check(name: str, host: Host, deployment: BridgeDeployment, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """Deleted before what it depends on, the container: a destroy that could not archive stops while all still runs."""
    wanted = bridge_data.Check(deployment.archive.directory, deployment.place.database)
    return host.at_deletion(f"{name}-archive-check", wanted, bridge_data.check, opts=opts)
