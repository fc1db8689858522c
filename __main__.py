"""The stack's settings, the plan (components/plan.py), and its outputs."""

import pulumi

from components.plan import deploy
from components.sdk import prepare_process
from settings.reader import read


async def main() -> None:
    """A line for each bridge that did not go live, and then an exit code that says so."""
    deployed = deploy(read())
    pulumi.export("bridges", deployed.bridges)
    pulumi.export("backups", deployed.backups)
    pulumi.export("backupCron", deployed.backup_cron)
    pulumi.export("doublepuppetAsToken", deployed.doublepuppet_as_token)
    if failed := await deployed.failed.future():
        raise pulumi.RunError(failed)


prepare_process()
pulumi.run(main)
