"""The Docker Engine of this machine, driven by its command-line client; started here if none answers.

Nothing in this module knows what a lab is. Secrets go to containers in files or on stdin, never in an argument.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

DAEMON_TIMEOUT_SECONDS = 60
PACKAGES = "apt-get install docker.io iptables iproute2"


class LabError(Exception):
    """The lab cannot go on. The text is one line for a person (further lines: what a program said)."""


def run(
    args: Sequence[str | Path],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float | None = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a program, its output captured as text.

    `stdin`: what it reads (nothing otherwise). `timeout`: seconds. Raises LabError with the last lines of its output
    if it cannot be run, takes too long or, with `check`, exits non-zero. The error shows the first three words of
    the command only.
    """
    words = [str(arg) for arg in args]
    name = " ".join(words[:3])
    data = stdin.encode() if isinstance(stdin, str) else (stdin or b"")
    try:
        done = subprocess.run(words, input=data, env=env, capture_output=True, timeout=timeout)
    except FileNotFoundError:
        raise LabError(f"{words[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{name} ...` took longer than {timeout:.0f} s") from None
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if check and done.returncode != 0:
        raise LabError(f"`{name} ...` failed with exit code {done.returncode}: {last_lines(err or out, 12)}")
    return subprocess.CompletedProcess(words, done.returncode, out, err)


def last_lines(text: str, count: int) -> str:
    """The last `count` lines of `text`, without the white space around it; "(it said nothing)" for an empty one."""
    return "\n".join(text.strip().splitlines()[-count:]) or "(it said nothing)"


class Docker:
    """The `docker` client. Every method raises LabError with the client's own words when Docker refuses."""

    def __call__(
        self, *args: str | Path, stdin: str | bytes | None = None, check: bool = True, timeout: float | None = 600
    ) -> subprocess.CompletedProcess[str]:
        return run(["docker", *args], stdin=stdin, check=check, timeout=timeout)

    # the daemon

    def answers(self) -> bool:
        """Does a daemon answer, at the address that the client uses? No, too, when there is no client."""
        if shutil.which("docker") is None:
            return False
        done = self("version", "--format", "{{.Server.Version}}", check=False, timeout=30)
        return done.returncode == 0 and bool(done.stdout.strip())

    def ensure(self, log: Path) -> str | None:
        """See to it that a daemon answers; `dockerd` is started, with its output in `log`, if none does.

        Returns None if one answered already, else a line that says what was started. The daemon outlives the lab:
        others on this machine may have come to use it. Raises LabError if the programs are missing, if the client is
        pointed at another machine, or if the daemon does not answer within a minute.
        """
        host = os.environ.get("DOCKER_HOST", "")
        if host and not host.startswith("unix://"):
            raise LabError(f"DOCKER_HOST is {host}: the lab needs the Docker Engine of this machine; unset it")
        if shutil.which("docker") is None:
            raise LabError(f"the docker client is not on PATH: {PACKAGES}")
        if self.answers():
            return None
        missing = [name for name in ("dockerd", "iptables") if shutil.which(name) is None]
        if missing:
            raise LabError(f"no Docker daemon answers, and to start one {', '.join(missing)} is missing: {PACKAGES}")
        if host:
            raise LabError(f"no Docker daemon answers at DOCKER_HOST={host}; start it, or unset DOCKER_HOST")
        # One at a time on a machine: the second of two daemons exits.
        with Path(tempfile.gettempdir(), "mxlab-dockerd.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return None if self.answers() else self._start(log)

    def _start(self, log: Path) -> str:
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        while not self.answers():
            if daemon.poll() is not None:
                said = last_lines(log.read_text(errors="replace"), 5)
                raise LabError(f"dockerd exited with code {daemon.returncode} ({log}): {said}")
            if time.monotonic() - begun > DAEMON_TIMEOUT_SECONDS:
                raise LabError(
                    f"dockerd (pid {daemon.pid}) does not answer after {DAEMON_TIMEOUT_SECONDS} s; see {log}"
                )
            time.sleep(0.2)
        return f"dockerd started (pid {daemon.pid}) in {time.monotonic() - begun:.1f} s, log {log}"

    def check_default_bridge(self, interfaces: Path = Path("/sys/class/net")) -> None:
        """Raises LabError if the daemon's default network cannot work: the containers of image builds start on it.

        `interfaces`: the folder with an entry for each of this machine's network interfaces.
        """
        option = '{{index .Options "com.docker.network.bridge.name"}}'
        done = self("network", "inspect", "--format", option, "bridge", check=False)
        if done.returncode != 0:
            raise LabError(
                f"Docker has no default network `bridge` ({last_lines(done.stderr, 1)}): take `bridge` and `iptables` "
                "out of /etc/docker/daemon.json and restart the daemon"
            )
        interface = done.stdout.strip()
        if interface and not (interfaces / interface).exists():
            raise LabError(
                f"the interface {interface} of Docker's default network is gone, so images cannot be built: "
                "restart the Docker daemon (systemctl restart docker), which makes it again"
            )

    def root_dir(self) -> Path:
        """Where the daemon keeps images and containers."""
        return Path(self("info", "--format", "{{.DockerRootDir}}").stdout.strip())

    # images

    def image_id(self, name: str) -> str | None:
        """The id (sha256:...) of a local image, None if there is none."""
        done = self("image", "inspect", "--format", "{{.Id}}", name, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def remove_images(self, *filters: str) -> None:
        """Those that match every one of `filters`, and no other name of them."""
        options = [word for item in filters for word in ("--filter", item)]
        ids = self("image", "ls", "--quiet", "--no-trunc", *options).stdout.split()
        if ids:
            self("rmi", "--force", *sorted({*ids}), check=False)

    # containers and networks

    def inspect(self, kind: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """`docker KIND inspect` of those of `names` that exist, by name (without the slash). One call."""
        wanted = list(names)
        if not wanted:
            return {}
        found = json.loads(self(kind, "inspect", *wanted, check=False).stdout or "[]")
        return {item["Name"].lstrip("/"): item for item in found}

    def names(self, kind: str, *filters: str) -> set[str]:
        """Names of the containers (running or not) or networks or volumes that match every one of `filters`."""
        options = [word for item in filters for word in ("--filter", item)]
        if kind == "container":
            done = self("ps", "--all", "--no-trunc", "--format", "{{.Names}}", *options)
        else:
            done = self(kind, "ls", "--format", "{{.Name}}", *options)
        # A container that is another's link target lists several names; its own comes first.
        return {line.split(",")[0] for line in done.stdout.split("\n") if line}

    def remove(self, containers: Iterable[str]) -> None:
        """Kill and remove containers, with their anonymous volumes; those that are gone already are no error."""
        wanted = list(containers)
        if not wanted:
            return
        done = self("rm", "--force", "--volumes", *wanted, check=False)
        left = self.inspect("container", wanted)
        if left:
            raise LabError(f"could not remove container {', '.join(sorted(left))}: {last_lines(done.stderr, 3)}")
