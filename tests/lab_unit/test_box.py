"""The lab's pure parts, and what it says when it cannot run: a lab that starts on half a machine, guesses a flag or
picks a port that is taken fails later, somewhere else, without a word of why."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from lab import __main__ as command
from lab import images, place
from lab.box import ROOT, Lab
from lab.engine import Docker, LabError, run
from lab.place import checkout_hash, free_port
from lab.pulumi_cli import pulumi_flags
from lab.snapshot import loaded_registrations

NO_STACK = ["--non-interactive", "--color", "never"]
WITH_STACK = [*NO_STACK, "--stack", "lab"]
WITH_ALL = [*WITH_STACK, "--config-file", "/x/Pulumi.lab.yaml"]


@pytest.mark.parametrize(
    ("args", "flags"),
    [
        (["up", "--yes"], WITH_ALL),
        (["preview", "--diff"], WITH_ALL),
        (["refresh", "--yes"], WITH_ALL),
        (["destroy", "--yes"], WITH_ALL),
        (["config", "set", "domain", "x"], WITH_ALL),
        (["stack", "output", "--json"], WITH_STACK),
        (["stack"], WITH_STACK),
        (["stack", "--show-ids"], WITH_STACK),
        (["stack", "export"], WITH_STACK),
        (["cancel", "--yes"], WITH_STACK),
        (["stack", "ls"], NO_STACK),
        (["stack", "select", "other"], NO_STACK),
        (["version"], NO_STACK),
        ([], NO_STACK),
    ],
)
def test_flags_that_each_command_takes(args: list[str], flags: list[str]) -> None:
    assert pulumi_flags(args, "lab", Path("/x/Pulumi.lab.yaml")) == flags


def test_two_checkouts_have_two_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    one, two, same = Lab(tmp_path / "a"), Lab(tmp_path / "b"), Lab(tmp_path / "link")
    names = ("prefix", "network", "synapse", "postgres", "mas", "bridge", "bridge_image")
    assert not {getattr(one, name) for name in names} & {getattr(two, name) for name in names}
    assert one.prefix == same.prefix, "one directory by two ways is one lab"
    assert one.prefix == f"mxlab-{checkout_hash(tmp_path / 'a')}"


def test_registrations_are_read_from_synapses_log() -> None:
    log = (
        "2026-01-01 00:00:00,000 - synapse.config.appservice - 96 - INFO - main - Loaded application service: "
        "ApplicationService: {'token': '<redacted>', 'url': 'http://x:1', 'id': 'signal', 'sender': 'a'}\n"
        "2026-01-01 00:00:00,000 - synapse.config.appservice - 96 - INFO - main - Loaded application service: "
        "ApplicationService: {'token': '<redacted>', 'url': None, 'id': 'doublepuppet', 'sender': 'b'}\n"
        "2026-01-01 00:00:00,000 - synapse.config.appservice - 96 - INFO - main - Loaded application service: "
        "ApplicationService: {'token': '<redacted>', 'url': 'http://x:1', 'id': 'signal', 'sender': 'a'}\n"
        "2026-01-01 00:00:01,000 - synapse.other - 1 - INFO - main - {'id': 'nothing'}\n"
    )
    assert loaded_registrations(log) == ["doublepuppet", "signal"]
    assert loaded_registrations("") == []


def test_a_port_that_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(place, "PORTS", range(port, port + 1))
        with pytest.raises(LabError, match="no free port"):
            free_port()
    assert free_port() == port


# A lab that was made, without Docker: notes only.


@pytest.fixture
def made(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path, lambda line: None)
    lab.dir.mkdir()
    lab.notes(make=True)
    return lab


def test_ports_and_secrets_are_kept(made: Lab) -> None:
    again = Lab(made.home, lambda line: None)
    assert again.synapse_url == made.synapse_url
    assert again.notes() == made.notes()
    assert again.notes_file.stat().st_mode & 0o777 == 0o600


def test_notes_that_are_damaged_are_made_anew(made: Lab) -> None:
    made.notes_file.write_text('{"ports": {}}')
    with pytest.raises(LabError, match="the lab is not up: python -m lab up"):
        made.notes()
    assert made.notes(make=True).synapse_port in place.PORTS


def test_config_is_the_committed_one_with_this_labs_own_over_it(made: Lab, tmp_path: Path) -> None:
    made.root = tmp_path
    (tmp_path / "Pulumi.lab.yaml").write_text(
        "encryptionsalt: old\nconfig:\n  mautrix-signal:domain: echo6.co\n  mautrix-signal:network: wrong\n"
    )
    made.note(salt="v1:abc")
    made.write_config(domain="other.org", isolatedDatabases=["synapse"])
    written = yaml.safe_load(made.config_file.read_text())
    assert written["encryptionsalt"] == "v1:abc"
    config = {key.removeprefix("mautrix-signal:"): value for key, value in written["config"].items()}
    own = {"bridges": [made.own_bridge], "domain": "other.org", "isolatedDatabases": ["synapse"]}
    assert config == {**made.config, **own}
    assert config["network"] == made.network
    made.write_config()
    assert yaml.safe_load(made.config_file.read_text())["config"]["mautrix-signal:domain"] == "echo6.co"


def test_every_key_of_the_config_is_declared_by_the_project(made: Lab) -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert set(made.config) <= set(declared)


def test_the_environment_of_pulumi(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAB_PLUGINS", "LAB_PULUMI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "somebody's")
    env = made.env()
    path = env["PATH"].split(os.pathsep)
    assert path[:3] == [str(made.dir / "plugins"), str(ROOT / ".venv/bin"), str(ROOT / ".tools/bin")]
    assert "PULUMI_ACCESS_TOKEN" not in env
    assert env["PULUMI_BACKEND_URL"] == f"file://{made.dir}/state"
    assert env["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"


def test_plugins_and_cli_of_ones_own(made: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAB_PLUGINS", "")
    env = made.env()
    assert str(made.dir / "plugins") not in env["PATH"].split(os.pathsep)
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in env, "Pulumi downloads them"
    monkeypatch.setenv("LAB_PLUGINS", str(tmp_path))
    monkeypatch.setenv("LAB_PULUMI", str(tmp_path / "cli/pulumi"))
    path = made.env()["PATH"].split(os.pathsep)
    assert path[:4] == [str(tmp_path), str(ROOT / ".venv/bin"), str(tmp_path / "cli"), str(ROOT / ".tools/bin")]
    with pytest.raises(LabError, match="lacks pulumi-resource-docker, pulumi-resource-postgresql"):
        made.cli.write_plugins()


def test_a_cli_that_is_not_there(made: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PULUMI", "/nowhere/pulumi")
    made.write_config()
    with pytest.raises(LabError, match="no Pulumi CLI: no /nowhere/pulumi"):
        made.pulumi("version")


def test_the_lock_of_a_killed_run_goes_and_a_live_ones_stays(made: Lab) -> None:
    folder = made.dir / "state/.pulumi/locks/organization/mautrix-signal/lab"
    folder.mkdir(parents=True)
    gone = run(["sh", "-c", "echo $$"]).stdout.strip()
    holders = {
        "killed": {"pid": int(gone), "hostname": socket.gethostname()},
        "alive": {"pid": os.getpid(), "hostname": socket.gethostname()},
        "elsewhere": {"pid": int(gone), "hostname": "another-machine"},
    }
    for name, holder in holders.items():
        (folder / f"{name}.json").write_text(json.dumps(holder))
    made.cli.clear_stale_locks()
    assert sorted(path.stem for path in folder.iterdir()) == ["alive", "elsewhere"]


# What it says when it cannot run


def test_without_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Lab, "here", lambda say: Lab(tmp_path, say))
    for verb in ("up", "reset", "down"):
        assert command.main([verb]) == 1
        assert capsys.readouterr().err.startswith("python -m lab: the lab needs root")
    assert not (tmp_path / ".lab").exists()


def test_without_space(made: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**40, 2**40 - 2**20, 2**20))
    with pytest.raises(LabError, match=r"the lab takes 1 GiB; .* has 0\.0 GiB free"):
        made._make({}, "key")
    builder = images.Builder(Docker(), tmp_path, "p", lambda line: None, tmp_path / "core")
    monkeypatch.setattr(Docker, "root_dir", lambda self: tmp_path)
    with pytest.raises(LabError, match=r"building the images takes up to 4 GiB; .* has 0\.0 GiB free"):
        builder._build_all([])


def programs(folder: Path, **texts: str) -> str:
    """A folder with these shell programs, as the whole PATH but for what they need themselves."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_without_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", programs(tmp_path / "bin"))
    with pytest.raises(LabError, match=r"the docker client is not on PATH: apt-get install docker\.io iptables"):
        Docker().ensure(tmp_path / "log")


