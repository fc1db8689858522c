"""Builds the lab's bridge core (lab/bridge, Go) into the binary that the lab's image has at /usr/bin/mautrix-signal.

The binary is static, so that it runs in any image of this machine's architecture whatever its libc is. It needs cgo
all the same: without cgo mautrix-go leaves encryption out of the bridge without a word.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "bridge"

# goolm: encryption in Go instead of libolm. netgo, osusergo: no libc calls that a static binary cannot make.
TAGS = "goolm,netgo,osusergo,sqlite_omit_load_extension"


@dataclass(frozen=True)
class Release:
    """The release that a core stands in for. `version`: as `--version` prints it; `modules`: the file that pins
    mautrix-go and all the rest."""

    tag: str
    version: str
    modules: str

    @property
    def build(self) -> tuple[str, ...]:
        ldflags = f"-s -w -X main.Tag={self.tag} -X main.Version={self.version} -linkmode external -extldflags -static"
        return (
            "go",
            "build",
            f"-modfile={self.modules}",
            "-buildvcs=false",
            "-trimpath",
            "-tags",
            TAGS,
            "-ldflags",
            ldflags,
        )


PINNED = Release("v0.2603.0", "26.03", "go.mod")
NEXT = Release("v0.2608.0", "26.08", "next.mod")  # its schema is newer

# A cold build downloads 25 modules and compiles for about a minute and a half on two cores.
TIMEOUT_SECONDS = 1200


class BuildError(Exception):
    """The bridge core could not be built; the text says what is missing or what Go said."""


def sources_hash(release: Release) -> str:
    """Sha256 (hex) of everything that decides the binary: the Go files, the module files and the build command."""
    digest = hashlib.sha256(repr(release.build).encode())
    modules = SOURCES / release.modules
    for path in sorted([*SOURCES.glob("*.go"), modules, modules.with_suffix(".sum")]):
        digest.update(f"\0{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def binary(out: Path, release: Release) -> Path:
    """Return `out`, built anew only if it is missing or the sources have changed since.

    Beside it lie `<out>.sources` (the hash it was built from) and `<out>.lock` (one build at a time). Prints one line
    with the seconds that a build took, to stderr. Raises BuildError.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    stamp = out.with_name(out.name + ".sources")
    with open(out.with_name(out.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = sources_hash(release)
        if out.is_file() and stamp.is_file() and stamp.read_text().strip() == wanted:
            return out
        print("bridge core: building (a minute or two the first time) ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        # Removed first: a build that is killed must not leave a stamp that vouches for another binary.
        stamp.unlink(missing_ok=True)
        _build(out, release)
        stamp.write_text(wanted + "\n")
        print(f"bridge core: built in {time.monotonic() - start:.1f} s: {out}", file=sys.stderr, flush=True)
    return out


def _build(out: Path, release: Release) -> None:
    for tool, package in (("go", "Go 1.26 or newer"), ("gcc", "gcc and libc6-dev")):
        if shutil.which(tool) is None:
            raise BuildError(f"bridge core: {tool} is not on PATH; install {package}")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=out.name + ".") as scratch:
        built = Path(scratch, "core")
        try:
            run = subprocess.run(
                [*release.build, "-o", str(built), "."],
                cwd=SOURCES,
                env={**os.environ, "CGO_ENABLED": "1"},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"bridge core: go build took longer than {TIMEOUT_SECONDS} s") from None
        if run.returncode != 0:
            said = "\n".join(run.stderr.strip().splitlines()[-20:])
            raise BuildError(f"bridge core: go build failed with exit code {run.returncode}:\n{said}")
        os.replace(built, out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lab.bridge_build OUT")
    try:
        print(binary(Path(sys.argv[1]), PINNED))
    except BuildError as error:
        sys.exit(str(error))
