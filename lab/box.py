"""The lab of this checkout: a Matrix host made of containers and a directory tree, and the Pulumi CLI set up for it.

    lab = Lab.here()
    lab.up()                      # or reset(): pristine again, in seconds
    before = lab.snapshot()
    lab.pulumi("up", "--yes")
    lab.pulumi("destroy", "--yes")
    assert lab.snapshot() == before

Everything is under .lab/ of the checkout and in containers, one network and one image whose names begin with `prefix`.
Nothing else on the machine is touched, except that dockerd is started if no daemon answers, and that the images
mxlab/* are built.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import secrets as random_secrets
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from lab import host, images
from lab.engine import Docker, LabError, last_lines, run
from lab.mas import provision
from lab.prober import Prober

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "mautrix-signal"
STACK = "lab"
PLUGINS = ("docker", "postgresql", "command")
LABEL = "mxlab.checkout"
PATH_LABEL = "mxlab.path"
# Raise it when `up` makes a host that differs in a way that no file shows which `_key` hashes.
LAYOUT = 1

# Below the ports that the kernel gives to outgoing connections, so that a free one stays free.
PORTS = range(18000, 28000)
SPACE_BYTES = 1024**3
HEALTHY_SECONDS = 90
PULUMI_SECONDS = 900

# What takes which flag (`pulumi COMMAND --help`).
_TAKES_STACK = {"up", "update", "preview", "refresh", "destroy", "import", "watch", "config", "cancel", "logs", "state"}
_TAKES_CONFIG_FILE = {"up", "update", "preview", "refresh", "destroy", "import", "watch", "config", "logs"}
_STACK_VERBS_WITH_STACK = {"output", "export", "import", "history", "graph", "rm", "tag"}


def checkout_hash(root: Path) -> str:
    """Six hex digits that stand for this checkout in the names of what its lab makes."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:6]


def pulumi_flags(args: Sequence[str], stack: str, config_file: Path) -> list[str]:
    """The flags that a `pulumi ARGS...` gets so that it asks nothing and works on the lab's stack and config. Pure."""
    flags = ["--non-interactive", "--color", "never"]
    command = args[0] if args else ""
    verb = next((arg for arg in args[1:] if not arg.startswith("-")), "")
    if command in _TAKES_STACK or (command == "stack" and (not verb or verb in _STACK_VERBS_WITH_STACK)):
        flags += ["--stack", stack]
    if command in _TAKES_CONFIG_FILE:
        flags += ["--config-file", str(config_file)]
    return flags


