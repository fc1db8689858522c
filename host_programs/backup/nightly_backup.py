"""The steps that make the bridges' databases part of the nightly backup, and that take that back.

Our dump script is installed, and the operator's script gets a call of it. Before go-live the dumps are made once and
proven: a new one of every database of ours, whole, 0600; each bridge's restores into a scratch database. It is our dump
script that runs, or the operator's, if the settings say so. If any of it fails, both scripts are as before, and our
dumps of that run are gone. A note in the stack's directory names the dumps of the proof, which stay until the removal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from documents.backup.backup_script import DumpCall
from documents.backup.schedule import ScheduleFile
from documents.places import Database, Postgres
from host_programs import host_lock
from host_programs.backup import proof, records, schedule_files, scripts
from host_programs.backup.proof import ProvenDump
from host_programs.backup.records import DumpRecord
from host_programs.files import safe_files
from host_programs.files.directory import PROVEN, WORK
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, dumps


@dataclass(frozen=True)
class NightlyBackup:
    """`script`: the operator's, "" if there is none, which is run for the proof if `proves_script`; `dump_script`: the
    text of ours, which `call` runs, and which notes in the directory `records` what it made; `suffix`: how the names of
    its dumps end. `databases`: what it dumps; the dumps of `bridges`, some of these, are restored as a proof. `filter`:
    the command that makes each dump unreadable for us ("": none), a secret. `directory`: the stack's own. `schedule`:
    the files by which the host runs our dump script, if no script calls it."""

    script: str
    proves_script: bool
    call: DumpCall
    dump_script: str
    records: str
    suffix: str
    databases: tuple[Database, ...]
    bridges: tuple[Database, ...]
    filter: str = field(repr=False)
    postgres: Postgres
    directory: str
    schedule: tuple[ScheduleFile, ...]

    @property
    def note(self) -> Path:
        return Path(self.directory) / PROVEN

    @property
    def stack(self) -> str:
        return self.call.owner

    @property
    def runs_script(self) -> bool:
        return bool(self.script) and self.proves_script

    @property
    def own_directory(self) -> str:
        """Where the dumps go; "" where only the operator's script knows."""
        return self.call.directory if self.call.has_own_directory else ""


@dataclass(frozen=True)
class ProvenBackup:
    """What was seen of each dump."""

    dumps: tuple[ProvenDump, ...]


def install_and_prove_dumps(arguments: NightlyBackup) -> ProvenBackup:
    """ScriptError: everything is as it was before, but for what others did meanwhile."""
    script, own_directory = Path(arguments.script), arguments.own_directory
    is_kept = bool(own_directory) or arguments.runs_script
    with _lock(arguments), _make_workplace(arguments) as private, ExitStack() as always, ExitStack() as undo:
        noted = proof.read_note(arguments.note)  # an unreadable one stops this before anything is made
        called = [arguments.script] if arguments.script else []
        earlier = [other for other in noted.scripts if other not in called]
        undo.callback(proof.write_note, arguments.note, noted)
        proof.write_note(arguments.note, replace(noted, scripts=(*earlier, *called)))
        scripts.install_dump_script(Path(arguments.call.command), arguments.dump_script, arguments.stack, undo)
        if arguments.script:
            scripts.add_call(script, scripts.read_script(script), arguments.call, undo)
        new_directories = _list_missing(Path(own_directory)) if own_directory else []
        undo.callback(proof.remove_empty, new_directories)
        made = _make_dumps(arguments, own_directory or f"{private}/dumps", undo if is_kept else always)
        proven = [proof.prove_dump(name, path, bool(arguments.filter)) for name, path in made.items()]
        restorable = {bridge: made[bridge.database] for bridge in arguments.bridges}
        if arguments.filter:  # unreadable for us: others are made
            restorable = {bridge: private / f"{bridge.database}.sql" for bridge in arguments.bridges}
            for bridge, path in restorable.items():
                with path.open("wb") as file:
                    dumps.make_dump(bridge, file)
        dump_restore.prove_restores(arguments.postgres, arguments.stack, restorable)
        schedule_files.install_schedule(arguments.schedule, arguments.stack, undo)
        for other in earlier:  # the dumps had to be made at night until these were proven
            _remove_call(other, arguments.stack, undo)
        kept = proof.add_dumps(noted, [*made.values()], new_directories) if is_kept else noted
        proof.write_note(arguments.note, replace(kept, scripts=tuple(called)))
        if not is_kept:
            proven = [replace(dump, path="", proof=f"{dump.proof}; not kept") for dump in proven]
            say(
                f"{script}: was not run, so nothing proves that our call is reached: run it once, and `pulumi preview` "
                "tells of its dumps; or `pulumi config set proveBackupScript true`, and `up` runs it"
            )
        undo.pop_all()  # nothing is taken back
        return ProvenBackup(tuple(proven))


def _make_dumps(arguments: NightlyBackup, directory: str, undo: ExitStack) -> dict[str, Path]:
    """Run our dump script, or the operator's, as cron would; the dumps that ours made, by database. ScriptError unless
    it made all. With `undo` they go, and our dump script's notes are what they were."""
    noted, names = Path(arguments.records), [database.database for database in arguments.databases]
    files, before = records.read_all(noted), records.read_records(noted, names)

    def take_back() -> None:
        for path in _list_new(noted, before).values():
            safe_files.remove_file(path, foreign=True)
            say(f"{path}: deleted")
        records.put_back(noted, files)

    undo.callback(take_back)
    command = [arguments.script] if arguments.runs_script else [arguments.call.command, directory]
    # What the operator's script says is his, and may hold a secret.
    scripts.run_script(command, [arguments.filter], shown=not arguments.runs_script)
    made = _list_new(noted, before)
    missing = [name for name in names if name not in made]
    if missing:
        raise ScriptError(
            f"{command[0]}: its run ended well and our dump script made no dump of {', '.join(missing)}: does it end "
            f"before the call, or clear its environment? Put `# >>> {arguments.stack}` and "
            f"`# <<< {arguments.stack}` where the call should stand"
        )
    return made


def _list_new(directory: Path, before: Mapping[str, DumpRecord]) -> dict[str, Path]:
    now = records.read_records(directory, before)
    changed = {name: record for name, record in now.items() if record.noted_at != before[name].noted_at}
    return {name: Path(record.path) for name, record in changed.items() if record.path}


def remove_dumps(arguments: NightlyBackup) -> None:
    """Take out our call, and remove the schedule, our dump script and the dumps of the proof. ScriptError, and nothing
    is removed, if only one of our marks stands in the operator's script, or if the note of the dumps cannot be read."""
    with _lock(arguments), ExitStack() as undo:
        noted = proof.read_note(arguments.note)
        for path in dict.fromkeys([*([arguments.script] if arguments.script else []), *noted.scripts]):
            if path == arguments.script:
                scripts.remove_call(Path(path), arguments.stack, undo)
            else:
                _remove_call(path, arguments.stack, undo)
        undo.pop_all()  # what follows can be done again, and does not bring the call back
        schedule_files.remove_schedule(arguments.schedule, arguments.stack)
        proof.remove_noted(arguments.note, arguments.suffix)
        scripts.remove_dump_script(Path(arguments.call.command), arguments.stack)
        safe_files.remove_tree(Path(arguments.records))


def _remove_call(script: str, stack: str, undo: ExitStack) -> None:
    """Take our call out of a script that the settings no longer name."""
    with host_lock.hold_lock(script, stack):
        scripts.remove_call(Path(script), stack, undo)


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
