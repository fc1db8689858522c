"""Synapse's own loader: would Synapse start with a text as its homeserver.yaml?"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside.config import find_tokens


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


def load(text: str, inside_file: str, options: list[str], secrets: set[str]) -> Optional[str]:
    """None, or why Synapse would not start with `text` as its homeserver.yaml: a line or more, secrets masked."""
    from documents.masking import clean_log

    output, path = io.StringIO(), inside_file
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), _write_temporary(text) as path:
            _load_config(_replace_file(options, inside_file, path), secrets)
    except SystemExit:
        return clean_log(output.getvalue().strip() or "it ended without a word", secrets)
    except Exception as error:  # whatever it is, Synapse would not start
        return clean_log(_describe_error(error).replace(path, inside_file), secrets)
    return None


def _load_config(options: list[str], secrets: set[str]) -> None:
    """As Synapse does at its start. `secrets` gets the tokens of the registrations that are loaded."""
    import logging

    from synapse.config.appservice import load_appservices  # type: ignore[import-not-found, unused-ignore]
    from synapse.config.homeserver import HomeServerConfig  # type: ignore[import-not-found, unused-ignore]

    logging.disable(logging.CRITICAL)
    config = HomeServerConfig.load_config("Synapse Homeserver", options)
    for file in config.appservice.app_service_config_files:
        with contextlib.suppress(OSError, ValueError):
            secrets |= find_tokens(Path(file).read_text())
    load_appservices(config.server.server_name, config.appservice.app_service_config_files)


def _describe_error(error: Exception) -> str:
    """The error as Synapse prints it: ConfigError with the path of the option; anything else with its kind."""
    path = getattr(error, "path", None)
    if type(error).__name__ == "ConfigError":
        option = ".".join(str(step) for step in path) if path else ""
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return f"{f'{option}: ' if option else ''}{getattr(error, 'msg', error)}{cause}"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _write_temporary(text: str) -> Iterator[str]:
    """`text` as a file for as long as the loader needs it: for its user alone, in memory if possible."""
    for folder in ("/dev/shm", None):
        try:
            descriptor, path = tempfile.mkstemp(prefix="homeserver.", suffix=".yaml", dir=folder)
            break
        except OSError:
            if folder is None:
                raise
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        yield path
    finally:
        os.unlink(path)


def _replace_file(options: list[str], inside_file: str, path: str) -> list[str]:
    """The options with `path` in the place of `inside_file`. Defaults that depend on its directory stay."""
    files = synapse_process.list_files(options)
    if not any(os.path.realpath(file) == os.path.realpath(inside_file) for file in files):
        raise ValueError(
            f"Synapse does not read {inside_file}, but {', '.join(files) or 'nothing'}: set homeserverFile"
        )
    words = [word for word in options if word == "--no-secrets-in-config"]
    keys = [options[n + 1] for n, word in enumerate(options) if word == "--keys-directory"]
    words += ["--keys-directory", keys[-1] if keys else os.path.abspath(os.path.dirname(files[-1]))]
    for file in files:
        words += ["-c", path if os.path.realpath(file) == os.path.realpath(inside_file) else file]
    return words
