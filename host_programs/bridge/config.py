"""Writes the bridge's config.yaml on the host, after the bridge itself has accepted the setting bridgeConfig."""

from __future__ import annotations

from dataclasses import dataclass

from host_programs.bridge import config_check
from host_programs.bridge.config_check import SettingsQuestion
from host_programs.files import files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError


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
    rejected = config_check.find_refused_settings(arguments.asked)
    if rejected:
        raise ScriptError("; ".join(rejected))
    files.write_files(OwnedFiles(arguments.stack, (arguments.file,)))
    return WrittenConfig(arguments.file.path)
