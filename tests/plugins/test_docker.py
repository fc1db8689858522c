"""Pins: a lab in which a changed container is kept where the real provider replaces it (or the reverse), in which a
second `up` or a refresh shows a difference, or in which a container that never started counts as deployed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.plugins.base import UNKNOWN, InitFailed, ProviderError
from lab.plugins.docker import (
    CONTAINER,
    REMOTE_IMAGE,
    DockerProvider,
    format_duration,
    parse_duration,
    ssh_words,
)


@pytest.fixture
def container(direct: Any) -> Any:
    return direct(DockerProvider(), CONTAINER)


@pytest.fixture
def image(direct: Any) -> Any:
    return direct(DockerProvider(), REMOTE_IMAGE)


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("inputs", "start"),
    [
        ({"image": None}, "image is required and missing"),
        ({"name": None}, "name is required and missing"),
        ({"privileged": True}, "privileged is not implemented"),
        ({"envs": ["A=b"]}, "envs is not implemented"),
        ({"command": "a b"}, "command is a string; it should be a list"),
        ({"labels": [{"label": "a"}]}, "labels[0].value is required and missing"),
        ({"volumes": [{"hostPath": "data", "containerPath": "/data"}]}, "volumes[0].hostPath is 'data'; it should be"),
        ({"volumes": [{"containerPath": "/data", "selinuxRelabel": "x"}]}, "volumes[0].selinuxRelabel"),
        ({"volumes": [{"containerPath": "/data", "fromContainer": "x"}]}, "volumes[0].fromContainer is not impl"),
        ({"networksAdvanced": [{"name": "n", "macAddress": "x"}]}, "networksAdvanced[0].macAddress is not implemented"),
        ({"restart": "sometimes"}, "restart is 'sometimes'; it should be one of: no, on-failure, always, unless"),
        ({"healthcheck": {"interval": "soon"}}, "healthcheck.interval is 'soon'; it should be a duration like"),
        ({"healthcheck": {"retries": -1}}, "healthcheck.retries is -1; it should be 0 or more"),
        ({"wait": True}, "wait is True, which the lab's emulated plugin does not implement"),
        ({"mounts": [{"target": "/x", "type": "bind"}]}, "mounts is not implemented"),
    ],
)
def test_a_wrong_input_of_a_container_is_refused_with_its_name(
    container: Any, inputs: dict[str, Any], start: str
) -> None:
    (problem,) = container.problems(**{"name": "n", "image": "i", **inputs})
    assert problem.startswith(start)


def test_a_wrong_input_of_an_image_and_any_other_type_are_refused(image: Any, direct: Any) -> None:
    assert image.problems(name="x", build={"context": "."})[0].startswith("build is not implemented")
    assert image.problems(name="x", pullTriggers=["y"])[0].startswith("pullTriggers is not implemented")
    assert image.problems()[0] == "name is required and missing"
    for kind in ("volume:Volume", "network:Network"):
        with pytest.raises(ProviderError, match=f"docker:index/{kind} is not implemented"):
            direct(DockerProvider(), f"docker:index/{kind}").problems()


def test_a_wrong_provider_setting_is_refused_and_a_silent_engine_named(container: Any) -> None:
    container.configure(host="unix:///x.sock", sshOpts='["-o", "BatchMode=yes"]')
    with pytest.raises(ProviderError, match="provider setting registryAuth is not implemented"):
        container.configure(registryAuth="[]")
    container.configure(host="unix:///nowhere.sock")
    with pytest.raises(ProviderError, match=r"Error pinging Docker server at unix:///nowhere.sock"):
        container.read("id", {})


# --- what a change does ----------------------------------------------------------------------------------------------
BASE = {
    "name": "n",
    "image": "i:1",
    "command": ["a", "b"],
    "entrypoints": ["e"],
    "user": "1:1",
    "readOnly": True,
    "capabilities": {"drops": ["ALL"], "adds": ["CHOWN", "KILL"]},
    "securityOpts": ["no-new-privileges:true", "apparmor=x"],
    "volumes": [{"hostPath": "/a", "containerPath": "/b", "readOnly": True}, {"containerPath": "/c"}],
    "labels": [{"label": "l", "value": "v"}, {"label": "m", "value": "w"}],
    "logDriver": "json-file",
    "logOpts": {"max-size": "10m"},
    "networksAdvanced": [{"name": "x", "aliases": ["p", "q"]}, {"name": "y"}],
    "restart": "always",
    "destroyGraceSeconds": 5,
    "healthcheck": {"tests": ["CMD", "true"], "interval": "1s", "retries": 2},
}

CHANGES: dict[str, tuple[Any, str]] = {
    "name": ("n2", "UPDATE_REPLACE"),
    "image": ("i:2", "UPDATE_REPLACE"),
    "command": (["b", "a"], "UPDATE_REPLACE"),
    "entrypoints": (["f"], "UPDATE_REPLACE"),
    "user": ("2:2", "UPDATE_REPLACE"),
    "readOnly": (False, "UPDATE_REPLACE"),
    "capabilities": (None, "DELETE_REPLACE"),
    "securityOpts": (["apparmor=x"], "UPDATE_REPLACE"),
    "volumes": ([{"hostPath": "/a", "containerPath": "/b"}, {"containerPath": "/c"}], "UPDATE_REPLACE"),
    "labels": ([{"label": "l", "value": "v"}], "UPDATE_REPLACE"),
    "logDriver": ("local", "UPDATE_REPLACE"),
    "logOpts": ({"max-size": "20m"}, "UPDATE_REPLACE"),
    "networksAdvanced": ([{"name": "x", "aliases": ["p"]}, {"name": "y"}], "UPDATE_REPLACE"),
    "restart": ("no", "UPDATE"),
    "mustRun": (False, "UPDATE"),
    "destroyGraceSeconds": (6, "UPDATE"),
    "removeVolumes": (False, "UPDATE"),
    "healthcheck": ({"tests": ["CMD", "false"]}, "UPDATE"),
}


def test_an_engine_behind_ssh_is_reached_with_the_words_of_docker_s_own_client() -> None:
    """As docker/cli's connhelper builds them, which the real provider uses."""
    assert ssh_words("ssh://matt@host:2222", ["-o", "BatchMode=yes"]) == [
        "ssh", "-o", "BatchMode=yes", "-o ConnectTimeout=30", "-T", "-l", "matt", "-p", "2222", "--", "host",
        "docker", "system", "dial-stdio",
    ]  # fmt: skip
    assert ssh_words("ssh://alias/run/user/1000/docker.sock", [])[-5:] == [
        "alias", "docker", "--host=unix:///run/user/1000/docker.sock", "system", "dial-stdio",
    ]  # fmt: skip


