"""A program of one's own with the plan as a part, and a part of the plan by itself: the database of a bridge that runs
elsewhere, in the same Postgres."""

import pulumi

from mautrix_bridges.components import BridgeDatabase
from mautrix_bridges.components.sdk import prepare_process
from mautrix_bridges.documents.places import Database
from mautrix_bridges.plan import deploy
from mautrix_bridges.settings import given


async def main() -> None:
    """All that `deploy` tells is outputs; awaiting `failed` is waiting for the bridges."""
    settings = given(pulumi.Config().require_object("mautrix"))
    deployed = deploy(settings, "mautrix")
    pulumi.export("verdicts", {name: bridge["verdict"] for name, bridge in deployed.bridges.items()})

    elsewhere = Database(settings.postgres_container, "mautrix_elsewhere", "mautrix_elsewhere")
    made = BridgeDatabase("elsewhere", elsewhere, deployed.postgres)
    pulumi.export("database", made.database.name)

    if failed := await deployed.failed.future():
        raise pulumi.RunError(failed)


prepare_process()
pulumi.run(main)