class Lab:
    """One checkout's lab. Every method raises LabError, with one line that says what is wrong and what to do.

    `home`: the directory whose .lab/ it lives in, from which its names come: the checkout, see `here`. A lab with
    another home stands beside it, with the code and the tools of this checkout. `say`: gets the progress lines, which
    are printed by default.
    """

    def __init__(self, home: Path, say: Callable[[str], None] | None = None) -> None:
        self.root = ROOT
        self.home = home.resolve()
        self.dir = self.home / ".lab"
        self.checkout = checkout_hash(self.home)
        self.prefix = f"mxlab-{self.checkout}"
        self.network = f"{self.prefix}-net"
        self.synapse = f"{self.prefix}-synapse"
        self.postgres = f"{self.prefix}-postgres"
        self.mas = f"{self.prefix}-mas"
        self.bridge = f"{self.prefix}-signal"
        self.host_root = self.dir / "host"
        self.host_dir = self.host_root / "srv/matrix"
        self.config_file = self.dir / "Pulumi.lab.yaml"
        self.docker = Docker()
        self._say = say or (lambda line: print(f"lab: {line}\n", end="", flush=True))
        self._data = self.dir / "postgres"
        self._pristine = self.dir / "pristine"
        self._state_dir = self.dir / "state"
        self._notes_file = self.dir / "lab.json"

    @classmethod
    def here(cls, say: Callable[[str], None] | None = None) -> Lab:
        """The lab of the checkout that this module is in."""
        return cls(ROOT, say)

    # what there is

    @property
    def synapse_url(self) -> str:
        """Where the host reaches Synapse's client-server API."""
        return f"http://127.0.0.1:{self._notes()['ports']['synapse']}"

    @property
    def bridge_image(self) -> str:
        """The image that the product deploys: an image of this checkout's own, or LAB_IMAGE_BRIDGE as it is.

        Its own, because `pulumi destroy` removes it by its id.
        """
        given = os.environ.get("LAB_IMAGE_BRIDGE")
        return given or f"mxlab.local/{self.prefix}/signal:{images.BRIDGE_VERSION}"

    @property
    def user_token(self) -> str:
        """An access token of @matt:echo6.co, known to the emulated MAS. A secret of the lab's, worth nothing."""
        return host.user_token(self._notes()["secrets"])

    @property
    def config(self) -> dict[str, object]:
        """The Pulumi config that is this checkout's own: key (without namespace) to value."""
        return {
            "network": self.network,
            "synapseContainer": self.synapse,
            "synapseDir": str(self.host_dir / "synapse"),
            "synapseUrl": self.synapse_url,
            "homeserverAddress": f"http://{self.synapse}:8008",
            "masContainer": self.mas,
            "masHosts": [f"{self.mas}:8080", "matrix.echo6.co"],
            "postgresContainer": self.postgres,
            "backupScript": str(self.host_dir / "scripts/pg_backup.sh"),
            "archiveDir": str(self.host_root / "var/backups/mautrix-signal"),
            "bridgeContainer": self.bridge,
            "bridgeDir": str(self.host_dir / "signal-bridge"),
            "image": self.bridge_image,
        }

    def prober(self) -> Prober:
        """A context manager that measures Synapse's outages; see lab/prober.py."""
        return Prober(self.synapse_url)

    # up, reset, down, status

    def up(self) -> None:
        """The lab is there and healthy afterwards; what is there already stays as it is.

        Seconds when it is up, about half a minute with the images present, minutes on a new machine.
        """
        self._check_machine()
        with self._lock():
            self._start_engine()
            notes = self._notes(make=True)
            tags = self._images()
            key = self._key(tags)
            self._clear_builds()
            if notes.get("made") != key or not self._pristine.is_dir():
                self._make(tags, key)
            elif notes.get("busy") or not (self._data.is_dir() and self.host_dir.is_dir()):
                self._say("what an interrupted run left is cleared")
                self._restore(tags)
            else:
                self._mend(tags)
            self._finish()
        self._say(f"up: Synapse at {self.synapse_url}, containers {self.prefix}-*, host tree {self.host_root}")

    def reset(self) -> None:
        """The host is as it was when `up` had made it: files, databases, containers; Pulumi's state is empty.

        Makes the lab if it is not there.
        """
        self._check_machine()
        with self._lock():
            self._start_engine()
            notes = self._notes(make=True)
            tags = self._images()
            key = self._key(tags)
            self._clear_builds()
            if notes.get("made") != key or not self._pristine.is_dir():
                self._make(tags, key)
            else:
                begun = time.monotonic()
                self._restore(tags)
                self._say(f"reset in {time.monotonic() - begun:.1f} s")
            self._finish()

    def down(self) -> None:
        """Remove all that the lab of this checkout made. Images stay, and so does what Pulumi downloaded."""
        self._check_machine()
        with self._lock():
            if self._notes_file.is_file() or (self.docker.answers()):
                self._start_engine()
                removed = self._clear()
                if os.environ.get("LAB_IMAGE_BRIDGE") is None:
                    self.docker("rmi", "--force", self.bridge_image, check=False)
            else:
                removed = []
                self._say("no Docker daemon answers, and nothing in .lab/ says that containers were made")
            names = ("plugins", "build", "stack", "pristine.new")
            for path in (self.host_root, self._data, self._pristine, self._state_dir, *map(self.dir.joinpath, names)):
                if path.exists():
                    shutil.rmtree(path)
            for path in (self.config_file, self.dir / "postgres.env", self._notes_file):
                path.unlink(missing_ok=True)
        self._say(f"down: {', '.join(removed) if removed else 'no container or network was left'}")

    def status(self) -> dict[str, object]:
        """What is there, as plain data: `up` (bool), the addresses, and the state of each container by name.

        Changes nothing and starts nothing.
        """
        made = self._notes_file.is_file()
        daemon = self.docker.answers()
        containers: dict[str, str] = {}
        if daemon:
            found = self.docker.inspect("container", self._mine("container"))
            for name, item in sorted(found.items()):
                health = item["State"].get("Health", {}).get("Status")
                containers[name] = item["State"]["Status"] + (f" ({health})" if health else "")
        parts = (self.postgres, self.synapse, self.mas)
        running = all(containers.get(name, "").startswith("running") for name in parts)
        up = made and running and self._healthy()
        report: dict[str, object] = {"up": up, "docker": "answers" if daemon else "no daemon answers"}
        if made:
            report |= {"synapse": self.synapse_url, "host": str(self.host_dir), "config": str(self.config_file)}
        return report | {"containers": containers, "orphans": self.orphans() if daemon else []}

    def wait_healthy(self, timeout: float = HEALTHY_SECONDS) -> float:
        """Wait until Synapse's /health is good; returns the seconds. Raises LabError with its log after `timeout`."""
        begun = time.monotonic()
        while not self._healthy():
            if time.monotonic() - begun > timeout:
                said = self._log_of(self.synapse, 20)
                raise LabError(f"Synapse is not healthy after {timeout:.0f} s ({self.synapse_url}/health):\n{said}")
            time.sleep(0.1)
        return time.monotonic() - begun

    # Pulumi

    def env(self) -> dict[str, str]:
        """The environment in which a Pulumi CLI works on this lab: this process' own, with PATH and PULUMI_* set.

        LAB_PLUGINS names a folder with pulumi-resource-* to use in place of the emulated ones; empty: none, Pulumi
        downloads them.
        """
        given = os.environ.get("LAB_PLUGINS")
        venv = self.root / ".venv"
        folders = [self.root / ".tools/bin", venv / "bin"]
        if given is None:
            folders.insert(0, self.dir / "plugins")
        elif given:
            folders.insert(0, Path(given).resolve())
        cli = os.environ.get("LAB_PULUMI")
        if cli:
            # A CLI of one's own comes with its language host beside it.
            folders.insert(-2, Path(cli).resolve().parent)
        path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
        env = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        env |= {
            "PATH": path,
            "VIRTUAL_ENV": str(venv),
            "PULUMI_HOME": str(self.dir / "pulumi"),
            "PULUMI_BACKEND_URL": f"file://{self._state_dir}",
            "PULUMI_CONFIG_PASSPHRASE": self._notes()["passphrase"],
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        if given != "":
            env["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
        return env

    def pulumi(
        self,
        *args: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        capture: bool = True,
        timeout: float = PULUMI_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run the Pulumi CLI on the lab's stack, which is made first if need be.

        `env`: added to `env()`. `capture`: its output in the result, else it goes where this process' goes.
        `timeout`: seconds, after which it is interrupted as by Ctrl-C, then killed. Raises LabError if it cannot be
        run, takes too long, or, with `check`, exits non-zero (the error has its whole output).
        """
        self._ensure_stack()
        words = [*args]
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = pulumi_flags(args, STACK, self.config_file)
        whole = {**self.env(), **(env or {})}
        return self._cli(words, cwd=self.root, check=check, env=whole, capture=capture, timeout=timeout)

    def _cli(
        self, words: Sequence[str], *, cwd: Path, check: bool, env: Mapping[str, str], capture: bool, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        given = os.environ.get("LAB_PULUMI")
        program = given or shutil.which("pulumi", path=env["PATH"])
        if program is None or not os.access(program, os.X_OK):
            raise LabError(f"no Pulumi CLI: no {given or 'pulumi'}; `make setup` builds one, LAB_PULUMI may name one")
        pipe = subprocess.PIPE if capture else None
        sys.stdout.flush()
        process = subprocess.Popen(
            [program, *words], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException as error:
            # Interrupted, it lets go of its lock on the state.
            process.send_signal(2)
            try:
                out, err = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                said = (out or "") + (err or "")
                raise LabError(f"`pulumi {words[0]}` took longer than {timeout:.0f} s:\n{said}") from None
            raise
        out, err = out or "", err or ""
        if check and process.returncode != 0:
            raise LabError(f"`pulumi {words[0]}` failed with exit code {process.returncode}:\n{out}{err}")
        return subprocess.CompletedProcess([program, *words], process.returncode, out, err)

    def _ensure_stack(self) -> None:
        """Make the stack if the state has none.

        `pulumi stack init` writes the salt of the passphrase into the project's Pulumi.lab.yaml, wherever --config-file
        points, so it runs in a project of the same name under .lab/, and the salt moves into the lab's config.
        """
        if (self._state_dir / f".pulumi/stacks/{PROJECT}/{STACK}.json").is_file():
            return
        if not self.config_file.is_file():
            raise LabError("the lab is not up: python -m lab up")
        scratch = self.dir / "stack"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self._state_dir.mkdir(exist_ok=True)
        try:
            (scratch / "Pulumi.yaml").write_text(f"name: {PROJECT}\nruntime: python\n")
            words = ["stack", "init", STACK, "--non-interactive", "--color", "never"]
            self._cli(words, cwd=scratch, check=True, env=self.env(), capture=True, timeout=120)
            salt = yaml.safe_load((scratch / f"Pulumi.{STACK}.yaml").read_text())["encryptionsalt"]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._write_notes({**self._notes(), "salt": salt})
        self.write_config()
        # An empty stack to go back to: `reset` need not run the CLI.
        kept = self._pristine / "state"
        if self._pristine.is_dir() and not kept.exists():
            _copy(self._state_dir, kept)

    def write_config(self, **changes: object) -> None:
        """Write .lab/Pulumi.lab.yaml: the committed Pulumi.lab.yaml, this checkout's config over it, then `changes`.

        What was set by `pulumi config set` in the lab's file is lost.
        """
        committed = self.root / f"Pulumi.{STACK}.yaml"
        document: dict[str, Any] = (yaml.safe_load(committed.read_text()) if committed.is_file() else None) or {}
        document.pop("encryptionsalt", None)
        salt = self._notes().get("salt")
        if salt:
            document["encryptionsalt"] = salt
        own = {f"{PROJECT}:{key}": value for key, value in {**self.config, **changes}.items()}
        document["config"] = {**(document.get("config") or {}), **own}
        text = "# Written by `python -m lab`: Pulumi.lab.yaml with the names of this checkout's lab.\n"
        _write(self.config_file, text + yaml.safe_dump(document, sort_keys=False), 0o600)

    # snapshot

    def snapshot(self, ignore: Sequence[str] = ()) -> dict[str, Any]:
        """The state of the host, to be compared with another.

        files: path below `host_dir` -> [type, mode, uid, gid, sha256 or link target], without those whose path matches
        one of the patterns `ignore` (fnmatch). postgres: `roles`, `members`, `settings`, `databases` (with owner and
        effective ACL). containers: name -> state. networks: name -> names of the members. registrations: ids that
        homeserver.yaml names (`configured`), ids that the running Synapse loaded when it started (`running`).
        """
        containers = self.docker.inspect("container", self._mine("container"))
        networks = self.docker.inspect("network", self._mine("network"))
        return {
            "files": {
                path: facts
                for path, facts in _tree(self.host_dir)
                if not any(fnmatch(path, pattern) for pattern in ignore)
            },
            "postgres": json.loads(self.psql(_CATALOG)),
            "containers": {name: item["State"]["Status"] for name, item in sorted(containers.items())},
            "networks": {
                name: sorted(member["Name"] for member in item["Containers"].values())
                for name, item in sorted(networks.items())
            },
            "registrations": {
                "configured": self._configured_registrations(),
                "running": self._running_registrations(containers.get(self.synapse)),
            },
        }

    def psql(self, sql: str, database: str = "postgres") -> str:
        """What the superuser gets for `sql`: unaligned, without headers, stripped."""
        words = ("psql", "-U", "synapse", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-")
        return self.docker("exec", "-i", self.postgres, *words, stdin=sql).stdout.strip()

    def _configured_registrations(self) -> list[str]:
        document = yaml.safe_load((self.host_dir / "synapse/homeserver.yaml").read_text()) or {}
        ids = []
        for path in document.get("app_service_config_files") or []:
            file = self.host_dir / "synapse" / Path(path).relative_to("/data")
            ids.append(str(yaml.safe_load(file.read_text())["id"]) if file.is_file() else f"{path} is missing")
        return sorted(ids)

    def _running_registrations(self, synapse: Mapping[str, Any] | None) -> list[str]:
        """From the lines that Synapse logs as it loads them; the file may say something else since."""
        if synapse is None or not synapse["State"]["Running"]:
            return []
        logs = self.docker("logs", "--since", synapse["State"]["StartedAt"], self.synapse)
        return loaded_registrations(logs.stdout + logs.stderr)

    # the machine

    def _check_machine(self) -> None:
        if not sys.platform.startswith("linux"):
            raise LabError("the lab needs Linux")
        if os.geteuid() != 0:
            raise LabError("the lab needs root (containers, files that belong to other users): run it with sudo")

    def _start_engine(self) -> None:
        started = self.docker.ensure(self.dir / "dockerd.log")
        if started:
            self._say(started)
            self._say("it stays when the lab goes: others may use it; end it by that pid")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One `up`, `reset` or `down` of this checkout at a time; a second one waits."""
        self.dir.mkdir(mode=0o755, exist_ok=True)
        with (self.dir / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("another run of this checkout's lab is at work; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # notes: what must be the same the next time

    def _notes(self, make: bool = False) -> dict[str, Any]:
        """lab.json: ports, secrets, passphrase; `made`: hash of what the host was made from; `busy`: being changed."""
        try:
            notes = json.loads(self._notes_file.read_text())
            if isinstance(notes, dict) and set(host.SECRETS) <= set(notes["secrets"]) and notes["ports"]["synapse"]:
                return notes
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if not make:
            raise LabError("the lab is not up: python -m lab up")
        notes = {
            "checkout": str(self.home),
            "ports": {"synapse": free_port()},
            "secrets": {name: random_secrets.token_hex(32) for name in host.SECRETS},
            "passphrase": random_secrets.token_hex(16),
        }
        self._write_notes(notes)
        return notes

    def _write_notes(self, notes: Mapping[str, Any]) -> None:
        _write(self._notes_file, json.dumps(notes, indent=2) + "\n", 0o600)

    def _note(self, **changes: object) -> None:
        notes = {**self._notes(), **changes}
        self._write_notes({key: value for key, value in notes.items() if value is not None})

    # images

    def _images(self) -> dict[str, str]:
        """Names of the images to run, by part: built here, or given by the environment and used as they are."""
        given = {part: os.environ.get(f"LAB_IMAGE_{part.upper()}") for part in ("postgres", "synapse", "mas", "bridge")}
        wanted = [part for part in ("postgres", "synapse", "bridge") if not given[part]]
        tags = self._builder().ensure(wanted)
        for part, image in given.items():
            if image:
                if self.docker.image_id(image) is None:
                    self._say(f"{image}: pulling ...")
                    self.docker("pull", image, timeout=1800)
                tags[part] = image
        # The emulated MAS only wants a python3.
        tags.setdefault("mas", tags["synapse"])
        return tags

    def _bridge_image(self) -> None:
        if os.environ.get("LAB_IMAGE_BRIDGE"):
            return
        core = images.tag(images.recipes()["bridge"])
        # The label that marks containers as this lab's: one that is made from the image has it, whatever its name.
        self._builder().derive(core, self.bridge_image, f"{LABEL}={self.checkout}")

    def _builder(self) -> images.Builder:
        binary = self.root / ".tools/bin/mautrix-signal-core"
        return images.Builder(self.docker, self.dir / "build", self.prefix, self._say, binary)

    def _key(self, tags: Mapping[str, str]) -> str:
        """Hash of all that the pristine host is made from."""
        digest = hashlib.sha256(f"{LAYOUT} {self._stack().synapse_port} {sorted(tags.items())}".encode())
        for path in sorted([*host.TEMPLATES.iterdir(), Path(host.__file__), ROOT / "lab/mas.py"]):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    # containers and network

    def _mine(self, kind: str) -> list[str]:
        """Names of the containers, networks or volumes of this checkout's lab: by label, or by the prefix for those
        that the Pulumi program or a build made."""
        labelled = self.docker.names(kind, f"label={LABEL}={self.checkout}")
        prefixed = {
            name for name in self.docker.names(kind, f"name={self.prefix}-") if name.startswith(f"{self.prefix}-")
        }
        return sorted(labelled | prefixed)

    def orphans(self) -> list[Path]:
        """Checkouts that are gone while containers of their lab are still on this machine."""
        done = self.docker("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{PATH_LABEL}"}}}}')
        return sorted(Path(line) for line in set(done.stdout.splitlines()) if line and not Path(line).is_dir())

    def clear_orphans(self) -> None:
        """Remove the containers, networks and bridge images of labs whose checkout is gone."""
        self._check_machine()
        self._start_engine()
        for path in self.orphans():
            # The names come from the path alone.
            gone = Lab(path, self._say)
            removed = gone._clear()
            self.docker("rmi", "--force", f"mxlab.local/{gone.prefix}/signal:{images.BRIDGE_VERSION}", check=False)
            self._say(f"the lab of {path}, which is gone: {', '.join(removed)}")

    def _clear(self, keep: Sequence[str] = ()) -> list[str]:
        """Remove this lab's containers, then its networks and volumes; returns the names. `keep`: networks."""
        containers = self._mine("container")
        self.docker.remove(containers)
        removed = list(containers)
        networks = [name for name in self._mine("network") if name not in keep]
        for name, item in self.docker.inspect("network", networks).items():
            strangers = sorted(member["Name"] for member in item["Containers"].values())
            if strangers:
                raise LabError(f"{', '.join(strangers)}, not the lab's, is in network {name}: detach it")
            self.docker("network", "rm", name)
            removed.append(name)
        for name in self._mine("volume"):
            self.docker("volume", "rm", "--force", name)
            removed.append(name)
        return removed

    def _clear_builds(self) -> None:
        """Build containers that a killed run left. No build of this checkout is at work: the lock is ours."""
        self.docker.remove(name for name in self._mine("container") if name.startswith(f"{self.prefix}-build-"))

    def _run_container(self, part: str, tags: Mapping[str, str]) -> None:
        """Make and start one of the containers, as the stack's docker-compose.yml says."""
        name = {"postgres": self.postgres, "synapse": self.synapse, "mas": self.mas}[part]
        options = [
            *("--name", name, "--restart", "unless-stopped"),
            *("--network", self.network, "--network-alias", part),
            *("--log-driver", "json-file", "--log-opt", "max-size=50m"),
            *self._labels(),
            *("--label", f"com.docker.compose.project={self.prefix}", "--label", f"com.docker.compose.service={part}"),
        ]
        command: list[str] = []
        if part == "postgres":
            password = self._notes()["secrets"]["postgres_password"]
            env_file = self.dir / "postgres.env"
            values = {
                "POSTGRES_USER": "synapse",
                "POSTGRES_PASSWORD": password,
                "POSTGRES_DB": "synapse",
                "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --lc-collate=C --lc-ctype=C",
            }
            _write(env_file, "".join(f"{key}={value}\n" for key, value in values.items()), 0o600)
            options += ["--env-file", str(env_file), "--volume", f"{self._data}:/var/lib/postgresql/data"]
            options += ["--health-cmd", "pg_isready -U synapse", "--health-interval", "10s"]
        elif part == "synapse":
            port = self._notes()["ports"]["synapse"]
            options += ["--volume", f"{self.host_dir}/synapse:/data", "--publish", f"127.0.0.1:{port}:8008"]
        else:
            options += ["--volume", f"{self.host_dir}/mas:/config:ro"]
            if os.environ.get("LAB_IMAGE_MAS"):
                options += ["--env", "MAS_CONFIG=/config/config.yaml"]
                command = ["server"]
            else:
                options += ["--volume", f"{self.root}/lab/mas.py:/usr/local/lib/mas.py:ro"]
                options += ["--entrypoint", "python3", "--user", f"{host.MAS_UID}:{host.MAS_UID}"]
                options += ["--health-cmd", "curl -fsS http://localhost:8080/health", "--health-interval", "15s"]
                command = ["/usr/local/lib/mas.py", "/config/config.yaml"]
        done = self.docker("run", "--detach", *options, tags[part], *command, check=False)
        if done.returncode != 0:
            self.docker.remove([name])
            if "port is already allocated" in done.stderr or "address already in use" in done.stderr:
                raise LabError(
                    f"port {self._notes()['ports']['synapse']} of this lab is taken by another program; "
                    "`python -m lab down`, then `up`, chooses another"
                )
            raise LabError(f"could not start {name}: {last_lines(done.stderr, 3)}")

    def _labels(self) -> list[str]:
        return ["--label", f"{LABEL}={self.checkout}", "--label", f"{PATH_LABEL}={self.home}"]

    def _make_network(self) -> None:
        if self.network not in self.docker.names("network", f"name={self.network}"):
            self.docker("network", "create", *self._labels(), self.network)

    def _start_all(self, tags: Mapping[str, str]) -> None:
        """The network and the three containers, none of which is there; Synapse when Postgres accepts connections."""
        self._make_network()
        _together(lambda: self._run_container("postgres", tags), lambda: self._run_container("mas", tags))
        self._wait_postgres()
        if not self._data_is_set_up():
            self._make_mas_database()
        self._run_container("synapse", tags)

    def _wait_postgres(self, timeout: float = 60) -> None:
        # Over TCP: while the entrypoint initialises, the server listens on its socket only.
        begun = time.monotonic()
        ready = ("exec", self.postgres, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "synapse", "-d", "synapse")
        while self.docker(*ready, check=False).returncode != 0:
            if time.monotonic() - begun > timeout:
                raise LabError(f"Postgres is not ready after {timeout:.0f} s:\n{self._log_of(self.postgres, 20)}")
            time.sleep(0.1)

    def _data_is_set_up(self) -> bool:
        return self.psql("SELECT count(*) FROM pg_database WHERE datname = 'mas'") == "1"

    def _make_mas_database(self) -> None:
        password = self._notes()["secrets"]["mas_password"]
        # On stdin; the server does not log statements.
        self.psql(f"CREATE ROLE mas LOGIN PASSWORD '{password}'; CREATE DATABASE mas OWNER mas TEMPLATE template0;")
        if not os.environ.get("LAB_IMAGE_MAS"):
            self.psql(f"SET ROLE mas;\n{(host.TEMPLATES / 'mas.sql').read_text()}", "mas")

    def _healthy(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.synapse_url}/health", timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, ValueError):
            return False

    def _stack(self) -> host.Stack:
        notes = self._notes()
        names = (self.network, self.postgres, self.synapse, self.mas)
        return host.Stack(self.host_dir, *names, notes["ports"]["synapse"], notes["secrets"])

    # making and restoring

    def _make(self, tags: Mapping[str, str], key: str) -> None:
        """A new host, from nothing; whatever this lab had is cleared. A copy of it is kept for `reset`."""
        free = shutil.disk_usage(self.dir).free
        if free < SPACE_BYTES:
            raise LabError(f"the lab takes 1 GiB; {self.dir} has {free / 1024**3:.1f} GiB free")
        begun = time.monotonic()
        self._say("making the host: files, Postgres, MAS, Synapse (about 20 s) ...")
        self._note(made=None, busy="make", salt=None)
        removed = self._clear()
        if removed:
            self._say(f"cleared what was left of this lab: {', '.join(removed)}")
        for path in (self.host_root, self._data, self._pristine, self._state_dir):
            if path.exists():
                shutil.rmtree(path)
        if not _port_is_free(self._notes()["ports"]["synapse"]):
            self._note(ports={"synapse": free_port()})
            key = self._key(tags)
        self._write_files()
        self._data.mkdir(mode=0o700)
        self._start_all(tags)
        self.wait_healthy()
        self._provision()
        # Stopped, so that the copy is whole: nothing in it has to be recovered.
        self.docker("stop", self.synapse)
        self.docker("stop", self.postgres)
        fresh = self.dir / "pristine.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        _copy(self._data, fresh / "postgres")
        _copy(self.host_root, fresh / "host")
        fresh.rename(self._pristine)
        self.docker("start", self.postgres)
        self._wait_postgres()
        self.docker("start", self.synapse)
        self.wait_healthy()
        self._note(made=key, busy=None)
        self._say(f"host made in {time.monotonic() - begun:.1f} s")

    def _restore(self, tags: Mapping[str, str]) -> None:
        """The host from its copy, with new containers (whose logs are empty, and whose settings nobody changed)."""
        self._note(busy="reset")
        self._clear(keep=[self.network])
        for path, kept in ((self._data, "postgres"), (self.host_root, "host")):
            if path.exists():
                shutil.rmtree(path)
            _copy(self._pristine / kept, path)
        if self._state_dir.exists():
            shutil.rmtree(self._state_dir)
        if (self._pristine / "state").is_dir():
            _copy(self._pristine / "state", self._state_dir)
        self._start_all(tags)
        self.wait_healthy()
        self._note(busy=None)

    def _mend(self, tags: Mapping[str, str]) -> None:
        """Start what is stopped and make again what is gone, on the data that is there."""
        found = self.docker.inspect("container", (self.postgres, self.synapse, self.mas))
        if self.network not in self.docker.names("network", f"name={self.network}"):
            # Containers cannot be on a network that is gone.
            self.docker.remove(found)
            found = {}
            self._make_network()
        for part, name in (("postgres", self.postgres), ("mas", self.mas), ("synapse", self.synapse)):
            if name not in found:
                self._say(f"{name} is gone; made again")
                self._run_container(part, tags)
            elif not found[name]["State"]["Running"]:
                self._say(f"{name} is stopped; started")
                self.docker("start", name)
            elif found[name]["State"]["Paused"]:
                self.docker("unpause", name)
            if part == "postgres":
                self._wait_postgres()
        self.wait_healthy()
        self._clear_stale_locks()

    def _finish(self) -> None:
        """What each `up` and `reset` ends with: the bridge's image, the plugins and the config."""
        if self.docker.image_id(self.bridge_image) is None:
            self._bridge_image()
        self._write_plugins()
        self.write_config()
        ask = ("exec", self.synapse, "curl", "-fsS", "--retry", "5", "--retry-connrefused", "--retry-delay", "1")
        mas = self.docker(*ask, f"http://{self.mas}:8080/health", check=False)
        if mas.returncode != 0:
            raise LabError(f"MAS does not answer Synapse: {mas.stderr.strip()}\n{self._log_of(self.mas, 10)}")

    def _log_of(self, container: str, lines: int) -> str:
        logs = self.docker("logs", "--tail", str(lines), container, check=False)
        return last_lines(logs.stdout + logs.stderr, lines)

    def _write_files(self) -> None:
        self.host_dir.mkdir(parents=True)
        stack = self._stack()
        for file in host.files(stack):
            path = self.host_dir / file.path
            if file.text is None:
                path.mkdir()
            else:
                path.write_text(file.text)
            os.chown(path, file.uid, file.uid)
            path.chmod(file.mode)
        image = os.environ.get("LAB_IMAGE_MAS")
        if image:
            # The real MAS wants keys of its own; it makes a whole config, into which ours goes.
            made = yaml.safe_load(self.docker("run", "--rm", image, "config", "generate").stdout)
            ours = host.mas_config(stack)
            ours.pop("lab_sessions")
            (self.host_dir / "mas/config.yaml").write_text(yaml.safe_dump({**made, **ours}))

    def _provision(self) -> None:
        try:
            provision(self.synapse_url, self._notes()["secrets"]["mas_secret"], host.USER, host.DEVICE)
        except urllib.error.HTTPError as error:
            raise LabError(f"Synapse refused the user: {error.code} {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise LabError(f"could not make the user in Synapse: {error}") from error

    def _write_plugins(self) -> None:
        given = os.environ.get("LAB_PLUGINS")
        if given:
            missing = [name for name in PLUGINS if not os.access(Path(given, f"pulumi-resource-{name}"), os.X_OK)]
            if missing:
                names = ", ".join(f"pulumi-resource-{name}" for name in missing)
                raise LabError(f"LAB_PLUGINS={given} lacks {names}")
        folder = self.dir / "plugins"
        folder.mkdir(exist_ok=True)
        for name in PLUGINS:
            python = shlex.quote(str(self.root / ".venv/bin/python"))
            text = (
                "#!/bin/sh\n"
                f"# Emulated provider plugin of the lab: lab/plugins/{name}.py.\n"
                f'PYTHONPATH={shlex.quote(str(self.root))} exec {python} -m lab.plugins.{name} "$@"\n'
            )
            path = folder / f"pulumi-resource-{name}"
            if not path.is_file() or path.read_text() != text:
                _write(path, text, 0o755)

    def _clear_stale_locks(self) -> None:
        """Remove locks on the state that belong to a CLI which is gone: killed, it could not."""
        for path in self._state_dir.glob(".pulumi/locks/**/*.json"):
            try:
                holder = json.loads(path.read_text())
                alive = holder["hostname"] != socket.gethostname() or Path(f"/proc/{int(holder['pid'])}").exists()
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if not alive:
                path.unlink(missing_ok=True)
                self._say(f"removed the lock of a Pulumi run that was killed (pid {holder['pid']})")


_CATALOG = """
SELECT json_build_object(
  'roles', (SELECT json_agg(json_build_array(rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
      rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil, md5(rolpassword)) ORDER BY rolname) FROM pg_authid),
  'members', (SELECT json_agg(json_build_array(roleid::regrole::text, member::regrole::text, admin_option)
      ORDER BY roleid::regrole::text, member::regrole::text) FROM pg_auth_members),
  'settings', (SELECT json_agg(json_build_array(setdatabase, setrole::regrole::text, setconfig)
      ORDER BY setdatabase, setrole::regrole::text) FROM pg_db_role_setting),
  'databases', (SELECT json_object_agg(datname, json_build_object(
      'owner', datdba::regrole::text, 'encoding', pg_encoding_to_char(encoding), 'collate', datcollate,
      'ctype', datctype, 'template', datistemplate, 'allowconn', datallowconn, 'connlimit', datconnlimit,
      'acl', ARRAY(SELECT unnest(coalesce(datacl, acldefault('d', datdba)))::text ORDER BY 1)
    ) ORDER BY datname) FROM pg_database)
);
"""


def loaded_registrations(log: str) -> list[str]:
    """Ids of the appservices that Synapse's log says it loaded, sorted. Pure."""
    # Synapse loads them once for each of its parts that asks.
    lines = [line for line in log.splitlines() if "Loaded application service: " in line]
    return sorted({match[1] for line in lines if (match := re.search(r"'id': '([^']*)'", line))})


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on. Raises LabError if none is found."""
    for _ in range(200):
        port = random.choice(PORTS)
        if _port_is_free(port):
            return port
    raise LabError(f"no free port found between {PORTS.start} and {PORTS.stop}")


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _together(*jobs: Callable[[], None]) -> None:
    """Run the jobs side by side; raises the first error when all are done."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file in one step: it has the old content or the new, and never a wider mode than `mode`."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    fresh.replace(path)


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes and times; `target` is not there yet."""
    run(["cp", "-a", "--reflink=auto", source, target])


def _tree(top: Path) -> Iterator[tuple[str, list[object]]]:
    """(path below `top`, [type, mode, uid, gid, sha256 or link target or ""]) of all that is in `top`, sorted."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    for path in sorted(top.rglob("*")):
        facts = path.lstat()
        kind = kinds.get(stat.S_IFMT(facts.st_mode), "special")
        content = ""
        if kind == "file":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif kind == "link":
            content = os.readlink(path)
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        yield str(path.relative_to(top)), [kind, mode, facts.st_uid, facts.st_gid, content]
