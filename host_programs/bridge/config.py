"""Writes the bridge's config.yaml on the host, after the bridge itself has accepted the setting bridgeConfig.

A bridge drops an unknown key and a value of the wrong type without an error. So the bridge's program reads the settings
and writes its config, and the two are compared where PyYAML is: in Synapse's container.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from documents.places import BridgeDeployment
from host_programs import program_file
from host_programs.docker import run_docker
from host_programs.files import files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError

# Reads from stdin; `-g` has the bridge read its config, write it whole, and end.
READ_CONFIG = (
    'cat > /tmp/config.yaml && "$0" -g -c /tmp/config.yaml -r /tmp/registration.yaml >&2 && cat /tmp/config.yaml'
)


@dataclass(frozen=True)
class SettingsQuestion:
    """`config`: the setting bridgeConfig; `image` and `binary`: the bridge's; `synapse`: the container that has
    PyYAML."""

    config: dict[str, Any] = field(repr=False)
    image: str
    binary: str
    synapse: str

    @classmethod
    def of(cls, deployment: BridgeDeployment, image: str) -> SettingsQuestion:
        return cls(deployment.config, image, deployment.bridge.binary, deployment.synapse.container)


@dataclass(frozen=True)
class ConfigFile:
    """`stack`: "project/name"; `asked`: what the bridge's image must accept; `image_id`: Docker's id of that image,
    which is on the host."""

    stack: str
    asked: SettingsQuestion
    image_id: str
    file: OwnedFile


@dataclass(frozen=True)
class WrittenConfig:
    """`path`: the config's on the host."""

    path: str


def write_config(arguments: ConfigFile) -> WrittenConfig:
    """ScriptError, and nothing is written, if the bridge does not accept the setting, or if somebody else's file has
    the path. Earlier versions of the config stay until a new container is ready: the old one runs with them."""
    refused = find_refused_settings(arguments.asked)
    if refused:
        raise ScriptError("; ".join(refused))
    files.write_files(OwnedFiles(arguments.stack, (arguments.file,)))
    return WrittenConfig(arguments.file.path)


def find_refused_settings(question: SettingsQuestion) -> tuple[str, ...]:
    """Run the bridge's program on the setting; a line `KEY: why` for each setting that it does not take. ScriptError if
    that cannot be found out."""
    if not question.config:
        return ()
    # The bridge cannot read a config without these.
    config = {"homeserver": {"domain": "localhost", "address": "http://localhost"}, **question.config}
    config["bridge"] = {"permissions": {"*": "relay"}, **question.config.get("bridge", {})}
    safe = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
    done = run_docker(
        "run", *safe.split(), "--tmpfs", "/tmp:mode=1777", "--entrypoint", "sh", question.image, "-c", READ_CONFIG,
        question.binary, stdin=json.dumps(config), check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return (f"bridgeConfig: the bridge cannot read it: {reason}",)
    comparison = ConfigComparison(question.config, done.stdout)
    try:
        return program_file.run_inside(question.synapse, compare_config, comparison, timeout=60).lines
    except program_file.InsideError as error:
        raise ScriptError(f"bridgeConfig cannot be compared: {error}") from None


@dataclass(frozen=True)
class ConfigComparison:
    """`asked`: the setting bridgeConfig; `text`: the config that the bridge made of it."""

    asked: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True)
class RefusedSettings:
    """The settings that the bridge did not take, as `KEY: why`."""

    lines: tuple[str, ...]


def compare_config(arguments: ConfigComparison) -> RefusedSettings:
    """Find the settings that are not the same in the bridge's config. Runs in Synapse's container."""
    import yaml

    from documents.bridge.config import find_rejected_settings

    return RefusedSettings(tuple(find_rejected_settings(arguments.asked, yaml.safe_load(arguments.text))))
