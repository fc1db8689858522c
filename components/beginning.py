"""What the plan begins with."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.backup import backup_arguments
from components.host import Host
from components.host_check import CheckedHost, host_of, refuse_or_tell
from components.install import shared_directory
from components.leftovers import shared_leftovers
from documents.places import Deployment
from host_programs.backup import nightly_backup
from settings import Settings


@dataclass(frozen=True)
class Begun:
    """The host as it is, and the stack's own directory there, behind which all comes. `name` begins the names of what
    the bridges share; `backup`: what the nightly dumps are told."""

    deployment: Deployment
    host: Host
    checked: CheckedHost
    name: str
    programs: pulumi.Output[pulumi.Resource]
    leftovers: pulumi.Resource
    backup: nightly_backup.NightlyBackup

    def after(self, *needed: pulumi.Input[pulumi.Resource]) -> pulumi.ResourceOptions:
        """For what comes when these are there, and at a destroy goes before them."""
        return pulumi.ResourceOptions(depends_on=[*needed])


def begin(settings: Settings) -> Begun:
    """Before the plan: what is there, and whether the plan may touch it. Nothing is registered if not, and
    pulumi.RunError raised. Then the directory that the bridges share, with the programs of all steps, and what a
    destroy ends with: whatever of this stack is then still there."""
    deployment = settings.deployment(f"{pulumi.get_project()}/{pulumi.get_stack()}")
    host, name = host_of(settings, deployment), "shared"
    checked = refuse_or_tell(host, settings, deployment)
    programs = host.keep_programs(checked.programs, shared_directory(name, host, deployment, pulumi.ResourceOptions()))
    backup = backup_arguments(deployment, settings.synapse_database)
    leftovers = shared_leftovers(name, host, deployment, backup, pulumi.ResourceOptions(depends_on=[programs]))
    return Begun(deployment, host, checked, name, programs, leftovers, backup)
