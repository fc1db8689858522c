"""Checks the operator's files that `up` edits: homeserver.yaml and the backup script, with the diffs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from documents.backup.backup_script import dump_call_of, has_call
from documents.backup.script_check import check_backup_script
from documents.diff import make_diff
from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from documents.homeserver.meaning import find_missing_entries
from documents.homeserver.reading import find_generated_mark
from documents.places import Deployment
from documents.refusal import Refused
from documents.timestamps import rfc3339_seconds
from settings.fields import Settings
from verdicts.host_facts.host import File, HostFacts

AT_START = 2  # seconds after a container's start: what its entrypoint writes is that old, and a person is slower


@dataclass(frozen=True)
class FileEdit:
    """A file of the operator's that `up` edits. `lost` is what the last `up` wrote there and it does not hold; `change`
    is the diff ("": none); `same_plan`: whether the settings want there what the last `up` wrote."""

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    change: str = ""
    same_plan: bool = False

    @property
    def is_due(self) -> bool:
        """Whether `up` will make the change: its step runs for another plan alone, and not for what was lost."""
        return bool(self.change) and not (self.lost and self.same_plan)


def check_homeserver_file(facts: HostFacts, settings: Settings, deployment: Deployment) -> FileEdit:
    path, file, entries = deployment.synapse.homeserver_file, facts.homeserver, Entries.of(deployment)
    problems = tuple(_check_file(path, "synapseDir", file))
    if file is None or file.text is None:
        return FileEdit(path, problems)
    try:
        edited = add_entries(file.text, entries)
    except Refused as refused:
        return FileEdit(path, (*problems, *refused.lines(path)))
    missing = find_missing_entries(file.text, entries)
    recorded = facts.recorded
    is_known = recorded is not None and recorded.synapse.homeserver_file == path
    written = Entries.of(recorded) if recorded and is_known else None
    lost = find_missing_entries(file.text, written) if written else ()
    warnings: tuple[str, ...] = ()
    head = find_generated_mark(file.text)
    writers = [f"{path}:{head.line}: {head.reason}"] if head else []
    writers += [f"{path}: container {name} rewrites it at each start, by its command" for name in facts.renderers]
    writers += _find_rewrite(path, file, facts)
    if writers and edited != file.text:
        line = f"{'; '.join(writers)}, and drops our entries: put them into its template: {', '.join(missing)}"
        if settings.accept_generated:
            warnings = (line,)
        else:
            problems = (*problems, f"{line}; or `pulumi config set acceptGenerated true`")
    elif file.template and edited != file.text:
        warnings = (f"{path}: {file.template} lies beside it: if it is made from that, our entries have to be there",)
    change, same = make_diff(file.text, edited, path), written == entries and not is_reapplied(facts, deployment)
    return FileEdit(path, problems, warnings, lost, change, same)


def is_reapplied(facts: HostFacts, deployment: Deployment) -> bool:
    """Whether this `up` runs every step again, as the setting reapply says."""
    return facts.recorded is not None and facts.recorded.reapply != deployment.reapply


def _find_rewrite(path: str, file: File, facts: HostFacts) -> Iterator[str]:
    """A sign that Synapse's container writes the file when it starts, as an image's own entrypoint may."""
    container = facts.synapse_container
    started = rfc3339_seconds(container.started) if container else None
    if container and started is not None and 0 <= (seconds := file.changed_at - started) <= AT_START:
        yield f"{path}: was written {seconds:.0f} s after container {container.name} started, so its start may write it"


def check_backup_script_file(facts: HostFacts, deployment: Deployment) -> FileEdit:
    path, file = deployment.backup.script, facts.backup_script
    problems = tuple(_check_file(path, "backupScript", file))
    if file is None or file.text is None:
        return FileEdit(path, problems)
    check = check_backup_script(file.text, deployment)
    if file.foreign:
        fix = "or `pulumi config set backupScript none`, and the host runs our dump script by itself"
        problems = (*problems, f"{file.foreign}; {fix}")
    if facts.backup_syntax:
        problems = (*problems, f"{path}:{facts.backup_syntax}")
    change = make_diff(file.text, facts.backup_edited, path, ours=True) if facts.backup_edited else ""
    recorded = facts.recorded
    written = dump_call_of(recorded) if recorded and recorded.backup.script == path else None
    lost = ("the call of our dump script",) if written and not has_call(file.text, written) else ()
    same = written == dump_call_of(deployment) and not is_reapplied(facts, deployment)
    warnings = check.warnings
    if not file.executable:
        words = "is not executable, so a crontab that names it alone fails each night, and our dumps with it"
        warnings = (*warnings, f"{path}: {words}: `chmod u+x {path}`, unless a shell is named before it there")
    return FileEdit(path, (*problems, *check.problems), warnings, lost, change, same)


def _check_file(path: str, key: str, file: File | None) -> Iterator[str]:
    """Whether the file can be read and replaced. `key` is the setting that says where it is."""
    if file is None:
        without = " (none: you have no such script)" if key == "backupScript" else ""
        yield f"{path}: no such file on the host: check the setting {key}{without}"
    elif file.error:
        yield f"{path}: cannot be read: {file.error}: check the setting {key}"
    elif file.text is None:
        yield f"{path}: is not UTF-8 text: convert it"
    elif not file.writable:
        yield f"{path}: it or its directory is read-only: make it writable for the user who runs this"
