"""What a text of Synapse's configuration holds: appservice registrations, flags, and secrets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r"""\b([ah]s_token)["']?[ \t]*:[ \t]*["']?([^\s"',}]+)""")


def parse(text: str) -> dict[Any, Any]:
    """The document of a file; empty, if it cannot be read."""
    import yaml  # the host, which imports this module too, may not have it

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def list_registrations(document: Mapping[Any, Any]) -> list[str]:
    """The paths of the registrations that a configuration lists."""
    paths = document.get("app_service_config_files")
    return [str(path) for path in paths] if isinstance(paths, list) else []


def list_flags(document: Mapping[Any, Any]) -> list[str]:
    """The names of the experimental features in a configuration."""
    flags = document.get("experimental_features")
    return [str(flag) for flag in flags] if isinstance(flags, dict) else []


def find_tokens(registration: str) -> dict[str, str]:
    """as_token and hs_token of a registration's text, however they are written."""
    return dict(_TOKEN.findall(registration))


def read_tokens(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """The tokens of each registration that can be read, by path."""
    tokens = {}
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            tokens[path] = find_tokens(Path(path).read_text(errors="replace"))
    return tokens
