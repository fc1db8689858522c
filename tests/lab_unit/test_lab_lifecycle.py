"""A lab of its own, beside whatever else runs on the machine, through up, damage, reset and down.

Pinned: an `up` that makes again what is there (and loses it), a `reset` after which something of the last run is still
there (then a test passes or fails because of another one), a `down` that leaves or takes too much, and a killed run
whose containers are in the way ever after.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab import __main__ as command
from lab import images
from lab.box import Lab
from lab.engine import Docker, LabError
from lab.place import LABEL
from lab.snapshot import Snapshot

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root"),
]

REGISTRATION = """\
id: example
url: null
as_token: as-token-of-the-test
hs_token: hs-token-of-the-test
sender_localpart: example
namespaces: {users: [], rooms: [], aliases: []}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A second lab on this machine, as another checkout would have it."""
    second = Lab(tmp_path_factory.mktemp("checkout"), lambda line: None)
    try:
        second.up()
        yield second
    finally:
        second.down()


@pytest.fixture(scope="module")
def first(made: Lab) -> Snapshot:
    """The host as a `reset` leaves it."""
    made.reset()
    return made.snapshot()


@pytest.fixture
def lab(made: Lab) -> Lab:
    """The second lab, up whatever the test before did."""
    made.up()
    return made


@pytest.fixture
def spoiled(lab: Lab) -> Iterator[Lab]:
    """The lab for a test that leaves it changed."""
    yield lab
    lab.reset()


@pytest.fixture
def stranger(lab: Lab) -> Iterator[str]:
    """A container that is nobody's business here."""
    docker = Docker()
    name = f"stranger-{secrets.token_hex(4)}"
    docker("run", "--detach", "--init", "--name", name, images.base_tag(), "sleep", "infinity")
    yield name
    docker.remove([name])


def ids(lab: Lab) -> dict[str, str]:
    found = lab.docker.inspect("container", [lab.postgres, lab.synapse, lab.mas])
    return {name: item["Id"] for name, item in found.items()}


