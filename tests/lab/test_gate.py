"""A bridge that goes live although Synapse does not accept it; a failed update that takes the running bridge down; a
fix after which `up` does not go through.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared, user_that_synapse_does_not_see
from tests.lab.test_program import ping

pytestmark = pytest.mark.e2e

Tamper = Callable[[Lab], None]


def _edit(lab: Lab, file: str, pattern: str, instead: str) -> None:
    """Change a file of Synapse's by hand, as somebody else would; the pattern must be there."""
    path = lab.host_dir / "synapse" / file
    text, count = re.subn(pattern, instead, path.read_text(), flags=re.MULTILINE)
    assert count, f"{file} has no {pattern}"
    path.write_text(text)


def another_token(lab: Lab) -> None:
    _edit(lab, "registration.yaml", r"^as_token: .*$", "as_token: somebody-else-s-token-of-enough-characters")


def another_id(lab: Lab) -> None:
    _edit(lab, "registration.yaml", r"^id: .*$", "id: signal2")


def namespace_of_another_domain(lab: Lab) -> None:
    _edit(lab, "registration.yaml", r"echo6", "other6")


def registration_missing(lab: Lab) -> None:
    _edit(lab, "homeserver.yaml", r"^ +- /data/registration\.yaml.*\n", "")


def doublepuppet_missing(lab: Lab) -> None:
    _edit(lab, "homeserver.yaml", r"^ +- /data/doublepuppet\.yaml.*\n", "")


CASES: list[tuple[Tamper, str]] = [
    (another_token, "M_UNKNOWN_TOKEN"),
    (another_id, "FAIL"),
    (namespace_of_another_domain, "FAIL"),
    (registration_missing, "M_UNKNOWN_TOKEN"),
    (doublepuppet_missing, "M_UNKNOWN_TOKEN"),
]


def restart(lab: Lab) -> None:
    lab.docker("restart", lab.synapse)
    lab.wait_healthy()


def container_id(lab: Lab) -> str | None:
    found = lab.docker.inspect("container", [lab.bridge])
    return str(found[lab.bridge]["Id"]) if lab.bridge in found else None


@pytest.fixture(scope="module")
def before_the_check(shared: Shared) -> Lab:
    """Everything of an `up` but the check and what comes after it."""
    shared.deployed = False
    shared.lab.reset()
    shared.lab.pulumi(
        "up", "--yes", "--skip-preview", "--exclude", "**mautrix-signal-stop-and-check", "--exclude-dependents"
    )
    assert container_id(shared.lab) is None
    return shared.lab


