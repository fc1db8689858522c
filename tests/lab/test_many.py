"""Several bridges on one homeserver: one restart for all, one that fails alone, one that comes, one that goes."""

from __future__ import annotations

import shutil

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


def test_those_that_fail_hold_no_other_up_and_are_tried_again(lab: Lab, shared: Shared) -> None:
    """A program that is none, so that its container keeps ending; no program at all; an image that cannot be had."""
    shared.spoilt = True
    before = snapshot(lab)
    two, broken = lab.custom_bridge("two"), lab.custom_bridge("broken", binary="/bin/sh")
    lost = lab.custom_bridge("lost", image="127.0.0.1:1/irc:v1")
    none = lab.custom_bridge("none", binary="/usr/bin/none")
    lab.write_config(None, [broken, lost, none, two], readyTimeout=20)
    told = said(lab, *UP, fails=True)
    assert "3 of 5 bridges did not go live:" in told
    first, second, third = [line.strip() for line in told.splitlines() if line.strip().startswith("- mautrix-")]
    assert first.startswith(f"- mautrix-broken: {lab.prefix}-broken ") and "What to do: " in first
    assert second.startswith("- mautrix-lost: image 127.0.0.1:1/irc:v1: cannot be pulled: ")
    assert third.startswith(f"- mautrix-none: {lab.prefix}-none ") and "exit code 127: the image has no such" in third
    assert lab.docker.inspect("container", [two["container"]])[two["container"]]["State"]["Running"]
    again = said(lab, *UP, fails=True)
    assert "3 of 5 bridges did not go live:" in again, "they are not taken for live because they failed once"
    signal = running(lab)
    mended = lab.custom_bridge("broken")
    lab.write_config(None, [mended, two], readyTimeout=20)
    lab.pulumi(*UP)
    assert running(lab) == signal
    assert [ping(lab, key, lab.outputs(key)["asToken"]) for key in ("signal", "two", "broken")] == [200] * 3
    lab.pulumi(*SAME)
    # One that is taken from the list while another one fails stays, stopped, and it is said.
    lab.write_config(None, [broken], readyTimeout=5)
    told = " ".join(said(lab, *UP, fails=True).split())
    assert "1 of 2 bridges did not go live:" in told
    assert f"- {two['container']}: is stopped and out of homeserver.yaml, since it is in the settings no more" in told
    assert lab.docker.inspect("container", [two["container"]])[two["container"]]["State"]["Status"] == "exited"
    lab.write_config(None, [mended], readyTimeout=20)
    lab.pulumi(*UP)
    assert not lab.docker.inspect("container", [two["container"]])
    lab.write_config(None, [broken, two], readyTimeout=5)
    assert "1 of 3 bridges did not go live:" in said(lab, *UP, fails=True)
    shutil.rmtree(lab.host_root / "var")  # a fresh root has no directory of the archives, nor its parents
    lab.pulumi(*DESTROY)  # what failed does not stop it
    assert snapshot(lab) == before
