"""What a text of Synapse's configuration holds: appservice registrations, flags, and secrets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_TOKEN = r"""\b{}s_token["']?[ \t]*:[ \t]*["']?([^\s"',}}]+)"""
SHORTEST = 4  # a secret below this many characters cannot be told from words


@lru_cache  # two texts, each needed more than once
def parse(text: str) -> dict[Any, Any]:
    """The document of a file; empty, if it cannot be read."""
    import yaml  # the host, which imports this module too, may not have it

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def list_entries(document: Mapping[Any, Any]) -> tuple[list[str], list[str]]:
    """The paths of the registrations, and the names of the experimental features."""
    paths, flags = document.get("app_service_config_files"), document.get("experimental_features")
    return (
        [str(path) for path in paths] if isinstance(paths, list) else [],
        [str(flag) for flag in flags] if isinstance(flags, dict) else [],
    )


def read_as_tokens(document: Mapping[Any, Any]) -> dict[str, str]:
    """The as_token of each registration that can be read, by path."""
    found: dict[str, str] = {}
    for path in list_entries(document)[0]:
        with contextlib.suppress(OSError, ValueError):
            match = re.search(_TOKEN.format("a"), Path(path).read_text())
            found |= {path: match[1]} if match else {}
    return found


def find_tokens(registration: str) -> set[str]:
    """as_token and hs_token of a registration's text, however they are written."""
    values = re.findall(_TOKEN.format("[ah]"), registration)
    return {token for token in values if len(token) >= SHORTEST}


def collect_secrets(text: str) -> set[str]:
    """The secrets in the text, and the tokens of all registrations that it lists."""
    from documents.masking import find_secrets

    found = {secret for secret in find_secrets(parse(text)) if len(secret) >= SHORTEST}
    for path in list_entries(parse(text))[0]:
        with contextlib.suppress(OSError, ValueError):
            found |= find_tokens(Path(path).read_text())
    return found
