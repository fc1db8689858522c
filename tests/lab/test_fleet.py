"""docs/fleet.md: two hosts behind SSH, a stack each, one state in an S3-compatible store that both share."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lab.box import Lab
from lab.place import free_port
from lab.pulumi_cli import cli
from lab.snapshot import Snapshot
from lab.ssh_server import SshServer
from tests.lab.conftest import Shared, copy_project, pulumi
from tests.lab.test_program import snapshot

pytestmark = pytest.mark.e2e

NAMES = ("host1", "host2")


@dataclass
class Fleet:
    """A workstation with the project and the way to its state, and the hosts by stack."""

    project: Path
    env: dict[str, str]
    labs: dict[str, Lab]
    servers: dict[str, SshServer]

    def pulumi(self, *words: str) -> str:
        return pulumi(self.project, self.env, *words)

    def script(self, *words: str) -> tuple[int, str]:
        """Exit status of examples/fleet.py, and the table at its end."""
        done = subprocess.run(
            [sys.executable, "examples/fleet.py", *words],
            cwd=self.project, env=self.env, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        print(done.stdout, done.stderr)
        return done.returncode, done.stdout[done.stdout.rindex("\nstack ") + 1 :]

    def locks(self) -> str:
        import boto3

        keys = ("aws_access_key_id", "aws_secret_access_key")
        store = boto3.client(
            "s3", endpoint_url=self.env["STORE"], region_name="us-east-1", **dict.fromkeys(keys, "lab")
        )
        found = store.list_objects_v2(Bucket="state", Prefix=".pulumi/locks/")
        return " ".join(each["Key"] for each in found.get("Contents", []))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Its address; it has an empty bucket `state`."""
    import boto3

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "store.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        keys = ("aws_access_key_id", "aws_secret_access_key")
        client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **dict.fromkeys(keys, "lab"))
        for _ in range(200):
            try:
                client.create_bucket(Bucket="state")
                break
            except Exception as error:
                assert server.poll() is None, error
                time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def fleet(lab: Lab, shared: Shared, store: str, tmp_path: Path) -> Iterator[Fleet]:
    shared.spoilt = True
    home = lab.home / ".lab/fleet"
    home.mkdir(parents=True, exist_ok=True)
    labs = {"host1": lab, "host2": Lab(home)}
    project = tmp_path / "project"
    copy_project(project)
    env = {
        **lab.env(),
        "STORE": store,
        "PULUMI_HOME": str(tmp_path / "pulumi"),
        "PULUMI_BACKEND_URL": f"s3://state?endpoint={store}&s3ForcePathStyle=true",
        "PULUMI_CONFIG_PASSPHRASE": "lab",
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_REGION": "us-east-1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    made = Fleet(project, env, labs, {name: SshServer(each) for name, each in labs.items()})
    try:
        for name in NAMES:
            labs[name].up()
            made.servers[name].start()
            labs[name].write_config(**made.servers[name].config())
            made.pulumi("stack", "init", name)
            file = project / f"Pulumi.{name}.yaml"
            config = yaml.safe_load(labs[name].config_file.read_text())["config"]
            file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "config": config}))
        yield made
    finally:
        for server in made.servers.values():
            server.remove()
        labs["host2"].down()
        lab.write_config()


def test_two_hosts_are_previewed_and_updated_side_by_side(fleet: Fleet) -> None:
    before: dict[str, Snapshot] = {name: snapshot(lab) for name, lab in fleet.labs.items()}
    code, table = fleet.script("preview")
    assert code == 0
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [["host1", "ok"], ["host2", "ok"]]
    assert {name: snapshot(lab) for name, lab in fleet.labs.items()} == before

    code, table = fleet.script("up")
    assert code == 0, table
    for name in NAMES:
        assert json.loads(fleet.pulumi("stack", "output", "--json", "--stack", name))["verdict"] == "PASS"
    code, table = fleet.script("up")
    assert [line.split()[1:2] + line.split()[3:] for line in table.splitlines()[1:]] == [["ok", "none"]] * 2

    # One run at a time has a stack.
    (fleet.project / "Pulumi.host1.yaml").write_text(
        (fleet.project / "Pulumi.host1.yaml").read_text().replace("config:", "config:\n  mautrix-signal:reapply: 1", 1)
    )
    first = subprocess.Popen(
        [cli(), "up", "--yes", "--skip-preview", "--stack", "host1", "--non-interactive"],
        cwd=fleet.project, env=fleet.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while "host1" not in fleet.locks():
        assert first.poll() is None
        time.sleep(0.05)
    code, table = fleet.script("up", "host1")
    assert (code, table.splitlines()[1].split()[1]) == (1, "FAILED") and "another run has the stack's lock" in table
    told, _ = first.communicate(timeout=300)
    assert first.returncode == 0, told

    # A host that is away does not keep the others.
    fleet.servers["host2"].stop()
    code, table = fleet.script("preview")
    assert code == 1
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [["host1", "ok"], ["host2", "FAILED"]]
    fleet.servers["host2"].start()
    for name in NAMES:
        fleet.pulumi("destroy", "--yes", "--skip-preview", "--stack", name)
        assert snapshot(fleet.labs[name]) == before[name]
