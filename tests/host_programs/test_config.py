"""A config that the bridge does not take, or that is written over somebody else's file; the config of the container
that runs, taken away before another one is ready."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from documents.launcher import RUN_FROM_STDIN
from host_programs.bridge import config
from host_programs.bridge.config import READ_CONFIG, ConfigFile, SettingsQuestion, WrittenConfig, write_config
from host_programs.files.files import OwnedFile
from host_programs.messages import ScriptError
from tests.host_programs.stub_docker import StubDocker, out

IMAGE = "example.org/irc:v1"
TEXT = "# irc: written by the Pulumi stack p/a.\na: 1\n"
SAFE = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
ASKED = f"run {SAFE} --tmpfs /tmp:mode=1777 --entrypoint sh {IMAGE} -c {READ_CONFIG} /usr/bin/irc"
COMPARED = f"exec -i synapse python3 -c {RUN_FROM_STDIN} inside-synapse check-config"


def arguments(folder: Path, version: str = "1") -> ConfigFile:
    file = OwnedFile(str(folder / f"irc/config-{version}/config.yaml"), TEXT, os.geteuid(), os.getegid())
    return ConfigFile(
        "p/a", SettingsQuestion({}, IMAGE, "/usr/bin/irc", "synapse"), "sha256:0", replace(file, own_directory=True)
    )


def asking(folder: Path) -> ConfigFile:
    return replace(arguments(folder), asked=SettingsQuestion({"x": 1}, IMAGE, "/usr/bin/irc", "synapse"))


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    (tmp_path / "irc").mkdir()
    stub = StubDocker(tmp_path / "bin")
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    return stub


def test_it_is_written_for_the_bridge_alone_and_earlier_versions_stay(tmp_path: Path, docker: StubDocker) -> None:
    """The container that runs has its own until the next one is ready."""
    first, second = arguments(tmp_path), arguments(tmp_path, "2")
    assert write_config(first) == WrittenConfig(first.file.path)
    assert write_config(second) == WrittenConfig(second.file.path)
    for written in (first, second):
        path = Path(written.file.path)
        assert path.read_text() == TEXT and path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o755
    assert docker.calls == [], "with nothing in bridgeConfig the bridge is not asked"


def test_what_the_bridge_takes_is_written(tmp_path: Path, docker: StubDocker) -> None:
    docker.on(ASKED, out("x: 1\n"))
    docker.on(COMPARED, out('{"lines": []}'))
    write_config(asking(tmp_path))
    assert Path(asking(tmp_path).file.path).read_text() == TEXT
    assert docker.calls == [ASKED, COMPARED]


def test_a_config_that_the_bridge_does_not_take_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image came with this very `up`: preview could not ask it."""
    lines = "bridgeConfig.x: is no setting of this bridge's", "bridgeConfig.y: should be a number"
    monkeypatch.setattr(config, "find_refused_settings", lambda question: lines)
    with pytest.raises(ScriptError) as refused:
        write_config(arguments(tmp_path))
    assert str(refused.value) == "; ".join(lines)
    assert not (tmp_path / "irc/config-1").exists()


def test_a_bridge_that_cannot_read_it_and_a_synapse_that_cannot_compare_write_nothing(
    tmp_path: Path, docker: StubDocker
) -> None:
    docker.on(ASKED, out(err="a banner\nFailed to parse config: line 3\n", code=10), out("x: 1\n"))
    docker.on(COMPARED, out(err="Traceback …\nModuleNotFoundError: No module named 'yaml'\n", code=1))
    with pytest.raises(ScriptError, match=r"^bridgeConfig: the bridge cannot read it: Failed to parse config: line 3$"):
        write_config(asking(tmp_path))
    with pytest.raises(ScriptError, match=r"^bridgeConfig cannot be compared: ModuleNotFoundError: No module named"):
        write_config(asking(tmp_path))
    assert [*(tmp_path / "irc").iterdir()] == []


def test_somebody_else_s_file_is_not_written_over(tmp_path: Path) -> None:
    path = Path(arguments(tmp_path).file.path)
    path.parent.mkdir()
    path.write_text("mine\n")
    with pytest.raises(ScriptError, match="exists and was not made by this stack"):
        write_config(arguments(tmp_path))
    assert path.read_text() == "mine\n"


def test_no_setting_is_in_a_process_list(tmp_path: Path, docker: StubDocker) -> None:
    """A setting of bridgeConfig may be a password of a network's."""
    secret = SettingsQuestion({"network": {"password": "hunter2"}}, IMAGE, "/usr/bin/irc", "synapse")
    docker.on(ASKED, out(json.dumps(secret.config)))
    docker.on(COMPARED, out('{"lines": []}'))
    write_config(replace(arguments(tmp_path), asked=secret))
    assert docker.calls and "hunter2" not in " ".join(docker.calls)
