"""docs/components.md: a program of somebody else's, in YAML through the component provider, and in Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.box import ROOT, Lab
from lab.pulumi_cli import cli
from lab.which_pulumi import yaml_host
from tests.lab.conftest import pulumi
from tests.lab.test_program import ping, snapshot

pytestmark = pytest.mark.e2e


def settings_of(lab: Lab) -> dict[str, Any]:
    """The lab's stack's, by key."""
    config = yaml.safe_load((lab.dir / "Pulumi.lab.yaml").read_text())["config"]
    return {key.partition(":")[2]: value for key, value in config.items()}


def program(lab: Lab, folder: Path, example: str) -> dict[str, str]:
    """A copy of the example with a new stack; the environment that runs it."""
    shutil.copytree(ROOT / "examples" / example, folder)
    (folder / "state").mkdir()
    env = {**lab.env(), "PULUMI_BACKEND_URL": f"file://{folder}/state", "PULUMI_CONFIG_PASSPHRASE": "x"}
    pulumi(folder, env, "stack", "init", "dev")
    return env


@pytest.fixture
def yaml_program(lab: Lab, tmp_path: Path) -> tuple[Path, dict[str, str], dict[str, Any]]:
    """The example with the lab's settings in it: folder, environment, and the component's properties."""
    if yaml_host() is None:
        pytest.skip("the Pulumi CLI that is installed here has no pulumi-language-yaml beside it")
    folder = tmp_path / "program"
    env = program(lab, folder, "yaml")
    document = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    document["packages"]["mautrix-bridges"] = str(ROOT / "provider")
    own = settings_of(lab)
    properties = {key: own.pop(key) for key in ("domain", "adminUser", "bridges")} | {"settings": own}
    document["resources"]["bridges"]["properties"] = properties
    document["outputs"]["asToken"] = '${bridges.bridges["signal"]["asToken"]}'
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder, env, properties


def test_a_program_in_yaml_deploys_the_bridges_and_takes_them_away(
    lab: Lab, yaml_program: tuple[Path, dict[str, str], dict[str, Any]]
) -> None:
    folder, env, _ = yaml_program
    before = snapshot(lab)
    told = pulumi(folder, env, "up", "--yes", "--skip-preview")
    assert "mautrix-bridges:index:Bridges" in told and "mautrix:bridges:Bridge" in told
    assert pulumi(folder, env, "stack", "output", "verdict").strip() == "PASS"
    assert "`!signal login`" in pulumi(folder, env, "stack", "output", "nextSteps")
    as_token = pulumi(folder, env, "stack", "output", "asToken", "--show-secrets").strip()
    assert ping(lab, as_token=as_token) == 200
    hidden = pulumi(folder, env, "stack", "output", "--json")
    token = pulumi(folder, env, "stack", "output", "doublepuppetAsToken", "--show-secrets").strip()
    assert len(token) == len(as_token) == 64 and token not in hidden + told and as_token not in hidden + told
    pulumi(folder, env, "up", "--yes", "--skip-preview")  # the output status knows of a bridge now
    pulumi(folder, env, "preview", "--expect-no-changes")
    pulumi(folder, env, "destroy", "--yes")
    assert snapshot(lab) == before


def test_what_is_wrong_is_one_line_there_too(
    lab: Lab, yaml_program: tuple[Path, dict[str, str], dict[str, Any]]
) -> None:
    folder, env, properties = yaml_program
    document = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    for change, line in (
        ({"bridges": [{"kind": "x"}]}, "bridges[0]: should be"),
        ({"settings": {**properties["settings"], "netwrok": "x"}}, "netwrok: no such setting"),
        ({"settings": {**properties["settings"], "network": "gone"}}, "network gone: not there"),
    ):
        document["resources"]["bridges"]["properties"] = {**properties, **change}
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        done = subprocess.run(
            [cli(), "preview", "--non-interactive", "--color", "never"],
            cwd=folder, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        told = done.stdout + done.stderr
        assert done.returncode != 0 and line in told and "Traceback" not in told, told


def test_a_program_in_python_has_the_plan_and_a_part_of_it_by_itself(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    env = {**program(lab, folder, "python"), "PYTHONPATH": str(ROOT)}
    (folder / ".venv").symlink_to(ROOT / ".venv")
    config = folder / "Pulumi.dev.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "config": {
        "my-matrix:mautrix": settings_of(lab)
    }}))  # fmt: skip
    before = snapshot(lab)
    pulumi(folder, env, "up", "--yes", "--skip-preview")
    assert pulumi(folder, env, "stack", "output", "verdicts").strip() == '{"signal":"PASS"}'
    assert pulumi(folder, env, "stack", "output", "database").strip() == "mautrix_elsewhere"
    assert lab.psql("select rolname from pg_roles where rolname = 'mautrix_elsewhere'") == "mautrix_elsewhere"
    pulumi(folder, env, "up", "--yes", "--skip-preview")
    pulumi(folder, env, "preview", "--expect-no-changes")
    pulumi(folder, env, "destroy", "--yes", "--run-program")
    # What stands by itself is not dropped with it: another bridge's data may be in it.
    lab.psql("drop database mautrix_elsewhere")
    lab.psql("drop role mautrix_elsewhere")
    assert snapshot(lab) == before