def test_every_property_is_in_the_table(container: Any) -> None:
    schema = container.provider.resources[CONTAINER].schema
    assert set(schema) == {*CHANGES, "wait"}


@pytest.mark.parametrize("key", CHANGES)
def test_what_a_change_does(container: Any, key: str) -> None:
    value, kind = CHANGES[key]
    old, new = container.checked(**BASE), container.checked(**{**BASE, key: value})
    response = container.diff(old, new)
    assert {path: change.kind.name for path, change in response.detailed_diff.items()} == {key: kind}
    assert response.delete_before_replace == kind.endswith("_REPLACE")


def test_the_order_of_a_set_is_no_change(container: Any) -> None:
    turned: dict[str, Any] = {key: value[::-1] for key, value in BASE.items() if isinstance(value, list)}
    turned |= {key: BASE[key] for key in ("command", "entrypoints")}
    turned["networksAdvanced"] = [{"name": "y", "aliases": []}, {"aliases": ["q", "p"], "name": "x"}]
    turned["capabilities"] = {"adds": ["KILL", "CHOWN"], "drops": ["ALL"]}
    assert not container.diff(container.checked(**BASE), container.checked(**{**BASE, **turned})).changes


def test_an_image_is_replaced_by_its_name_alone(image: Any) -> None:
    old = image.checked(name="a:1", keepLocally=True)
    response = image.diff(old, image.checked(name="a:2", keepLocally=True))
    assert response.replaces == ["name"] and not response.delete_before_replace
    response = image.diff(old, image.checked(name="a:1"))
    assert (response.changes, response.replaces) == (True, [])


def test_a_preview_knows_the_id_of_an_image_that_stays(image: Any) -> None:
    """Else its container looks replaced where `up` replaces nothing."""
    old = {**image.checked(name="a:1"), "imageId": "sha256:1", "repoDigest": ""}
    assert image.update(old, image.checked(name="a:1", keepLocally=True), preview=True)["imageId"] == "sha256:1"


def test_preview_touches_nothing_and_does_not_know_what_docker_decides(container: Any, image: Any) -> None:
    for direct in (container, image):
        direct.configure(host="unix:///nowhere.sock")
    _, state = container.create(container.checked(name="n", image=UNKNOWN), preview=True)
    assert (state["name"], state["image"], state["exitCode"], state["command"]) == ("n", UNKNOWN, UNKNOWN, UNKNOWN)
    assert image.create(image.checked(name="i:1"), preview=True)[1]["imageId"] is UNKNOWN
    new = container.checked(**{**BASE, "restart": "no"})
    assert container.update({**container.checked(**BASE), "exitCode": 1}, new, preview=True)["exitCode"] == 1


