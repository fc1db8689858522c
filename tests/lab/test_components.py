"""docs/components.md: a program of somebody else's, in YAML through the component provider, and in Python."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.box import ROOT, Lab
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


def registration_of(lab: Lab) -> dict[str, Any]:
    """Signal's, as Synapse has it."""
    registration: dict[str, Any] = yaml.safe_load((lab.host_dir / "synapse/registration.yaml").read_text())
    return registration


needs_yaml = pytest.mark.skipif(
    yaml_host() is None, reason="the Pulumi CLI that is installed here has no pulumi-language-yaml beside it"
)


@pytest.fixture
def yaml_program(lab: Lab, tmp_path: Path) -> tuple[Path, dict[str, str], dict[str, Any]]:
    """The example with the lab's settings in it: folder, environment, and the component's properties."""
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


@needs_yaml
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


@needs_yaml
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
        assert line in pulumi(folder, env, "preview", fails=True)


def test_a_program_in_any_language_has_the_components(lab: Lab) -> None:
    """What `pulumi package add` makes SDKs of."""
    plugin = ROOT / "provider" / "pulumi-resource-mautrix-bridges"
    schema = json.loads(pulumi(ROOT, lab.env(), "package", "get-schema", str(plugin)))
    assert {name.rpartition(":")[2] for name in schema["resources"]} == {
        "Bridges", "SynapseRegistration", "BridgeDatabase", "BridgeContainer",
    }  # fmt: skip
    inputs = schema["resources"]["mautrix-bridges:index:BridgeContainer"]["inputProperties"]
    assert inputs["domain"]["plain"] and "plain" not in inputs["asToken"], "a token may be an output, a domain not"


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


@needs_yaml
def test_parts_of_the_plan_stand_alone_and_join_by_their_outputs(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    env = program(lab, folder, "yaml-parts")
    document = yaml.safe_load((folder / "Pulumi.yaml").read_text())
    document["packages"]["mautrix-bridges"] = str(ROOT / "provider")
    own = settings_of(lab)
    (entry,), domain, admin = own.pop("bridges"), own.pop("domain"), own.pop("adminUser")
    shared = own.pop("sharedDir")
    resources = document["resources"]
    for name, part in (("registration", "registration"), ("signal", "container")):
        settings = {**own, "sharedDir": f"{shared}-{part}"}
        resources[name]["properties"] |= {"domain": domain, "adminUser": admin, "settings": settings}
    resources["registration"]["properties"]["bridges"] = [entry]
    resources["signal"]["properties"]["bridge"] = entry
    password = lab.docker("exec", lab.postgres, "printenv", "POSTGRES_PASSWORD").stdout.strip()
    address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = lab.docker("inspect", "-f", address, lab.postgres).stdout.strip()
    resources["database"]["properties"]["host"] = address
    (folder / "Pulumi.yaml").write_text(json.dumps(document))  # YAML without aliases, which Pulumi does not read
    before, secrets = snapshot(lab), {"databasePassword": "d" * 40, "pickleKey": "p" * 64}
    for name, value in {**secrets, "superuserPassword": password}.items():
        pulumi(folder, env, "config", "set", "--secret", name, value)

    pulumi(folder, env, "preview")  # nothing is there that one part needs of another
    own_token = resources["signal"]["properties"]["asToken"]
    resources["signal"]["properties"]["asToken"] = "x" * 64
    (folder / "Pulumi.yaml").write_text(json.dumps(document))
    told = pulumi(folder, env, "up", "--yes", "--skip-preview", fails=True)
    assert "mautrix-signal: stop-and-check: FAIL: " in told and lab.bridge not in lab.docker("ps", "-a").stdout
    resources["signal"]["properties"]["asToken"] = own_token
    (folder / "Pulumi.yaml").write_text(json.dumps(document))
    told += pulumi(folder, env, "up", "--yes", "--skip-preview")
    assert not [value for value in secrets.values() if value in told]
    assert pulumi(folder, env, "stack", "output", "verdict").strip() == "PASS"
    pulumi(folder, env, "up", "--yes", "--skip-preview")  # the output status knows of a bridge now
    pulumi(folder, env, "preview", "--expect-no-changes")

    old = registration_of(lab)
    for name in ("registration", "signal"):  # new tokens go from the one part to the other
        resources[name]["properties"]["settings"]["tokenGeneration"] = 2
    (folder / "Pulumi.yaml").write_text(json.dumps(document))
    pulumi(folder, env, "up", "--yes", "--skip-preview")
    new = registration_of(lab)
    assert new["as_token"] != old["as_token"] and ping(lab, as_token=new["as_token"]) == 200
    pulumi(folder, env, "up", "--yes", "--skip-preview")
    pulumi(folder, env, "preview", "--expect-no-changes")

    pulumi(folder, env, "destroy", "--yes")
    lab.psql("drop database mautrix_signal")  # what is in it was nobody's to take away
    lab.psql("drop role mautrix_signal")
    assert snapshot(lab) == before
