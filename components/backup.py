"""The nightly dumps with the bridges' among them, proven before go-live."""

from __future__ import annotations

from pathlib import Path

import pulumi

from components.host import Host
from documents import backup_script
from documents.places import Deployment
from host_programs.backup import nightly_backup
from host_programs.backup.proof import ProvenDump

DUMP_SCRIPT = Path(nightly_backup.__file__).with_name("bridge_backup.sh")


def backup_arguments(deployment: Deployment, synapse_database: str) -> nightly_backup.NightlyBackup:
    """`synapse_database` is what the operator's own dumps are of."""
    plan = deployment.backup
    return nightly_backup.NightlyBackup(
        script=plan.script,
        block=backup_script.block(deployment),
        dump_script=backup_script.dump_script(DUMP_SCRIPT.read_text(), deployment),
        suffix=f".{deployment.shared_name}.sql.gz{plan.suffix}",
        databases=deployment.dumped,
        bridges=deployment.databases,
        filtered=bool(plan.filter),
        superuser=deployment.postgres.superuser,
        synapse_database=synapse_database,
        directory=deployment.shared_directory,
    )


class DatabaseBackup:
    """Our dump script installed, the operator's script with a call of it, one run, and every dump proven: the step
    `resource`; `dumps` says what was seen."""

    dumps: pulumi.Output[tuple[ProvenDump, ...]]
    resource: pulumi.Resource

    def __init__(
        self,
        name: str,
        host: Host,
        arguments: nightly_backup.NightlyBackup,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        script = host.script(
            f"{name}-backup-script",
            arguments,
            create=nightly_backup.install_and_prove_dumps,
            delete=nightly_backup.remove_dumps,
            triggers=[arguments.script, arguments.block.command, arguments.directory],
            shown=True,
            # Two scripts in one directory share our dump script: the old call goes, and then the new one comes.
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
        )
        self.dumps = script.result.apply(lambda proven: proven.dumps)
        self.resource = script.resource
