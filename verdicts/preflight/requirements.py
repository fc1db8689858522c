"""The oldest versions that this program works with, and how versions are compared and shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

OLDEST_SYNAPSE = (1, 121)  # MSC4190: https://github.com/element-hq/synapse/pull/17705
OLDEST_DOCKER = (20, 10)  # older ones were never run with this program
OLDEST_POSTGRES = 15  # older ones were never run with this program
ADVISED_POSTGRES = 16  # https://docs.mau.fi/bridges/general/docker-setup.html


def version_numbers(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def format_version(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
