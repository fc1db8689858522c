"""A bridge that is said to be gone, or an image that is pulled again, since Docker was asked about several at once, by
other names than it answers with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host_programs.common import ScriptError
from host_programs.container import containers, every, there
from tests.host_programs.container_json import ID, inspected
from tests.host_programs.stub_docker import StubDocker, out

OTHER = {**json.loads(inspected())[0], "Id": "f" * 64, "Name": "/other"}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    docker = StubDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", docker.environment["PATH"])
    return docker


def test_each_is_found_by_what_it_was_asked_for(docker: StubDocker) -> None:
    both = json.dumps([*json.loads(inspected()), OTHER])
    docker.on(
        f"container inspect mautrix-signal {'f' * 64} gone", out(both, err="Error: No such container: gone\n", code=1)
    )
    found = containers("mautrix-signal", "f" * 64, "gone")
    assert {name: each.name for name, each in found.items()} == {"mautrix-signal": "mautrix-signal", "f" * 64: "other"}
    assert len(docker.calls) == 1


def test_what_docker_calls_otherwise_is_asked_for_by_itself(docker: StubDocker) -> None:
    both = json.dumps([*json.loads(inspected()), OTHER])
    docker.on(f"container inspect {ID[:12]} other gone", out(both, err="Error: No such container: gone\n", code=1))
    docker.on(f"container inspect {ID[:12]}", out(inspected()))
    docker.on("container inspect gone", out("[]", err="Error: No such container: gone\n", code=1))
    assert {*containers(ID[:12], "other", "gone")} == {ID[:12], "other"}
    images = [{"Id": "sha256:a", "RepoTags": ["bridge:latest"]}, {"Id": "sha256:b", "RepoTags": ["own:1"]}]
    docker.on("image inspect bridge own:1", out(json.dumps(images)))
    docker.on("image inspect bridge", out(json.dumps(images[:1])))
    assert there("image", ["bridge", "own:1"]) == {"bridge", "own:1"}


def test_where_there_is_no_container_docker_is_asked_for_none(docker: StubDocker) -> None:
    """`docker container inspect` without a name is an error."""
    docker.on("ps -aq --no-trunc", out(""))
    assert every() == () and containers() == {}
    assert docker.calls == ["ps -aq --no-trunc"]


def test_a_docker_that_does_not_answer_is_not_taken_for_one_without_the_container(docker: StubDocker) -> None:
    """One that is there would be made a second time."""
    docker.on("container inspect a b", out("[]", err="No such container: a\nCannot connect to the daemon\n", code=1))
    with pytest.raises(ScriptError, match=r"(?s)^docker container inspect: .*Cannot connect to the daemon$"):
        containers("a", "b")
