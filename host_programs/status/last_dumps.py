"""The newest dump of a database, as our dump script (host_programs/backup/bridge_backup.sh) noted it."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Optional

from documents.places import Database, Deployment
from documents.timestamps import file_name_seconds
from host_programs.backup.records import read_records
from host_programs.files import safe_files
from host_programs.messages import ScriptError
from host_programs.postgres import dumps
from verdicts.status.facts import DumpFacts


def read_last_dump(deployment: Deployment, database: Database, seconds: Optional[float]) -> DumpFacts:
    """`seconds`: to read the dump to its end; without that, or if it takes longer, it counts as whole: our dump script
    notes a dump only once it is. Raises OSError or ScriptError if the note cannot be read."""
    name = database.database
    record = read_records(Path(deployment.dump_records), [name])[name]
    if not record.path:
        return DumpFacts(name, failed=record.failed)
    stamp = re.search(r"_(\d{8}T\d{6}Z)\.", Path(record.path).name)
    made_at = (file_name_seconds(stamp[1]) if stamp else None) or record.noted_at / 1e9
    try:
        proof, fault = _prove(deployment, Path(record.path), seconds), ""
    except (ScriptError, OSError) as error:
        proof, fault = "", str(error) if record.path in str(error) else f"{record.path}: {error}"
    return DumpFacts(name, record.path, made_at, proof, fault, record.failed)


def _prove(deployment: Deployment, path: Path, seconds: Optional[float]) -> str:
    """What proves that the dump is whole. ScriptError if it is not."""
    status = safe_files.inspect_file(path, foreign=True)
    if status is None:
        raise ScriptError(f"{path}: is gone: somebody deleted it")
    if not stat.S_ISREG(status.st_mode):
        raise ScriptError(f"{path}: is no file")
    if not status.st_size:
        raise ScriptError(f"{path}: is empty")
    if seconds is None:
        return "by its name"
    if deployment.backup.filter or not path.name.endswith(".sql.gz"):
        return "filtered: only that it is not empty can be told"
    try:
        dumps.prove_dump(path, seconds)
    except dumps.DumpTooSlow:
        return f"too large to be read again in {seconds:.0f} s"
    return "unpacks, and is whole"
