"""Puts our dumps into the operator's pg_backup.sh, runs it once and proves what it made; takes all of that back.

apply   edits the script (documents/backup_script.py), runs it, and proves a new dump of every database: it unpacks,
        it has pg_dump's closing line, ours have mode 0600, and the bridge's restores into a scratch database. If any
        of it fails, the script is put back and what the run made is deleted: a deployment that failed leaves nothing.
remove  takes our block out and deletes the dumps of our own proving runs, if they are still as they were made.

The proving run is a real backup, made before go-live, so its dumps stay while the stack is deployed. `remove` gets
only the arguments of `apply`, so `apply` notes what it made, with SHA-256, in `.<script>.<owner>.json` beside the
script (0600); `remove` deletes the note too. A dump of another run is never in it, and one that a later run wrote
over has another SHA-256: both stay.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from documents import backup_script
from documents.backup_script import Block, Dump, Refused
from scripts import dumps, postgres
from scripts.common import ScriptError, rewrite, run, say, write_atomic

RUN_LIMIT = 6 * 3600
"""Seconds that the script may take."""

_Files = dict[str, tuple[int, int, int]]  # name: inode, size, mtime in ns


def apply(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: file (the script's path), owner, container, dumps ([{database, role}]), all_databases (names to
    prove), bridge_database, superuser, scratch_database. Result: file, changed, dumps ([{database, path, bytes,
    sha256}]), created ([{path, sha256}]: the files this run made)."""
    path, block = Path(arguments["file"]), _block(arguments)
    superuser = postgres.name("superuser", arguments["superuser"])
    scratch = postgres.name("scratch_database", arguments["scratch_database"])
    databases = [postgres.name("database", name) for name in arguments["all_databases"]]
    if scratch in databases:
        raise ScriptError(
            f"scratch_database {scratch}: is one of the databases to back up: it should be a name of its own"
        )
    text = _read(path)
    try:
        wanted = backup_script.add(text, block)
        directory_program = backup_script.directory(wanted)
        already = backup_script.dumped(text)
    except Refused as refused:
        raise ScriptError(refused.report(str(path))) from None
    ours = {dump.database for dump in block.dumps} - set(already)

    with _undone_on_failure(path, text.encode(errors="surrogateescape")) as undo:
        changed = rewrite(path, wanted.encode(errors="surrogateescape"))
        directory = _directory(path, directory_program)
        say(f"{path}: {'changed' if changed else 'already as it should be'}; now one run of it, into {directory}")
        missing = _missing_ancestors(directory)
        before = _files(directory)
        undo.watch(directory, before, missing)
        _run(path)
        after = _files(directory)
        new = {name for name in after if name not in before}
        written = new | {name for name in after if before.get(name, after[name]) != after[name]}
        found = _assign(databases, written, path, directory, undo)

        result = []
        for database in databases:
            dump = directory / found[database]
            dumps.prove(dump, block.container)
            mode = stat.S_IMODE(dump.stat().st_mode)
            if database in ours and mode != 0o600:
                raise ScriptError(f"{dump}: mode {mode:04o}: it should be 0600")
            if mode & 0o077:
                say(
                    f"note: {dump.name} has mode {mode:04o}, so others on the host can read it (the script's own umask)"
                )
            size = dump.stat().st_size
            result.append({"database": database, "path": str(dump), "bytes": size, "sha256": dumps.sha256(dump)})
            say(f"proven: {database}: {dump.name}, {size} bytes: unpacks, and is whole")
        bridge = arguments["bridge_database"]
        if bridge in found:
            role = next((dump.role for dump in block.dumps if dump.database == bridge), superuser)
            _restore_check(directory / found[bridge], block, superuser, scratch, bridge, role)
        created = [
            {"path": str(directory / name), "sha256": dumps.sha256(directory / name)}
            for name in sorted(new)
            if not name.endswith(".part") and (directory / name).is_file()
        ]
        _note(path, block.owner, created, missing)
    return {"file": str(path), "changed": changed, "dumps": result, "created": created}


