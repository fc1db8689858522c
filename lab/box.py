"""The lab of this checkout: a Matrix host made of containers and a directory tree, and the Pulumi CLI set up for it.

    lab = Lab.here()
    lab.up()                      # or reset(): pristine again, in seconds
    before = lab.snapshot()
    lab.pulumi("up", "--yes")
    lab.pulumi("destroy", "--yes")
    assert lab.snapshot() == before

Everything is under .lab/ of the checkout and in containers, one network and one image whose names begin with `prefix`;
Postgres' data may be in memory (lab/place.py).
Nothing else on the machine is touched, except that dockerd is started if no daemon answers, and that the images
mxlab/* are built. This module is the lab's life; what it is made of is in place.py (names, paths, notes),
containers.py, pulumi_cli.py and snapshot.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from lab import host, snapshot
from lab.containers import Containers
from lab.engine import Docker, LabError, run
from lab.flavours import FLAVOURS
from lab.mas import provision
from lab.place import LABEL, ROOT, Place, Say, free_port, port_is_free
from lab.prober import Prober
from lab.pulumi_cli import PulumiCli
from lab.snapshot import Snapshot
from lab.ssh_server import SshServer, host_over_ssh

__all__ = ["ROOT", "Lab"]

# Raise it when `up` makes a host that differs in a way that no file shows which `_key` hashes.
LAYOUT = 1

SPACE_BYTES = 1024**3


class Lab(Place):
    """One checkout's lab. Every method raises LabError, with one line that says what is wrong and what to do.

    `home`: see Place. `say`: gets the progress lines, which are printed by default.
    """

    def __init__(self, home: Path, say: Say | None = None) -> None:
        super().__init__(home)
        self._say = say or (lambda line: print(f"lab: {line}\n", end="", flush=True))
        self.docker = Docker()
        self.containers = Containers(self, self.docker, self._say)
        self.cli = PulumiCli(self, self._say)
        self.ssh = SshServer(self)
        # What tests and tools do with a lab.
        self.psql = self.containers.psql
        self.wait_healthy = self.containers.wait_healthy
        self.orphans = self.containers.orphans
        self.pulumi = self.cli.run
        self.env = self.cli.env
        self.write_config = self.cli.write_config
        self.outputs = self.cli.outputs
        self.custom_bridge = self.cli.custom_bridge

    @classmethod
    def here(cls, say: Say | None = None) -> Lab:
        """The lab of the checkout that this module is in."""
        return cls(ROOT, say)

    @property
    def synapse_url(self) -> str:
        """Where the host reaches Synapse's client-server API."""
        if FLAVOURS[self.flavour].published:
            return super().synapse_url
        found = self.docker.inspect("container", [self.synapse])
        networks = found[self.synapse]["NetworkSettings"]["Networks"] if found else {}
        return f"http://{networks[self.network]['IPAddress'] if networks else 'not-there'}:8008"

    def prober(self) -> Prober:
        """A context manager that measures Synapse's outages; see lab/prober.py."""
        return Prober(self.synapse_url)

    def snapshot(self, ignore: Sequence[str] = ()) -> Snapshot:
        """The state of the host, without the files whose path matches one of the patterns `ignore` (fnmatch)."""
        return snapshot.take(self, self.containers, ignore)

    # up, reset, down, status

    def up(self) -> None:
        """The lab is there and healthy afterwards; what is there already stays as it is.

        Seconds when it is up, about half a minute with the images present, minutes on a new machine.
        """
        with self._at_work() as (tags, key, is_made):
            if not is_made:
                self._make_plain(tags, key)
            if self.notes().flavour != self.flavour:
                self._restore(tags)
            elif self.notes().busy or not (self.postgres_data.is_dir() and self.host_dir.is_dir()):
                self._say("what an interrupted run left is cleared")
                self._restore(tags)
            else:
                self.containers.start_missing(tags)
                self.cli.clear_stale_locks()
        self._say(f"up: Synapse at {self.synapse_url}, containers {self.prefix}-*, host tree {self.host_root}")

    def reset(self) -> None:
        """The host is as it was when `up` had made it: files, databases, containers; Pulumi's state is empty.

        Makes the lab if it is not there.
        """
        with self._at_work() as (tags, key, is_made):
            if not is_made:
                self._make_plain(tags, key)
            if is_made or self.flavour != "plain":
                begun = time.monotonic()
                self._restore(tags)
                self._say(f"reset in {time.monotonic() - begun:.1f} s")

    def down(self) -> None:
        """Remove all that the lab of this checkout made. Images stay, and so does what Pulumi downloaded."""
        _check_machine()
        removed: list[str] = []
        with self._lock():
            if self.notes_file.is_file() or self.docker.answers():
                self._start_engine()
                removed = self.containers.clear()
                self.docker.remove_images(f"label={LABEL}={self.checkout}")
                self.ssh.remove()
            else:
                self._say("no Docker daemon answers, and nothing in .lab/ says that containers were made")
            others = (self.plugins_dir, *(self.dir / name for name in ("build", "stack", "pristine.new")))
            _remove_trees(self.host_root, self.postgres_data, self.pristine, self.state_dir, *others)
            for path in (self.config_file, self.postgres_env, self.postgres_password, self.notes_file):
                path.unlink(missing_ok=True)
        self._say(f"down: {', '.join(removed) if removed else 'no container or network was left'}")

    def status(self) -> dict[str, object]:
        """What is there, as plain data: `up` (bool), the addresses, and the state of each container by name.

        Changes nothing and starts nothing.
        """
        made = self.notes_file.is_file()
        daemon = self.docker.answers()
        states = self.containers.states() if daemon else {}
        parts = (self.postgres, self.synapse, self.mas)
        running = all(states.get(name, "").startswith("running") for name in parts)
        up = made and running and self.containers.healthy()
        report: dict[str, object] = {"up": up, "docker": "answers" if daemon else "no daemon answers"}
        if made:
            report |= {"synapse": self.synapse_url, "host": str(self.host_dir), "config": str(self.config_file)}
        return report | {"containers": states, "orphans": self.orphans() if daemon else []}

    def clear_orphans(self) -> None:
        """Remove the containers, networks and bridge images of labs whose checkout is gone."""
        _check_machine()
        self._start_engine()
        for path in self.orphans():
            # The names come from the path alone.
            gone = Lab(path, self._say)
            removed = gone.containers.clear()
            _remove_trees(gone.postgres_data)
            gone.ssh.remove()
            self.docker.remove_images(f"label={LABEL}={gone.checkout}")
            self._say(f"the lab of {path}, which is gone: {', '.join(removed)}")

    # parts of up and reset

    @contextmanager
    def _at_work(self) -> Iterator[tuple[dict[str, str], str, bool]]:
        """What `up` and `reset` begin and end with. Gives the images to run by part, the hash of what the host is
        made from, and whether it has been made from just that."""
        _check_machine()
        with self._lock():
            self._start_engine()
            self.docker.check_default_bridge()
            self.notes(make=True)
            tags = self.containers.image_names()
            key = self._key(tags)
            self.containers.clear_builds()
            yield tags, key, self.notes().made == key and self.pristine.is_dir()
            self.containers.make_bridge_image()
            self.cli.write_plugins()
            if host_over_ssh():
                self.ssh.start()
            self.write_config()
            self.containers.check_mas()

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

    def _start_engine(self) -> None:
        started = self.docker.ensure(self.dir / "dockerd.log")
        if started:
            self._say(started)
            self._say("it stays when the lab goes: others may use it; end it by that pid")

    def _key(self, tags: Mapping[str, str]) -> str:
        """Hash of all that the pristine host is made from."""
        digest = hashlib.sha256(f"{LAYOUT} {self.notes().synapse_port} {sorted(tags.items())}".encode())
        for path in sorted([*host.TEMPLATES.iterdir(), Path(host.__file__), ROOT / "lab/mas.py"]):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _make_plain(self, tags: Mapping[str, str], key: str) -> None:
        """What every flavour is laid over."""
        wanted, self.flavour = self.flavour, "plain"
        try:
            self._make(tags, key)
        finally:
            self.flavour = wanted

    def _make(self, tags: Mapping[str, str], key: str) -> None:
        """A new host, from nothing; whatever this lab had is cleared. A copy of it is kept for `reset`."""
        for place in (self.dir, self.postgres_data.parent):
            free = shutil.disk_usage(place).free
            if free < SPACE_BYTES:
                raise LabError(f"the lab takes 1 GiB; {place} has {free / 1024**3:.1f} GiB free")
        begun = time.monotonic()
        self._say("making the host: files, Postgres, MAS, Synapse (about 20 s) ...")
        self.note(made=None, busy="make", salt=None)
        removed = self.containers.clear()
        if removed:
            self._say(f"cleared what was left of this lab: {', '.join(removed)}")
        fresh = self.dir / "pristine.new"
        _remove_trees(self.host_root, self.postgres_data, self.pristine, self.state_dir, fresh)
        if not port_is_free(self.notes().synapse_port):
            self.note(synapse_port=free_port())
            key = self._key(tags)
        self._write_files()
        self.postgres_data.mkdir(mode=0o700)
        self.containers.start_all(tags)
        self.wait_healthy()
        self._provision()
        self.containers.wait_settled()
        # Stopped, so that the copy is whole: nothing in it has to be recovered.
        self.docker("stop", self.synapse)
        self.docker("stop", self.postgres)
        fresh.mkdir(mode=0o700)
        _copy(self.postgres_data, fresh / "postgres")
        _copy(self.host_root, fresh / "host")
        fresh.rename(self.pristine)
        self.docker("start", self.postgres)
        self.containers.wait_postgres()
        self.docker("start", self.synapse)
        self.wait_healthy()
        self.note(made=key, busy=None, flavour="plain")
        self._say(f"host made in {time.monotonic() - begun:.1f} s")

    def _restore(self, tags: Mapping[str, str]) -> None:
        """The host from its copy, with new containers (whose logs are empty, and whose settings nobody changed)."""
        self.note(busy="reset")
        self.containers.clear(keep=[self.network])
        _remove_trees(self.postgres_data, self.host_root, self.state_dir)
        _copy(self.pristine / "postgres", self.postgres_data)
        _copy(self.pristine / "host", self.host_root)
        if (self.pristine / "state").is_dir():
            _copy(self.pristine / "state", self.state_dir)
        FLAVOURS[self.flavour].change(self.host_dir)
        self.containers.start_all(tags)
        self.wait_healthy()
        self.note(busy=None, flavour=self.flavour)

    def _write_files(self) -> None:
        self.host_dir.mkdir(parents=True)
        stack = self.stack()
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
            provision(self.synapse_url, self.notes().secrets["mas_secret"], host.USER, host.DEVICE)
        except urllib.error.HTTPError as error:
            raise LabError(f"Synapse refused the user: {error.code} {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise LabError(f"could not make the user in Synapse: {error}") from error


def _check_machine() -> None:
    if not sys.platform.startswith("linux"):
        raise LabError("the lab needs Linux")
    if os.geteuid() != 0:
        raise LabError("the lab needs root (containers, files that belong to other users): run it with sudo")


def _remove_trees(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            shutil.rmtree(path)


def _copy(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes and times; `target` is not there yet."""
    run(["cp", "-a", "--reflink=auto", source, target])
