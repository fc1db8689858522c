"""Before anything of a bridge goes: can its last archive be made?"""

from __future__ import annotations

from host_programs.bridge import database_life, readiness
from host_programs.bridge.database_life import Check, Checked


def check_before_removal(arguments: readiness.Arguments) -> Checked:
    """ScriptError, and nothing is removed yet, if it is clear that the archive could not be made."""
    return database_life.check_archive(Check(arguments.archives, arguments.bridge.database))
