"""Synapse's own loader: would Synapse start with a text as its homeserver.yaml?"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from host_programs.synapse.inside import process as synapse_process


class LoadError(Exception):
    """Synapse would not start; the text says why, and may hold secrets."""


def become_synapse(process: Path) -> None:
    """Work where Synapse works, as Synapse's user: a file that only root can read must not pass."""
    try:
        status = (process / "status").read_text()
    except OSError:
        status = ""
    rows = re.findall(r"(?m)^(Uid|Gid|Groups):(.*)$", status)
    ids = {name: [int(word) for word in rest.split()] for name, rest in rows}
    if ids and os.geteuid() == 0 and ids["Uid"][1] != 0:
        os.setgroups(ids.get("Groups", []))
        os.setgid(ids["Gid"][1])
        os.setuid(ids["Uid"][1])
    synapse_process.enter_directory(process)  # not before this: root may not have the right to


def load_registrations(text: str, inside_file: str, options: Sequence[str]) -> list[str]:
    """Load the configuration as Synapse does at its start, with `text` in the place of `inside_file`. The paths of the
    registrations that Synapse then has. LoadError if it would not start."""
    output = io.StringIO()
    with os.fdopen(os.memfd_create("homeserver.yaml"), "wb") as file:  # the text holds secrets: no name, no trace
        file.write(text.encode())
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}"
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                return _load(_replace_file(options, inside_file, path))
        except SystemExit:
            raise LoadError(output.getvalue().strip() or "it ended without a word") from None
        except Exception as error:  # whatever it is, Synapse would not start
            raise LoadError(_describe_error(error).replace(path, inside_file)) from None


def _load(options: list[str]) -> list[str]:
    import logging

    from synapse.config.appservice import load_appservices  # type: ignore[import-not-found, unused-ignore]
    from synapse.config.homeserver import HomeServerConfig  # type: ignore[import-not-found, unused-ignore]

    logging.disable(logging.CRITICAL)
    config = HomeServerConfig.load_config("Synapse Homeserver", options)
    registrations = [str(path) for path in config.appservice.app_service_config_files]
    load_appservices(config.server.server_name, registrations)
    return registrations


def _describe_error(error: Exception) -> str:
    """The error as Synapse prints it: ConfigError with the path of the option; anything else with its kind."""
    if type(error).__name__ != "ConfigError":
        return f"{type(error).__name__}: {error}"
    option = ".".join(map(str, getattr(error, "path", None) or ()))
    cause = f": {error.__cause__}" if error.__cause__ else ""
    return f"{f'{option}: ' if option else ''}{getattr(error, 'msg', error)}{cause}"


def _replace_file(options: Sequence[str], inside_file: str, path: str) -> list[str]:
    """The options with `path` in the place of `inside_file`. Defaults that depend on its directory stay."""
    files = synapse_process.list_files(options)
    keys = [options[n + 1] for n, word in enumerate(options) if word == "--keys-directory"]
    words = ["--keys-directory", keys[-1] if keys else os.path.abspath(os.path.dirname(files[-1]))]
    for file in files:
        words += ["-c", path if os.path.realpath(file) == os.path.realpath(inside_file) else file]
    return words
