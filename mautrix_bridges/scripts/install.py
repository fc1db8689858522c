"""What a bridge is made of on the host before Synapse is touched: its directory, its image, its config.yaml.

install  claims the directory, pulls the image unless it is there, asks it whether it takes the config, and writes that.
remove   takes the config away, and the directory with the last version of it; the image is for scripts/leftovers.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mautrix_bridges.scripts import config_check, directory, files
from mautrix_bridges.scripts.common import ScriptError, docker, run, say
from mautrix_bridges.scripts.config_check import Question
from mautrix_bridges.scripts.container import there
from mautrix_bridges.scripts.directory import Done, OwnDirectory
from mautrix_bridges.scripts.files import OwnedFile, OwnedFiles

PULL_LIMIT = 3600.0  # seconds


@dataclass(frozen=True)
class Arguments:
    """`own` is the directory, `config` the file in it; that stays, at `remove`, while the container `container` mounts
    its directory. Another number of `failures` has it tried again."""

    own: OwnDirectory
    image: str
    asked: Question
    config: OwnedFile
    container: str
    failures: int

    @property
    def files(self) -> OwnedFiles:
        return OwnedFiles(self.own.stack, (self.config,), mounted_by=self.container)


@dataclass(frozen=True)
class Installed:
    """Whether the image had to be `pulled`."""

    pulled: bool


def install(arguments: Arguments) -> Installed:
    """ScriptError, and no config is written, if the directory is somebody else's, the image cannot be had, or the
    bridge in it does not take what the setting bridgeConfig says."""
    directory.claim(arguments.own)
    pulled = _pull(arguments.image)
    refused = config_check.refused(arguments.asked)
    if refused:
        raise ScriptError("; ".join(refused))
    files.create(arguments.files)
    return Installed(pulled)


def _pull(image: str) -> bool:
    if there("image", [image]):
        return False
    say(f"pulling {image}")
    done = docker("pull", "--quiet", image, check=False, timeout=PULL_LIMIT)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ScriptError(f"image {image}: cannot be pulled: {said}")
    return True


def remove(arguments: Arguments) -> Done:
    """Missing files are fine."""
    done = files.erase(arguments.files)
    if not any(Path(arguments.own.path).glob(f"{directory.CONFIGS}*")):
        directory.release(arguments.own)
    return done


VERBS = (install, remove)

if __name__ == "__main__":
    run(*VERBS)
