"""Pins: a lab whose commands run when the real provider's would not (or do not when they would), that shows or keeps a
secret that the real one hides, or hides one that the real one shows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.provider.experimental.property_value import PropertyValue

from lab.plugins.base import UNKNOWN, EngineLog, ProviderError, plain, wrap
from lab.plugins.command import COMMAND, CommandProvider, Processes, go_quote, run_command


class Recorded(EngineLog):
    """Keeps what would be shown at the CLI."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[tuple[str, str, bool]] = []

    def send(self, urn: str, message: str, *, severity: str = "INFO", status: bool = False) -> None:
        self.lines.append((severity, message, status))


@pytest.fixture
def log() -> Recorded:
    return Recorded()


@pytest.fixture
def command(log: Recorded, direct: Any) -> Any:
    return direct(CommandProvider(log), COMMAND)


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({"assetPaths": ["x"]}, "assetPaths is not implemented"),
        ({"create": 1}, "create is a number; it should be a string"),
        ({"logging": "all"}, "logging is 'all'; it should be one of: stdout, stderr, stdoutAndStderr, none"),
        ({"environment": {"A": 1}}, "environment.A is a number; it should be a string"),
        ({"connection": {"host": "x"}}, "connection is not implemented"),
        ({"interpreter": [1]}, "interpreter[0] is a number; it should be a string"),
        ({"archivePaths": ["x"]}, "archivePaths is not implemented"),
    ],
)
def test_a_wrong_input_is_refused_with_its_name(command: Any, inputs: dict[str, Any], start: str) -> None:
    (problem,) = command.problems(**inputs)
    assert problem.startswith(start)


def test_other_types_are_refused(log: Recorded, direct: Any) -> None:
    with pytest.raises(ProviderError, match="command:remote:CopyToRemote is not implemented by the lab's emulated"):
        direct(CommandProvider(log), "command:remote:CopyToRemote").problems(source="x")


# --- what a change does ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"create": "a"}, {"create": "a"}, {}),
        ({"create": "a"}, {"create": "b"}, {"create": "UPDATE"}),
        ({"create": "a"}, {"create": "a", "delete": "c"}, {"delete": "ADD"}),
        ({"create": "a", "stdin": "s"}, {"create": "a"}, {"stdin": "DELETE"}),
        ({"environment": {"A": "1"}}, {"environment": {"A": "2"}}, {"environment.A": "UPDATE"}),
        ({"environment": {"a-b": "1"}}, {"environment": {"a-b": "2"}}, {'environment["a-b"]': "UPDATE"}),
        ({"triggers": ["a", 1]}, {"triggers": ["a", 2]}, {"triggers[1]": "UPDATE"}),
        ({"triggers": ["a"]}, {"triggers": ["a", {"x": 1}]}, {"triggers[1]": "ADD"}),
        ({"triggers": ["a"]}, {}, {"triggers": "DELETE_REPLACE"}),
        ({}, {"triggers": ["a"]}, {"triggers": "ADD_REPLACE"}),
        ({"triggers": ["a"]}, {"triggers": [UNKNOWN]}, {"triggers[0]": "UPDATE"}),
        ({"stdin": "a"}, {"stdin": UNKNOWN}, {"stdin": "UPDATE"}),
    ],
)
def test_any_change_of_an_input_is_an_update(
    command: Any, old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
) -> None:
    response = command.diff({**old, "stdout": "out", "stderr": ""}, new)
    assert {path: change.kind.name for path, change in response.detailed_diff.items()} == expected
    assert response.changes == bool(expected)


def test_ignored_changes_are_none(command: Any) -> None:
    assert command.diff({"create": "a"}, {"create": "b"}, ("create",)).changes is False


# --- what runs -------------------------------------------------------------------------------------------------------
def test_create_keeps_both_streams_without_one_newline(command: Any, log: Recorded) -> None:
    _, state = command.create({"create": "printf 'a\\n\\n'; sleep 0.2; printf 'b' >&2"})
    assert (state["stdout"], state["stderr"]) == ("a\n", "b")
    assert sorted(log.lines) == [("INFO", "", True), ("INFO", "a", True), ("INFO", "b", True)]


@pytest.mark.parametrize(
    ("logging", "shown"), [("none", []), ("stdout", ["out"]), ("stderr", ["err"]), ("stdoutAndStderr", ["err", "out"])]
)
def test_logging_chooses_the_shown_streams(command: Any, log: Recorded, logging: str, shown: list[str]) -> None:
    command.create({"create": "echo out; echo err >&2", "logging": logging})
    assert sorted(line for _, line, _ in log.lines) == shown


def test_a_command_gets_its_stdin_environment_and_directory(command: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FROM_ABOVE", "above")
    inputs = {"stdin": "text", "environment": {"A": "1"}, "dir": str(tmp_path)}
    text = 'echo "$(pwd) $A $FROM_ABOVE $(cat)"'
    assert command.create({"create": text, **inputs})[1]["stdout"] == f"{tmp_path} 1 above text"


def test_without_stdin_there_is_nothing_to_read(command: Any) -> None:
    assert command.create({"create": "cat"})[1]["stdout"] == ""


def test_a_command_need_not_read_what_it_is_given(command: Any) -> None:
    assert command.create({"create": "true", "stdin": "x" * 10**6})[1]["stdout"] == ""


def test_a_failed_command_says_what_ran_and_what_it_wrote(command: Any) -> None:
    with pytest.raises(ProviderError) as raised:
        command.create({"create": 'echo "out"; echo err >&2; exit 3'})
    first, *written = str(raised.value).split("\n")
    assert first == 'exit status 3: running "echo \\"out\\"; echo err >&2; exit 3":'
    assert sorted(written) == ["", "err", "out"]


@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({"create": "kill -9 $$"}, "signal: killed: running "),
        ({"create": "x", "dir": "/nowhere"}, "chdir /nowhere: no such file or directory: running "),
        ({"create": "x" * 10**6}, "fork/exec /bin/sh: argument list too long: running "),
    ],
)
def test_a_command_that_does_not_end_well(command: Any, inputs: dict[str, Any], start: str) -> None:
    with pytest.raises(ProviderError) as raised:
        command.create(inputs)
    assert str(raised.value).startswith(start)


