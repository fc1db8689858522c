"""The part of host_programs/bridge/config_check.py that runs where PyYAML is: in Synapse's container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    """Find the settings that are not the same in the bridge's config."""
    import yaml

    from documents.bridge.config import find_rejected_settings

    return RefusedSettings(tuple(find_rejected_settings(arguments.asked, yaml.safe_load(arguments.text))))
