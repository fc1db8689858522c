"""What a bridge is made of on the host before Synapse is touched: its directory, its image, its config.yaml.

install  claims the directory, pulls the image unless it is there, asks it whether it takes the config, and writes that.

Other versions of the config go once the bridge is ready with its own (bridge/readiness.py), all of it at the end
(host_programs/bridge/leftovers.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from host_programs.bridge import config_check
from host_programs.bridge.config_check import Question
from host_programs.common import ScriptError, docker, run, say
from host_programs.container import image_id
from host_programs.files import directory, files
from host_programs.files.directory import OwnDirectory
from host_programs.files.files import OwnedFile, OwnedFiles

PULL_LIMIT = 3600.0  # seconds


@dataclass(frozen=True)
class Arguments:
    """`own` is the directory, `config` the file in it. Another number of `failures` has it tried again."""

    own: OwnDirectory
    image: str
    asked: Question
    config: OwnedFile
    failures: int


@dataclass(frozen=True)
class Installed:
    """Docker's id of the image."""

    image_id: str


def install(arguments: Arguments) -> Installed:
    """ScriptError, and no config is written, if the directory is somebody else's, the image cannot be had, or the
    bridge in it does not take what the setting bridgeConfig says."""
    directory.claim(arguments.own)
    found = image_id(arguments.image) or _pull(arguments.image)
    refused = config_check.refused(arguments.asked)
    if refused:
        raise ScriptError("; ".join(refused))
    files.create(OwnedFiles(arguments.own.stack, (arguments.config,)))
    return Installed(found)


def _pull(name: str) -> str:
    say(f"pulling {name}")
    done = docker("pull", "--quiet", name, check=False, timeout=PULL_LIMIT)
    found = "" if done.returncode else image_id(name)
    if not found:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ScriptError(f"image {name}: cannot be pulled: {said}")
    return found


VERBS = (install,)

if __name__ == "__main__":
    run(*VERBS)