def get(url: str, token: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def run_stray(lab: Lab, name: str, *options: str) -> None:
    """A container such as the Pulumi program makes: none of the lab's labels but what its image has."""
    lab.docker("run", "--detach", "--init", "--name", name, *options, images.base_tag(), "sleep", "infinity")


def test_synapse_is_behind_mas_and_knows_the_user(lab: Lab) -> None:
    whoami = f"{lab.synapse_url}/_matrix/client/v3/account/whoami"
    status, body = get(whoami, lab.user_token)
    assert (status, body["user_id"]) == (200, "@matt:echo6.co")
    status, body = get(whoami, "syt_nobody")
    assert (status, body["errcode"], body["error"]) == (401, "M_UNKNOWN_TOKEN", "Token is not active")
    lab.docker("stop", lab.mas)
    status, body = get(whoami, "syt_somebody")
    assert (status, body["errcode"]) == (503, "M_UNKNOWN")
    lab.up()
    assert get(whoami, "syt_somebody")[0] == 401, "`up` has started MAS again"


def test_synapse_is_published_on_loopback_alone(lab: Lab) -> None:
    found = lab.docker.inspect("container", [lab.synapse, lab.postgres, lab.mas])
    published = {
        name: [
            binding["HostIp"] for bindings in item["NetworkSettings"]["Ports"].values() for binding in bindings or []
        ]
        for name, item in found.items()
    }
    assert published == {lab.synapse: ["127.0.0.1"], lab.postgres: [], lab.mas: []}
    for item in found.values():
        assert item["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


def test_postgres_asks_for_passwords_where_the_official_image_does(lab: Lab) -> None:
    item = lab.docker.inspect("container", [lab.postgres])[lab.postgres]
    address = item["NetworkSettings"]["Networks"][lab.network]["IPAddress"]
    environment = dict(entry.split("=", 1) for entry in item["Config"]["Env"])
    assert environment["POSTGRES_USER"] == "synapse"
    password = environment["POSTGRES_PASSWORD"]
    for user, given, database in (("synapse", password, "mas"), ("synapse", password, "synapse")):
        with psycopg.connect(host=address, user=user, password=given, dbname=database) as connection:
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (
                True,
            )
    for user, given in (("synapse", "wrong"), ("mas", password), ("synapse", "")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=address, user=user, password=given, dbname="synapse", connect_timeout=10).close()
    # Inside the container, trust: by socket and by loopback.
    for words in ((), ("-h", "127.0.0.1")):
        done = lab.docker("exec", lab.postgres, "psql", "-U", "mas", "-d", "mas", *words, "-Atc", "SELECT 1")
        assert done.stdout.strip() == "1"


def test_the_backup_script_dumps_synapse_alone(lab: Lab) -> None:
    subprocess.run([lab.host_dir / "scripts/pg_backup.sh"], check=True, capture_output=True)
    dumps = list((lab.host_dir / "backups").iterdir())
    assert [dump.name.split("_")[0] for dump in dumps] == ["synapse"]
    text = subprocess.run(["zcat", dumps[0]], check=True, capture_output=True, text=True).stdout
    assert "@matt:echo6.co" in text
    assert "PostgreSQL database dump complete" in text
    dumps[0].unlink()


def test_the_bridge_image_keeps_the_contract_of_the_real_one(lab: Lab, tmp_path: Path) -> None:
    def start(*words: str) -> subprocess.CompletedProcess[str]:
        return lab.docker("run", "--rm", "--volume", f"{tmp_path}:/data", lab.bridge_image, *words, check=False)

    first = start()
    assert (first.returncode, "Didn't find a config file" in first.stdout) == (0, True)
    config = tmp_path / "config.yaml"
    assert (config.stat().st_uid, config.stat().st_gid) == (1337, 1337)
    text = config.read_text().replace("domain: example.com", "domain: echo6.co")
    assert text != config.read_text()
    config.write_text(text)
    second = start()
    assert (second.returncode, "Didn't find a registration file" in second.stdout) == (0, True), second.stderr
    registration = tmp_path / "registration.yaml"
    assert (registration.stat().st_uid, registration.stat().st_mode & 0o777) == (1337, 0o600)
    assert "id: signal" in registration.read_text()
    inspected = json.loads(lab.docker("image", "inspect", lab.bridge_image).stdout)[0]["Config"]
    assert (inspected["Cmd"], inspected["Entrypoint"], list(inspected["Volumes"])) == (
        ["/docker-run.sh"],
        None,
        ["/data"],
    )
    for program in ("curl", "jq", "bash", "/usr/bin/mautrix-signal"):
        assert start("which", program).returncode == 0, program


def test_images_hold_nothing_of_this_machine(lab: Lab) -> None:
    for recipe in images.recipes().values():
        name = images.tag(recipe)
        environment = json.loads(lab.docker("image", "inspect", name).stdout)[0]["Config"]["Env"]
        assert not [entry for entry in environment if entry.startswith(("PIP_", "SSL_", "http", "HTTP"))]
        look = "ls -A /mnt; find / -xdev -name certificates.pem"
        done = lab.docker("run", "--rm", "--entrypoint", "sh", name, "-c", look)
        assert done.stdout == ""


def test_a_second_up_leaves_all_as_it_is(lab: Lab) -> None:
    before, containers = lab.snapshot(), ids(lab)
    run_stray(lab, lab.bridge, "--network", lab.network)
    lab.up()
    assert ids(lab) == containers
    assert lab.docker.names("container", f"name={lab.bridge}") == {lab.bridge}, "a deployed bridge stays"
    lab.docker.remove([lab.bridge])
    assert lab.snapshot() == before


def test_up_mends_what_is_stopped_or_gone_and_keeps_the_data(spoiled: Lab) -> None:
    lab = spoiled
    lab.psql("CREATE ROLE kept")
    containers = ids(lab)
    lab.docker("stop", lab.synapse)
    lab.docker.remove([lab.mas])
    lab.docker("rmi", lab.bridge_image)
    lab.up()
    assert lab.status()["up"] is True
    assert ids(lab)[lab.synapse] == containers[lab.synapse]
    assert lab.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'kept'") == "1"
    assert lab.docker.image_id(lab.bridge_image)
    lab.docker.remove([lab.mas, lab.synapse, lab.postgres])
    lab.docker("network", "rm", lab.network)
    lab.up()
    assert lab.status()["up"] is True
    assert lab.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'kept'") == "1"


def test_the_snapshot_sees_every_kind_of_change(spoiled: Lab) -> None:
    lab = spoiled
    before = lab.snapshot()
    assert before == lab.snapshot()
    homeserver = lab.host_dir / "synapse/homeserver.yaml"
    original = homeserver.read_text()

    def changed(*path: str) -> bool:
        now: Any = lab.snapshot()
        then: Any = before
        for key in path[:-1]:
            now, then = now[key], then[key]
        return bool(now.get(path[-1]) != then.get(path[-1]))

    homeserver.write_text(original + "\n")
    assert changed("files", "synapse/homeserver.yaml")
    homeserver.write_text(original)
    assert not changed("files", "synapse/homeserver.yaml")
    homeserver.chmod(0o644)
    assert changed("files", "synapse/homeserver.yaml")
    homeserver.chmod(0o640)
    os.chown(homeserver, 0, 0)
    assert changed("files", "synapse/homeserver.yaml")
    os.chown(homeserver, 991, 991)
    (lab.host_dir / "backups/new").symlink_to("nowhere")
    assert changed("files", "backups/new")
    assert lab.snapshot(ignore=["backups/*"])["files"].get("backups/new") is None
    (lab.host_dir / "backups/new").unlink()
    assert lab.snapshot() == before

    lab.psql("CREATE ROLE someone; GRANT pg_monitor TO mas")
    assert changed("postgres", "roles") and changed("postgres", "members")
    lab.psql("DROP ROLE someone; REVOKE pg_monitor FROM mas")
    lab.psql("REVOKE TEMPORARY ON DATABASE synapse FROM PUBLIC")
    assert changed("postgres", "databases", "synapse")
    lab.psql("GRANT TEMPORARY ON DATABASE synapse TO PUBLIC")
    assert lab.snapshot() == before, "an ACL that is spelled out is the same as the one by default"

    run_stray(lab, lab.bridge, "--network", lab.network)
    assert changed("containers") and changed("networks")
    lab.docker.remove([lab.bridge])

    (lab.host_dir / "synapse/example.yaml").write_text(REGISTRATION)
    homeserver.write_text(original + "\napp_service_config_files: [/data/example.yaml, /data/none.yaml]\n")
    assert lab.snapshot()["registrations"] == {
        "configured": ["/data/none.yaml is missing", "example"],
        "running": [],
    }
    homeserver.write_text(original + "\napp_service_config_files: [/data/example.yaml]\n")
    lab.docker("restart", lab.synapse)
    lab.wait_healthy()
    homeserver.write_text(original)
    assert lab.snapshot()["registrations"] == {"configured": [], "running": ["example"]}


def test_reset_undoes_everything(lab: Lab, first: Snapshot, stranger: str) -> None:
    lab.psql("CREATE ROLE mautrix_signal LOGIN; DROP DATABASE mas; ALTER SYSTEM SET work_mem = '5MB'")
    (lab.host_dir / "synapse/homeserver.yaml").write_text("server_name: broken\n")
    (lab.host_dir / "signal-bridge").mkdir()
    (lab.host_root / "var").mkdir()
    run_stray(lab, lab.bridge, "--network", lab.network, "--restart", "unless-stopped")
    # Made from this lab's image under a name that says nothing: its label tells.
    unnamed = lab.docker("create", lab.bridge_image).stdout.strip()
    lab.docker("network", "create", f"{lab.prefix}-more")
    lab.docker("rmi", "--force", lab.bridge_image)
    lab.docker.remove([lab.postgres])
    lab.docker("pause", lab.synapse)
    lab.write_config(domain="other.org")
    state = lab.dir / "state/.pulumi/stacks/mautrix-signal"
    state.mkdir(parents=True, exist_ok=True)
    (state / "lab.json").write_text("{}")
    lab.reset()
    assert lab.snapshot() == first
    assert lab.status()["up"] is True
    assert lab.psql("SHOW work_mem") == "4MB"
    assert lab.docker.image_id(lab.bridge_image)
    assert unnamed[:12] not in lab.docker("ps", "--all", "--quiet").stdout
    assert not (lab.host_root / "var").exists()
    assert "other.org" not in lab.config_file.read_text()
    assert not (state / "lab.json").exists() or (state / "lab.json").read_text() != "{}"
    assert stranger in lab.docker.names("container")


def test_what_a_killed_run_left_is_cleared(lab: Lab, first: Snapshot) -> None:
    # Killed in the middle of a reset, while an image was being built.
    lab.note(busy="reset")
    shutil.rmtree(lab.host_dir)
    lab.docker.remove([lab.postgres])
    run_stray(lab, f"{lab.prefix}-build-synapse")
    run_stray(lab, lab.bridge)
    lab.up()
    assert lab.snapshot() == first


def test_containers_of_a_lab_whose_notes_are_gone_are_cleared(lab: Lab) -> None:
    run_stray(lab, lab.bridge, "--network", lab.network, "--restart", "unless-stopped")
    containers = ids(lab)
    lab.docker("stop", *containers)
    shutil.rmtree(lab.dir)
    lab.up()
    assert lab.status()["up"] is True
    assert set(ids(lab)) == set(containers) and not set(ids(lab).values()) & set(containers.values())
    assert lab.docker.names("container", f"name={lab.bridge}") == set()


def test_a_lab_whose_checkout_is_gone(lab: Lab, tmp_path: Path) -> None:
    checkout = tmp_path / "short-lived"
    checkout.mkdir()
    gone = Lab(checkout, lambda line: None)
    run_stray(lab, f"{gone.prefix}-synapse", *gone.containers.labels())
    assert checkout not in lab.orphans(), "its checkout is still there"
    checkout.rmdir()
    assert checkout in lab.orphans()
    assert command.main(["status"]) in (0, 1)
    gone.containers.clear()
    assert checkout not in lab.orphans()


def test_the_command_line(lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Lab, "here", lambda say: Lab(lab.home, say))
    assert command.main(["up"]) == 0
    assert f"lab: up: Synapse at {lab.synapse_url}" in capsys.readouterr().out
    assert command.main(["status"]) == 0
    output = capsys.readouterr().out
    assert "up: yes" in output and f"{lab.synapse}: running" in output
    assert command.main(["reset"]) == 0
    assert "lab: reset in" in capsys.readouterr().out
    lab.docker("stop", lab.synapse)
    assert command.main(["status"]) == 1
    output = capsys.readouterr().out
    assert "up: no" in output and f"{lab.synapse}: exited" in output
    for words in ([], ["sideways"]):
        with pytest.raises(SystemExit) as usage:
            command.main(words)
        assert usage.value.code == 2


def test_down_takes_what_is_the_labs_and_nothing_else(lab: Lab, stranger: str) -> None:
    docker = Docker()
    lab.up()
    run_stray(lab, lab.bridge, "--network", lab.network)
    docker("network", "connect", lab.network, stranger)
    with pytest.raises(LabError, match=f"{stranger}, not the lab's, is in network {lab.network}: detach it"):
        lab.down()
    docker("network", "disconnect", lab.network, stranger)
    lab.down()
    assert docker.inspect("container", [stranger])[stranger]["State"]["Running"]
    assert docker.names("container", f"name={lab.prefix}") == set()
    assert docker.names("container", f"label={LABEL}={lab.checkout}") == set()
    assert docker.names("network", f"name={lab.prefix}") == set()
    assert docker.names("volume", f"name={lab.prefix}") == set()
    assert docker.image_id(lab.bridge_image) is None
    assert docker.image_id(images.tag(images.recipes()["bridge"])), "images are for the machine"
    assert {path.name for path in lab.dir.iterdir()} <= {"lock", "pulumi", "dockerd.log"}
    assert lab.status()["up"] is False
    with pytest.raises(LabError, match="the lab is not up: python -m lab up"):
        lab.pulumi("preview")
    lab.down()
