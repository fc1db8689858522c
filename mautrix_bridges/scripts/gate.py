"""What stands before a bridge's container, in one step: Synapse accepts its appservice (scripts/stop_and_check.py), and
then its database, if that is ours, is as the container needs it (scripts/bridge_data.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from mautrix_bridges.documents.places import NOTHING
from mautrix_bridges.scripts import bridge_data, stop_and_check
from mautrix_bridges.scripts.bridge_data import Begun
from mautrix_bridges.scripts.common import run
from mautrix_bridges.scripts.stop_and_check import Checked


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
    return Admitted(checked, bridge_data.begin(arguments.data) if arguments.data else Begun(NOTHING))


VERBS = (admit,)

if __name__ == "__main__":
    run(*VERBS)
