"""Installs our dump script, has the operator's nightly script call it, runs that once and proves the dumps; takes all
of that back.

apply   installs and edits, makes a real backup before go-live, and proves it: a new dump of every database of ours,
        whole, 0600, and the bridges' restore into a scratch database. If any of it fails, both scripts are as before
        and the dumps that this run's dump script made are gone. A script of the operator's that uploads is not run by
        us, only our dump script is.
remove  takes our call out, and away the dumps of the proof (if they are still as they were made) and our dump script.

The dumps of the proof stay while the stack is deployed. They are noted with their SHA-256 in the stack's directory.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Optional

from documents.backup import backup_script
from documents.backup.backup_script import DumpCall
from documents.backup.script_check import find_uploads
from documents.marks import owner_comment
from documents.masking import clean_log
from documents.places import Database
from documents.refusal import Refused
from host_programs import host_lock
from host_programs.backup import shell_syntax
from host_programs.common import ScriptError, say
from host_programs.files import safe_files
from host_programs.files.directory import PROVEN
from host_programs.files.files import dump_script_owner
from host_programs.postgres import dumps, postgres
from host_programs.wire import WireError, plain, typed

RUN_LIMIT = 6 * 3600
"""Seconds that a run may take."""
RECORD = "MAUTRIX_BACKUP_RECORD"  # host_programs/backup/bridge_backup.sh: a line `DATABASE PATH` for each dump


@dataclass(frozen=True)
class Arguments:
    """`script`: the operator's, "" if there is none; `dump_script`: the text of ours, which `block` calls; `suffix`:
    how its dumps' names end. `databases`: what it dumps, of which those of `bridges` are restored as a proof;
    `filtered`: each dump goes through a command that makes it unreadable for us. `synapse_database`: what the
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
    def container(self) -> str:
        """Postgres'."""
        return self.databases[0].container


@dataclass(frozen=True)
class ProvenDump:
    """A dump of the proof. `database` is "" where a name does not tell it, `path` where it was not kept; `proof` says
    what was seen."""

    database: str
    path: str
    bytes: int
    proof: str


@dataclass(frozen=True)
class Applied:
    """`changed`: whether one of the two scripts is another one now."""

    changed: bool
    dumps: tuple[ProvenDump, ...]


@dataclass(frozen=True)
class Removed:
    """`deleted`: paths of the proof's dumps."""

    changed: bool
    deleted: tuple[str, ...]


@dataclass(frozen=True)
class NotedDump:
    path: str
    sha256: str


@dataclass(frozen=True)
class Note:
    """What the proof made: dumps, and directories that were not there, innermost first."""

    files: tuple[NotedDump, ...] = ()
    directories: tuple[str, ...] = ()


def apply(arguments: Arguments) -> Applied:
    """ScriptError: everything is as it was before, but for what others did meanwhile."""
    with _locked(arguments):
        return _apply(arguments)


def _locked(arguments: Arguments) -> AbstractContextManager[None]:
    return host_lock.held(arguments.script or arguments.block.command, arguments.block.owner)


def _apply(arguments: Arguments) -> Applied:
    ours = Path(arguments.block.command)
    with tempfile.TemporaryDirectory(prefix="mautrix-backup-") as private, _undone_on_failure() as undo:
        changed = _install(arguments, ours, undo)
        script, runs = Path(arguments.script), bool(arguments.script)
        if runs:
            text = _read(script)
            changed = _edit(arguments, script, text, undo) or changed
            uploads = find_uploads(text)
            if uploads:
                runs = False
                say(f"{script}:{uploads[0][0]}: uploads ({uploads[0][1]}), so it is not run now: {ours.name} alone is")
        target = arguments.block.directory
        if not runs and not target.startswith("/"):  # a variable of the script's: only the script knows it
            target = f"{private}/dumps"
        missing = _missing(Path(target)) if target.startswith("/") else []
        record, begin = Path(private) / "record", Path(private) / "begin"
        begin.touch()
        undo.record, undo.missing = record, missing
        _run([str(script)] if runs else [str(ours), target], script if runs else ours, record)
        recorded = _recorded(arguments, record, script if runs else ours)
        proven = [_proven(arguments, name, path) for name, path in recorded]
        made = [path for _, path in recorded]
        if runs:
            proven += _operators(arguments, made[0].parent, made, begin.stat().st_mtime_ns)
        _restored(arguments, dict(recorded), Path(private))
        if target.startswith(private):
            return Applied(changed, tuple(replace(each, path="", proof=f"{each.proof}; not kept") for each in proven))
        _add_to_note(arguments, made, missing)
        return Applied(changed, tuple(proven))