def test_preview_runs_nothing_and_knows_no_output(command: Any, tmp_path: Path) -> None:
    _, state = command.create({"create": f"touch {tmp_path}/made"}, preview=True)
    assert (state["stdout"], state["stderr"]) == (UNKNOWN, UNKNOWN)
    old = {"create": "a", "stdout": "old", "stderr": ""}
    assert command.update(old, {"create": f"touch {tmp_path}/made"}, preview=True)["stdout"] is UNKNOWN
    assert command.update(old, {"create": "a"}, preview=True)["stdout"] == "old"
    assert list(tmp_path.iterdir()) == []


def test_update_runs_update_else_create_else_nothing(command: Any) -> None:
    old = {"create": "echo c", "stdout": "before", "stderr": "e"}
    assert command.update(old, {"create": "echo c", "update": "echo u"})["stdout"] == "u"
    assert command.update(old, {"create": "echo c2"})["stdout"] == "c2"
    assert command.update(old, {"delete": "echo d"})["stdout"] == "before"


def test_the_next_run_is_given_the_last_output(command: Any) -> None:
    old = {"create": "a", "stdout": "O", "stderr": "E"}
    text = 'echo "${PULUMI_COMMAND_STDOUT-none} ${PULUMI_COMMAND_STDERR-none}"'
    assert command.update(old, {"create": text})["stdout"] == "O E"
    assert command.update({**old, "stderr": ""}, {"create": text})["stdout"] == "O none"
    assert command.update(old, {"create": text, "addPreviousOutputInEnv": False})["stdout"] == "none none"


def test_delete_runs_the_text_of_the_state(command: Any, tmp_path: Path) -> None:
    state = {"delete": 'cat > deleted; echo "$PULUMI_COMMAND_STDOUT" >> deleted', "stdin": "in\n", "stdout": "O"}
    command.delete("id", {**state, "dir": str(tmp_path)})
    assert (tmp_path / "deleted").read_text() == "in\nO\n"
    command.delete("id", {"create": "exit 1", "stdout": ""})
    with pytest.raises(ProviderError, match=r"^exit status 1"):
        command.delete("id", {"delete": "exit 1"})


def test_inputs_keep_their_secretness_and_outputs_get_none(command: Any) -> None:
    secret = PropertyValue("hidden", is_secret=True)
    properties = command.create_raw({"create": wrap("cat"), "stdin": secret}).properties
    assert properties["stdin"].is_secret and plain(properties["stdin"]) == "hidden"
    assert not properties["stdout"].is_secret and plain(properties["stdout"]) == "hidden"


def test_a_cancelled_up_ends_its_commands(command: Any) -> None:
    threading.Timer(0.3, lambda: asyncio.run(command.provider.cancel())).start()
    began = time.monotonic()
    with pytest.raises(ProviderError, match="signal: killed"):
        command.create({"create": "exec sleep 30"})
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ('say "x" \\ y', '"say \\"x\\" \\\\ y"'),
        ("1\n2\t3\r", '"1\\n2\\t3\\r"'),
        ("\x00\x1b\x7f", '"\\x00\\x1b\\x7f"'),
        ("é €", '"é €"'),
        ("\u200b\U000e0001", '"\\u200b\\U000e0001"'),
    ],
)
def test_quoting_as_go_does(text: str, quoted: str) -> None:
    assert go_quote(text) == quoted


@given(st.text())
def test_quoted_text_is_one_line(text: str) -> None:
    assert len(go_quote(text).splitlines()) == 1


# --- a line that is too long -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "shown"), [(65_535, True), (65_536, False), (300_000, False)])
def test_a_shown_line_of_64_kib_hangs_the_command_until_it_is_cancelled(log: Recorded, size: int, shown: bool) -> None:
    """As in the real plugin, so that a test notices what would hang `up` there."""
    processes = Processes()
    state = {"logging": "stderr"}
    text = f"{{ head -c {size} /dev/zero | tr '\\0' x; echo; echo after; }} >&2"
    lines: list[str] = []

    def go() -> None:
        with contextlib.suppress(ProviderError):
            run_command(processes, text, state, lines.append)

    run = threading.Thread(target=go, daemon=True)
    run.start()
    run.join(1.5 if not shown else 30)
    assert run.is_alive() != shown
    processes.kill()
    run.join(30)
    assert not run.is_alive() and (lines == ["x" * size, "after"]) == shown


def test_one_that_is_not_shown_may_have_any_length(command: Any) -> None:
    _, made = command.create({"create": "head -c 300000 /dev/zero | tr '\\0' x", "logging": "stderr"})
    assert len(made["stdout"]) == 300_000
