"""The last step of a destroy: what the stack's bridges shared goes, by its marks; then the stack's own directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from documents.marks import parse_owner_comment
from documents.places import Postgres
from host_programs.backup import nightly_backup
from host_programs.cleanup.bridge import BridgeParts, cleanup_bridge, drop_database, read_comments
from host_programs.files import directory, safe_files
from host_programs.files.directory import ClaimedDirectory
from host_programs.messages import say
from host_programs.synapse import appservices
from host_programs.synapse.registration_files import is_there


@dataclass(frozen=True)
class StackParts:
    """Whatever of the stack may be on the host; `directory` is its own, with the program file."""

    directory: ClaimedDirectory
    postgres: Postgres
    backup: nightly_backup.NightlyBackup
    synapse: appservices.Appservices
    bridges: tuple[BridgeParts, ...]

    @property
    def stack(self) -> str:
        return self.directory.stack


def cleanup_stack(arguments: StackParts) -> None:
    """Remove what is still there, in the order of a destroy, and the program file itself at the end."""
    _clean_synapse(arguments)
    nightly_backup.remove_dumps(arguments.backup)
    for bridge in arguments.bridges:
        cleanup_bridge(bridge)
    comments = read_comments(arguments.postgres, "the stack's databases")["databases"]
    for name, comment in sorted(comments.items()):  # also those that were made under other names
        if parse_owner_comment(comment).get("stack") == arguments.stack:
            drop_database(arguments.postgres, arguments.stack, comments, name)
    for name in (directory.JOURNAL, directory.PROVEN):  # what they note is done by now, or is gone
        safe_files.remove_file(Path(arguments.directory.path) / name)
    directory.release_directory(arguments.directory)


def _clean_synapse(arguments: StackParts) -> None:
    """The lines first: Synapse does not start with a registration listed that is not there."""
    edit = arguments.synapse
    text = safe_files.read_file(edit.homeserver_file, foreign=True)
    is_named = text is not None and edit.stack.encode() in text.data
    interrupted = safe_files.read_file(Path(edit.journal)) is not None
    if is_named or interrupted or any(is_there(Path(file.path)) for file in edit.registrations):
        unregistered = appservices.unregister_appservices(edit)
        for path in [*([edit.homeserver_file] if unregistered.changed else []), *unregistered.removed]:
            say(f"removed: {path}")
