"""Pins the difference between what a broken bridge is thought to do and what it does: readiness and status of the
real bridge core on the lab, deployed and then broken behind our back, one way after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from host_programs.bridge import bridge_status, readiness
from host_programs.docker import inspect_container
from host_programs.synapse import delivery
from host_programs.wire import to_json
from lab.box import Lab
from tests.host_programs.steps import run_step
from tests.lab.conftest import deployment_of

pytestmark = pytest.mark.e2e


def data_of(lab: Lab) -> str:
    """The directory of the host that the bridge's container has as /data."""
    container = inspect_container(lab.bridge)
    assert container is not None
    (source,) = (mount.source for mount in container.mounts if mount.destination == "/data")
    return source


class Bridge:
    """The deployed bridge, and the two scripts that look at it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.mark = lab, folder / ".ready"
        self.outputs = lab.outputs()
        self.token = str(self.outputs["asToken"])
        self.secrets = [str(self.outputs[name]) for name in ("asToken", "hsToken", "databaseUrl")]

    def wait(self, timeout: float = 60, container: str = "") -> subprocess.CompletedProcess[str]:
        plan, name = deployment_of(self.lab).bridges[0], container or self.lab.bridge
        arguments = readiness.ReadinessArguments(
            bridge=replace(plan.place, container=name),
            container_id=name,
            synapse=plan.synapse,
            postgres=plan.postgres,
            bot=plan.bot,
            appservice_id="signal",
            as_token=self.token,
            doublepuppet_as_token=str(self.lab.outputs()["doublepuppetAsToken"]),
            timeout=float(timeout),
            mark=str(self.mark),
            attempt=1,
            new_keys=False,
            stack=plan.stack,
            config=data_of(self.lab),
            archives=plan.archive.directory,
            archive_owner=plan.archive_owner,
            program=plan.bridge.name,
            pickle_key="not used where no earlier config is",
        )
        done = run_step("bridge wait", arguments, {**os.environ}, timeout=180)
        for secret in self.secrets:
            assert secret not in done.stdout + done.stderr
        return done

    def status(self) -> dict[str, Any]:
        network = deployment_of(self.lab).synapse.network
        address = bridge_status.BridgeAddress(network, 29328, self.lab.synapse_url, "signal", self.token)
        return dict(to_json(bridge_status.read_bridge_status(address, inspect_container(self.lab.bridge))))

    def restart(self) -> None:
        self.lab.docker("restart", "--time", "5", self.lab.bridge)

    def fails_with(self, code: int) -> None:
        done = self.wait()
        assert done.returncode == 1, done.stdout
        said = [line for line in done.stderr.splitlines() if "is started anew" not in line]
        assert f": exit code {code}: " in said[0], done.stderr
        assert f"--- last 50 log lines of {self.lab.bridge} ---\n" in done.stderr
        found = self.status()
        assert found["exit_code"] == code and found["exit_meaning"].startswith(f"exit code {code}: "), found
        assert found["last_error"] and not found["ready"], found


@pytest.fixture
def bridge(deployed: Lab, tmp_path: Path) -> Iterator[Bridge]:
    found = Bridge(deployed, tmp_path)
    yield found
    # Well again for the next test.
    deployed.docker("start", deployed.synapse)
    deployed.wait_healthy()
    found.restart()
    assert found.wait().returncode == 0


def test_well(bridge: Bridge) -> None:
    done = bridge.wait()
    assert done.returncode == 0, done.stderr
    container = bridge.lab.docker.inspect("container", [bridge.lab.bridge])[bridge.lab.bridge]
    assert bridge.mark.read_text().split()[0] == container["Id"]
    found = bridge.status()
    assert (found["container"], found["ready"], found["ping"], found["problem"]) == ("running", True, "200", "")
    assert json.loads(done.stdout)["container_id"] == container["Id"]


def test_the_homeserver_is_stopped(bridge: Bridge) -> None:
    bridge.lab.docker("stop", bridge.lab.synapse)
    bridge.restart()
    done = bridge.wait(timeout=3)
    assert done.returncode == 1
    first, second, *_ = done.stderr.splitlines()
    todo = f"What to do: Synapse does not answer at {bridge.lab.synapse_url}"
    assert first.startswith(f"{bridge.lab.bridge} is not ready after 3 s. {todo}"), done.stderr
    assert second == "  container  running, restarted 0 times"
    found = bridge.status()
    assert (found["container"], found["ready"], found["ping"]) == ("running", False, "connection refused")


def test_the_database_password_was_changed(bridge: Bridge) -> None:
    url = str(bridge.outputs["databaseUrl"])
    role, _, rest = url.partition("://")[2].partition(":")
    password = rest.partition("@")[0]
    bridge.lab.psql(f"ALTER ROLE {role} PASSWORD 'another'")
    try:
        bridge.restart()
        bridge.fails_with(15)
    finally:
        bridge.lab.psql(f"ALTER ROLE {role} PASSWORD '{password}'")


def test_its_port_is_taken(bridge: Bridge) -> None:
    """Another process listens there in the bridge's network namespace: the bridge goes on, and nobody reaches it."""
    lab = bridge.lab
    raw = lab.docker.inspect("container", [lab.bridge])[lab.bridge]
    holder, second = f"{lab.prefix}-holder", f"{lab.prefix}-second"
    image = lab.docker.inspect("container", [lab.synapse])[lab.synapse]["Image"]
    listen = ("python3", "-m", "http.server", "29328")
    mount = f"{data_of(lab)}:/data:ro"
    try:
        lab.docker(
            "run", "-d", "--name", holder, "--network", lab.network, "--entrypoint", listen[0], image, *listen[1:]
        )
        lab.docker("stop", "--time", "5", lab.bridge)
        lab.docker(
            "run", "-d", "--name", second, "--network", f"container:{holder}", "--user", "1337:1337", "--read-only",
            "-v", mount, "--entrypoint", raw["Config"]["Cmd"][0], raw["Image"], *raw["Config"]["Cmd"][1:],
        )  # fmt: skip
        done = bridge.wait(timeout=4, container=second)
        assert done.returncode == 1
        assert done.stderr.startswith(f"{second} is not ready after 4 s")
        assert "bind: address already in use" in done.stderr
    finally:
        lab.docker("rm", "-f", second, holder, check=False)


