"""Another bridge than Signal's, beside Signal's: a stack of its own on the same host, homeserver and Postgres."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lab.box import Lab
from tests.lab.conftest import Shared, copy_project, pulumi
from tests.lab.test_program import ping, snapshot

pytestmark = pytest.mark.e2e

UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview", "--run-program")


class Second:
    """The second stack, with a state of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.project = folder / "project"
        copy_project(self.project)
        (folder / "state").mkdir()
        self.env = {**lab.env(), "PULUMI_BACKEND_URL": f"file://{folder}/state", "PYTHONDONTWRITEBYTECODE": "1"}
        self.pulumi("stack", "init", "second")
        file = self.project / "Pulumi.second.yaml"
        shared = yaml.safe_load(lab.config_file.read_text())["config"]
        config = {
            **{key: value for key, value in shared.items() if key.partition(":")[2] not in OWN},
            "mautrix-signal:bridge": {
                "kind": "custom", "name": f"{lab.prefix}-two", "network": "Elsewhere", "image": lab.bridge_image,
                "port": 29400, "binary": "/usr/bin/mautrix-signal", "prefix": "!two",
            },
            "mautrix-signal:bridgeDir": str(lab.host_dir / "second-bridge"),
            "mautrix-signal:archiveDir": str(lab.host_root / "var/backups/second"),
            "mautrix-signal:keepImage": True,  # the first one runs it
        }  # fmt: skip
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "config": config}))

    def pulumi(self, *words: str) -> str:
        return pulumi(self.project, self.env, *words)


# What the first stack's config says of its own bridge.
OWN = ("bridgeContainer", "bridgeDir", "bridgePort", "bridgeDatabase", "bridgeRole", "archiveDir", "image")


def test_two_bridges_of_two_kinds_on_one_homeserver(lab: Lab, shared: Shared, tmp_path: Path) -> None:
    shared.spoilt = True
    before = snapshot(lab)
    lab.pulumi(*UP)
    alone = snapshot(lab)
    second = Second(lab, tmp_path)
    name = f"{lab.prefix}-two"
    told = second.pulumi(*UP)
    assert f"start a chat with @{name}bot:echo6.co and send `!two login`; it says how." in told
    outputs = json.loads(second.pulumi("stack", "output", "--json", "--show-secrets"))
    assert (outputs["verdict"], outputs["bot"]) == ("PASS", f"@{name}bot:echo6.co")
    assert ping(lab, name, outputs["asToken"]) == 200
    assert ping(lab) == 200, "the first one goes on"
    lab.pulumi(*UP, "--expect-no-changes")
    second.pulumi(*UP, "--expect-no-changes")
    assert lab.psql(f"select datname from pg_database where datname like '%{lab.checkout}%'") == (
        f"mautrix_{name.replace('-', '_')}"
    )

    second.pulumi(*DESTROY)
    assert ping(lab) == 200
    assert snapshot(lab) == alone
    lab.pulumi(*UP, "--expect-no-changes")
    lab.pulumi(*DESTROY)
    assert snapshot(lab) == before
