"""The part of scripts/synapse.py that runs where PyYAML and Synapse are: in Synapse's container.

It computes the new text of homeserver.yaml and lets Synapse's own code load it before anybody writes it. What comes
back on stdout holds the file and its secrets: the caller is scripts/synapse.py, and nobody else sees it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.common import run

SHORTEST = 4  # a secret below this many characters cannot be told from words


def _entries(arguments: dict[str, Any]) -> Any:
    from documents import homeserver

    return homeserver.Entries(
        arguments["owner"], tuple(arguments["registrations"]), tuple(arguments["experimental_features"])
    )


def apply(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: text, owner, registrations, experimental_features, inside_file, pending (bool).

    Result: `refused` (lines) or `text` (the new one); `same`: whether inside_file is what the host read; `hide`: every
    secret that a log of Synapse could hold; and, if the text changes or `pending` says that Synapse has to be
    restarted, `error`: the words of Synapse's own loader about the new text, null if it takes it, and `before`: its
    words about the old text when it refused the new one.
    """
    from documents import homeserver

    old = arguments["text"]
    try:
        new = homeserver.add(old, _entries(arguments))
    except homeserver.Refused as refused:
        return {"refused": str(refused.named(arguments["file"]))}
    return _judged(arguments, old, new, arguments["pending"])


def remove(arguments: dict[str, Any]) -> dict[str, Any]:
    """As `apply`, with `check` (bool: whether Synapse is to judge the text) for `pending`. The text is without this
    owner's entries; `left`: registrations of ours that stay listed, since others wrote them there; `others`: what else
    is listed; `flags`: the flags that went."""
    from documents import homeserver

    old = arguments["text"]
    try:
        new = homeserver.remove(old, arguments["owner"])
    except homeserver.Refused as refused:
        return {"refused": str(refused.named(arguments["file"]))}
    result = _judged(arguments, old, new, False) if arguments["check"] else {"text": new, "same": True, "hide": []}
    listed, flags = _held(new)
    ours = arguments["registrations"]
    return {
        **result,
        "left": [path for path in listed if path in ours],
        "others": [path for path in listed if path not in ours],
        "flags": [flag for flag in _held(old)[1] if flag not in flags],
    }


def _held(text: str) -> tuple[list[str], list[str]]:
    """The registrations and the flags that a file holds, as far as it can be read."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return [], []
    document = document if isinstance(document, dict) else {}
    listed, flags = document.get("app_service_config_files"), document.get("experimental_features")
    return (
        [str(path) for path in listed] if isinstance(listed, list) else [],
        [str(flag) for flag in flags] if isinstance(flags, dict) else [],
    )


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Result: `missing`: our entries that the file does not hold; `refused`: lines, if it cannot be read or edited."""
    from documents import homeserver

    try:
        missing = homeserver.missing(arguments["text"], _entries(arguments))
        homeserver.add(arguments["text"], _entries(arguments))
    except homeserver.Refused as refused:
        return {"missing": [], "refused": str(refused.named(arguments["file"])).splitlines()}
    return {"missing": list(missing), "refused": []}


def _judged(arguments: dict[str, Any], old: str, new: str, pending: bool) -> dict[str, Any]:
    process = _synapse()
    arguments_of = _configuration(process, arguments["inside_file"])
    hide = _secrets(new) | _secrets(old)
    result: dict[str, Any] = {"text": new, "same": _same(arguments["inside_file"], old), "error": None, "before": None}
    if result["same"] and (new != old or pending):
        _become(process)
        result["error"] = _load(new, arguments["inside_file"], arguments_of, hide)
        if result["error"] is not None and new != old:
            result["before"] = _load(old, arguments["inside_file"], arguments_of, hide)
    result["hide"] = sorted(hide)
    return result


def _same(path: str, text: str) -> bool:
    try:
        return Path(path).read_bytes() == text.encode()
    except OSError:
        return False


# ---- Synapse's process: its user, its directory, its configuration files


