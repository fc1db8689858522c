"""Computes the new text of homeserver.yaml, and has Synapse's own code load it before anybody writes it.

Runs in Synapse's container, where PyYAML and Synapse are. The result on stdout holds the file and its secrets: only
host_programs/synapse/homeserver_edit.py reads it, and it is shown to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from documents.masking import clean_log
from documents.refusal import Refused
from host_programs.synapse.inside import config, loader
from host_programs.synapse.inside import process as synapse_process

SHORTEST = 4  # a secret below this many characters cannot be told from words


@dataclass(frozen=True)
class EditRequest:
    """`text`: of homeserver.yaml as the host read it, and the entries of `owner` in it. `inside_file`: its path in
    Synapse's running container, whose loader is asked about the new text; "" elsewhere."""

    text: str = field(repr=False)
    owner: str
    registrations: tuple[str, ...]
    experimental_features: tuple[str, ...]
    inside_file: str = ""


@dataclass(frozen=True)
class EditResult:
    """`refused`: lines `LINE: reason: fix`, and nothing else is set then. `missing`: the entries that the old text does
    not hold. `text`: the new one. `registrations`, `removed_flags`: what the new text lists, and which flags went.

    The rest is Synapse's: `same_file`: whether `inside_file` is what the host read; `secrets`: all that a log of
    Synapse could hold; `loader_error`: what its loader says against the new text; `shadowed`: registrations that
    another of its files would keep out; `as_tokens`: of each registration that is loaded then, by path."""

    text: str = field(default="", repr=False)
    refused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    registrations: tuple[str, ...] = ()
    removed_flags: tuple[str, ...] = ()
    same_file: bool = True
    secrets_to_mask: tuple[str, ...] = field(default=(), repr=False)
    loader_error: str = ""
    shadowed: tuple[str, ...] = ()
    as_tokens: dict[str, str] = field(default_factory=dict, repr=False)


def find_missing(request: EditRequest) -> EditResult:
    """Which of our entries are not there, whoever put the others there."""
    from documents.homeserver.entries import Entries
    from documents.homeserver.meaning import find_missing_entries

    entries = Entries(request.owner, request.registrations, request.experimental_features)
    try:
        return EditResult(missing=find_missing_entries(request.text, entries))
    except Refused as refused:
        return EditResult(refused=refused.lines())


def add_entries(request: EditRequest) -> EditResult:
    """The text with our entries."""
    from documents.homeserver.adding import add_entries
    from documents.homeserver.entries import Entries

    entries = Entries(request.owner, request.registrations, request.experimental_features)
    return _edit(request, lambda text: add_entries(text, entries), request.registrations)


def remove_entries(request: EditRequest) -> EditResult:
    """The text without this owner's entries."""
    from documents.homeserver.removing import remove_entries

    return _edit(request, lambda text: remove_entries(text, request.owner), ())


def _edit(request: EditRequest, edit: Callable[[str], str], added: tuple[str, ...]) -> EditResult:
    try:
        new = edit(request.text)
    except Refused as refused:
        return EditResult(refused=refused.lines())
    before, after = config.parse(request.text), config.parse(new)
    listed, flags = config.list_registrations(after), config.list_flags(after)
    removed_flags = tuple(flag for flag in config.list_flags(before) if flag not in flags)
    result = EditResult(new, registrations=tuple(listed), removed_flags=removed_flags)
    if not request.inside_file:
        return result
    return _judge(request, result, {*config.list_registrations(before)} - {*listed}, added)


def _judge(request: EditRequest, result: EditResult, gone: set[str], added: tuple[str, ...]) -> EditResult:
    """The result with what Synapse makes of the new text. Of each key Synapse takes the last file's value: so a
    registration is shadowed if it was loaded, or is `added`, and no longer is loaded without being `gone`."""
    process = synapse_process.find_main()
    synapse_process.enter_directory(process)
    if not _has_text(request.inside_file, request.text):
        return replace(result, same_file=False)
    try:
        documents = synapse_process.read_configuration(process, request.inside_file)
    except synapse_process.ConfigUnreadable as error:
        return replace(result, loader_error=str(error))
    loaded_before = config.list_registrations(synapse_process.merge(documents.values()))
    tokens = config.read_tokens([*loaded_before, *result.registrations])
    secrets = _collect_secrets(documents, tokens)
    loader.become_synapse(process)
    options = synapse_process.read_options(process, request.inside_file)
    try:
        loaded = loader.load_registrations(result.text, request.inside_file, options)
    except loader.LoadError as error:
        return replace(result, secrets_to_mask=secrets, loader_error=clean_log(str(error), secrets))
    wanted = [path for path in dict.fromkeys([*loaded_before, *added]) if path not in gone]
    return replace(
        result,
        secrets_to_mask=secrets,
        shadowed=tuple(path for path in wanted if path not in loaded),
        as_tokens={path: tokens[path]["as_token"] for path in loaded if "as_token" in tokens.get(path, {})},
    )


def _has_text(path: str, text: str) -> bool:
    try:
        return Path(path).read_bytes() == text.encode()
    except OSError:
        return False


def _collect_secrets(
    documents: Mapping[str, Mapping[Any, Any]], tokens: Mapping[str, Mapping[str, str]]
) -> tuple[str, ...]:
    from documents.diff import find_secrets

    secrets = {secret for document in documents.values() for secret in find_secrets(document)}
    secrets |= {token for registration in tokens.values() for token in registration.values()}
    return tuple(secret for secret in secrets if len(secret) >= SHORTEST)
