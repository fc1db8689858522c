"""Emulated Pulumi provider plugins: they answer for the real ones where those cannot be downloaded.

One module a provider (`docker`, `postgresql`, `command`), each run as `python -m lab.plugins.NAME ENGINE_ADDRESS`.
Pulumi finds a plugin as an executable `pulumi-resource-NAME` on PATH; `wrapper` writes the text of one.
"""

from __future__ import annotations

import shlex
from pathlib import Path

NAMES = ("docker", "postgresql", "command")


def wrapper(name: str, python: Path, checkout: Path) -> str:
    """The text of an executable `pulumi-resource-<name>` that runs the emulated plugin with `python` from `checkout`.

    Neither the working directory nor the environment is changed: a local command inherits both from its plugin.
    `-I` keeps what PYTHONPATH or the working directory hold out of the plugin.
    """
    if name not in NAMES:
        raise ValueError(f"no emulated plugin is named {name!r}: it should be one of {', '.join(NAMES)}")
    code = f"import sys; sys.path.insert(0, {str(checkout)!r}); from lab.plugins.{name} import main; main()"
    return f'#!/bin/sh\nexec {shlex.quote(str(python))} -I -c {shlex.quote(code)} "$@"\n'