def remove(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `apply`. Result: file, changed, deleted (paths of dumps)."""
    path, block = Path(arguments["file"]), _block(arguments)
    changed = False
    if path.exists():
        text = _read(path)
        try:
            left = backup_script.remove(text, block.owner)
        except Refused as refused:
            raise ScriptError(refused.report(str(path))) from None
        changed = rewrite(path, left.encode(errors="surrogateescape"))
        say(f"{path}: {f'the block of {block.owner} is out' if changed else f'holds no block of {block.owner}'}")
        _tell_of_later_dumps(path, text, left, block, _noted(path, block.owner)["files"])
    else:
        say(f"{path}: is gone already")
    deleted = _delete_noted(path, block.owner)
    return {"file": str(path), "changed": changed, "deleted": deleted}


# arguments and the script ----------------------------------------------------------------------------------------


def _block(arguments: Mapping[str, Any]) -> Block:
    pairs = tuple(Dump(pair["database"], pair["role"]) for pair in arguments["dumps"])
    return Block(arguments["owner"], arguments["container"], pairs)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise ScriptError(
            f"{path}: cannot be read: {error.strerror}: is this the backup script? (setting backupScript)"
        ) from None


def _command(path: Path) -> list[str]:
    """As cron would start it; a script that is not executable is one that cron gives to bash."""
    return [str(path)] if os.access(path, os.X_OK) else ["bash", str(path)]


def _home() -> str:
    """Where cron starts a script."""
    home = os.path.expanduser("~")
    return home if os.path.isdir(home) else "/"


def _directory(path: Path, program: str) -> Path:
    done = subprocess.run(
        ["bash", "-c", program, str(path)],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=_home(), timeout=60, check=False,
    )  # fmt: skip
    if done.returncode or not done.stdout.startswith(b"/"):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ScriptError(
            f"{path}: its backup directory cannot be told: {said[-1] if said else 'the assignments end in nothing'}"
        )
    return Path(os.fsdecode(done.stdout))


def _run(path: Path) -> None:
    """One run of the script, what it says on stderr as it says it; ScriptError with its last lines if it fails."""
    process = subprocess.Popen(
        _command(path),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=_home(), start_new_session=True,
    )  # fmt: skip
    timer = threading.Timer(RUN_LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    last: list[str] = []
    try:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            say(f"  {path.name} | {line}")
            last = [*last, line][-20:]
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
    if code:
        raise ScriptError(
            "\n".join(
                [f"{path}: its run failed with exit code {code}; its last lines:", *(f"  {line}" for line in last)]
            )
        )


# the directory of the dumps --------------------------------------------------------------------------------------


def _files(directory: Path) -> _Files:
    if not directory.is_dir():
        return {}
    found = {}
    for entry in os.scandir(directory):
        if entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            found[entry.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _missing_ancestors(directory: Path) -> list[Path]:
    """The directory and those above it that are not there, innermost first."""
    found = []
    while not directory.exists():
        found.append(directory)
        directory = directory.parent
    return found


def _assign(databases: Sequence[str], written: set[str], path: Path, directory: Path, undo: _Undo) -> dict[str, str]:
    """Which written file is which database's dump: by the database's name in the file's, the longest that fits."""

    def owner(file: str) -> str | None:
        fitting = [d for d in databases if re.search(rf"(?<![A-Za-z0-9]){re.escape(d)}(?![A-Za-z0-9])", file)]
        starting = [d for d in fitting if file.startswith(d)]
        return max(starting or fitting, key=len, default=None)

    files: dict[str, list[str]] = {}
    for file in sorted(written):
        if not file.endswith((".part", ".log", ".txt", ".md5", ".sha256")):
            files.setdefault(owner(file) or "", []).append(file)
    nameless = [database for database in databases if database not in files]
    if len(nameless) == len(files.get("", ())) == 1:
        files[nameless[0]] = files.pop("")
    for database in databases:
        candidates = files.get(database, [])
        if len(candidates) > 1:
            undo.keep_files()
            raise ScriptError(
                f"{path}: several new dumps of {database} in {directory}: {', '.join(candidates)}: "
                "is it running from cron at this moment? Try again when that is done"
            )
        if not candidates:
            new = ", ".join(sorted(written)) or "nothing"
            raise ScriptError(f"{path}: its run made no dump of {database} in {directory} (new there: {new})")
    return {database: files[database][0] for database in databases}


# the restore check -----------------------------------------------------------------------------------------------


def _restore_check(dump: Path, block: Block, superuser: str, scratch: str, bridge: str, role: str) -> None:
    """Restore the bridge's dump into a scratch database, as the bridge's role (what is in a dump is not run with a
    superuser's rights), with nobody else let in; the scratch database is dropped whatever happens."""
    container, remark = block.container, f"restore check of {block.owner}, may be dropped"
    rows = postgres.sql(
        container, superuser, "postgres",
        "SELECT coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '-') FROM pg_catalog.pg_database"
        f" WHERE datname = '{scratch}';\n",
    )  # fmt: skip
    if rows and rows != [remark]:
        raise ScriptError(
            f"{container}: database {scratch} is needed for the restore check and is not ours: rename or drop it"
        )
    drop = f'DROP DATABASE IF EXISTS "{scratch}" WITH (FORCE);\n'
    try:
        postgres.sql(
            container, superuser, "postgres",
            f"SET client_min_messages = warning;\n{drop}"
            f'CREATE DATABASE "{scratch}" OWNER "{role}" TEMPLATE template0'
            " ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';\n"
            f"COMMENT ON DATABASE \"{scratch}\" IS '{remark}';\n"
            f'REVOKE ALL ON DATABASE "{scratch}" FROM PUBLIC;\n',
        )  # fmt: skip
        with dumps.content(dump) as stream:
            dumps.restore(container, role, scratch, stream)
        restored, live = (dumps.tables(container, superuser, name) for name in (scratch, bridge))
        if restored != live:
            say(f"note: {dump.name} restores to {restored} tables, {bridge} has {live} now")
    finally:
        postgres.sql(container, superuser, "postgres", f"SET client_min_messages = warning;\n{drop}")
    say(f"proven: {bridge}: {dump.name} restores ({restored} tables)")


# what the proving run made ---------------------------------------------------------------------------------------


def _note_path(path: Path, owner: str) -> Path:
    target = path.resolve()
    return target.parent / f".{target.name}.{owner.replace('/', '_')}.json"


def _noted(path: Path, owner: str) -> dict[str, list[Any]]:
    note = _note_path(path, owner)
    try:
        found = json.loads(note.read_text())
        return {"files": list(found["files"]), "directories": list(found["directories"])}
    except FileNotFoundError:
        return {"files": [], "directories": []}
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"note: {note}: cannot be read ({error}): the dumps of the proving run stay")
        return {"files": [], "directories": []}