def _synapse() -> str:
    """The folder in /proc of Synapse's main process; of the container's first process, if none names itself so."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            if re.search(rb"synapse[._]app[._/]homeserver|synapse_homeserver", words) and _in_here(process):
                found.append(int(process.name))
    return f"/proc/{min(found)}" if found else "/proc/1"


def _in_here(process: Path) -> bool:
    """Not in a container below this one (on a host, where all are seen)."""
    try:
        return os.path.samefile(process / "root", "/")
    except OSError:
        return True  # another user's, in a container without the right to look


def _configuration(process: str, inside_file: str) -> list[str]:
    """The options of that process that say where its configuration is, as for `load_config`."""
    try:
        words = Path(f"{process}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        words = []
    options: list[str] = []
    for n, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("-c", "--config-path", "--keys-directory"):
            options += [name, value if equals else (words[n + 1] if n + 1 < len(words) else "")]
        elif word.startswith("-c") and len(word) > 2:
            options += ["-c", word[2:]]
        elif word == "--no-secrets-in-config":
            options.append(word)
    return options if {"-c", "--config-path"} & set(options) else ["-c", inside_file]


def _become(process: str) -> None:
    """Work where Synapse works, as the user that Synapse is: a file that only root can read must not pass."""
    try:
        status = Path(f"{process}/status").read_text()
    except OSError:
        status = ""
    found = re.findall(r"(?m)^(Uid|Gid|Groups):(.*)$", status)
    ids = {name: [int(word) for word in rest.split()] for name, rest in found}
    if ids and os.geteuid() == 0 and ids["Uid"][1] != 0:
        os.setgroups(ids.get("Groups", []))
        os.setgid(ids["Gid"][1])
        os.setuid(ids["Uid"][1])
    with contextlib.suppress(OSError):  # root without CAP_SYS_PTRACE may not see another user's: so not before this
        os.chdir(f"{process}/cwd")


# ---- Synapse's own loader


def _load(text: str, inside_file: str, options: Sequence[str], hide: set[str]) -> str | None:
    """None, or why Synapse would not start with `text` as its homeserver.yaml: a line or more, secrets masked."""
    from documents.masking import clean

    output, path = io.StringIO(), inside_file
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), _written(text) as path:
            words = _with(options, inside_file, path)
            _load_as_synapse_does(words, hide)
    except SystemExit:
        return clean(output.getvalue().strip() or "it ended without a word", hide)
    except Exception as error:  # whatever it is, Synapse would not start
        lines = _words(error)
        return clean(lines.replace(path, inside_file), hide)
    return None


def _load_as_synapse_does(words: list[str], hide: set[str]) -> None:
    import logging

    from synapse.config.appservice import load_appservices  # type: ignore[import-not-found, unused-ignore]
    from synapse.config.homeserver import HomeServerConfig  # type: ignore[import-not-found, unused-ignore]

    logging.disable(logging.CRITICAL)
    config = HomeServerConfig.load_config("Synapse Homeserver", words)
    for file in config.appservice.app_service_config_files:
        with contextlib.suppress(OSError, ValueError):
            hide |= _tokens(Path(file).read_text())
    load_appservices(config.server.server_name, config.appservice.app_service_config_files)


def _words(error: Exception) -> str:
    """The error as Synapse prints it: ConfigError with the path of the option; anything else with its kind."""
    path = getattr(error, "path", None)
    if type(error).__name__ == "ConfigError":
        where = ".".join(str(step) for step in path) if path else ""
        cause = f": {error.__cause__}" if error.__cause__ else ""
        return f"{f'{where}: ' if where else ''}{getattr(error, 'msg', error)}{cause}"
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _written(text: str) -> Iterator[str]:
    """`text` as a file for as long as the loader needs it, in memory if there is such a place, for its user alone."""
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


def _with(options: Sequence[str], inside_file: str, path: str) -> list[str]:
    """The options with `path` in the place of `inside_file`; defaults that hang on its directory stay."""
    from synapse.config._base import find_config_files  # type: ignore[import-not-found, unused-ignore]

    searched = [options[n + 1] for n, word in enumerate(options) if word in ("-c", "--config-path")]
    files = find_config_files(searched)
    if not any(os.path.realpath(file) == os.path.realpath(inside_file) for file in files):
        raise ValueError(
            f"Synapse does not read {inside_file}, but {', '.join(files) or 'nothing'}: set synapseDataMount"
        )
    words = [word for n, word in enumerate(options) if word == "--no-secrets-in-config"]
    keys = [options[n + 1] for n, word in enumerate(options) if word == "--keys-directory"]
    words += ["--keys-directory", keys[-1] if keys else os.path.abspath(os.path.dirname(files[-1]))]
    for file in files:
        words += ["-c", path if os.path.realpath(file) == os.path.realpath(inside_file) else file]
    return words


# ---- secrets


def _secrets(text: str) -> set[str]:
    import yaml

    from documents.diff import secrets

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return set()
    found = {secret for secret in secrets(document) if len(secret) >= SHORTEST}
    listed = document.get("app_service_config_files") if isinstance(document, dict) else None
    for path in listed if isinstance(listed, list) else ():
        with contextlib.suppress(OSError, ValueError):
            found |= _tokens(Path(str(path)).read_text())
    return found


def _tokens(text: str) -> set[str]:
    """as_token and hs_token of a registration, however it is written."""
    found = re.findall(r"""[ah]s_token["']?[ \t]*:[ \t]*["']?([^\s"',}]+)""", text)
    return {token for token in found if len(token) >= SHORTEST}


VERBS = (apply, remove, check)

if __name__ == "__main__":
    run(*VERBS)
