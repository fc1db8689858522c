"""The check before a destroy removes anything of a bridge: can its last archive be made?"""

from __future__ import annotations

from host_programs.bridge import database_life, readiness
from host_programs.bridge.database_life import ArchiveCheck, ArchiveCheckArguments


def check_before_removal(arguments: readiness.ReadinessArguments) -> ArchiveCheck:
    """ScriptError, before anything is removed, if the archive cannot be made."""
    return database_life.check_archive(ArchiveCheckArguments(arguments.archives, arguments.bridge.database))
