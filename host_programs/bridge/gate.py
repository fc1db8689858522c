"""What stands before a bridge's container, in one step: Synapse accepts its appservice (synapse/stop_and_check.py), and
then its database, if that is ours, is as the container needs it (host_programs/bridge/bridge_data.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from documents.places import NO_ARCHIVE
from host_programs.bridge import bridge_data
from host_programs.bridge.bridge_data import Begun
from host_programs.common import run
from host_programs.synapse import stop_and_check
from host_programs.synapse.stop_and_check import Checked


@dataclass(frozen=True)
class Arguments:
    """`data`: of a database of ours."""

    check: stop_and_check.Arguments
    data: Optional[bridge_data.Arguments] = None


@dataclass(frozen=True)
class Admitted:
    """`begun`: with nothing, if the database is not ours."""

    checked: Checked
    begun: Begun


def admit(arguments: Arguments) -> Admitted:
    """ScriptError on a FAIL, and then the database is not touched; else as bridge_data.begin."""
    checked = stop_and_check.check(arguments.check)
    return Admitted(checked, bridge_data.begin(arguments.data) if arguments.data else Begun(NO_ARCHIVE))


VERBS = (admit,)

if __name__ == "__main__":
    run(*VERBS)