# --- durations -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "nanoseconds", "written"),
    [
        ("0s", 0, "0s"),
        ("30s", 30 * 10**9, "30s"),
        ("60s", 60 * 10**9, "1m0s"),
        ("90m", 5400 * 10**9, "1h30m0s"),
        ("500ms", 5 * 10**8, "500ms"),
        ("1.5s", 15 * 10**8, "1.5s"),
        ("2us", 2000, "2µs"),
    ],
)
def test_durations_as_go_writes_them(text: str, nanoseconds: int, written: str) -> None:
    assert (parse_duration(text), format_duration(nanoseconds)) == (nanoseconds, written)


@given(st.integers(0, 10**15))
def test_a_written_duration_reads_as_itself(nanoseconds: int) -> None:
    assert abs(parse_duration(format_duration(nanoseconds)) - nanoseconds) <= nanoseconds * 1e-9


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "-1s", "1d", "x1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="it should be a duration"):
        parse_duration(text)


# --- on the engine ---------------------------------------------------------------------------------------------------
def test_a_container_is_made_read_changed_and_taken_away(container: Any, sandbox: Any, tmp_path: Any) -> None:
    inputs = container.checked(
        name=sandbox.name("full"),
        image=sandbox.image,
        command=["/bin/sh", "-c", "sleep 600"],
        user="1337:1337",
        readOnly=True,
        networksAdvanced=[{"name": sandbox.network, "aliases": ["the-bridge"]}],
        volumes=[{"hostPath": str(tmp_path), "containerPath": "/data", "readOnly": True, "selinuxRelabel": "z"}],
        labels=[{"label": "who", "value": "test"}],
        logDriver="json-file",
        logOpts={"max-size": "10m", "max-file": "3"},
        securityOpts=["no-new-privileges:true"],
        capabilities={"drops": ["ALL"]},
        healthcheck={"tests": ["CMD", "/bin/true"], "interval": "1s", "timeout": "1s", "retries": 1},
        restart="unless-stopped",
        destroyGraceSeconds=1,
    )
    resource_id, state = container.create(inputs)
    while sandbox.inspect("full")["State"]["Health"]["Status"] == "starting":
        time.sleep(0.1)
    found = sandbox.inspect("full")
    host, config = found["HostConfig"], found["Config"]
    assert found["Id"] == resource_id and found["State"]["Health"]["Status"] == "healthy"
    assert list(found["NetworkSettings"]["Networks"]) == [sandbox.network]
    assert "the-bridge" in found["NetworkSettings"]["Networks"][sandbox.network]["Aliases"]
    assert (config["User"], config["Labels"]["who"]) == ("1337:1337", "test")
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"] and host["Binds"] == [f"{tmp_path}:/data:ro,z"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert state["healthcheck"]["startPeriod"] == "0s"
    assert container.diff(state, inputs).detailed_diff == {}

    read = container.read(resource_id, state, inputs)
    assert (read.resource_id, read.inputs) == (resource_id, {**read.inputs})
    from lab.plugins.base import plain

    fresh = {key: plain(value) for key, value in read.properties.items()}
    assert container.diff(fresh, inputs).detailed_diff == {}
    assert {key: plain(value) for key, value in read.inputs.items()} == {
        key: value for key, value in inputs.items() if value is not None
    }

    changed = {**inputs, "restart": "no"}
    updated = container.update(fresh, changed, id=resource_id)
    assert sandbox.inspect("full")["HostConfig"]["RestartPolicy"]["Name"] == updated["restart"] == "no"

    sandbox.api.kill(resource_id)
    sandbox.api.wait(resource_id)
    stopped = {key: plain(value) for key, value in container.read(resource_id, updated, changed).properties.items()}
    assert (stopped["mustRun"], stopped["exitCode"]) == (False, 137)
    assert list(container.diff(stopped, changed).detailed_diff) == ["mustRun"]
    container.update(stopped, changed, id=resource_id)
    assert sandbox.inspect("full")["State"]["Running"]

    container.delete(resource_id, updated)
    assert not sandbox.exists("full")
    assert container.read(resource_id, updated, changed).resource_id == ""
    container.delete(resource_id, updated)  # one that is gone is deleted already


