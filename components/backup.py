"""The nightly dumps with the bridges' among them, proven before go-live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from components.host import MatrixHost
from documents.backup import backup_script
from documents.backup.dump_script import render_dump_script
from documents.backup.schedule import render_schedule
from documents.places import Deployment
from host_programs.backup import nightly_backup
from host_programs.backup.nightly_backup import NightlyBackup
from host_programs.backup.proof import ProvenDump
from host_programs.wire import to_json

DUMP_SCRIPT = Path(__file__).parents[1] / "host_programs/backup/bridge_backup.sh"


def backup_arguments(deployment: Deployment, scheduler: str) -> NightlyBackup:
    """What the dumps are of, where they go and what makes them; `scheduler`: what the host has for it
    (documents/backup/schedule.py)."""
    plan = deployment.backup
    return NightlyBackup(
        script=plan.script,
        proves_script=plan.proves_script,
        call=backup_script.dump_call_of(deployment),
        dump_script=render_dump_script(DUMP_SCRIPT.read_text(encoding="utf-8"), deployment),
        records=deployment.dump_records,
        suffix=f".{deployment.shared_name}.sql.gz{plan.suffix}",
        databases=deployment.dumped_databases,
        bridges=deployment.databases,
        filter=plan.filter,
        postgres=deployment.postgres,
        directory=deployment.shared_directory,
        schedule=render_schedule(deployment, scheduler),
    )


@dataclass
class DatabaseBackupArgs:
    """`databases`: the names of the bridges' own, once they are made; `dumps`: of `backup_arguments`."""

    host: MatrixHost
    databases: pulumi.Input[Any]
    dumps: NightlyBackup


class DatabaseBackup(pulumi.ComponentResource):
    """`mautrix:stack:DatabaseBackup`: the bridges' databases in the nightly backup.

    Makes: one step that installs our dump script, puts a call of it into the operator's script (or has the host run it
    each night), makes the dumps once, and proves each. Only then a script that was named before loses its call. At the
    end all of it goes; the dumps stay.
    Outputs: `dumps`, what was seen of each; `proven`, True once they are.
    Errors: a dump that is not whole or does not restore. Then all is as before.
    """

    dumps: pulumi.Output[tuple[ProvenDump, ...]]
    proven: pulumi.Output[bool]

    def __init__(self, name: str, args: DatabaseBackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mautrix:stack:DatabaseBackup", name, None, opts)
        dumps = args.dumps
        step = args.host.command(
            f"{name}-script",
            pulumi.Output.from_input(args.databases).apply(lambda _: dumps),
            create=nightly_backup.install_and_prove_dumps,
            delete=nightly_backup.remove_dumps,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.dumps, self.proven = step.result.apply(lambda seen: seen.dumps), step.then(True)
        self.register_outputs({"dumps": self.dumps.apply(to_json), "proven": self.proven})
