"""The last good dump of a database, among those that our dump script (host_programs/backup/bridge_backup.sh) made."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path
from typing import Optional

from documents.backup.script_check import resolve_directory
from documents.places import Database, Deployment
from documents.timestamps import file_name_seconds
from host_programs.backup.proof import read_note
from host_programs.files import safe_files
from host_programs.files.directory import PROVEN
from host_programs.messages import ScriptError
from host_programs.postgres import dumps
from verdicts.status.facts import DumpFacts, GoodDump

TRIES = 3  # dumps that are read; one that is older than so many damaged ones needs a person anyhow


def dump_directory(deployment: Deployment, script_text: str) -> str:
    """Where the nightly dumps go: as the setting and the operator's script tell it, else where the proof's went; ""
    if neither does."""
    if told := resolve_directory(script_text, deployment.backup.directory):
        return told
    proven = read_note(Path(deployment.shared_directory) / PROVEN).files
    return str(Path(proven[-1].path).parent) if proven else ""


def read_last_dump(deployment: Deployment, database: Database, directory: str, seconds: Optional[float]) -> DumpFacts:
    """The newest whole dump. One that cannot be read to its end in `seconds` (None: none is read) counts: our dump
    script gives a file its name only once it is whole. Raises OSError if the directory cannot be read."""
    damaged: list[str] = []
    deadline = time.monotonic() + (seconds or 0)
    for made_at, path in _named_dumps(deployment, database, directory)[:TRIES]:
        try:
            left = None if seconds is None else max(deadline - time.monotonic(), 0)
            proof = _prove(deployment, path, left)
        except (ScriptError, OSError) as error:
            damaged.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        return DumpFacts(database.database, directory, GoodDump(str(path), made_at, proof), tuple(damaged))
    return DumpFacts(database.database, directory, None, tuple(damaged))


def _named_dumps(deployment: Deployment, database: Database, directory: str) -> list[tuple[float, Path]]:
    """Each with the time in its name, the newest first."""
    if not directory:
        return []
    database_name, mark = re.escape(database.database), re.escape(deployment.shared_name)
    pattern = re.compile(rf"{database_name}_(\d{{8}}T\d{{6}}Z)\.{mark}\.sql\.gz(?!.*\.part$).*")
    found = []
    for name in safe_files.list_directory(Path(directory), foreign=True):
        match = pattern.fullmatch(name)
        made_at = file_name_seconds(match[1]) if match else None
        if made_at is not None:
            found.append((made_at, Path(directory) / name))
    return sorted(found, reverse=True)


def _prove(deployment: Deployment, path: Path, seconds: Optional[float]) -> str:
    """What proves that the dump is whole. ScriptError if it is not."""
    status = safe_files.inspect_file(path, foreign=True)
    if status is None or not stat.S_ISREG(status.st_mode):
        raise ScriptError(f"{path}: is no file")
    if not status.st_size:
        raise ScriptError(f"{path}: is empty")
    if seconds is None:
        return "by its name"
    if deployment.backup.filter or not path.name.endswith(".sql.gz"):
        return "filtered: only that it is not empty can be told"
    try:
        dumps.prove_dump(path, deployment.postgres.container, seconds)
    except dumps.DumpTooSlow:
        return f"too large to be read again in {seconds:.0f} s"
    return "unpacks, and is whole"