def test_a_container_that_does_not_start_stays_and_is_kept_as_failed(container: Any, sandbox: Any) -> None:
    inputs = container.checked(name=sandbox.name("bad"), image=sandbox.image, command=["/no/such"])
    with pytest.raises(
        InitFailed, match=r"^Unable to start container: Error response from daemon: .*/no/such"
    ) as raised:
        container.create(inputs)
    assert sandbox.inspect("bad")["State"]["Status"] == "created"
    assert sandbox.inspect("bad")["Id"] == raised.value.resource_id
    # The next `up` calls update, which finds nothing to change and starts nothing.
    container.update(raised.value.state, inputs, id=raised.value.resource_id)
    assert sandbox.inspect("bad")["State"]["Status"] == "created"
    container.delete(raised.value.resource_id, raised.value.state)


def test_a_container_that_ends_at_once_is_made_and_shows_at_the_next_up(container: Any, sandbox: Any) -> None:
    inputs = container.checked(name=sandbox.name("short"), image=sandbox.image, command=["/bin/sh", "-c", "exit 7"])
    resource_id, state = container.create(inputs)
    sandbox.api.wait(resource_id)
    read = container.read(resource_id, state, inputs)
    assert (read.properties["exitCode"].value, read.properties["mustRun"].value) == (7.0, False)


def test_errors_name_what_is_wrong(container: Any, sandbox: Any) -> None:
    taken = container.checked(name=sandbox.name("taken"), image=sandbox.image, command=["/bin/sleep", "600"])
    container.create(taken)
    with pytest.raises(
        ProviderError, match="Unable to create container: Error response from daemon: Conflict"
    ) as raised:
        container.create(taken)
    assert not isinstance(raised.value, InitFailed)
    lost = container.checked(
        name=sandbox.name("lost"),
        image=sandbox.image,
        command=["/bin/true"],
        networksAdvanced=[{"name": f"{sandbox.prefix}-nowhere"}],
    )
    with pytest.raises(InitFailed, match=rf"Error response from daemon: .*{sandbox.prefix}-nowhere"):
        container.create(lost)
    missing = container.checked(name=sandbox.name("m"), image=f"127.0.0.1:1/{sandbox.prefix}/none:1")
    with pytest.raises(
        ProviderError, match=r"Unable to create container with image 127.0.0.1:1/.*unable to pull image"
    ):
        container.create(missing)
    assert not sandbox.exists("m")


@pytest.mark.parametrize(("grace", "code"), [(None, 137), (10, 0)])
def test_only_a_grace_lets_a_container_end_well(container: Any, sandbox: Any, grace: int | None, code: int) -> None:
    """The container leaves a file on the way out, if it is let."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        name = f"grace-{grace}"
        script = "trap 'touch /out/ended; exit 0' TERM; touch /out/ready; while :; do sleep 0.1; done"
        volumes = [{"hostPath": folder, "containerPath": "/out"}]
        base = {"image": sandbox.image, "command": ["/bin/sh", "-c", script], "volumes": volumes}
        inputs = container.checked(name=sandbox.name(name), destroyGraceSeconds=grace, **base)
        resource_id, state = container.create(inputs)
        while not (Path(folder) / "ready").exists():
            assert sandbox.inspect(name)["State"]["Running"]
        container.delete(resource_id, state)
        assert (Path(folder) / "ended").exists() == (code == 0)


def test_an_image_that_is_here_is_found_and_its_name_removed(image: Any, sandbox: Any) -> None:
    name = f"{sandbox.prefix}:other"
    sandbox.api.tag(sandbox.image, sandbox.prefix, "other")
    inputs = image.checked(name=name)
    resource_id, state = image.create(inputs)
    identity = sandbox.api.inspect_image(sandbox.image)["Id"]
    assert (resource_id, state["imageId"], state["repoDigest"]) == (identity + name, identity, "")
    assert image.diff(state, inputs).detailed_diff == {}
    image.delete(resource_id, {**state, "keepLocally": True})
    assert image.read(resource_id, state).resource_id == resource_id
    image.delete(resource_id, state)
    assert image.read(resource_id, state).resource_id == ""
    assert sandbox.api.inspect_image(sandbox.image)["Id"] == identity


def test_an_image_in_use_is_not_removed(image: Any, container: Any, sandbox: Any) -> None:
    container.create(container.checked(name=sandbox.name("user"), image=sandbox.image, command=["/bin/sleep", "600"]))
    resource_id, state = image.create(image.checked(name=sandbox.image))
    with pytest.raises(ProviderError, match=r"^Unable to remove Docker image: Error response from daemon: conflict"):
        image.delete(resource_id, state)


def test_an_image_that_cannot_be_had(image: Any, sandbox: Any) -> None:
    name = f"127.0.0.1:1/{sandbox.prefix}/none:1"
    with pytest.raises(
        ProviderError, match=r"^Unable to read Docker image into resource: unable to pull image 127.0.0.1"
    ):
        image.create(image.checked(name=name))
