"""An image that is not there, a config that the bridge does not take: nothing of it may be left half made, and the
bridges beside it go on."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from host_programs.bridge import config_check, install
from host_programs.bridge.config_check import Question
from host_programs.common import ScriptError
from host_programs.files.directory import CLAIM, OwnDirectory
from host_programs.files.files import OwnedFile
from tests.host_programs.stub_docker import StubDocker, out

IMAGE = "example.org/irc:v1"
LOOK, PULL = f"image inspect {IMAGE}", f"pull --quiet {IMAGE}"
TEXT = "# irc: written by the Pulumi stack p/a.\na: 1\n"


def arguments(folder: Path, version: str = "1") -> install.Arguments:
    file = OwnedFile(str(folder / f"irc/config-{version}/config.yaml"), TEXT, os.geteuid(), os.getegid())
    return install.Arguments(
        OwnDirectory(str(folder / "irc"), "p/a", "directory"), IMAGE, Question({}, IMAGE, "/usr/bin/irc", "synapse"),
        replace(file, own_directory=True), 0,
    )  # fmt: skip


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    stub = StubDocker(tmp_path / "bin")
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    return stub


def test_an_image_that_is_there_is_not_pulled(tmp_path: Path, docker: StubDocker) -> None:
    docker.on(LOOK, out(f'[{{"Id": "sha256:0", "RepoTags": ["{IMAGE}"]}}]'))
    assert install.install(arguments(tmp_path)) == install.Installed("sha256:0")
    assert Path(arguments(tmp_path).config.path).read_text() == TEXT


def test_one_that_is_not_is_pulled(tmp_path: Path, docker: StubDocker) -> None:
    there = out(f'[{{"Id": "sha256:0", "RepoTags": ["{IMAGE}"]}}]')
    docker.on(LOOK, out("[]", err=f"Error: No such image: {IMAGE}", code=1), there)
    docker.on(PULL, out(IMAGE))
    assert install.install(arguments(tmp_path)) == install.Installed("sha256:0")
    assert docker.calls.count(PULL) == 1


def test_one_that_cannot_be_had_is_said_in_one_line_and_no_config_is_written(
    tmp_path: Path, docker: StubDocker
) -> None:
    docker.on(LOOK, out("[]", err=f"Error: No such image: {IMAGE}", code=1))
    docker.on(PULL, out(err="Using default\nError response from daemon: manifest unknown\n", code=1))
    with pytest.raises(ScriptError) as stopped:
        install.install(arguments(tmp_path))
    assert str(stopped.value) == f"image {IMAGE}: cannot be pulled: Error response from daemon: manifest unknown"
    assert [path.name for path in (tmp_path / "irc").iterdir()] == [CLAIM]


def test_a_config_that_the_bridge_does_not_take_is_not_written(
    tmp_path: Path, docker: StubDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image came with this very `up`: preview could not ask it."""
    docker.on(LOOK, out(f'[{{"Id": "sha256:0", "RepoTags": ["{IMAGE}"]}}]'))
    monkeypatch.setattr(config_check, "refused", lambda question: ("bridgeConfig.x: is no setting of this bridge's",))
    with pytest.raises(ScriptError, match="x: is no setting"):
        install.install(arguments(tmp_path))
    assert not (tmp_path / "irc/config-1").exists()
