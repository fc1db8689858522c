"""A Docker daemon whose default bridge is gone builds no image: the lab must say so at its start, in one line with the
way out, and not fail minutes later in the middle of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.box import Lab
from lab.engine import Docker, LabError


def docker_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Docker:
    """A client whose `docker network inspect` does what the shell `text` says, and which answers `docker version`."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\n[ $1 = version ] && {{ echo 20.10.24; exit; }}\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return Docker()


def test_the_interface_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = docker_that(tmp_path, monkeypatch, "echo docker0")
    interfaces = tmp_path / "net"
    interfaces.mkdir()
    with pytest.raises(LabError) as refused:
        docker.check_default_bridge(interfaces)
    assert str(refused.value) == (
        "the interface docker0 of Docker's default network is gone, so images cannot be built: "
        "restart the Docker daemon (systemctl restart docker), which makes it again"
    )
    (interfaces / "docker0").mkdir()
    docker.check_default_bridge(interfaces)


def test_a_daemon_without_a_default_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = docker_that(tmp_path, monkeypatch, "echo 'Error: No such network: bridge' >&2; exit 1")
    with pytest.raises(LabError) as refused:
        docker.check_default_bridge()
    assert "Docker has no default network `bridge` (Error: No such network: bridge): take" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("verb", ["up", "reset"])
def test_a_lab_says_it_before_anything_else(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that(tmp_path, monkeypatch, f'echo "$*" >>{tmp_path}/asked; echo no-such-interface')
    monkeypatch.setattr("os.geteuid", lambda: 0)
    lab = Lab(tmp_path / "home", lambda line: None)
    lab.home.mkdir()
    with pytest.raises(LabError, match="no-such-interface of Docker's default network is gone"):
        getattr(lab, verb)()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 1 and asked[0].startswith("network inspect"), "nothing was made"
    assert not lab.notes_file.exists()
