"""What the README promises of `preview`, `up`, `up` again, `refresh` and `destroy`, on the lab, from outside."""

from __future__ import annotations

import urllib.request

import pytest

from documents.diff import make_diff
from lab.box import Lab
from lab.snapshot import Snapshot
from tests.lab.conftest import REFRESH

pytestmark = pytest.mark.e2e


def snapshot(lab: Lab) -> Snapshot:
    """The host, but for what other programs than ours made while ours ran: Synapse's cache of remote media, which holds
    the bot's avatar, and the dumps of the operator's own that his script made when the backup was proven; it takes
    them away by itself when they are old, and no program but his may."""
    return lab.snapshot(ignore=("synapse/media_store/*", "backups/synapse_*"))


def ping(lab: Lab, appservice: str = "signal", as_token: str = "") -> int:
    """The status of Synapse's own ping of a bridge; the token is the lab's stack's if none is given."""
    token = as_token or lab.outputs()["asToken"]
    request = urllib.request.Request(
        f"{lab.synapse_url}/_matrix/client/v1/appservice/{appservice}/ping",
        data=b"{}",
        headers={"Authorization": f"Bearer {token}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def test_up_deploys_and_destroy_takes_it_away_without_a_trace(lab: Lab) -> None:
    before = snapshot(lab)
    edited = [lab.host_dir / "synapse/homeserver.yaml", lab.host_dir / "scripts/pg_backup.sh"]
    texts = [path.read_text() for path in edited]

    preview = lab.pulumi("preview")
    assert snapshot(lab) == before, "a preview touches nothing"
    assert "+  - /data/registration.yaml  # pulumi stack mautrix-signal/lab" in preview.stdout
    assert '/mautrix-backup.sh "${BACKUP_DIR-}"' in preview.stdout

    up = lab.pulumi("up", "--yes")
    assert "PASS" in up.stdout
    assert ping(lab) == 200
    for path, text in zip(edited, texts, strict=True):
        made = {line.rstrip() for line in make_diff(text, path.read_text(), str(path)).splitlines()}
        shown = {line[4:].rstrip() for line in preview.stdout.splitlines()}
        assert len(made) > 5 and made <= shown, "preview shows the change exactly as up makes it"

    again = lab.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert "unchanged" in again.stdout
    refresh = lab.pulumi(*REFRESH, "--skip-preview", "--expect-no-changes")
    assert "unchanged" in refresh.stdout

    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert snapshot(lab) == before
    assert not lab.docker("image", "inspect", lab.bridge_image, check=False).returncode, (
        "it was there before, and no `up` pulled it"
    )


def test_the_container_is_what_the_design_says(deployed: Lab) -> None:
    container = deployed.docker.inspect("container", [deployed.bridge])[deployed.bridge]
    host, config = container["HostConfig"], container["Config"]
    assert config["User"] == "1337:1337"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["PortBindings"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert config["Entrypoint"][0] == "/bin/sh"
    assert config["Cmd"] == ["/usr/bin/mautrix-signal", "-c", "/data/config.yaml", "-n"]
    assert deployed.docker("exec", deployed.bridge, "cat", "/proc/1/comm").stdout.strip() == "mautrix-signal"
    assert "/_matrix/mau/ready" in " ".join(config["Healthcheck"]["Test"])
    mounts = {mount["Destination"]: (mount["Type"], mount["RW"]) for mount in container["Mounts"]}
    assert mounts == {"/data": ("bind", False), "/tmp": ("volume", True)}
    assert config["Labels"]["mautrix-bridge.stack"] == "mautrix-signal/lab"


def test_the_role_can_do_no_more_than_planned(deployed: Lab) -> None:
    sql = "select rolsuper, rolcreatedb, rolcreaterole, rolcanlogin from pg_roles where rolname = 'mautrix_signal'"
    assert deployed.psql(sql) == "f|f|f|t"
    sql = """select datname, has_database_privilege('mautrix_signal', oid, 'CONNECT') from pg_database
             where datname in ('synapse', 'mas', 'mautrix_signal') order by 1"""
    assert deployed.psql(sql) == "mas|f\nmautrix_signal|t\nsynapse|f"
    sql = """select pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba) from pg_database
             where datname = 'mautrix_signal'"""
    assert deployed.psql(sql) == "UTF8|C|C|mautrix_signal"


def test_outputs_tell_all_and_mask_secrets(deployed: Lab) -> None:
    masked = deployed.outputs(secrets=False)
    for name in ("databaseUrl", "asToken", "hsToken", "doublepuppetAsToken", "provisioningSecret"):
        assert masked[name] == "[secret]"
    assert masked["verdict"] == "PASS"
    assert "!signal login" in masked["nextSteps"] and "@signalbot:echo6.co" in masked["nextSteps"]
    assert masked["servicesEntry"].startswith("## mautrix-signal")
    assert {dump["database"] for dump in masked["backups"]} == {"mas", "mautrix_signal"}


def test_the_files_have_the_right_owner_and_mode(deployed: Lab) -> None:
    for path, owner in (("synapse/registration.yaml", 991), ("synapse/doublepuppet.yaml", 991)):
        was = (deployed.host_dir / path).stat()
        assert (was.st_mode & 0o7777, was.st_uid, was.st_gid) == (0o600, owner, owner)
    (config,) = (deployed.host_dir / "signal-bridge").glob("config-*/config.yaml")
    was = config.stat()
    assert (was.st_mode & 0o7777, was.st_uid, was.st_gid) == (0o600, 1337, 1337)


def test_a_bridge_that_somebody_stopped_runs_again_after_up(deployed: Lab) -> None:
    """`up` would say that all is as it should be, and no message would come."""
    deployed.docker("stop", deployed.bridge)
    said = " ".join(deployed.pulumi("preview").stdout.split())
    assert f"container {deployed.bridge}: is exited: `up` replaces it" in said
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert ping(deployed) == 200
    deployed.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")


def test_wrong_settings_stop_at_preview_with_a_line_each_and_nothing_is_touched(running_lab: Lab) -> None:
    before = snapshot(running_lab)
    bad = {"domain": "echo6 co", "adminUser": "matt", "network": "", "keepimage": "true"}
    running_lab.write_config({"port": -1}, **bad)
    try:
        for words in (("preview",), ("up", "--yes", "--skip-preview")):
            done = running_lab.pulumi(*words, check=False)
            assert done.returncode != 0
            told = [line.strip() for line in done.stdout.splitlines()]
            for line in (
                "domain: 'echo6 co' should be a server_name like example.org",
                "adminUser: 'matt' should be a user id like @name:domain",
                "bridges[0].port: -1 should be a whole number from 1 to 65535",
                "network: not set; set it with `pulumi config set network …`",
                "did you mean keepImage? `pulumi config rm keepimage`; docs/settings.md has all of them",
            ):
                assert [each for each in told if each.endswith(line)], f"{line}\n{done.stdout}"
        running_lab.write_config(readyTimeout="soon")
        done = running_lab.pulumi("preview", check=False)
        assert done.returncode != 0
        # Pulumi's own words, since Pulumi.yaml has the types.
        assert "configuration key 'readyTimeout' must be of type 'integer'" in done.stdout + done.stderr
    finally:
        running_lab.write_config()
    assert snapshot(running_lab) == before
