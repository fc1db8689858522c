"""Several bridges on one homeserver: one restart for all, one that fails alone, one that comes, one that goes."""

from __future__ import annotations

import re

import pytest

from lab.box import Lab
from tests.lab.conftest import Shared
from tests.lab.test_program import ping, snapshot

pytestmark = pytest.mark.e2e

UP = ("up", "--yes", "--skip-preview")
SAME = (*UP, "--expect-no-changes")
DESTROY = ("destroy", "--yes", "--skip-preview")


def restarts(lab: Lab) -> str:
    return str(lab.docker.inspect("container", [lab.synapse])[lab.synapse]["State"]["StartedAt"])


def running(lab: Lab) -> tuple[str, str, str]:
    """What changes with anything that happens to Signal's bridge."""
    container = lab.docker.inspect("container", [lab.bridge])[lab.bridge]
    (config,) = (lab.host_dir / "signal-bridge").glob("config-*/config.yaml")
    return container["Id"], container["State"]["StartedAt"], str(config.stat().st_mtime_ns)


def said(lab: Lab, *words: str, fails: bool = False) -> str:
    done = lab.pulumi(*words, check=False)
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_one_comes_one_goes_and_signal_s_runs_on(lab: Lab, shared: Shared) -> None:
    shared.spoilt = True
    before = snapshot(lab)
    lab.pulumi(*UP)
    alone, signal, started = snapshot(lab), running(lab), restarts(lab)

    two, three = lab.custom_bridge("two"), lab.custom_bridge("three")
    lab.write_config(None, [two, three])
    told = said(lab, *UP)
    assert told.count("restarting ") == 1 and restarts(lab) != started
    assert running(lab) == signal
    for key in ("two", "three"):
        outputs = lab.outputs(key)
        assert (outputs["verdict"], outputs["bot"]) == ("PASS", f"@{key}bot:echo6.co")
        assert f"send `!{key} login`" in outputs["nextSteps"]
        assert ping(lab, key, outputs["asToken"]) == 200
    assert ping(lab) == 200
    # It takes what happened to the other two into account, which is no change.
    lab.pulumi(*SAME)

    lab.write_config(None, [three])
    preview = " ".join(said(lab, "preview").split())
    assert f"container {lab.prefix}-two: is no longer among the bridges: it stops, its database is archived" in preview
    third = lab.docker.inspect("container", [three["container"]])[three["container"]]["Id"]
    told = said(lab, *UP)
    assert f"{lab.prefix}-two: is no longer among the stack's bridges: it is stopped" in told
    assert told.count("restarting ") == 1
    assert "goes without it" not in told, "its config and its registrations are in its archive"
    assert (lab.host_root / "var/backups/two").is_dir() and len([*(lab.host_root / "var/backups/two").iterdir()]) == 1
    assert lab.docker.inspect("container", [three["container"]])[three["container"]]["Id"] == third
    assert running(lab) == signal and ping(lab) == ping(lab, "three", lab.outputs("three")["asToken"]) == 200
    assert lab.psql("select datname from pg_database where datname like 'mautrix%' order by 1") == (
        "mautrix_signal\nmautrix_three"
    )
    lab.pulumi(*SAME)

    lab.write_config()
    lab.pulumi(*UP)
    for name in ("two", "three"):
        for archive in (lab.host_root / f"var/backups/{name}").iterdir():
            archive.unlink()
        (lab.host_root / f"var/backups/{name}").rmdir()
    now = snapshot(lab)
    assert {key: value for key, value in now.items() if key != "files"} == {
        key: value for key, value in alone.items() if key != "files"
    }
    assert running(lab) == signal
    lab.pulumi(*SAME)
    lab.pulumi(*DESTROY)
    assert snapshot(lab) == before


def stops_at(told: str) -> list[str]:
    """The resources that failed, as the CLI shows them."""
    return sorted(
        {line.split()[2] for line in told.splitlines() if "**creating failed**" in line and "Stack" not in line}
    )


def test_a_failed_step_is_the_red_resource_and_its_bridge_alone_stays_behind(lab: Lab, shared: Shared) -> None:
    """One fails at the stop-and-check, one at readiness, one has no image: with and without --continue-on-error."""
    shared.spoilt = True
    before = snapshot(lab)
    two, three = lab.custom_bridge("two"), lab.custom_bridge("three", binary="/bin/sh")
    lost, good = lab.custom_bridge("lost", image="127.0.0.1:1/irc:v1"), lab.custom_bridge("good")
    lab.write_config(None, [two, three, lost, good], readyTimeout=20)
    late = ["two", "three", "lost", "good"]
    excluded = [word for name in late for word in ("--exclude", f"**mautrix-{name}-stop-and-check")]
    excluded += ["--exclude", "**mautrix-lost-image"]
    lab.pulumi(*UP, *excluded, "--exclude-dependents")
    signal = running(lab)
    (registration,) = (lab.host_dir / "synapse").glob("*two*.yaml")
    text = registration.read_text()
    registration.write_text(re.sub(r"(?m)^as_token: .*$", "as_token: somebody-else-s-token-of-enough-characters", text))
    lab.docker("restart", lab.synapse)
    lab.wait_healthy()

    # The engine starts nothing more once a step has failed.
    told = said(lab, *UP, fails=True)
    assert "mautrix-two-stop-and-check" in stops_at(told) or "mautrix-lost-image" in stops_at(told)
    assert running(lab) == signal and "Traceback" not in told

    # With the flag it goes on with whatever does not depend on a failed one.
    told = said(lab, *UP, "--continue-on-error", fails=True)
    assert {"mautrix-two-stop-and-check", "mautrix-three-readiness", "mautrix-lost-image"} >= {*stops_at(told)}
    assert "Traceback" not in told and "stop-and-check: FAIL: " in told
    assert "a step failed, and what depends on it was left out" in told
    assert lab.docker.inspect("container", [good["container"]])[good["container"]]["State"]["Running"]
    assert not lab.docker.inspect("container", [two["container"], lost["container"]])
    again = said(lab, *UP, "--continue-on-error", fails=True)
    assert stops_at(again) == ["mautrix-lost-image", "mautrix-three-readiness", "mautrix-two-stop-and-check"]
    assert running(lab) == signal, "a bridge that is live goes on"

    # Mended, the next one goes on from there.
    registration.write_text(text)
    lab.docker("restart", lab.synapse)
    lab.wait_healthy()
    lab.write_config(None, [two, lab.custom_bridge("three"), good], readyTimeout=20)
    lab.pulumi(*UP)
    assert running(lab) == signal
    assert [ping(lab, key, lab.outputs(key)["asToken"]) for key in ("signal", "two", "three", "good")] == [200] * 4
    lab.pulumi(*SAME)
    # What failed does not stop a destroy; a fresh root has no directory of the archives, nor its parents.
    lab.write_config(None, [two, three], readyTimeout=5)
    told = " ".join(said(lab, *UP, fails=True).split())
    left = f"{good['container']}: is no longer among the stack's bridges: it is stopped; its database is archived and"
    assert f"{left} all of it goes when this `pulumi up` succeeds, or the next one that does" in told
    assert lab.docker.inspect("container", [good["container"]])[good["container"]]["State"]["Status"] == "exited"
    assert not (lab.host_root / "var").exists()
    lab.pulumi(*DESTROY)
    assert snapshot(lab) == before
