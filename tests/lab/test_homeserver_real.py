"""Pins what only a real Synapse shows: that it starts with the edited file, and comes back when it does not.

The registrations that are "right for the loader, gone at the start" lie in the container's /dev/shm, which is new at
every start: load_appservices accepts them, and the restarted Synapse exits for the missing file.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

from documents.homeserver.entries import EXPERIMENTAL_FEATURES
from host_programs.files.files import OwnedFile
from host_programs.synapse.appservices import Appservices
from lab.box import Lab
from tests.host_programs.steps import run_step
from tests.lab.conftest import deployment_of

pytestmark = pytest.mark.e2e

FLAGS = EXPERIMENTAL_FEATURES


def registration(name: str) -> str:
    """A bridge's registration with a token of its own (which is what the tests look for in the output)."""
    return f"""# {name}: written by the Pulumi stack mautrix-{name}/lab.
id: {name}
url: http://{name}:29328
as_token: {name}AsTokenNobodyMaySee
hs_token: {name}HsTokenNobodyMaySee
sender_localpart: {name}sender
rate_limited: false
namespaces:
  users:
  - regex: ^@{name}_.*:echo6\\.co$
    exclusive: true
"""


class Stack:
    """One bridge's stack on the lab's homeserver, driven through the script as the program does it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.data = lab.host_dir / "synapse"
        self.file, self.path = self.data / "homeserver.yaml", self.data / f"{name}.yaml"
        self.data_mount, self.content = "/data", registration(name)
        self.owner = self.file.stat().st_uid, self.file.stat().st_gid

    def run(self, verb: str, deadline: int = 60) -> subprocess.CompletedProcess[str]:
        arguments = Appservices(
            synapse=replace(deployment_of(self.lab).synapse, data_mount=self.data_mount, deadline=deadline),
            postgres=deployment_of(self.lab).postgres,
            stack=f"mautrix-{self.name}/lab",
            registrations=(OwnedFile(str(self.path), self.content, *self.owner),),
            experimental_features=FLAGS,
            journal=str(self.lab.host_dir / "no-bridge/.homeserver.json"),
            bridges=(),
        )
        done = run_step(verb, arguments, {**os.environ}, timeout=300)
        for secret in ("NobodyMaySee", *self.secrets()):
            assert secret not in done.stdout + done.stderr
        return done

    def secrets(self) -> list[str]:
        lines = self.file.read_text().splitlines()
        return [line.split('"')[1] for line in lines if line.strip().startswith(("macaroon", "form_secret", "secret:"))]

    def good(self, verb: str) -> dict[str, Any]:
        done = self.run(verb)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def known(self) -> int:
        """What the running Synapse says to this stack's token."""
        request = urllib.request.Request(f"{self.lab.synapse_url}/_matrix/client/v3/account/whoami")
        request.add_header("Authorization", f"Bearer {self.name}AsTokenNobodyMaySee")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def started(lab: Lab) -> str:
    return str(lab.docker("inspect", "-f", "{{.State.StartedAt}} {{.RestartCount}}", lab.synapse).stdout)


def starts(lab: Lab) -> int:
    """How often Synapse began to start, by its log: Docker's own events are forgotten after 256 of them."""
    logs = lab.docker("logs", lab.synapse)
    return (logs.stdout + logs.stderr).count("STARTING SERVER")


def test_in_and_out_leaves_the_host_as_it_was_with_one_restart_each(lab: Lab) -> None:
    before, begin = lab.snapshot(), starts(lab)
    stack = Stack(lab, "signal")
    assert stack.known() == 401
    assert stack.good("synapse register")["restarted"] is True
    assert stack.known() == 200
    assert starts(lab) == begin + 1
    as_it_runs = started(lab)
    assert stack.good("synapse register") == {
        "changed": False,
        "restarted": False,
        "removed": [],
    }
    assert started(lab) == as_it_runs
    assert stack.good("synapse unregister")["restarted"] is True
    assert not stack.path.exists()
    assert stack.known() == 401
    assert starts(lab) == begin + 2
    assert lab.snapshot() == before


