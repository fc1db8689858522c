"""A database that is begun, archived or replaced although Synapse does not accept the bridge that is to use it."""

from __future__ import annotations

from typing import Any

import pytest
from host_programs.bridge.bridge_data import Begun
from host_programs.bridge.gate import Admitted

from host_programs.bridge import bridge_data, gate
from host_programs.common import ScriptError
from host_programs.synapse import stop_and_check
from host_programs.synapse.stop_and_check import Checked

CHECK: Any = "what is asked"
DATA: Any = "the database"
PASS = Checked("PASS", "all well")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in its order."""
    done: list[str] = []

    def did(told: str, result: object) -> object:
        done.append(told)
        return result

    monkeypatch.setattr(stop_and_check, "check", lambda told: did(told, PASS))
    monkeypatch.setattr(bridge_data, "begin", lambda told: did(told, Begun("an archive")))
    return done


def test_the_database_begins_behind_the_check(steps: list[str]) -> None:
    assert gate.admit(gate.Arguments(CHECK, DATA)) == Admitted(PASS, Begun("an archive"))
    assert steps == [CHECK, DATA]


def test_after_a_fail_it_is_left_alone(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> Checked:
        raise ScriptError("stop-and-check: FAIL")

    monkeypatch.setattr(stop_and_check, "check", fails)
    with pytest.raises(ScriptError, match="FAIL"):
        gate.admit(gate.Arguments(CHECK, DATA))
    assert steps == []


def test_one_that_is_somebody_else_s_is_never_touched(steps: list[str]) -> None:
    assert gate.admit(gate.Arguments(CHECK)) == Admitted(PASS, Begun("none"))
    assert steps == [CHECK]
