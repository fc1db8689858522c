"""An upgrade without a way back: a newer bridge moves the schema, and the older one refuses the database then. Real
bridge cores of two releases, whose schemas differ."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from lab.box import Lab
from lab.images import BRIDGE_VERSION, NEXT_BRIDGE_VERSION
from tests.lab.conftest import Shared
from tests.lab.test_program import ping

pytestmark = pytest.mark.e2e

KEYS = "select value from kv_store where key = 'recovery_key'"
DEVICE = "select device_id from crypto_account"
SCHEMA, MAIN_SCHEMA = "select version from crypto_version", "select version from version"
# A program that moves the schema and then never reaches its homeserver.
BROKEN = """#!/bin/bash
exec /usr/bin/core -c <(sed 's|^  "\\?address"\\?: .*:8008.*|  address: "http://nowhere.invalid"|' /data/config.yaml) -n
"""


def same(lab: Lab) -> tuple[str, str]:
    """What makes the bridge the same device with the same keys."""
    return lab.psql(KEYS, "mautrix_signal"), lab.psql(DEVICE, "mautrix_signal")


def up(lab: Lab, **own: str) -> str:
    """`own`: of the bridge's entry."""
    lab.write_config(own)
    return lab.pulumi("up", "--yes", "--skip-preview").stdout


def refused(lab: Lab, command: str, **own: str) -> str:
    lab.write_config(own, readyTimeout=8)
    done = lab.pulumi(command, *(["--yes", "--skip-preview"] if command == "up" else []), check=False)
    assert done.returncode != 0
    return " ".join((done.stdout + done.stderr).split())


def manifest(archive: str) -> dict[str, object]:
    with tarfile.open(archive) as tar:
        told: dict[str, object] = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    return told


def broken_image(lab: Lab, core: str) -> str:
    name, container = f"{core.rpartition(':')[0]}:v0.2609.0", f"{lab.prefix}-broken"
    program = lab.dir / "broken.sh"
    program.write_text(BROKEN)
    program.chmod(0o755)
    lab.docker("create", "--name", container, core)
    try:
        moved = lab.dir / "core"
        lab.docker("cp", f"{container}:/usr/bin/mautrix-signal", moved)
        lab.docker("cp", moved, f"{container}:/usr/bin/core")
        lab.docker("cp", program, f"{container}:/usr/bin/mautrix-signal")
        lab.docker("commit", container, name)
    finally:
        lab.docker("rm", container)
        program.unlink()
        moved.unlink()
    return name


def test_an_upgrade_has_a_way_back_and_a_failed_one_prints_it(deployed: Lab, shared: Shared) -> None:
    shared.spoilt = True
    lab, old, new = deployed, deployed.bridge_image, deployed.containers.make_next_bridge_image()
    before, schema = same(lab), lab.psql(SCHEMA, "mautrix_signal")
    main_schema = lab.psql(MAIN_SCHEMA, "mautrix_signal")

    # Up. Preview says what will happen; the database is archived as the old bridge left it.
    lab.write_config({"image": new})
    said = " ".join(lab.pulumi("preview").stdout.split())
    assert f"image {old} -> {new}: {lab.bridge} stops, its database is archived into" in said
    assert "messages wait in Synapse meanwhile" in said
    said = up(lab, image=new)
    assert "stopping" in said and "messages wait in Synapse" in said
    first = str(lab.outputs()["previousVersion"])
    told = manifest(first)
    assert (told["image"], told["reason"]) == (old, f"before {BRIDGE_VERSION} to {NEXT_BRIDGE_VERSION}")
    assert (same(lab), ping(lab)) == (before, 200)
    moved = lab.psql(SCHEMA, "mautrix_signal")
    assert int(moved) > int(schema)
    assert "unchanged" in lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").stdout

    # The old tag alone could not read it; with the archive it goes there, once, and what was is archived, too.
    said = refused(lab, "preview", image=old)
    assert f"cannot read the database that {new} has used (crypto_version is at {moved}, and it knows {schema})" in said
    way = (
        "pulumi config set --path 'bridges[0].image' {} && pulumi config set --path 'bridges[0].goBackTo' {} && "
        "pulumi up"
    )
    assert f"`{way.format(old, first)}`" in said
    lab.psql("insert into kv_store values ('', 'since', 'the upgrade')", "mautrix_signal")
    up(lab, image=old, goBackTo=first)
    assert (same(lab), ping(lab), lab.psql(SCHEMA, "mautrix_signal")) == (before, 200, schema)
    assert lab.psql("select count(*) from kv_store where key = 'since'", "mautrix_signal") == "0"
    second = str(lab.outputs()["previousVersion"])
    told = manifest(second)
    assert (told["image"], told["reason"]) == (new, f"before going back to {Path(first).name}")
    assert "unchanged" in lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").stdout

    # One that never gets ready says which image and archive lead back.
    broken = broken_image(lab, new)
    said = refused(lab, "up", image=broken, goBackTo=first)
    match = re.search(r"Or go back: set this bridge's image to (\S+) and its goBackTo to (\S+), then `pulumi up`", said)
    assert match and match[1] == old, said[-3000:]
    assert int(lab.psql(MAIN_SCHEMA, "mautrix_signal")) > int(main_schema), "it cannot be left at that"
    up(lab, image=match[1], goBackTo=match[2])
    assert (same(lab), ping(lab), lab.psql(SCHEMA, "mautrix_signal")) == (before, 200, schema)
    lab.pulumi("destroy", "--yes", "--skip-preview")
