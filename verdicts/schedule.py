"""What was seen of the nightly run of our dump script, where no script of the operator's calls it."""

from __future__ import annotations

from collections.abc import Iterator

from documents.backup.schedule import CRON_DIRECTORY, ScheduleFile, format_cron_line, render_schedule
from documents.places import Deployment
from verdicts.host_facts.host import ScheduleFacts
from verdicts.preflight.ownership import check_owner


def list_wanted(facts: ScheduleFacts, deployment: Deployment) -> tuple[ScheduleFile, ...]:
    """The files that should be there."""
    return tuple(file for file in render_schedule(deployment, facts.scheduler) if file.text)


def check_schedule_owners(facts: ScheduleFacts, deployment: Deployment) -> Iterator[str]:
    """Somebody else's file in the place of one of ours."""
    for file in list_wanted(facts, deployment):
        owner = facts.files[file.path].stack if file.path in facts.files else None
        yield from check_owner(file.path, owner, deployment.stack, "sharedDir, whose name it has")


def find_missing_scheduler(facts: ScheduleFacts, deployment: Deployment) -> Iterator[str]:
    if not deployment.backup.script and not facts.scheduler:
        yield (
            f"backupScript: none, and neither a cron that reads {CRON_DIRECTORY} nor systemd runs on the host: nothing "
            f"makes the dumps at night: have something there run what this line does: {format_cron_line(deployment)}"
        )


def describe_new_schedule(facts: ScheduleFacts, deployment: Deployment) -> Iterator[str]:
    """The new file that says when the dumps are made, for the changes of a preview."""
    for file in list_wanted(facts, deployment):
        if file.path not in facts.files and (file.is_timer or not file.unit):
            yield f"a new file, {file.path}: the host makes the dumps each night at {deployment.backup.time}"


def find_schedule_faults(facts: ScheduleFacts, deployment: Deployment, again: str) -> Iterator[str]:
    """What keeps the host from running our dump script as `up` left it. `again`: what puts it back."""
    wanted = list_wanted(facts, deployment)
    for file in wanted:
        own = facts.files.get(file.path)
        if own is None:
            yield f"{file.path}: is missing: if somebody removed it, {again}"
        elif own.changed:
            yield f"{file.path}: was changed since `up` wrote it: {again}"
        elif facts.stopped and file.is_timer:
            yield f"{file.path}: systemd has it as {facts.stopped}, so the dumps are not made at night: {again}"
    for path, own in facts.files.items():
        if not wanted and own.stack == deployment.stack:
            yield f"{path}: nothing on the host reads it, so the dumps are not made at night: was cron stopped?"
