"""The last step of a destroy: what the stack's bridges shared goes, by its marks; then the stack's own directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from documents.backup import backup_script
from documents.marks import parse_owner_comment
from documents.places import Postgres
from documents.refusal import Refused
from host_programs.backup import nightly_backup
from host_programs.cleanup import databases
from host_programs.cleanup.bridge import BridgeParts, Removed, cleanup_bridge
from host_programs.files import directory, files, safe_files
from host_programs.files.directory import ClaimedDirectory
from host_programs.messages import say
from host_programs.synapse import appservices


@dataclass(frozen=True)
class StackParts:
    """Whatever of the stack may be on the host; `own` is its own directory, with the program file."""

    own: ClaimedDirectory
    postgres: Postgres
    backup: nightly_backup.NightlyBackup
    synapse: appservices.Appservices
    bridges: tuple[BridgeParts, ...]

    @property
    def stack(self) -> str:
        return self.own.stack


def cleanup_stack(arguments: StackParts) -> Removed:
    """Remove what is still there, in the order of a destroy, and the program file itself at the end."""
    gone = [*_clean_synapse(arguments), *_clean_backup(arguments)]
    for removed in gone:
        say(f"removed: {removed}")
    for bridge in arguments.bridges:
        gone += cleanup_bridge(bridge).gone
    databases_gone = _drop_databases(arguments)
    for removed in databases_gone:
        say(f"removed: {removed}")
    for name in (directory.JOURNAL, directory.PROVEN):  # what they note is done by now, or is gone
        (Path(arguments.own.path) / name).unlink(missing_ok=True)
    directory.release_directory(arguments.own)
    return Removed((*gone, *databases_gone))


def _clean_synapse(arguments: StackParts) -> list[str]:
    """The lines first: Synapse does not start with a registration listed that is not there."""
    edit = arguments.synapse
    text = safe_files.read_file(edit.homeserver_file)
    named = text is not None and edit.stack.encode() in text.data
    interrupted = safe_files.read_file(Path(edit.journal)) is not None
    written = [file.path for file in edit.registrations if Path(file.path).exists()]
    if not (named or interrupted or written):
        return []
    unregistered = appservices.unregister_appservices(edit)
    return [*([str(edit.homeserver_file)] if unregistered.changed else []), *unregistered.removed]


def _clean_backup(arguments: StackParts) -> list[str]:
    backup = arguments.backup
    script = safe_files.read_file(Path(backup.script)) if backup.script else None
    called = script is not None and _calls_us(script.data.decode(errors="replace"), arguments.stack)
    installed = files.read_dump_script_owner(Path(backup.block.command)) == arguments.stack
    if not called and not installed and not backup.note.exists():
        return []
    return [backup.script or backup.block.command] if nightly_backup.remove_dumps(backup).changed else []


def _calls_us(text: str, stack: str) -> bool:
    try:
        return backup_script.remove_call(text, stack) != text
    except Refused:
        return True  # its removal says why


def _drop_databases(arguments: StackParts) -> list[str]:
    """Databases that were made for this stack under other names."""
    server, stack = arguments.postgres, arguments.stack
    by_name = databases.read_comments(server, "the stack's databases")["databases"]
    own = [name for name, comment in sorted(by_name.items()) if parse_owner_comment(comment).get("stack") == stack]
    return [gone for name in own for gone in databases.drop_archived(server, stack, by_name, name)]