def test_the_token_was_changed_on_the_homeserver(bridge: Bridge) -> None:
    file = bridge.lab.host_dir / "synapse/registration.yaml"
    was = file.read_text()
    try:
        file.write_text(was.replace(bridge.token, "another3" * 8))
        bridge.lab.docker("restart", bridge.lab.synapse)
        bridge.lab.wait_healthy()
        bridge.restart()
        bridge.fails_with(16)
    finally:
        file.write_text(was)
        bridge.lab.docker("restart", bridge.lab.synapse)


def test_synapse_that_accepts_invitations_itself_is_not_taken_for_the_bridge(bridge: Bridge) -> None:
    """With no bridge running the proof said "arrived" after 0.27 s."""
    lab, file = bridge.lab, bridge.lab.host_dir / "synapse/homeserver.yaml"
    was, puppet = file.read_text(), str(bridge.outputs["doublepuppetAsToken"])
    proof = delivery.Delivery(lab.synapse_url, puppet, deployment_of(lab).bridges[0].bot, bridge.token)

    def arrives(seconds: float) -> bool:
        end = time.monotonic() + seconds
        return delivery.prove_delivery(proof, lambda moment: moment >= end, 0.2) is not None

    try:
        file.write_text(f"{was}auto_accept_invites:\n  enabled: true\n")
        lab.docker("restart", lab.synapse)
        lab.wait_healthy()
        assert arrives(60), "it refuses, though Synapse has joined its bot"
        lab.docker("stop", "--time", "5", lab.bridge)
        assert not arrives(5)
    finally:
        file.write_text(was)
        lab.docker("restart", lab.synapse)
        lab.wait_healthy()
        lab.docker("start", lab.bridge)


def test_the_database_was_lost(bridge: Bridge) -> None:
    """The last one: it takes the bot's keys with it, and they are put back under another name."""
    psql = bridge.lab.psql
    bridge.lab.docker("stop", "--time", "5", bridge.lab.bridge)
    psql("ALTER DATABASE mautrix_signal RENAME TO kept")
    collation = "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    psql(f"CREATE DATABASE mautrix_signal OWNER mautrix_signal TEMPLATE template0 {collation}")
    try:
        bridge.lab.docker("start", bridge.lab.bridge)
        bridge.fails_with(34)
    finally:
        bridge.lab.docker("stop", "--time", "5", bridge.lab.bridge)
        psql("DROP DATABASE mautrix_signal WITH (FORCE)")
        psql("ALTER DATABASE kept RENAME TO mautrix_signal")
