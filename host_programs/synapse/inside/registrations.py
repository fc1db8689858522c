"""The appservice registrations in Synapse's configuration, and their tokens."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r"""\b([ah]s_token)["']?[ \t]*:[ \t]*["']?([^\s"',}]+)""")


def list_registrations(document: Any) -> list[str]:
    """The paths of the registrations that a parsed configuration lists."""
    paths = document.get("app_service_config_files") if isinstance(document, dict) else None
    return [str(path) for path in paths] if isinstance(paths, list) else []


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
