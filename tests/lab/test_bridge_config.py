"""A setting that the bridge drops without a word: the operator thinks it counts. The real bridge core reads it here."""

from __future__ import annotations

import pytest

from lab.box import Lab
from tests.lab.conftest import REFRESH, Shared
from tests.lab.test_program import ping, snapshot

pytestmark = pytest.mark.e2e


def test_what_the_bridge_takes_counts_and_what_it_does_not_is_refused(deployed: Lab) -> None:
    lab = deployed
    try:
        bad = {"bridge": {"nonsense": 1, "private_chat_portal_meta": "yes"}, "backfill": {"enabled": True}}
        lab.write_config({"bridgeConfig": bad})
        done = lab.pulumi("preview", check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "- bridges[0].bridgeConfig.bridge.nonsense: is no setting of this bridge's\n" in said
        assert (
            "- bridges[0].bridgeConfig.bridge.private_chat_portal_meta: is a text, and should be true or false\n"
            in said
        )
        assert "bridgeConfig.backfill" not in said

        lab.write_config({"bridgeConfig": {"appservice": {"port": 1}}})
        done = lab.pulumi("preview", check=False)
        assert (
            done.returncode != 0
            and "bridges[0].bridgeConfig.appservice.port: is not to be set" in done.stdout + done.stderr
        )

        good = {"bridge": {"command_prefix": "!s", "relay": {"enabled": True}}, "backfill": {"enabled": True}}
        lab.write_config({"bridgeConfig": good})
        assert "send `!s login`" in lab.pulumi("up", "--yes", "--skip-preview").stdout
        config = lab.docker("exec", lab.bridge, "cat", "/data/config.yaml").stdout
        assert 'command_prefix: "!s"\n' in config and "backfill:\n  enabled: true\n" in config
        assert ping(lab) == 200
        assert "unchanged" in lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").stdout
    finally:
        lab.write_config()
        lab.pulumi("up", "--yes", "--skip-preview")


def test_what_people_send_gets_through_whatever_its_size(lab: Lab, shared: Shared) -> None:
    """A bridge that is ready and cannot make a temporary file: all above 5 MiB or of unknown size is lost."""
    shared.spoilt = True
    before = snapshot(lab)
    lab.write_config({"bridgeConfig": {"network": {"upload_at_start": True}}})
    lab.pulumi("up", "--yes", "--skip-preview")
    sent = lab.psql(
        "select upload_name || ' ' || media_length from local_media_repository "
        "where user_id = '@signalbot:echo6.co' and upload_name is not null order by media_length",
        "synapse",
    )
    assert sent.splitlines() == ["small 1000", "unknown 2000", f"large {6 << 20}"]
    lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    lab.pulumi(*REFRESH, "--expect-no-changes")
    mounts = lab.docker.inspect("container", [lab.bridge])[lab.bridge]["Mounts"]
    (volume,) = [mount["Name"] for mount in mounts if mount["Type"] == "volume"]
    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert volume not in lab.docker("volume", "ls", "-q").stdout.split(), "what it wrote goes with it"
    assert snapshot(lab) == before
