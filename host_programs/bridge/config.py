"""The bridge's config.yaml on the host, once the bridge itself has taken what the setting bridgeConfig says."""

from __future__ import annotations

from dataclasses import dataclass

from host_programs.bridge import config_check
from host_programs.bridge.config_check import SettingsQuestion
from host_programs.files import files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError


@dataclass(frozen=True)
class ConfigFile:
    """`stack` is "project/name"; `asked` is what the bridge's image is asked about the setting; `image_id` is Docker's
    id of that image, which is on the host."""

    stack: str
    asked: SettingsQuestion
    image_id: str
    file: OwnedFile


@dataclass(frozen=True)
class WrittenConfig:
    """Where the config is."""

    path: str


def write_config(arguments: ConfigFile) -> WrittenConfig:
    """ScriptError, and nothing is written, if the bridge does not take what the setting says, or somebody else's file
    is there. Earlier versions of the config stay for the container that runs with them, until a new one is ready."""
    refused = config_check.find_refused_settings(arguments.asked)
    if refused:
        raise ScriptError("; ".join(refused))
    files.write_files(OwnedFiles(arguments.stack, (arguments.file,)))
    return WrittenConfig(arguments.file.path)
