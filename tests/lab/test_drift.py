"""What somebody removed or changed since `up`: all was `unchanged`, `verdict PASS`, and the bridge in a restart loop.
Preview tells each in one line, no output says PASS, and `reapply` mends all of it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from lab.box import Lab
from lab.snapshot import Snapshot
from tests.lab.conftest import Shared
from tests.lab.test_program import ping

pytestmark = pytest.mark.e2e

UP = ("up", "--yes", "--skip-preview")


def snapshot(lab: Lab) -> Snapshot:
    """Without the dumps: those of the first proof are known to nobody without its note."""
    return lab.snapshot(ignore=("synapse/media_store/*", "backups/*"))


def spoil(lab: Lab) -> dict[str, str]:
    """Change all that `up` made, by hand; by the thing, what preview should say."""
    host = lab.host_dir
    synapse, scripts, shared = host / "synapse", host / "scripts", host / "bridges"
    (config,) = (host / "signal-bridge").glob("config-*/config.yaml")

    def rewrite(path: Path, pattern: str, instead: str) -> None:
        text, count = re.subn(pattern, instead, path.read_text())
        assert count, path
        path.write_text(text)

    rewrite(synapse / "registration.yaml", "(?m)^as_token: .*$", 'as_token: "another"')
    rewrite(synapse / "doublepuppet.yaml", r"\Z", "# mine\n")
    rewrite(synapse / "homeserver.yaml", r"(?m)^.*# pulumi stack mautrix-signal/lab\n", "")
    rewrite(config, "(?m)^  level: .*$|min_level: .*$", 'min_level: "trace"')
    rewrite(shared / "mautrix-backup.sh", "days=14", "days=1")
    rewrite(scripts / "pg_backup.sh", r"(?s)# >>> mautrix-signal/lab.*# <<< mautrix-signal/lab[^\n]*\n", "")
    (shared / ".proven.json").unlink()
    lab.psql("drop database mautrix_signal with (force);")
    lab.psql("drop owned by mautrix_signal; drop role mautrix_signal;")
    changed, gone = "was changed since `up` wrote it", "is missing"
    return {
        f"{synapse}/registration.yaml": changed,
        f"{synapse}/doublepuppet.yaml": changed,
        f"{synapse}/homeserver.yaml": "no longer holds app_service_config_files",
        f"{host}/signal-bridge: config.yaml": changed,
        f"{shared}/mautrix-backup.sh": changed,
        f"{scripts}/pg_backup.sh": "no longer holds the call of our dump script",
        f"{shared}/.proven.json": gone,
        "role mautrix_signal": gone,
        "database mautrix_signal": gone,
    }


def told(lab: Lab, *words: str) -> str:
    return " ".join(lab.pulumi(*words).stdout.split())


def test_what_is_no_longer_as_up_left_it_is_told_and_reapply_mends_it(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    before = snapshot(lab)
    lab.pulumi(*UP)
    files = {path: path.read_bytes() for path in lab.host_dir.rglob("*.yaml")}
    expected = spoil(lab)
    text = told(lab, "preview")
    for thing, words in expected.items():
        assert f"{thing}: {words}" in text, thing
    assert text.count("`pulumi config set reapply 1` and `pulumi up` put it back") >= len(expected)
    assert "up will make this change" not in text, "it will not: that takes reapply"

    lab.pulumi(*UP, "--expect-no-changes")
    outputs = lab.outputs()
    for name in ("verdict", "stopAndCheck", "isolation", "ready"):
        assert str(outputs[name]).startswith("not proven now: "), name

    lab.write_config(reapply=1)
    lab.pulumi(*UP)
    assert lab.outputs()["verdict"] == "PASS" and lab.outputs()["ready"]["displayname"]
    assert ping(lab) == 200
    assert {path: path.read_bytes() for path in files} == files
    text = told(lab, "preview", "--expect-no-changes")
    assert "put it back" not in text and "not proven now" not in text
    assert lab.outputs()["verdict"] == "PASS"
    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert snapshot(lab) == before
    lab.write_config()


def test_rights_that_somebody_changed_are_told_and_reapply_takes_them_back(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    lab.pulumi(*UP)
    lab.psql("grant connect on database mas to public; alter role mautrix_signal createdb;")
    lab.psql("alter table disappearing_message owner to synapse;", "mautrix_signal")
    registration = lab.host_dir / "synapse/doublepuppet.yaml"
    os.chown(registration, 0, 0)
    text = told(lab, "preview")
    assert f"{registration}: has another owner or mode (0:0, 0600) than `up` gave it (991:991, 0600)" in text
    assert "database mautrix_signal: 1 object in it is not mautrix_signal's" in text
    assert "Postgres: every role may connect to mas again, through PUBLIC: raise the setting reapply" in text
    assert "Postgres: role mautrix_signal: has CREATEDB, should have none: raise the setting reapply" in text
    lab.pulumi(*UP)
    assert str(lab.outputs()["isolation"]).startswith("not proven now: Postgres: ") and ping(lab) == 200
    lab.write_config(reapply=1)
    lab.pulumi(*UP)
    assert "Postgres:" not in told(lab, "preview", "--expect-no-changes")
    assert lab.outputs()["isolation"]["refused"] == ["synapse", "mas"]
    assert registration.stat().st_uid == 991
    owner = "select tableowner from pg_tables where tablename = 'disappearing_message'"
    assert lab.psql(owner, "mautrix_signal") == "mautrix_signal"

    lab.write_config({"database": "another"}, reapply=1)
    done = lab.pulumi("preview", check=False)
    assert done.returncode and "bridges[0].database: is mautrix_signal since the bridge's first `up`" in done.stdout
    lab.write_config()


def test_a_container_that_is_not_the_one_of_the_last_up_is_told_and_replaced(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    lab.pulumi(*UP)
    lab.docker("network", "disconnect", lab.network, lab.bridge)
    assert f"container {lab.bridge}: is not in the network {lab.network}: `up` replaces it" in told(lab, "preview")
    lab.pulumi(*UP)
    assert ping(lab) == 200
    lab.docker("rm", "-f", lab.bridge)
    assert f"container {lab.bridge}: is gone: `up` replaces it" in told(lab, "preview")
    lab.pulumi(*UP)
    assert ping(lab) == 200 and "ready_seconds" in lab.outputs()["ready"]
    lab.pulumi(*UP, "--expect-no-changes")


def test_directories_that_somebody_removed_are_told_and_reapply_makes_them_again(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    before = snapshot(lab)
    lab.pulumi(*UP)
    for name in ("bridges", "signal-bridge"):
        shutil.rmtree(lab.host_dir / name)
    text = told(lab, "preview")
    for name in ("bridges", "signal-bridge"):
        assert f"{lab.host_dir}/{name}: is empty or missing: if somebody removed it, `pulumi config set reapply" in text
    lab.write_config(reapply=1)
    lab.pulumi(*UP)
    assert ping(lab) == 200 and lab.outputs()["verdict"] == "PASS"
    assert "put it back" not in told(lab, "preview", "--expect-no-changes")
    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert snapshot(lab) == before
    lab.write_config()