def remove(arguments: Arguments) -> Removed:
    """ScriptError, and nothing is removed, if only one of our marks stands in the operator's script."""
    with _locked(arguments):
        return _remove(arguments)


def _remove(arguments: Arguments) -> Removed:
    script, owner, changed = Path(arguments.script), arguments.block.owner, False
    if arguments.script and not script.exists():
        say(f"warning: {script}: is gone, so there is nothing to take out")
    elif arguments.script:
        text = _read(script, errors="surrogateescape")  # whatever somebody wrote into it meanwhile
        try:
            changed = safe_files.rewrite(
                script, backup_script.remove_call(text, owner).encode(errors="surrogateescape")
            )
        except Refused as refused:
            raise ScriptError("\n".join(refused.lines(str(script)))) from None
        say(f"{script}: {f'the call of {owner} is out' if changed else f'holds no call of {owner}'}")
    note, deleted = _noted(arguments), []
    for entry in note.files:
        file = Path(entry.path)
        if not file.is_file() or file.is_symlink():
            continue
        if dumps.sha256(file) == entry.sha256:
            file.unlink()
            deleted.append(entry.path)
        else:
            say(f"note: {file} is not as our run made it: it stays")
    if deleted:
        say(f"deleted {len(deleted)} dumps of our proof: {', '.join(deleted)}")
    for folder in {Path(entry.path).parent for entry in note.files}:
        later = sorted(folder.glob(f"*{arguments.suffix}"))
        if later:
            say(f"note: {len(later)} dumps by later runs stay in {folder}: nothing deletes them now")
    _remove_empty([Path(name) for name in note.directories])
    arguments.note.unlink(missing_ok=True)
    ours = Path(arguments.block.command)
    if dump_script_owner(ours) == owner:
        ours.unlink()
        changed = True
    return Removed(changed, tuple(deleted))


# the two scripts -------------------------------------------------------------------------------------------------


class _Undo:
    """What to take back when a run fails: files as they were (None: not there) and as we wrote them, and the dumps that
    the record names."""

    def __init__(self) -> None:
        self.files: list[tuple[Path, Optional[bytes], bytes]] = []
        self.record: Optional[Path] = None
        self.missing: list[Path] = []  # directories that were not there, innermost first

    def back(self) -> None:
        if self.record and self.record.exists():
            for _, path in _lines_of(self.record):
                path.unlink(missing_ok=True)
                say(f"{path}: deleted, since this run failed")
        _remove_empty(self.missing)
        for path, old, written in reversed(self.files):
            if not path.exists() or path.read_bytes() != written:
                say(f"note: {path}: somebody changed it meanwhile, so it was not put back")
            elif old is None:
                path.unlink()
            else:
                safe_files.rewrite(path, old)
                say(f"{path}: put back as it was")


@contextmanager
def _undone_on_failure() -> Iterator[_Undo]:
    def terminated(*_: object) -> NoReturn:
        raise ScriptError("the run was ended by a signal")

    undo = _Undo()
    handlers = {number: signal.signal(number, terminated) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield undo
    except BaseException:
        undo.back()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _install(arguments: Arguments, path: Path, undo: _Undo) -> bool:
    owner = dump_script_owner(path)
    if owner not in (None, arguments.block.owner):
        raise ScriptError(f"{path}: exists and is not this stack's: move it away, or set another sharedDir")
    old, new = path.read_bytes() if owner else None, arguments.dump_script.encode()
    if old == new and stat.S_IMODE(path.stat().st_mode) == 0o700:
        return False
    safe_files.write(path, new, mode=0o700)
    undo.files.append((path, old, new))
    return True


def _read(path: Path, errors: str = "strict") -> str:
    try:
        return path.read_bytes().decode(errors=errors)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}: check the setting backupScript") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: is not UTF-8 text: convert it") from None


