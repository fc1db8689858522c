"""The steps that make the bridges' databases part of the operator's nightly backup, and that take that back.

install_and_prove_dumps  installs our dump script, has the operator's script call it, makes a real backup before
                         go-live, and proves it: a new dump of every database of ours, whole, 0600; each bridge's
                         restores into a scratch database. If any of it fails, both scripts are as before, and the dumps
                         that our script made in this run are gone. If the operator's script uploads, only ours is run.
remove_dumps             takes our call out, and removes our dump script and the dumps of the proof (those that are
                         still as they were made).

The dumps of the proof stay while the stack is deployed. A note in the stack's directory has their SHA-256.
"""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from documents.backup.backup_script import DumpCall
from documents.backup.script_check import find_uploads
from documents.places import Database
from host_programs import host_lock
from host_programs.backup import proof, proof_note, scripts
from host_programs.backup.proof import ProvenDump, RestoreProof
from host_programs.backup.script_run import read_record, run_script
from host_programs.files.directory import PROVEN
from host_programs.messages import ScriptError, say


@dataclass(frozen=True)
class NightlyBackup:
    """`script`: the operator's, "" if there is none; `dump_script`: the text of ours, which `block` calls; `suffix`:
    how the names of its dumps end. `databases`: what it dumps; the dumps of `bridges`, some of these, are restored as a
    proof. `filtered`: each dump goes through a command that makes it unreadable for us. `synapse_database`: what the
    operator's own dumps are of. `directory`: the stack's own."""

    script: str
    block: DumpCall
    dump_script: str
    suffix: str
    databases: tuple[Database, ...]
    bridges: tuple[Database, ...]
    filtered: bool
    superuser: str
    synapse_database: str
    directory: str

    @property
    def note(self) -> Path:
        return Path(self.directory) / PROVEN

    @property
    def stack(self) -> str:
        return self.block.owner


@dataclass(frozen=True)
class ProvenBackup:
    """`changed`: whether one of the two scripts is another one now."""

    changed: bool
    dumps: tuple[ProvenDump, ...]


@dataclass(frozen=True)
class RemovedBackup:
    """`changed`: as of ProvenBackup; `deleted`: paths of the proof's dumps."""

    changed: bool
    deleted: tuple[str, ...]


def install_and_prove_dumps(arguments: NightlyBackup) -> ProvenBackup:
    """ScriptError: everything is as it was before, but for what others did meanwhile."""
    with _lock(arguments):
        return _install_and_prove(arguments)


def remove_dumps(arguments: NightlyBackup) -> RemovedBackup:
    """ScriptError, and nothing is removed, if only one of our marks stands in the operator's script."""
    with _lock(arguments):
        out = bool(arguments.script) and scripts.remove_call(Path(arguments.script), arguments.stack)
        deleted = proof_note.remove_noted(arguments.note, arguments.suffix)
        removed = scripts.remove_dump_script(Path(arguments.block.command), arguments.stack)
        return RemovedBackup(out or removed, deleted)


def _lock(arguments: NightlyBackup) -> AbstractContextManager[None]:
    return host_lock.hold_lock(arguments.script or arguments.block.command, arguments.stack)


def _install_and_prove(arguments: NightlyBackup) -> ProvenBackup:
    dump_script = Path(arguments.block.command)
    with tempfile.TemporaryDirectory(prefix="mautrix-backup-") as private, scripts.undo_on_failure() as undo:
        changed = scripts.install_dump_script(dump_script, arguments.dump_script, arguments.stack, undo)
        script, runs = Path(arguments.script), bool(arguments.script)
        if runs:
            text = scripts.read_script(script)
            changed = scripts.add_call(script, text, arguments.block, undo) or changed
            uploads = find_uploads(text)
            if uploads:
                runs, (line, command) = False, uploads[0]
                say(f"{script}:{line}: uploads ({command}), so it is not run now: {dump_script.name} alone is")
        target = arguments.block.directory
        if not runs and not target.startswith("/"):  # a variable of the script's: only the script knows it
            target = f"{private}/dumps"
        record, begin = Path(private) / "record", Path(private) / "begin"
        begin.touch()
        undo.record = record
        undo.new_directories = scripts.list_missing(Path(target)) if target.startswith("/") else []
        if runs:
            run_script([str(script)], script, record)
        else:
            run_script([str(dump_script), target], dump_script, record)
        recorded = _require_all(arguments, record, script if runs else dump_script)
        container = arguments.databases[0].container
        proven = [proof.prove_own_dump(name, path, container, arguments.filtered) for name, path in recorded]
        made = [path for _, path in recorded]
        if runs:
            folder, since = made[0].parent, begin.stat().st_mtime_ns
            proven += proof.prove_operators_dumps(folder, made, since, container, arguments.synapse_database)
        restore = RestoreProof(arguments.superuser, arguments.stack, arguments.bridges, arguments.filtered)
        proof.prove_restores(restore, dict(recorded), Path(private))
        if target.startswith(private):
            proven = [replace(dump, path="", proof=f"{dump.proof}; not kept") for dump in proven]
        else:
            proof_note.add_to_note(arguments.note, made, undo.new_directories)
        return ProvenBackup(changed, tuple(proven))


def _require_all(arguments: NightlyBackup, record: Path, script: Path) -> list[tuple[str, Path]]:
    """The dumps that our dump script made, each behind its database's name. ScriptError if one is missing."""
    made = read_record(record) if record.exists() else []
    missing = [database.database for database in arguments.databases if database.database not in dict(made)]
    if missing:
        raise ScriptError(
            f"{script}: its run ended well and our dump script made no dump of {', '.join(missing)}: does it end "
            f"before the call, or clear its environment? Put `# >>> {arguments.stack}` and "
            f"`# <<< {arguments.stack}` where the call should stand"
        )
    return made
