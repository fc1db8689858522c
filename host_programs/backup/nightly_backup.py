"""The steps that make the bridges' databases part of the operator's nightly backup, and that take that back.

The operator's script gets a call of our dump script. Before go-live a real backup is made and proven: a new dump of
every database of ours, whole, 0600; each bridge's restores into a scratch database. If any of it fails, both scripts
are as before, and our dumps of that run are gone. If the operator's script uploads, only ours is run. A note in the
stack's directory names the dumps of the proof, which stay until the removal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from documents.backup.backup_script import DumpCall
from documents.backup.schedule import ScheduleFile
from documents.backup.script_check import find_uploads
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.backup import proof, schedule_files, scripts
from host_programs.backup.proof import ProvenDump
from host_programs.files import safe_files
from host_programs.files.directory import PROVEN, WORK
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, dumps


@dataclass(frozen=True)
class NightlyBackup:
    """`script`: the operator's, "" if there is none; `dump_script`: the text of ours, which `call` runs; `suffix`:
    how the names of its dumps end. `databases`: what it dumps; the dumps of `bridges`, some of these, are restored as a
    proof. `filter`: the command that makes each dump unreadable for us ("": none); it may hold a secret.
    `synapse_database`: what the operator's own dumps are of. `directory`: the stack's own. `schedule`: the files by
    which the host runs our dump script, if no script calls it."""

    script: str
    call: DumpCall
    dump_script: str
    suffix: str
    databases: tuple[Database, ...]
    bridges: tuple[Database, ...]
    filter: str = field(repr=False)
    postgres: Postgres
    synapse_database: str
    directory: str
    schedule: tuple[ScheduleFile, ...]

    @property
    def note(self) -> Path:
        return Path(self.directory) / PROVEN

    @property
    def stack(self) -> str:
        return self.call.owner


@dataclass(frozen=True)
class ProvenBackup:
    """What was seen of each dump."""

    dumps: tuple[ProvenDump, ...]


def install_and_prove_dumps(arguments: NightlyBackup) -> ProvenBackup:
    """ScriptError: everything is as it was before, but for what others did meanwhile."""
    dump_script, script = Path(arguments.call.command), Path(arguments.script)
    with _lock(arguments), _make_workplace(arguments) as private, ExitStack() as undo:
        proof.read_note(arguments.note)  # an unreadable one stops this before anything is made
        scripts.install_dump_script(dump_script, arguments.dump_script, arguments.stack, undo)
        runs_script = bool(arguments.script)
        if runs_script:
            text = scripts.read_script(script)
            scripts.add_call(script, text, arguments.call, undo)
            for line, command in find_uploads(text)[:1]:
                runs_script = False
                say(f"{script}:{line}: uploads ({command}), so it is not run now: {dump_script.name} alone is")
        target = arguments.call.directory
        is_kept = runs_script or target.startswith("/")  # a variable of the script's: only the script knows it
        new_directories = _list_missing(Path(target)) if target.startswith("/") else []
        record, begin = private / "record", private / "begin"
        safe_files.write_file(begin, b"")
        undo.callback(proof.remove_empty, new_directories)
        undo.callback(_delete_recorded, record)
        if runs_script:
            scripts.run_script([str(script)], record, [arguments.filter])
        else:
            directory = target if is_kept else f"{private}/dumps"
            scripts.run_script([str(dump_script), directory], record, [arguments.filter])
        recorded = scripts.read_record(record)
        made, by_name = [path for _, path in recorded], dict(recorded)
        _require_all(arguments, by_name.keys(), script if runs_script else dump_script)
        container = arguments.postgres.container
        proven = [proof.prove_own_dump(name, path, container, bool(arguments.filter)) for name, path in recorded]
        if runs_script:
            folder, since = made[0].parent, begin.stat().st_mtime_ns  # by the disk's clock, as the dumps' times
            proven += proof.prove_operators_dumps(folder, made, since, container, arguments.synapse_database)
        restorable = {bridge: by_name[bridge.database] for bridge in arguments.bridges}
        if arguments.filter:  # unreadable for us: others are made
            restorable = {bridge: private / f"{bridge.database}.sql" for bridge in arguments.bridges}
            for bridge, path in restorable.items():
                with path.open("wb") as file:
                    dumps.make_dump(bridge, file)
        dump_restore.prove_restores(arguments.postgres, arguments.stack, restorable)
        schedule_files.install_schedule(arguments.schedule, arguments.stack, undo)
        if is_kept:
            proof.add_to_note(arguments.note, made, new_directories)
        else:
            proven = [replace(dump, path="", proof=f"{dump.proof}; not kept") for dump in proven]
        undo.pop_all()  # nothing is taken back
        return ProvenBackup(tuple(proven))


def remove_dumps(arguments: NightlyBackup) -> None:
    """Take out our call, and remove the schedule, our dump script and the dumps of the proof. ScriptError, and nothing
    is removed, if only one of our marks stands in the operator's script, or if the note of the dumps cannot be read."""
    with _lock(arguments):
        proof.read_note(arguments.note)
        if arguments.script:
            scripts.remove_call(Path(arguments.script), arguments.stack)
        schedule_files.remove_schedule(arguments.schedule, arguments.stack)
        proof.remove_noted(arguments.note, arguments.suffix)
        scripts.remove_dump_script(Path(arguments.call.command), arguments.stack)


def _lock(arguments: NightlyBackup) -> AbstractContextManager[None]:
    return host_lock.hold_lock(arguments.script or arguments.call.command, arguments.stack)


@contextmanager
def _make_workplace(arguments: NightlyBackup) -> Iterator[Path]:
    """A private directory (0700) for this run; dumps that nobody else may read are in it. What a run that was killed
    left there goes first."""
    place = Path(arguments.directory) / WORK
    safe_files.remove_tree(place)
    safe_files.make_directory(place, 0o700)
    try:
        yield place
    finally:
        safe_files.remove_tree(place)


def _list_missing(directory: Path) -> list[Path]:
    """The directory and those above it that do not exist, innermost first."""
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _delete_recorded(record: Path) -> None:
    for _, path in scripts.read_record(record):
        safe_files.remove_file(path, foreign=True)
        say(f"{path}: deleted, since this run failed")


def _require_all(arguments: NightlyBackup, made: Collection[str], script: Path) -> None:
    """ScriptError unless our dump script made a dump of each database."""
    missing = [database.database for database in arguments.databases if database.database not in made]
    if missing:
        raise ScriptError(
            f"{script}: its run ended well and our dump script made no dump of {', '.join(missing)}: does it end "
            f"before the call, or clear its environment? Put `# >>> {arguments.stack}` and "
            f"`# <<< {arguments.stack}` where the call should stand"
        )
