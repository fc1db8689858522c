"""How a deployment's database begins, the archive that a destroy makes before it removes what is in it, and the check
that it can, before the container goes."""

from __future__ import annotations

import pulumi

from components.host import LocalHost, later
from documents.credentials import Keys
from documents.places import Deployment
from scripts import final_archive


class FinalArchive(pulumi.ComponentResource):
    """Once the database is there it begins: empty, or with the archive `restore`, and once only; whoever uses the
    database waits for this. Its deletion, which comes before that of what it depends on, writes the archive."""

    def __init__(
        self,
        name: str,
        host: LocalHost,
        deployment: Deployment,
        config_file: pulumi.Output[str],
        keys: pulumi.Output[Keys],
        restore: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("mautrix:bridge:Archive", name, None, opts)
        host.script(
            f"{name}-archive",
            final_archive.Arguments(
                stack=deployment.stack,
                domain=deployment.synapse.domain,
                bridge=deployment.bridge.name,
                image=deployment.place.image,
                container=deployment.place.container,
                directory=deployment.archive.directory,
                database=deployment.place.database,
                restore=restore,
                files=(later(config_file), *deployment.registration_paths),
                pickle_key=later(keys.apply(lambda each: each.pickle_key)),
            ),
            create=final_archive.begin,
            delete=final_archive.archive,
            shown=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def archive_check(name: str, host: LocalHost, deployment: Deployment, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """Deleted before what it depends on, the container: a destroy that could not archive stops while all still runs."""
    return host.script(
        f"{name}-archive-check",
        final_archive.Check(deployment.archive.directory, deployment.place.database),
        create=final_archive.keep,
        delete=final_archive.check,
        shown=True,
        opts=opts,
    ).resource
