"""The part of host_programs/synapse/synapse.py that runs where PyYAML and Synapse are: in Synapse's container.

It computes the new text of homeserver.yaml and lets Synapse's own code load it before anybody writes it. What comes
back on stdout holds the file and its secrets: the caller is host_programs/synapse/synapse.py, and nobody else sees it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional

from documents.refusal import Refused
from host_programs.synapse import synapse_process

_TOKEN = r"""\b{}s_token["']?[ \t]*:[ \t]*["']?([^\s"',}}]+)"""
SHORTEST = 4  # a secret below this many characters cannot be told from words


@dataclass(frozen=True)
class Edit:
    """`text`: of homeserver.yaml as the host read it; `inside_file`: its path here. `judge`: whether Synapse's loader
    is asked about a text that changes, and with `pending` (it has to be restarted anyhow) about one that does not."""

    text: str = field(repr=False)
    inside_file: str
    owner: str
    registrations: tuple[str, ...]
    experimental_features: tuple[str, ...]
    judge: bool
    pending: bool


@dataclass(frozen=True)
class Edited:
    """`refused`: lines `LINE: reason: fix`, and nothing else is set then. `text`: the new one; `same`: whether
    `inside_file` is what the host read; `hide`: every secret that a log of Synapse could hold; `error`: the words of
    Synapse's own loader about the new text, None if it takes it or was not asked; `before`: its words about the old
    text when it refused the new one; `unheard`: entries that would not count beside Synapse's other files, and then
    nothing may be written; `tokens`: the as_token of each registration that is to be loaded, by path. Of a removal:
    `left`: registrations of ours that stay listed, since others wrote them there; `others`: what else is listed;
    `flags`: the flags that went."""

    text: str = field(default="", repr=False)
    refused: tuple[str, ...] = ()
    same: bool = True
    hide: tuple[str, ...] = field(default=(), repr=False)
    error: Optional[str] = None
    before: Optional[str] = None
    unheard: tuple[str, ...] = ()
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    left: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def apply(edit: Edit) -> Edited:
    """The text with our entries."""
    from documents import homeserver

    entries = homeserver.Entries(edit.owner, edit.registrations, edit.experimental_features)
    try:
        new = homeserver.add(edit.text, entries)
    except Refused as refused:
        return Edited(refused=refused.lines())
    return _judged(edit, new, wanted=True)


def remove(edit: Edit) -> Edited:
    """The text without this owner's entries."""
    from documents import homeserver

    try:
        new = homeserver.remove(edit.text, edit.owner)
    except Refused as refused:
        return Edited(refused=refused.lines())
    listed, flags = _held(_document(new))
    return replace(
        _judged(edit, new, wanted=False),
        left=tuple(path for path in listed if path in edit.registrations),
        others=tuple(path for path in listed if path not in edit.registrations),
        flags=tuple(flag for flag in _held(_document(edit.text))[1] if flag not in flags),
    )


@lru_cache  # two texts, each looked at more than once
def _document(text: str) -> dict[Any, Any]:
    """What a file says; nothing, if it cannot be read."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _held(document: dict[Any, Any]) -> tuple[list[str], list[str]]:
    """The registrations and the flags that a file, or all of them together, hold."""
    listed, flags = document.get("app_service_config_files"), document.get("experimental_features")
    return (
        [str(path) for path in listed] if isinstance(listed, list) else [],
        [str(flag) for flag in flags] if isinstance(flags, dict) else [],
    )


def _judged(edit: Edit, new: str, wanted: bool) -> Edited:
    """`wanted`: whether our entries have to count from now on."""
    old, inside = edit.text, edit.inside_file
    if not edit.judge:
        return Edited(new)
    process = synapse_process.find()
    options = synapse_process.options(process, inside)
    hide = _secrets(new) | _secrets(old)
    same, error, before = _same(inside, old), None, None
    unheard: tuple[str, ...] = ()
    listed: dict[str, str] = {}
    if same and (new != old or edit.pending):
        _become(process)
        error = _load(new, inside, options, hide)
        if error is not None and new != old:
            before = _load(old, inside, options, hide)
        if error is None:
            unheard = _unheard(edit, new, options) if wanted else ()
            listed = _listed(_together(options, inside, new))
    return Edited(new, same=same, hide=tuple(sorted(hide)), error=error, before=before, unheard=unheard, tokens=listed)


def _together(options: list[str], inside_file: str, text: str) -> dict[Any, Any]:
    """What all files of Synapse's configuration say, with `text` in the place of `inside_file`."""
    documents = []
    for file in synapse_process.files(options):
        mine = os.path.realpath(file) == os.path.realpath(inside_file)
        documents.append(_document(text if mine else Path(file).read_text()))
    return synapse_process.merged(documents)


