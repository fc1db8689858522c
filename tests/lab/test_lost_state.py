"""A state that is not that of the host: lost, made anew, brought back from yesterday, or without one of its parts; and
what lives, which then dies of a key, a name, or a password.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared

pytestmark = pytest.mark.e2e

UP = ("up", "--yes", "--skip-preview")
PASSWORD = "select rolpassword from pg_authid where rolname = 'mautrix_signal'"


def forget(lab: Lab, names: Sequence[str] = ()) -> None:
    """The state without the resources of these names; without any, if none is named."""
    path = lab.dir / "state.json"
    state = json.loads(lab.pulumi("stack", "export", "--show-secrets").stdout)
    resources = state["deployment"]["resources"]
    gone = [each for each in resources if each["urn"].rpartition("::")[2] in names or not names]
    assert len(gone) >= len(names)
    state["deployment"]["resources"] = [each for each in resources if each not in gone]
    state["deployment"]["pending_operations"] = []
    path.write_text(json.dumps(state))
    lab.pulumi("stack", "import", "--file", str(path))
    path.unlink()


def told(text: str) -> str:
    return " ".join(text.split())


def pickle_key(lab: Lab) -> str:
    (config,) = (lab.host_dir / "signal-bridge").glob("config-*/config.yaml")
    (key,) = re.findall(r'^  pickle_key: "(.*)"$', config.read_text(), re.MULTILINE)
    return str(key)


def container_id(lab: Lab) -> str:
    return str(lab.docker.inspect("container", [lab.bridge])[lab.bridge]["Id"])


def lives(lab: Lab) -> tuple[str, str, bytes]:
    """What a run that is refused must leave as it is."""
    registration = (lab.host_dir / "synapse/registration.yaml").read_bytes()
    return container_id(lab), lab.psql(PASSWORD), registration


def test_a_container_that_the_state_does_not_know_makes_way(deployed: Lab) -> None:
    """Every later `up` ended in `name … already in use`."""
    before = container_id(deployed)
    forget(deployed, ["mautrix-signal-container", "mautrix-signal-readiness"])
    deployed.pulumi(*UP)
    assert container_id(deployed) != before
    deployed.pulumi(*UP, "--expect-no-changes")


def test_yesterday_s_state_goes_on_with_today_s_container(deployed: Lab) -> None:
    """Its own one is gone, and the name has been taken by another of ours since."""
    path = deployed.dir / "yesterday.json"
    path.write_text(deployed.pulumi("stack", "export").stdout)
    deployed.docker("rm", "-f", deployed.bridge)
    deployed.pulumi(*UP)
    deployed.pulumi("stack", "import", "--file", str(path))
    path.unlink()
    deployed.pulumi(*UP)
    deployed.pulumi(*UP, "--expect-no-changes")


def test_a_lost_state_takes_the_keys_of_what_lives_from_the_host_or_changes_nothing(
    deployed: Lab, shared: Shared
) -> None:
    """A new key beside the old database: the bridge was dead before anybody said a word, and its last key went with
    the advised way back."""
    shared.spoilt = True
    key, before = pickle_key(deployed), lives(deployed)
    forget(deployed)
    directory = deployed.host_dir / "signal-bridge"
    (config,) = directory.glob("config-*")
    config.rename(deployed.host_dir / "away")
    for words in (("preview",), UP):
        done = deployed.pulumi(*words, check=False)
        assert done.returncode != 0
        assert "its pickle key is neither in this state nor in" in (said := told(done.stdout + done.stderr)) or (
            "this state does not hold its pickle key" in said
        ), said
        assert "Traceback" not in said
    assert lives(deployed) == before
    (deployed.host_dir / "away").rename(config)

    said = told(deployed.pulumi("preview").stdout)
    assert f"`up` takes the key from {config}/config.yaml" in said
    deployed.pulumi(*UP)
    assert pickle_key(deployed) == key
    assert lives(deployed)[0] != before[0]
    deployed.pulumi(*UP, "--expect-no-changes")


def test_keys_that_are_made_anew_are_those_of_the_database(deployed: Lab) -> None:
    key = pickle_key(deployed)
    deployed.pulumi(*UP, "--target-replace", "**secrets-permanent-seed")
    deployed.pulumi(*UP)
    assert pickle_key(deployed) == key
    deployed.pulumi(*UP, "--expect-no-changes")


def test_a_database_that_lost_its_comment_is_neither_new_nor_somebody_s(deployed: Lab) -> None:
    """Another image went in without an archive, and another key was taken."""
    deployed.psql("comment on database mautrix_signal is null")
    deployed.write_config({"image": deployed.containers.make_next_bridge_image()})
    done = deployed.pulumi("preview", check=False)
    said = told(done.stdout + done.stderr)
    assert done.returncode != 0 and "has content, and no comment that tells which pickle key" in said
    command = re.search(r"`(docker exec \S+ psql .*?\$\$')`", said)
    assert command is not None, said
    subprocess.run(shlex.split(command[1]), check=True)
    deployed.write_config()
    deployed.pulumi(*UP, "--expect-no-changes")


def test_somebody_else_s_role_and_database_are_refused_on_a_deployed_stack_too(deployed: Lab) -> None:
    """Their password was replaced, and a destroy dropped them."""
    deployed.psql("create role grafana login password 'grafana'")
    deployed.psql("create database grafana owner grafana")
    try:
        deployed.write_config({"role": "grafana", "database": "grafana"})
        done = deployed.pulumi("preview", check=False)
        said = told(done.stdout + done.stderr)
        assert done.returncode != 0
        for kind in ("role", "database"):
            line = f"{kind} grafana: exists and was not made by this stack: set another bridges[0].{kind}"
            assert line in said, said
    finally:
        deployed.write_config()
        deployed.psql("drop database grafana")
        deployed.psql("drop role grafana")
    deployed.pulumi(*UP, "--expect-no-changes")


def test_a_wrong_password_and_an_unknown_admin_are_told_at_preview(deployed: Lab) -> None:
    """The provider said so in the middle of an `up`, and the check only after Synapse's restart."""
    deployed.write_config(adminUser="@nobody:echo6.co")
    said = told(deployed.pulumi("preview", check=False).stdout)
    assert "adminUser: Synapse has no user '@nobody:echo6.co'" in said
    deployed.write_config()
    superuser = "alter role synapse password"
    (password,) = (
        entry.partition("=")[2]
        for entry in deployed.docker.inspect("container", [deployed.postgres])[deployed.postgres]["Config"]["Env"]
        if entry.startswith("POSTGRES_PASSWORD=")
    )
    deployed.psql(f"{superuser} 'another'")
    try:
        said = told(deployed.pulumi("preview", check=False).stdout)
    finally:
        deployed.psql(f"{superuser} '{password}'")
    assert "is not synapse's password over the network" in said and "password authentication failed" in said, said
    assert password not in said
    deployed.pulumi(*UP, "--expect-no-changes")