@pytest.mark.parametrize(("tamper", "told"), CASES, ids=[tamper.__name__ for tamper, _ in CASES])
def test_no_container_is_made_while_synapse_does_not_accept_it(
    before_the_check: Lab, tamper: Tamper, told: str
) -> None:
    lab = before_the_check
    kept = {name: (lab.host_dir / "synapse" / name).read_bytes() for name in ("homeserver.yaml", "registration.yaml")}
    try:
        tamper(lab)
        restart(lab)
        done = lab.pulumi("up", "--yes", "--skip-preview", check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert container_id(lab) is None
        assert told in said
        evidence = lab.host_dir / "signal-bridge/stop-and-check-failed.json"
        assert str(evidence) in said, "the error says where the evidence is"
        assert evidence.stat().st_mode & 0o7777 == 0o600
    finally:
        for name, data in kept.items():
            (lab.host_dir / "synapse" / name).write_bytes(data)


def test_after_the_fix_up_goes_through(before_the_check: Lab) -> None:
    lab = before_the_check
    restart(lab)
    lab.pulumi("up", "--yes", "--skip-preview")
    assert container_id(lab) is not None
    assert not (lab.host_dir / "signal-bridge/stop-and-check-failed.json").exists()


def test_an_update_that_fails_leaves_the_old_container_with_its_config_and_the_next_one_goes_through(
    deployed: Lab,
) -> None:
    running = container_id(deployed)
    (config,) = (deployed.host_dir / "signal-bridge").glob("config-*/config.yaml")
    kept = config.read_bytes()

    with user_that_synapse_does_not_see(deployed) as user:
        deployed.write_config(adminUser=user)  # a new config, too
        done = deployed.pulumi("up", "--yes", "--skip-preview", check=False)
    assert done.returncode != 0 and "stop-and-check: FAIL" in done.stdout + done.stderr
    assert container_id(deployed) == running
    assert config.read_bytes() == kept
    deployed.docker("restart", "--time", "5", deployed.bridge)  # as after a reboot: it finds the config that it had

    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert container_id(deployed) == running
    assert [config] == list((deployed.host_dir / "signal-bridge").glob("config-*/config.yaml"))
    assert config.read_bytes() == kept
    deployed.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")


def test_a_container_that_somebody_removed_comes_back_after_a_new_check(deployed: Lab) -> None:
    deployed.docker("rm", "-f", deployed.bridge)
    done = deployed.pulumi("up", "--yes", "--skip-preview")
    assert container_id(deployed) is not None
    assert "mautrix-signal-stop-and-check" in done.stdout


def test_somebody_s_revert_is_told_and_reapply_puts_it_back(deployed: Lab) -> None:
    file = deployed.host_dir / "synapse/homeserver.yaml"
    ours = file.read_bytes()
    file.write_bytes(re.sub(rb".*# pulumi stack mautrix-signal/lab\n", b"", ours))
    told = deployed.pulumi("preview").stdout
    assert "no longer holds app_service_config_files: /data/registration.yaml, " in told
    assert "`pulumi config set reapply 1` and `pulumi up` put it back" in told
    deployed.write_config(reapply=1)
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert file.read_bytes() == ours
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")


def test_a_synapse_that_is_down_is_refused_at_up_and_does_not_stop_a_destroy(deployed: Lab, shared: Shared) -> None:
    file = deployed.host_dir / "synapse/homeserver.yaml"
    deployed.docker("stop", deployed.synapse)
    done = deployed.pulumi("preview", check=False)
    assert done.returncode != 0
    assert (
        f"- container {deployed.synapse}: is exited, not running: start it (docker start {deployed.synapse})"
        in done.stdout
    )
    done = deployed.pulumi("destroy", "--yes", "--skip-preview")
    assert b"pulumi stack" not in file.read_bytes()
    assert "warning" in done.stdout.lower()
    assert container_id(deployed) is None
    shared.spoilt = True


def test_a_rotation_that_fails_says_in_what_state_the_bridge_is_and_the_next_one_brings_it_back(deployed: Lab) -> None:
    """From Synapse's restart on the old bridge is cut off: "left as it is" would be read as "works"."""
    deployed.write_config(tokenGeneration=2)
    told = deployed.pulumi("preview").stdout
    assert f"tokenGeneration: 2, and {deployed.bridge} runs with 1: from the change of the role's password" in " ".join(
        told.split()
    )
    with user_that_synapse_does_not_see(deployed) as user:
        deployed.write_config(tokenGeneration=2, adminUser=user)
        done = deployed.pulumi("up", "--yes", "--skip-preview", check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "still runs, but with the tokens of generation 1, which Synapse no longer knows" in said
    assert "run `pulumi up`: the bridge comes back with the new tokens" in said
    deployed.write_config(tokenGeneration=2)
    deployed.pulumi("up", "--yes", "--skip-preview")
    deployed.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")


def test_a_run_that_was_killed_with_synapse_down_is_taken_back_by_the_next_one(deployed: Lab) -> None:
    file = deployed.host_dir / "synapse/homeserver.yaml"
    ours = file.read_text()
    without = re.sub(r".*# pulumi stack mautrix-signal/lab\n", "", ours)
    journal = {"old": without, "times": [0, 0], "new": hashlib.sha256(ours.encode()).hexdigest()}
    (deployed.host_dir / "bridges/.homeserver.json").write_text(json.dumps(journal))
    deployed.docker("stop", deployed.synapse)
    told = " ".join(deployed.pulumi("preview").stdout.split())
    assert "an earlier run was ended before Synapse was healthy with what it wrote: `up` takes that back first" in told
    deployed.write_config(reapply=1)
    deployed.pulumi("up", "--yes")
    deployed.wait_healthy()
    assert file.read_text() == ours
    assert not (deployed.host_dir / "bridges/.homeserver.json").exists()
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")


def test_a_bridge_that_crashes_of_what_is_mended_is_started_anew_and_not_judged_by_its_past(deployed: Lab) -> None:
    running = container_id(deployed)
    another_token(deployed)
    restart(deployed)
    deployed.docker("restart", "--time", "5", deployed.bridge)
    for _ in range(600):
        if int(deployed.docker.inspect("container", [deployed.bridge])[deployed.bridge]["RestartCount"]) >= 3:
            break
        time.sleep(0.1)
    deployed.write_config(reapply=1)
    deployed.pulumi("up", "--yes", "--skip-preview")
    assert container_id(deployed) == running
    assert ping(deployed) == 200
    deployed.write_config()
    deployed.pulumi("up", "--yes", "--skip-preview")


def test_root_follows_no_link_in_synapse_s_directory(deployed: Lab) -> None:
    """A Synapse in somebody's hands puts a link in the place of its registration: the next `up` must not write
    there."""
    file, victim = deployed.host_dir / "synapse/registration.yaml", deployed.host_dir / "victim"
    kept = file.read_bytes()
    victim.write_text("root's own\n")
    file.unlink()
    file.symlink_to(victim)
    os.chown(file, 991, 991, follow_symlinks=False)
    try:
        deployed.write_config(reapply=1)
        done = deployed.pulumi("up", "--yes", "--skip-preview", check=False)
        assert done.returncode != 0 and "exists and was not made by this stack" in " ".join(done.stdout.split())
        assert victim.read_text() == "root's own\n" and victim.stat().st_uid == 0
    finally:
        file.unlink()
        file.write_bytes(kept)
        os.chown(file, 991, 991)
        file.chmod(0o600)
        victim.unlink()
        deployed.docker("restart", deployed.synapse)
        deployed.wait_healthy()
        deployed.write_config()
