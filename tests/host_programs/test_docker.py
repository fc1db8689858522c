"""A bridge that is said to be gone, or an image that is pulled again, since Docker was asked about several at once, by
other names than it answers with; an answer of Docker's that is taken for another one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host_programs.docker import (
    filter_existing,
    inspect_all_containers,
    inspect_containers,
    run_docker,
    run_docker_bytes,
)
from host_programs.messages import ScriptError
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
    found = inspect_containers("mautrix-signal", "f" * 64, "gone")
    assert {name: each.name for name, each in found.items()} == {"mautrix-signal": "mautrix-signal", "f" * 64: "other"}
    assert len(docker.calls) == 1


def test_what_docker_calls_otherwise_is_asked_for_by_itself(docker: StubDocker) -> None:
    both = json.dumps([*json.loads(inspected()), OTHER])
    docker.on(f"container inspect {ID[:12]} other gone", out(both, err="Error: No such container: gone\n", code=1))
    docker.on(f"container inspect {ID[:12]}", out(inspected()))
    docker.on("container inspect gone", out("[]", err="Error: No such container: gone\n", code=1))
    assert {*inspect_containers(ID[:12], "other", "gone")} == {ID[:12], "other"}
    images = [{"Id": "sha256:a", "RepoTags": ["bridge:latest"]}, {"Id": "sha256:b", "RepoTags": ["own:1"]}]
    docker.on("image inspect bridge own:1", out(json.dumps(images)))
    docker.on("image inspect bridge", out(json.dumps(images[:1])))
    assert filter_existing("image", ["bridge", "own:1"]) == {"bridge", "own:1"}


def test_where_there_is_no_container_docker_is_asked_for_none(docker: StubDocker) -> None:
    """`docker container inspect` without a name is an error."""
    docker.on("ps -aq --no-trunc", out(""))
    assert inspect_all_containers() == () and inspect_containers() == {}
    assert docker.calls == ["ps -aq --no-trunc"]


def test_a_docker_that_does_not_answer_is_not_taken_for_one_without_the_container(docker: StubDocker) -> None:
    """One that is there would be made a second time."""
    docker.on("container inspect a b", out("[]", err="No such container: a\nCannot connect to the daemon\n", code=1))
    with pytest.raises(ScriptError, match=r"(?s)^docker container inspect: .*Cannot connect to the daemon$"):
        inspect_containers("a", "b")


def test_a_failure_of_docker_s_is_in_its_own_words(docker: StubDocker) -> None:
    docker.on("pull --quiet a:1 b", out("half", err="Error: manifest unknown\n", code=1))
    docker.on("version", out(code=3))
    with pytest.raises(ScriptError, match=r"^docker pull --quiet a:1: Error: manifest unknown$"):
        run_docker("pull", "--quiet", "a:1", "b")
    with pytest.raises(ScriptError, match=r"^docker version: exit code 3$"):
        run_docker("version")
    done = run_docker("pull", "--quiet", "a:1", "b", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("half", "Error: manifest unknown\n", 1)


def test_a_docker_that_hangs_or_is_not_there_is_said(docker: StubDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    docker.on("version", out(sleep=30))
    for call in (run_docker, run_docker_bytes):
        with pytest.raises(ScriptError, match=r"^docker version: no answer in 0 s$"):
            call("version", timeout=0.3)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ScriptError, match="install Docker Engine and its client"):
        run_docker("version")
