"""Pins: a lab whose commands run when the real provider's would not (or do not when they would), that shows or keeps a
secret that the real one hides, or hides one that the real one shows."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.provider.experimental.property_value import PropertyValue

from lab.plugins.base import UNKNOWN, EngineLog, ProviderError, plain, wrap
from lab.plugins.command import LOCAL, REMOTE, CommandProvider, Processes, go_quote, run_local


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
def local(log: Recorded, direct: Any) -> Any:
    return direct(CommandProvider(log), LOCAL)


@pytest.fixture
def remote(log: Recorded, direct: Any) -> Any:
    return direct(CommandProvider(log), REMOTE)


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({"assetPaths": ["x"]}, "assetPaths is not implemented"),
        ({"create": 1}, "create is a number; it should be a string"),
        ({"logging": "all"}, "logging is 'all'; it should be one of: stdout, stderr, stdoutAndStderr, none"),
        ({"environment": {"A": 1}}, "environment.A is a number; it should be a string"),
        ({"connection": {"host": "x"}}, "connection is not implemented"),
        ({"interpreter": "sh"}, "interpreter is a string; it should be a list"),
    ],
)
def test_local_refusals(local: Any, inputs: dict[str, Any], start: str) -> None:
    (problem,) = local.problems(**inputs)
    assert problem.startswith(start)


@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({}, "connection is required and missing"),
        ({"connection": {}}, "connection.host is required and missing"),
        ({"connection": {"host": "h", "password": "p"}}, "connection.password is not implemented"),
        ({"connection": {"host": "h", "privateKeyPassword": "p"}}, "connection.privateKeyPassword is not implemented"),
        ({"connection": {"host": "h", "agentSocketPath": "p"}}, "connection.agentSocketPath is not implemented"),
        ({"connection": {"host": "h", "proxy": {}}}, "connection.proxy is not implemented"),
        ({"connection": {"host": "h"}, "environment": {"A": "b"}}, "environment is not implemented"),
        ({"connection": {"host": "h"}, "dir": "/"}, "dir is not implemented"),
        ({"connection": {"host": "h"}, "interpreter": ["sh"]}, "interpreter is not implemented"),
    ],
)
def test_remote_refusals(remote: Any, inputs: dict[str, Any], start: str) -> None:
    (problem,) = remote.problems(**inputs)
    assert problem.startswith(start)


def test_other_types_are_refused(log: Recorded, direct: Any) -> None:
    with pytest.raises(ProviderError, match="command:remote:CopyToRemote is not implemented by the lab's emulated"):
        direct(CommandProvider(log), "command:remote:CopyToRemote").problems(source="x")


def test_a_connection_is_secret_and_has_its_defaults(remote: Any) -> None:
    checked = remote.check_raw({"connection": wrap({"host": "h"})}).inputs["connection"]
    assert checked.is_secret
    expected = {"host": "h", "port": 22, "user": "root", "dialErrorLimit": 10, "perDialTimeout": 15}
    assert plain(checked) == expected


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
    local: Any, old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
) -> None:
    response = local.diff({**old, "stdout": "out", "stderr": ""}, new)
    assert {path: change.kind.name for path, change in response.detailed_diff.items()} == expected
    assert response.changes == bool(expected)


def test_ignored_changes_are_none(local: Any) -> None:
    assert local.diff({"create": "a"}, {"create": "b"}, ("create",)).changes is False


# --- what runs -------------------------------------------------------------------------------------------------------
def test_create_keeps_both_streams_without_one_newline(local: Any, log: Recorded) -> None:
    _, state = local.create({"create": "printf 'a\\n\\n'; sleep 0.2; printf 'b' >&2"})
    assert (state["stdout"], state["stderr"]) == ("a\n", "b")
    assert sorted(log.lines) == [("INFO", "", True), ("INFO", "a", True), ("INFO", "b", True)]


@pytest.mark.parametrize(
    ("logging", "shown"), [("none", []), ("stdout", ["out"]), ("stderr", ["err"]), ("stdoutAndStderr", ["err", "out"])]
)
def test_logging(local: Any, log: Recorded, logging: str, shown: list[str]) -> None:
    local.create({"create": "echo out; echo err >&2", "logging": logging})
    assert sorted(line for _, line, _ in log.lines) == shown


def test_stdin_environment_directory_and_interpreter(local: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("FROM_ABOVE", "above")
    script = 'import os, sys; print(os.getcwd(), os.environ["A"], os.environ["FROM_ABOVE"], sys.stdin.read())'
    inputs = {"stdin": "text", "environment": {"A": "1"}, "dir": str(tmp_path), "interpreter": ["python3", "-c"]}
    assert local.create({"create": script, **inputs})[1]["stdout"] == f"{tmp_path} 1 above text"


def test_without_stdin_there_is_nothing_to_read(local: Any) -> None:
    assert local.create({"create": "cat"})[1]["stdout"] == ""


def test_a_command_need_not_read_what_it_is_given(local: Any) -> None:
    assert local.create({"create": "true", "stdin": "x" * 10**6})[1]["stdout"] == ""


def test_a_failed_command_says_what_ran_and_what_it_wrote(local: Any) -> None:
    with pytest.raises(ProviderError) as raised:
        local.create({"create": 'echo "out"; echo err >&2; exit 3'})
    first, *written = str(raised.value).split("\n")
    assert first == 'exit status 3: running "echo \\"out\\"; echo err >&2; exit 3":'
    assert sorted(written) == ["", "err", "out"]


@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({"create": "kill -9 $$"}, "signal: killed: running "),
        ({"create": "x", "dir": "/nowhere"}, "chdir /nowhere: no such file or directory: running "),
        (
            {"create": "x", "interpreter": ["no-such-shell"]},
            'exec: "no-such-shell": executable file not found in $PATH',
        ),
        ({"create": "x", "interpreter": ["/no/shell"]}, "fork/exec /no/shell: no such file or directory: running "),
    ],
)
def test_a_command_that_does_not_end_well(local: Any, inputs: dict[str, Any], start: str) -> None:
    with pytest.raises(ProviderError) as raised:
        local.create(inputs)
    assert str(raised.value).startswith(start)


def test_preview_runs_nothing_and_knows_no_output(local: Any, tmp_path: Path) -> None:
    _, state = local.create({"create": f"touch {tmp_path}/made"}, preview=True)
    assert (state["stdout"], state["stderr"]) == (UNKNOWN, UNKNOWN)
    old = {"create": "a", "stdout": "old", "stderr": ""}
    assert local.update(old, {"create": f"touch {tmp_path}/made"}, preview=True)["stdout"] is UNKNOWN
    assert local.update(old, {"create": "a"}, preview=True)["stdout"] == "old"
    assert list(tmp_path.iterdir()) == []


def test_update_runs_update_else_create_else_nothing(local: Any) -> None:
    old = {"create": "echo c", "stdout": "before", "stderr": "e"}
    assert local.update(old, {"create": "echo c", "update": "echo u"})["stdout"] == "u"
    assert local.update(old, {"create": "echo c2"})["stdout"] == "c2"
    assert local.update(old, {"delete": "echo d"})["stdout"] == "before"


def test_the_next_run_is_given_the_last_output(local: Any) -> None:
    old = {"create": "a", "stdout": "O", "stderr": "E"}
    command = 'echo "${PULUMI_COMMAND_STDOUT-none} ${PULUMI_COMMAND_STDERR-none}"'
    assert local.update(old, {"create": command})["stdout"] == "O E"
    assert local.update({**old, "stderr": ""}, {"create": command})["stdout"] == "O none"
    assert local.update(old, {"create": command, "addPreviousOutputInEnv": False})["stdout"] == "none none"


def test_delete_runs_the_text_of_the_state(local: Any, tmp_path: Path) -> None:
    state = {"delete": 'cat > deleted; echo "$PULUMI_COMMAND_STDOUT" >> deleted', "stdin": "in\n", "stdout": "O"}
    local.delete("id", {**state, "dir": str(tmp_path)})
    assert (tmp_path / "deleted").read_text() == "in\nO\n"
    local.delete("id", {"create": "exit 1", "stdout": ""})
    with pytest.raises(ProviderError, match=r"^exit status 1"):
        local.delete("id", {"delete": "exit 1"})


def test_inputs_keep_their_secretness_and_outputs_get_none(local: Any) -> None:
    secret = PropertyValue("hidden", is_secret=True)
    properties = local.create_raw({"create": wrap("cat"), "stdin": secret}).properties
    assert properties["stdin"].is_secret and plain(properties["stdin"]) == "hidden"
    assert not properties["stdout"].is_secret and plain(properties["stdout"]) == "hidden"


def test_a_cancelled_up_ends_its_commands(local: Any) -> None:
    threading.Timer(0.3, lambda: asyncio.run(local.provider.cancel())).start()
    began = time.monotonic()
    with pytest.raises(ProviderError, match="signal: killed"):
        local.create({"create": "exec sleep 30"})
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


# --- over SSH --------------------------------------------------------------------------------------------------------
def test_a_remote_command_runs_with_its_stdin(remote: Any, sshd: Any, log: Recorded) -> None:
    inputs = {"create": "cat; echo \"'quoted' $0\" >&2; exit 0", "stdin": "given\n", "connection": sshd.connection}
    _, state = remote.create(remote.checked(**inputs))
    assert state["stdout"] == "given"
    assert state["stderr"].startswith("'quoted' ")
    assert ("INFO", state["stderr"], True) in log.lines


def test_a_failed_remote_command_says_what_ran_and_what_it_wrote(remote: Any, sshd: Any) -> None:
    with pytest.raises(ProviderError) as raised:
        remote.create(remote.checked(create="echo out; exit 255", connection=sshd.connection))
    assert str(raised.value) == 'Process exited with status 255: running "echo out; exit 255":\nout\n'


def test_a_host_with_another_key_is_refused(remote: Any, sshd: Any, tmp_path: Path) -> None:
    connection = {**sshd.connection, "hostKey": sshd.other_key, "dialErrorLimit": 1}
    with pytest.raises(ProviderError, match=r"^after 1 failed attempts: .*Host key verification failed"):
        remote.create(remote.checked(create=f"touch {tmp_path}/ran", connection=connection))
    assert not (tmp_path / "ran").exists()


def test_without_a_host_key_any_host_will_do(remote: Any, sshd: Any) -> None:
    connection = {key: value for key, value in sshd.connection.items() if key != "hostKey"}
    assert remote.create(remote.checked(create="echo hi", connection=connection))[1]["stdout"] == "hi"


def test_a_host_that_is_not_there(remote: Any, log: Recorded) -> None:
    connection = {"host": "127.0.0.1", "port": 1, "user": "x", "dialErrorLimit": 1}
    with pytest.raises(ProviderError, match=r"^after 1 failed attempts: .*Connection refused"):
        remote.create(remote.checked(create="x", connection=connection))
    assert ("INFO", "Dial 1/1 failed: retrying", True) in log.lines


def test_a_wrong_private_key_is_refused_and_never_shown(remote: Any, sshd: Any) -> None:
    connection = {**sshd.connection, "privateKey": "no key at all", "dialErrorLimit": 0}
    with pytest.raises(ProviderError, match=r"^after 0 failed attempts: ") as raised:
        remote.create(remote.checked(create="x", connection=connection))
    assert "no key at all" not in str(raised.value)


def test_remotely_the_last_output_is_not_given_and_a_warning_says_so(remote: Any, sshd: Any, log: Recorded) -> None:
    inputs = remote.checked(create='echo "${PULUMI_COMMAND_STDOUT-none}"', connection=sshd.connection)
    old = {**inputs, "stdout": "O", "stderr": ""}
    assert remote.update(old, inputs)["stdout"] == "none"
    assert [line for severity, line, _ in log.lines if severity == "WARNING"] == [
        "Unable to set 'PULUMI_COMMAND_STDOUT'. This only works if your SSH server accepts it (AcceptEnv)."
    ]
    log.lines.clear()
    remote.update(old, {**inputs, "addPreviousOutputInEnv": False})
    assert not [line for severity, line, _ in log.lines if severity == "WARNING"]


def test_nothing_of_a_connection_is_left(remote: Any, sshd: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    short = Path(tempfile.mkdtemp(prefix="t-"))  # a socket's path has a limit of about 100 characters
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    remote.create(remote.checked(create="true", connection=sshd.connection))
    with pytest.raises(ProviderError):
        remote.create(remote.checked(create="false", connection=sshd.connection))
    assert list(short.iterdir()) == []
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(short) not in listed
    short.rmdir()


# --- a line that is too long -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "shown"), [(65_535, True), (65_536, False), (300_000, False)])
def test_a_shown_line_of_64_kib_hangs_the_command_until_it_is_cancelled(log: Recorded, size: int, shown: bool) -> None:
    """As in the real plugin, so that a test notices what would hang `up` there."""
    processes = Processes()
    state = {"logging": "stderr", "interpreter": ["python3", "-c"]}
    text = f"import sys; sys.stderr.write('x' * {size} + '\\nafter\\n')"
    lines: list[str] = []

    def go() -> None:
        with contextlib.suppress(ProviderError):
            run_local(processes, text, state, lines.append)

    run = threading.Thread(target=go, daemon=True)
    run.start()
    run.join(1.5 if not shown else 30)
    assert run.is_alive() != shown
    processes.kill()
    run.join(30)
    assert not run.is_alive() and (lines == ["x" * size, "after"]) == shown


def test_one_that_is_not_shown_may_have_any_length(local: Any) -> None:
    _, made = local.create({"create": "head -c 300000 /dev/zero | tr '\\0' x", "logging": "stderr"})
    assert len(made["stdout"]) == 300_000
