"""The bridge's database: how it begins, what happens to it when the image changes, and the archive that a destroy makes
before it removes what is in it."""

from __future__ import annotations

import pulumi

from mautrix_bridges.components.host import Host, HostScript, later
from mautrix_bridges.components.start import Start
from mautrix_bridges.documents.credentials import Keys
from mautrix_bridges.documents.places import BridgeDeployment
from mautrix_bridges.scripts import bridge_data
from mautrix_bridges.scripts.archives import Subject


def bridge_data_begun(
    name: str,
    host: Host,
    deployment: BridgeDeployment,
    config_file: pulumi.Output[str],
    keys: pulumi.Output[Keys],
    start: Start,
    opts: pulumi.ResourceOptions | None = None,
) -> HostScript[bridge_data.Begun]:
    """Once the database is there it begins: empty, or with the archive `start.restore`, and once only. Before a
    container of another image it is archived, and replaced if the settings say so; whoever uses the database waits for
    this. Its deletion, which comes before that of what it depends on, writes the last archive."""
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
    return host.script(
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
        opts=opts,
    )