def _note(path: Path, owner: str, created: Sequence[Mapping[str, str]], missing: Sequence[Path]) -> None:
    before = _noted(path, owner)
    files = [entry for entry in before["files"] if os.path.exists(entry["path"])] + list(created)
    directories = list(dict.fromkeys([str(found) for found in missing] + before["directories"]))
    data = json.dumps({"owner": owner, "files": files, "directories": directories}, indent=1) + "\n"
    write_atomic(_note_path(path, owner), data.encode(), mode=0o600, uid=os.geteuid(), gid=os.getegid())


def _delete_noted(path: Path, owner: str) -> list[str]:
    noted, deleted = _noted(path, owner), []
    for entry in noted["files"]:
        file = Path(entry["path"])
        if not file.is_file() or file.is_symlink():
            continue
        if dumps.sha256(file) == entry["sha256"]:
            file.unlink()
            deleted.append(str(file))
        else:
            say(f"note: {file} is not as our run made it: it stays")
    if deleted:
        say(f"deleted {len(deleted)} dumps of our proving run: {', '.join(deleted)}")
    _remove_empty(Path(name) for name in noted["directories"])
    _note_path(path, owner).unlink(missing_ok=True)
    return deleted


def _remove_empty(directories: Iterator[Path]) -> None:
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return


def _tell_of_later_dumps(path: Path, text: str, left: str, block: Block, noted: Sequence[Mapping[str, str]]) -> None:
    """The nightly runs' dumps of our databases stay, as backups do; but nothing deletes them any more."""
    try:
        directory = _directory(path, backup_script.directory(left))
        still = set(backup_script.dumped(left)) | set(re.findall(r"^ *mautrix_backup (\S+) ", left, re.MULTILINE))
    except (Refused, ScriptError, subprocess.TimeoutExpired):
        return
    ours = {entry["path"] for entry in noted}
    for dump in block.dumps:
        files = [p for p in directory.glob(f"{dump.database}_[0-9]*.sql.gz") if str(p) not in ours]
        if files and dump.database not in still and text != left:
            say(f"note: {len(files)} dumps of {dump.database} by other runs stay in {directory}: none deletes them now")


class _Undo:
    """What a run may have left, to be taken back when it fails."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self.directory: Path | None = None
        self.before: _Files = {}
        self.missing: list[Path] = []

    def watch(self, directory: Path, before: _Files, missing: list[Path]) -> None:
        self.directory, self.before, self.missing = directory, before, missing

    def keep_files(self) -> None:
        """Which of the new files are ours cannot be told: none is deleted."""
        self.directory = None

    def back(self) -> None:
        if rewrite(self.path, self.data):
            say(f"{self.path}: put back as it was")
        if self.directory is not None:
            for name in _files(self.directory):
                if name not in self.before:
                    (self.directory / name).unlink(missing_ok=True)
                    say(f"{self.directory / name}: deleted, since this run failed")
            _remove_empty(iter(self.missing))


@contextmanager
def _undone_on_failure(path: Path, data: bytes) -> Iterator[_Undo]:
    def terminated(*_: object) -> NoReturn:
        raise ScriptError(f"{path}: the run was ended by a signal")

    undo = _Undo(path, data)
    handlers = {number: signal.signal(number, terminated) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield undo
    except BaseException:
        undo.back()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


VERBS = (apply, remove)

if __name__ == "__main__":
    run(*VERBS)
