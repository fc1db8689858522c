"""The check before a destroy removes anything of a bridge: can its last archive be made?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from host_programs.backup import archives
from host_programs.bridge.readiness import ReadinessArguments
from host_programs.docker import require_running
from host_programs.messages import ScriptError
from host_programs.postgres import dumps, measure


def check_before_removal(arguments: ReadinessArguments) -> None:
    """ScriptError, before anything is removed, if the archive cannot be made: Postgres does not run, the database
    cannot be dumped or has another pickle key, or the directory cannot be written or has no room."""
    database, directory = arguments.bridge.database, Path(arguments.archives)
    fault = "without it the bridge's database cannot be archived, so nothing was removed"
    require_running(database.container, fault)
    measured = measure.measure_database(database)
    if measured is None:
        return
    archives.require_key(database, arguments.pickle_key, measured.key, measured.accounts)
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    archives.check_directory(directory)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ScriptError(f"{directory}: cannot be written: {archives.WRITABLE}")
    free = shutil.disk_usage(nearest).free
    needed = measured.size + measured.size // 2  # the dump as it is, and compressed
    if free < needed:
        raise ScriptError(
            f"{directory}: {free >> 20} MiB free, and the archive may need {needed >> 20} MiB: nothing was removed: "
            "make room, or set archiveDir to another disk (`pulumi up`, then destroy)"
        )
    dumps.check_dumpable(database)