def test_without_a_daemon_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", docker="exit 1"))
    with pytest.raises(LabError, match="to start one dockerd, iptables is missing: apt-get install"):
        Docker().ensure(tmp_path / "log")


def test_a_daemon_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(LabError, match=r"DOCKER_HOST is tcp://192\.0\.2\.1:2375: the lab needs"):
        Docker().ensure(tmp_path / "log")


def test_a_daemon_that_exits_is_reported_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    stubs = programs(tmp_path / "bin", docker="exit 1", dockerd="echo failed to mount cgroup >&2; exit 3", iptables="")
    monkeypatch.setenv("PATH", stubs)
    with pytest.raises(LabError, match=r"dockerd exited with code 3 .*failed to mount cgroup"):
        Docker().ensure(tmp_path / "log")


def test_a_daemon_is_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    flag = tmp_path / "answers"
    stubs = programs(
        tmp_path / "bin",
        docker=f"[ -e {flag} ] && echo 20.10.24",
        dockerd=f"echo starting; : >{flag}; exec /bin/sleep 60",
        iptables="",
    )
    monkeypatch.setenv("PATH", stubs)
    log = tmp_path / "dockerd.log"
    started = Docker().ensure(log)
    found = re.search(r"dockerd started \(pid (\d+)\) in .* s, log (.*)", started or "")
    assert found is not None
    try:
        assert found[2] == str(log)
        assert log.read_text() == "starting\n"
        assert Docker().ensure(log) is None
        assert log.read_text() == "starting\n"
    finally:
        os.kill(int(found[1]), signal.SIGTERM)


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"`sh -c .*` failed with exit code 4: broken pipes"):
        run(["sh", "-c", "echo broken pipes >&2; exit 4", "secret-argument"])
    with pytest.raises(LabError, match="took longer than 0 s"):
        run(["sleep", "30"], timeout=0.2)
    with pytest.raises(LabError, match="no-such-program is not on PATH"):
        run(["no-such-program"])
    assert run(["cat"], stdin="through").stdout == "through"