def _edit(arguments: Arguments, path: Path, text: str, undo: _Undo) -> bool:
    try:
        wrong = shell_syntax.check_call(text, arguments.block)
        new = backup_script.add_call(text, arguments.block).encode()
    except Refused as refused:
        raise ScriptError("\n".join(refused.lines(str(path)))) from None
    if wrong:
        raise ScriptError(f"{path}:{wrong}")
    changed = safe_files.rewrite(path, new)
    if changed:
        undo.files.append((path, text.encode(), new))
    say(f"{path}: {'has the call' if changed else 'already as it should be'}")
    return changed


def _run(command: list[str], script: Path, record: Path) -> None:
    """One run as cron would start it, and what it says as it says it; ScriptError with its last lines if it fails."""
    if not os.access(script, os.X_OK):
        command = [backup_script.find_interpreter(script.read_text()), *command]
    home = os.path.expanduser("~")
    say(f"one run of {script}")
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=home if os.path.isdir(home) else "/",
        env={**os.environ, RECORD: str(record)},
        start_new_session=True,
    )
    timer = threading.Timer(RUN_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    last: list[str] = []
    try:
        assert process.stdout is not None
        for raw in process.stdout:
            line = clean_log(raw.decode(errors="replace").rstrip("\n"), ())
            say(f"  {script.name} | {line}")
            last = [*last, line][-20:]
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
    if code:
        head = f"{script}: its run failed with exit code {code}; its last lines:"
        raise ScriptError("\n".join([head, *(f"  {line}" for line in last)]))


# the proof -------------------------------------------------------------------------------------------------------


def _lines_of(record: Path) -> list[tuple[str, Path]]:
    pairs = (line.split(" ", 1) for line in record.read_text().splitlines())
    return [(database, Path(path)) for database, path in pairs]


def _recorded(arguments: Arguments, record: Path, script: Path) -> list[tuple[str, Path]]:
    """The dumps that our dump script made, each with its database."""
    made = _lines_of(record) if record.exists() else []
    missing = [each.database for each in arguments.databases if each.database not in dict(made)]
    if missing:
        raise ScriptError(
            f"{script}: its run ended well and our dump script made no dump of {', '.join(missing)}: does it end "
            f"before the call, or clear its environment? Put `# >>> {arguments.block.owner}` and "
            f"`# <<< {arguments.block.owner}` where the call should stand"
        )
    return made


def _proven(arguments: Arguments, database: str, path: Path) -> ProvenDump:
    status = path.stat()
    if stat.S_IMODE(status.st_mode) != 0o600:
        raise ScriptError(f"{path}: mode {stat.S_IMODE(status.st_mode):04o}: it should be 0600")
    if arguments.filtered:
        if not status.st_size:
            raise ScriptError(f"{path}: is empty: does the command in backupFilter write to its stdout?")
        proof = "made and filtered without an error"
    else:
        dumps.prove(path, arguments.container)
        proof = "unpacks, and is whole"
    say(f"proven: {database}: {path.name}, {status.st_size} bytes: {proof}")
    return ProvenDump(database, str(path), status.st_size, proof)


def _operators(arguments: Arguments, folder: Path, ours: Sequence[Path], begin: int) -> list[ProvenDump]:
    """What else is new beside our dumps. A dump that is not whole is a ScriptError; what cannot be read is told.
    `begin`: time of change, in ns, of a file that was made before the run."""
    proven = []
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        new = stat.S_ISREG(status.st_mode) and status.st_ctime_ns >= begin and path not in ours
        if not new or path.suffix in (".part", ".log", ".txt", ".md5", ".sha256", ".tmp"):
            continue
        if not dumps.looks_like_one(path):
            say(f"note: {path.name}: new in {folder}, and nothing that we can read: not proven")
            continue
        try:
            dumps.prove(path, arguments.container)
        except ScriptError as error:
            raise ScriptError(f"{error} (if another job writes it at this moment, run this again)") from None
        database = arguments.synapse_database if arguments.synapse_database in path.name else ""
        if stat.S_IMODE(status.st_mode) & 0o077:
            say(f"note: {path.name} has mode {stat.S_IMODE(status.st_mode):04o}: others on the host can read it")
        say(f"proven: {path.name}, {status.st_size} bytes: unpacks, and is whole")
        proven.append(ProvenDump(database, str(path), status.st_size, "unpacks, and is whole"))
    if not any(dump.database for dump in proven):
        say(f"note: no new dump of {arguments.synapse_database} is in {folder}: look where your script leaves it")
    return proven


def scratch_name(database: str) -> str:
    """The name of the database that dumps are restored into; `database`: the first bridge's."""
    return f"{database[:49]}_restore_check"


def _restored(arguments: Arguments, recorded: Mapping[str, Path], private: Path) -> None:
    """Each bridge's dump restores: into a scratch database that lets nobody else in, as the bridge's role (what is in a
    dump is not run with a superuser's rights), and taken back again. Of dumps that are filtered, others that are not.
    The scratch database is dropped whatever happens."""
    superuser = postgres.name("superuser", arguments.superuser)
    scratch = postgres.name("database", scratch_name(arguments.bridges[0].database))
    drop = f"SET client_min_messages = warning;\nDROP DATABASE IF EXISTS {postgres.quoted(scratch)} WITH (FORCE);\n"
    _refuse_anothers(arguments, superuser, scratch)
    try:
        first = arguments.bridges[0]
        nobody = postgres.Session(arguments.container, first.role, first.database, unprivileged=True)
        with postgres.Session(arguments.container, superuser) as session, nobody:
            session.sql(
                f"{drop}CREATE DATABASE {postgres.quoted(scratch)} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'"
                f" LC_CTYPE 'C';\nCOMMENT ON DATABASE {postgres.quoted(scratch)} IS"
                f"{postgres.literal(_remark(arguments))};\n"
                f"REVOKE ALL ON DATABASE {postgres.quoted(scratch)} FROM PUBLIC;\n"
            )
            for bridge in arguments.bridges:
                dump = recorded[bridge.database]
                if arguments.filtered:
                    dump = private / f"{bridge.database}.sql"
                    if not dumps.make(bridge, dump):
                        raise ScriptError(f"{bridge.container}: there is no database {bridge.database}")
                owner = f"ALTER DATABASE {postgres.quoted(scratch)} OWNER TO {postgres.quoted(bridge.role)};\n"
                live = int(session.sql(owner + dumps.TABLES, bridge.database)[0])
                with dumps.content(dump) as stream:
                    restored = dumps.restores(nobody, bridge.role, scratch, stream)
                if restored != live:
                    say(f"note: {dump.name} restores to {restored} tables, {bridge.database} has {live} now")
                say(f"proven: {bridge.database}: {dump.name} restores ({restored} tables)")
    finally:
        postgres.sql(arguments.container, superuser, "postgres", drop)


def _remark(arguments: Arguments) -> str:
    return owner_comment(arguments.block.owner, scratch=True)


def _refuse_anothers(arguments: Arguments, superuser: str, scratch: str) -> None:
    """ScriptError if there is a scratch database that is not ours."""
    rows = postgres.sql(
        arguments.container, superuser, "postgres",
        "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '-') FROM pg_catalog.pg_database"
        " WHERE datname = :'scratch';\n", scratch=scratch,
    )  # fmt: skip
    if rows and rows != [_remark(arguments)]:
        raise ScriptError(
            f"{arguments.container}: database {scratch} is needed for the restore check and is not ours: rename or "
            "drop it"
        )


# what the proof made ---------------------------------------------------------------------------------------------


def _noted(arguments: Arguments) -> Note:
    try:
        return typed(Note, json.loads(arguments.note.read_text()), PROVEN)
    except FileNotFoundError:
        return Note()
    except (OSError, ValueError, WireError) as error:
        say(f"note: {arguments.note}: cannot be read ({error}): the dumps of the proof stay")
        return Note()


def _add_to_note(arguments: Arguments, made: Sequence[Path], missing: Sequence[Path]) -> None:
    before = _noted(arguments)
    files = [entry for entry in before.files if os.path.exists(entry.path)]
    files += [NotedDump(str(path), dumps.sha256(path)) for path in made]
    folders = dict.fromkeys([*map(str, missing), *before.directories])
    data = json.dumps(plain(Note(tuple(files), tuple(folders))), indent=1) + "\n"
    safe_files.write(arguments.note, data.encode())


def _missing(directory: Path) -> list[Path]:
    """The directory and those above it that are not there, innermost first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    return missing


def _remove_empty(directories: Sequence[Path]) -> None:
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return
