"""A bridge that somebody set up by hand, as mautrix' own documentation has it, and that would lose its account: under
Pulumi it is the same device, with its rows, its keys and its settings."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lab.box import ROOT, Lab
from tests.lab.test_program import ping
from tests.lab.test_upgrade import same

pytestmark = pytest.mark.e2e

PASSWORD = "by-hand-and-not-secret"


def by_hand(lab: Lab, folder: Path) -> str:
    """The container's name; it is ready when this returns."""
    name, core = f"{lab.prefix}-hand", ("run", "--rm", "--volume", f"{folder}:/data", "--entrypoint")
    lab.psql(f"CREATE ROLE hand LOGIN PASSWORD '{PASSWORD}'")
    lab.psql("CREATE DATABASE hand OWNER hand TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
    folder.mkdir()
    example = lab.docker(*core, "/usr/bin/mautrix-signal", lab.bridge_image, "-e", "-c", "-").stdout
    config = yaml.safe_load(example)
    config["homeserver"] |= {"address": f"http://{lab.synapse}:8008", "domain": "echo6.co"}
    config["appservice"] |= {"address": f"http://{name}:29328", "hostname": "0.0.0.0"}
    uri = f"postgres://hand:{PASSWORD}@{lab.postgres}/hand?sslmode=disable"
    config["database"] |= {"type": "postgres", "uri": uri}
    config["bridge"]["permissions"] = {"*": "relay", "@matt:echo6.co": "admin"}
    config["bridge"]["relay"]["enabled"] = True
    config["backfill"] |= {"enabled": True, "max_initial_messages": 7}
    config["encryption"] |= {"allow": True, "msc4190": True, "self_sign": True}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lab.docker(*core, "/docker-run.sh", lab.bridge_image)  # makes the registration
    registration = folder / "registration.yaml"
    (lab.host_dir / "synapse/hand.yaml").write_text(registration.read_text())
    homeserver = lab.host_dir / "synapse/homeserver.yaml"
    homeserver.write_text(homeserver.read_text() + "\napp_service_config_files:\n  - /data/hand.yaml\n")
    lab.docker("restart", lab.synapse)
    lab.wait_healthy()
    options = ("--detach", "--name", name, "--network", lab.network, "--volume", f"{folder}:/data")
    lab.docker("run", *options, *lab.containers.labels(), "--restart", "unless-stopped", lab.bridge_image)
    curl = ("exec", name, "curl", "-fsS", "http://127.0.0.1:29328/_matrix/mau/ready")
    until = time.monotonic() + 60
    while lab.docker(*curl, check=False).returncode:
        assert time.monotonic() < until, lab.docker("logs", name).stdout[-2000:]
        time.sleep(0.2)
    return name


def adopt(lab: Lab, folder: Path) -> str:
    directory = lab.host_root / "var/backups/mautrix-signal"
    words = ("--config", str(folder / "config.yaml"), "--archive-dir", str(directory))
    program = [sys.executable, "-m", "host_programs.bridge.adopt"]
    done = subprocess.run([*program, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done.stderr


def test_a_bridge_set_up_by_hand_comes_along_with_its_account(lab: Lab) -> None:
    folder = lab.host_dir / "signal-by-hand"
    name = by_hand(lab, folder)
    lab.psql("insert into kv_store values ('', 'before', 'Pulumi')", "hand")
    before = (lab.psql("select value from kv_store where key = 'recovery_key'", "hand"),
              lab.psql("select device_id from crypto_account", "hand"))  # fmt: skip
    assert all(before)

    refused = lab.pulumi("preview", check=False)
    said = " ".join((refused.stdout + refused.stderr).split())
    assert "registration /data/hand.yaml: has the id signal too" in said
    assert "`.venv/bin/python -m host_programs.bridge.adopt --config ITS/config.yaml` says how" in said

    assert f"warning: container {name} runs: what it does from now on is not in the archive" in adopt(lab, folder)
    lab.docker("update", "--restart", "no", name)
    lab.docker("stop", name)
    (lab.host_root / "var/backups/mautrix-signal").rename(lab.host_root / "var/backups/first")
    said = adopt(lab, folder)
    assert "warning" not in said
    (archive,) = (lab.host_root / "var/backups/mautrix-signal").glob("*.tar.gz")
    (settings,) = (lab.host_root / "var/backups/mautrix-signal").glob("*.bridges.yaml")
    assert [path.stat().st_mode & 0o777 for path in (archive, settings)] == [0o600, 0o600]
    (entry,) = yaml.safe_load(settings.read_text())["config"]["mautrix-signal:bridges"]
    assert (entry["kind"], entry["restore"]) == ("signal", str(archive))
    assert entry["bridgeConfig"] == {
        "bridge": {"permissions": {"*": "relay", "@matt:echo6.co": "admin"}, "relay": {"enabled": True}},
        "backfill": {"enabled": True, "max_initial_messages": 7},
        "encryption": {"default": False, "require": False},
    }

    homeserver = lab.host_dir / "synapse/homeserver.yaml"
    homeserver.write_text(homeserver.read_text().replace("\napp_service_config_files:\n  - /data/hand.yaml\n", ""))
    consent = f"by-hand/{name}@echo6.co"
    assert f"acceptArchiveOf {consent}" in said
    lab.write_config(entry, acceptArchiveOf=consent, acceptLockedOut=["hand"])  # the old role, which preview names
    assert "PASS" in lab.pulumi("up", "--yes", "--skip-preview").stdout
    assert (same(lab), ping(lab)) == (before, 200)
    assert lab.psql("select value from kv_store where key = 'before'", "mautrix_signal") == "Pulumi"
    owner = "select distinct tableowner from pg_tables where schemaname = 'public'"
    assert lab.psql(owner, "mautrix_signal") == "mautrix_signal"
    assert "max_initial_messages: 7" in lab.docker("exec", lab.bridge, "cat", "/data/config.yaml").stdout
    assert "unchanged" in lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").stdout
    lab.pulumi("destroy", "--yes", "--skip-preview")