def _unheard(edit: Edit, new: str, options: list[str]) -> tuple[str, ...]:
    """What Synapse would not have, though the file says it, or would have no longer: another file's list counts."""
    unheard: list[str] = []
    (was, now), (before, after) = (
        [_held(document) for document in pair]
        for pair in (
            (_document(edit.text), _document(new)),
            [_together(options, edit.inside_file, text) for text in (edit.text, new)],
        )
    )
    for kind, ours in enumerate((edit.registrations, edit.experimental_features)):
        taken_out = {*was[kind]} - {*now[kind]}  # ours, of an earlier setting
        wanted = dict.fromkeys([*(each for each in before[kind] if each not in taken_out), *ours])
        unheard += [each for each in wanted if each not in after[kind]]
    return tuple(unheard)


def _listed(document: dict[Any, Any]) -> dict[str, str]:
    """The as_token of each registration that can be read."""
    found: dict[str, str] = {}
    for path in _held(document)[0]:
        with contextlib.suppress(OSError, ValueError):
            match = re.search(_TOKEN.format("a"), Path(path).read_text())
            found |= {path: match[1]} if match else {}
    return found


def _same(path: str, text: str) -> bool:
    try:
        return Path(path).read_bytes() == text.encode()
    except OSError:
        return False


# ---- Synapse's process


def _become(process: Path) -> None:
    """Work where Synapse works, as the user that Synapse is: a file that only root can read must not pass."""
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
    synapse_process.enter(process)  # not before this: root may not have the right to


# ---- Synapse's own loader


def _load(text: str, inside_file: str, options: list[str], hide: set[str]) -> Optional[str]:
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
            hide |= tokens(Path(file).read_text())
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


def _with(options: list[str], inside_file: str, path: str) -> list[str]:
    """The options with `path` in the place of `inside_file`; defaults that hang on its directory stay."""
    files = synapse_process.files(options)
    if not any(os.path.realpath(file) == os.path.realpath(inside_file) for file in files):
        raise ValueError(
            f"Synapse does not read {inside_file}, but {', '.join(files) or 'nothing'}: set homeserverFile"
        )
    words = [word for n, word in enumerate(options) if word == "--no-secrets-in-config"]
    keys = [options[n + 1] for n, word in enumerate(options) if word == "--keys-directory"]
    words += ["--keys-directory", keys[-1] if keys else os.path.abspath(os.path.dirname(files[-1]))]
    for file in files:
        words += ["-c", path if os.path.realpath(file) == os.path.realpath(inside_file) else file]
    return words


# ---- secrets


def _secrets(text: str) -> set[str]:
    from documents.diff import secrets

    hide = {secret for secret in secrets(_document(text)) if len(secret) >= SHORTEST}
    for path in _held(_document(text))[0]:
        with contextlib.suppress(OSError, ValueError):
            hide |= tokens(Path(path).read_text())
    return hide


def tokens(text: str) -> set[str]:
    """as_token and hs_token of a registration, however it is written."""
    values = re.findall(_TOKEN.format("[ah]"), text)
    return {token for token in values if len(token) >= SHORTEST}
