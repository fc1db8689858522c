"""The lab's images, containers and network: made, started, asked, and taken away."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab import host, images
from lab.engine import Docker, LabError, last_lines
from lab.flavours import FLAVOURS, Flavour
from lab.place import LABEL, PATH_LABEL, Place, Say, write

HEALTHY_SECONDS = 90
# Debian's ssl-cert, in the image with Postgres.
CERTIFICATE, KEY = "/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"


class Containers:
    """Postgres, Synapse and MAS of one lab, its network, and whatever else on this machine is the lab's."""

    def __init__(self, place: Place, docker: Docker, say: Say) -> None:
        self.place = place
        self.docker = docker
        self.say = say

    @property
    def flavour(self) -> Flavour:
        return FLAVOURS[self.place.flavour]

    # images

    def image_names(self) -> dict[str, str]:
        """Names of the images to run, by part: built here, or given by the environment and used as they are."""
        given = {part: os.environ.get(f"LAB_IMAGE_{part.upper()}") for part in ("postgres", "synapse", "mas", "bridge")}
        tags = self._builder().ensure([part for part in ("postgres", "synapse", "bridge") if not given[part]])
        for part, image in given.items():
            if image:
                if self.docker.image_id(image) is None:
                    self.say(f"{image}: pulling ...")
                    self.docker("pull", image, timeout=1800)
                tags[part] = image
        # The emulated MAS only wants a python3.
        tags.setdefault("mas", tags["synapse"])
        return tags

    def make_bridge_image(self) -> None:
        """The image that the product deploys, if it is not there."""
        if os.environ.get("LAB_IMAGE_BRIDGE") or self.docker.image_id(self.place.bridge_image) is not None:
            return
        self._derive("bridge", self.place.bridge_image)

    def make_next_bridge_image(self) -> str:
        """The name of an image with the newer bridge core, made if it is not there."""
        name = f"{self.place.own_bridge_image.rpartition(':')[0]}:{images.NEXT_BRIDGE_VERSION}"
        if self.docker.image_id(name) is None:
            self._derive("bridge-next", name)
        return name

    def _derive(self, recipe: str, name: str) -> None:
        builder = self._builder()
        # The label that marks containers as this lab's: one that is made from the image has it, whatever its name.
        builder.derive(builder.ensure([recipe])[recipe], name, f"{LABEL}={self.place.checkout}")

    def _builder(self) -> images.Builder:
        binary = self.place.root / ".tools/bin/mautrix-signal-core"
        return images.Builder(self.docker, self.place.dir / "build", self.place.prefix, self.say, binary)

    # what is the lab's

    def labels(self) -> list[str]:
        """Options of `docker run` and the like that mark what is made as this lab's."""
        return ["--label", f"{LABEL}={self.place.checkout}", "--label", f"{PATH_LABEL}={self.place.home}"]

    def mine(self, kind: str) -> list[str]:
        """Names of the containers, networks or volumes of this checkout's lab: by label, or by the prefix for those
        that the Pulumi program or a build made."""
        prefix = f"{self.place.prefix}-"
        labelled = self.docker.names(kind, f"label={LABEL}={self.place.checkout}")
        prefixed = {name for name in self.docker.names(kind, f"name={prefix}") if name.startswith(prefix)}
        return sorted(labelled | prefixed)

    def clear(self, keep: Sequence[str] = ()) -> list[str]:
        """Remove this lab's containers, then its networks and volumes; returns the names. `keep`: networks."""
        containers = self.mine("container")
        self.docker.remove(containers)
        removed = list(containers)
        networks = [name for name in self.mine("network") if name not in keep]
        for name, item in self.docker.inspect("network", networks).items():
            strangers = sorted(member["Name"] for member in item["Containers"].values())
            if strangers:
                raise LabError(f"{', '.join(strangers)}, not the lab's, is in network {name}: detach it")
            self.docker("network", "rm", name)
            removed.append(name)
        for name in self.mine("volume"):
            self.docker("volume", "rm", "--force", name)
            removed.append(name)
        return removed

    def clear_builds(self) -> None:
        """Build containers that a killed run left. No build of this checkout is at work: the lock is ours."""
        build = f"{self.place.prefix}-build-"
        self.docker.remove(name for name in self.mine("container") if name.startswith(build))

    def orphans(self) -> list[Path]:
        """Checkouts that are gone while containers of their lab are still on this machine."""
        done = self.docker("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{PATH_LABEL}"}}}}')
        return sorted(Path(line) for line in set(done.stdout.splitlines()) if line and not Path(line).is_dir())

    # starting

    def start_all(self, tags: Mapping[str, str]) -> None:
        """The network and the three containers, none of which is there; Synapse when Postgres accepts connections."""
        self._make_network()
        mas = [lambda: self._run("mas", tags)] if self.flavour.mas else []
        _together(lambda: self._run("postgres", tags), *mas)
        self.wait_postgres()
        there = self.psql("SELECT count(*) FROM pg_database WHERE datname = 'mas'") != "0"
        if there and not self.flavour.mas:
            self.psql("DROP DATABASE mas")
            self.psql("DROP ROLE mas")
        elif not there and self.flavour.mas:
            self._make_mas_database()
        for name in self._beside(first=True):
            self._run(name, tags)
        self._run("synapse", tags)
        for name in self._beside(first=False):
            self._run(name, tags)

    def _beside(self, first: bool) -> list[str]:
        return [name for name, each in self.flavour.beside.items() if each.first == first]

    def start_missing(self, tags: Mapping[str, str]) -> None:
        """Start what is stopped and make again what is gone, on the data that is there; then wait for Synapse."""
        place = self.place
        names = (place.postgres, place.synapse, place.mas, *(place.container(part) for part in self.flavour.beside))
        present = self.docker.inspect("container", names)
        if place.network not in self.docker.names("network", f"name={place.network}"):
            # Containers cannot be on a network that is gone.
            self.docker.remove(present)
            present = {}
            self._make_network()
        parts = ["postgres", *(["mas"] if self.flavour.mas else []), *self._beside(first=True), "synapse"]
        for part in (*parts, *self._beside(first=False)):
            name = place.container(part)
            if name not in present:
                self.say(f"{name} is gone; made again")
                self._run(part, tags)
            elif not present[name]["State"]["Running"]:
                self.say(f"{name} is stopped; started")
                self.docker("start", name)
            elif present[name]["State"]["Paused"]:
                self.docker("unpause", name)
            if part == "postgres":
                self.wait_postgres()
        self.wait_healthy()

    def _make_network(self) -> None:
        if self.place.network not in self.docker.names("network", f"name={self.place.network}"):
            self.docker("network", "create", *self.labels(), self.place.network)

    def _run(self, part: str, tags: Mapping[str, str]) -> None:
        """Make and start one of the containers: as the stack's docker-compose.yml says, or one of the flavour's."""
        place = self.place
        notes = place.notes()
        name, image = place.container(part), tags.get(part, tags["synapse"])
        options = [
            *("--name", name, "--restart", "unless-stopped"),
            *("--network", place.network, "--network-alias", part),
            *("--log-driver", "json-file", "--log-opt", "max-size=50m"),
            *self.labels(),
            *("--label", f"com.docker.compose.project={place.prefix}", "--label", f"com.docker.compose.service={part}"),
        ]
        command: list[str] = []
        if part == "postgres":
            values = {
                "POSTGRES_USER": "synapse",
                "POSTGRES_PASSWORD": notes.secrets["postgres_password"],
                "POSTGRES_DB": "synapse",
                "POSTGRES_INITDB_ARGS": "--encoding=UTF8 --lc-collate=C --lc-ctype=C",
            }
            if self.flavour.tls:
                write(place.postgres_password, values.pop("POSTGRES_PASSWORD"), 0o600)
                options += ["--volume", f"{place.postgres_password}:/run/secrets/password:ro"]
                values["POSTGRES_PASSWORD_FILE"] = "/run/secrets/password"
                command = ["postgres", "-c", "ssl=on", "-c", f"ssl_cert_file={CERTIFICATE}"]
                command += ["-c", f"ssl_key_file={KEY}"]
            write(place.postgres_env, "".join(f"{key}={value}\n" for key, value in values.items()), 0o600)
            options += ["--env-file", str(place.postgres_env)]
            options += ["--volume", f"{place.postgres_data}:/var/lib/postgresql/data"]
            options += ["--health-cmd", "pg_isready -U synapse", "--health-interval", "10s"]
        elif part == "synapse":
            for source, inside in self.flavour.mounts.items():
                options += ["--volume", f"{place.host_dir}/{source}:{inside}"]
            options += ["--publish", f"127.0.0.1:{notes.synapse_port}:8008"] if self.flavour.published else []
            if self.flavour.words:
                options += ["--user", f"{host.SYNAPSE_UID}:{host.SYNAPSE_UID}", "--entrypoint", "python3"]
                command = ["-m", "synapse.app.homeserver", *self.flavour.words]
        elif part in self.flavour.beside:
            beside = self.flavour.beside[part]
            options += ["--volume", f"{place.host_dir}/synapse:/data", "--no-healthcheck"]
            options += ["--user", "0" if beside.root else f"{host.SYNAPSE_UID}:{host.SYNAPSE_UID}"]
            options += ["--entrypoint", beside.words[0]]
            command = list(beside.words[1:])
        else:
            options += ["--volume", f"{place.host_dir}/mas:/config:ro"]
            if os.environ.get("LAB_IMAGE_MAS"):
                options += ["--env", "MAS_CONFIG=/config/config.yaml"]
                command = ["server"]
            else:
                options += ["--volume", f"{place.root}/lab/mas.py:/usr/local/lib/mas.py:ro"]
                options += ["--entrypoint", "python3", "--user", f"{host.MAS_UID}:{host.MAS_UID}"]
                options += ["--health-cmd", "curl -fsS http://localhost:8080/health", "--health-interval", "15s"]
                command = ["/usr/local/lib/mas.py", "/config/config.yaml"]
        done = self.docker("run", "--detach", *options, image, *command, check=False)
        if done.returncode != 0:
            self.docker.remove([name])
            if "port is already allocated" in done.stderr or "address already in use" in done.stderr:
                raise LabError(
                    f"port {notes.synapse_port} of this lab is taken by another program; "
                    "`python -m lab down`, then `up`, chooses another"
                )
            raise LabError(f"could not start {name}: {last_lines(done.stderr, 3)}")

    def _make_mas_database(self) -> None:
        password = self.place.notes().secrets["mas_password"]
        # On stdin; the server does not log statements.
        self.psql(f"CREATE ROLE mas LOGIN PASSWORD '{password}'; CREATE DATABASE mas OWNER mas TEMPLATE template0;")
        if not os.environ.get("LAB_IMAGE_MAS"):
            self.psql(f"SET ROLE mas;\n{(host.TEMPLATES / 'mas.sql').read_text()}", "mas")

    # asking

    def psql(self, sql: str, database: str = "postgres") -> str:
        """What the superuser gets for `sql`: unaligned, without headers, stripped."""
        words = ("psql", "-U", "synapse", "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-")
        return self.docker("exec", "-i", self.place.postgres, *words, stdin=sql).stdout.strip()

    def healthy(self) -> bool:
        """Whether Synapse's /health is good now."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.place.synapse_url}/health", timeout=2) as response:
                return bool(response.status == 200)
        except (OSError, ValueError):
            return False

    def wait_healthy(self, timeout: float = HEALTHY_SECONDS) -> float:
        """Wait until Synapse's /health is good; returns the seconds. Raises LabError with its log after `timeout`."""
        begun = time.monotonic()
        while not self.healthy():
            if time.monotonic() - begun > timeout:
                url, log = f"{self.place.synapse_url}/health", self.log(self.place.synapse, 20)
                raise LabError(f"Synapse is not healthy after {timeout:.0f} s ({url}):\n{log}")
            time.sleep(0.1)
        return time.monotonic() - begun

    def wait_settled(self, timeout: float = 180) -> None:
        """Wait until Synapse has done what is left of its first start: it drops tables then, and a pg_dump that meets
        one fails. Raises LabError after `timeout` seconds."""
        begun = time.monotonic()
        while left := self.psql("SELECT update_name FROM background_updates", "synapse").splitlines():
            if time.monotonic() - begun > timeout:
                raise LabError(f"Synapse has not settled after {timeout:.0f} s: {', '.join(left)}")
            time.sleep(0.5)

    def wait_postgres(self, timeout: float = 60) -> None:
        """Wait until Postgres accepts connections. Raises LabError with its log after `timeout` seconds."""
        # Over TCP: while the entrypoint initialises, the server listens on its socket only.
        begun = time.monotonic()
        postgres = self.place.postgres
        ready = ("exec", postgres, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "synapse", "-d", "synapse")
        while self.docker(*ready, check=False).returncode != 0:
            if time.monotonic() - begun > timeout:
                raise LabError(f"Postgres is not ready after {timeout:.0f} s:\n{self.log(postgres, 20)}")
            time.sleep(0.1)

    def check_mas(self) -> None:
        """Raises LabError, with MAS' log, if MAS does not answer Synapse."""
        if not self.flavour.mas:
            return
        ask = ("exec", self.place.synapse, "curl", "-fsS", "--retry", "5", "--retry-connrefused", "--retry-delay", "1")
        done = self.docker(*ask, f"http://{self.place.mas}:8080/health", check=False)
        if done.returncode != 0:
            log, hint = self.log(self.place.mas, 10), ""
            if "panicked" in log and os.environ.get("LAB_IMAGE_MAS"):
                hint = " (a MAS that panics at its start may lack CA certificates: has the image ca-certificates?)"
            raise LabError(f"MAS does not answer Synapse{hint}: {done.stderr.strip()}\n{log}")

    def states(self) -> dict[str, str]:
        """State of each container of this lab by name, its health in parentheses: "running (healthy)"."""
        states = {}
        for name, item in sorted(self.docker.inspect("container", self.mine("container")).items()):
            health = item["State"].get("Health", {}).get("Status")
            states[name] = item["State"]["Status"] + (f" ({health})" if health else "")
        return states

    def log(self, container: str, lines: int) -> str:
        """The last lines of a container's log."""
        logs = self.docker("logs", "--tail", str(lines), container, check=False)
        return last_lines(logs.stdout + logs.stderr, lines)


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