def test_two_stacks_on_one_homeserver(lab: Lab) -> None:
    before = lab.snapshot()
    signal, whatsapp = Stack(lab, "signal"), Stack(lab, "whatsapp")
    for stack in (signal, whatsapp):
        stack.good("synapse register")
    assert (signal.known(), whatsapp.known()) == (200, 200)
    signal.good("synapse unregister")
    assert not signal.path.exists()
    assert (signal.known(), whatsapp.known()) == (401, 200)
    text = signal.file.read_text()
    assert all(f"  {flag}: true  # pulumi stack mautrix-whatsapp/lab\n" in text for flag in FLAGS)
    whatsapp.good("synapse unregister")
    assert not whatsapp.path.exists()
    assert lab.snapshot() == before


def test_a_failed_start_brings_back_the_old_file_and_a_healthy_synapse(lab: Lab) -> None:
    before = lab.snapshot()
    stack = Stack(lab, "signal")
    stack.data_mount = "/dev/shm"
    write = (
        "exec",
        "-i",
        lab.synapse,
        "sh",
        "-c",
        "cat >/dev/shm/signal.yaml; chmod 644 /dev/shm/signal.yaml",
    )
    lab.docker(*write, stdin=registration("signal"))
    done = stack.run("synapse register", deadline=40)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert f"{lab.synapse}: Synapse did not come up after its restart: " in done.stderr
    assert f"{stack.file}: is as it was before; Synapse is healthy again with it after" in done.stderr
    log = lines[lines.index(f"of the failed start, the last 50 log lines of {lab.synapse}:") + 1 :]
    assert 0 < len(log) <= 50
    assert any("No such file or directory: '/dev/shm/signal.yaml'" in line for line in log)
    assert stack.known() == 401
    assert json.loads(stack.run("synapse unregister").stdout)["changed"] is False
    assert lab.snapshot() == before


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param(
            "mount", "FileNotFoundError: [Errno 2] No such file or directory: '/elsewhere/signal.yaml'", id="missing"
        ),
        pytest.param("text", "KeyError: \"Required string field: 'as_token' (/data/signal.yaml)\"", id="half"),
        pytest.param("owner", "PermissionError: [Errno 13] Permission denied: '/data/signal.yaml'", id="root's"),
    ],
)
def test_what_synapse_could_not_load_is_refused_before_the_restart(lab: Lab, broken: str, words: str) -> None:
    stack = Stack(lab, "signal")
    if broken == "mount":
        stack.data_mount = "/elsewhere"
    elif broken == "text":
        stack.content = stack.content.partition("url:")[0]
    else:
        stack.owner = 0, 0
    before, as_it_runs, inode = lab.snapshot(), started(lab), stack.file.stat().st_ino
    done = stack.run("synapse register")
    assert done.returncode == 1
    assert done.stderr == (
        f"{stack.file}: nothing was touched: Synapse's own loader refuses the new configuration:\n{words}\n"
    )
    assert (lab.snapshot(), started(lab), stack.file.stat().st_ino) == (before, as_it_runs, inode)


def test_a_synapse_that_is_down_is_refused_at_up_and_passed_at_destroy(lab: Lab) -> None:
    before = lab.snapshot()
    stack = Stack(lab, "signal")
    stack.good("synapse register")
    with_us = stack.file.read_bytes()
    lab.docker("stop", lab.synapse)
    done = stack.run("synapse register")
    assert done.returncode == 1
    assert done.stderr == (
        f"container {lab.synapse}: is exited, nothing was touched: start Synapse, then run this again\n"
    )
    assert stack.file.read_bytes() == with_us
    done = stack.run("synapse unregister")
    assert done.returncode == 0, done.stderr
    assert "the restart is left to you" in done.stderr
    assert not stack.path.exists()
    lab.docker("start", lab.synapse)
    lab.wait_healthy()
    assert lab.snapshot() == before
