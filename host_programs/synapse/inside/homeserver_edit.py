"""Computes the new text of homeserver.yaml, and has Synapse's own code load it before anybody writes it.

Runs in Synapse's container, where PyYAML and Synapse are. The result on stdout holds the file and its secrets: only
host_programs/synapse/homeserver/edit.py reads it, and it is shown to nobody.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from documents.refusal import Refused
from host_programs.synapse.inside import config, loader
from host_programs.synapse.inside import process as synapse_process


@dataclass(frozen=True)
class EditRequest:
    """`text`: of homeserver.yaml as the host read it; `inside_file`: its path here. `judge`: whether Synapse's loader
    is asked about a text that changes; with `outdated` (Synapse has to be restarted anyhow), about any text."""

    text: str = field(repr=False)
    inside_file: str
    owner: str
    registrations: tuple[str, ...]
    experimental_features: tuple[str, ...]
    judge: bool
    outdated: bool


@dataclass(frozen=True)
class EditResult:
    """`refused`: lines `LINE: reason: fix`, and nothing else is set then. `text`: the new one; `same_file`: whether
    `inside_file` is what the host read; `secrets_to_mask`: every secret that a log of Synapse could hold.
    `loader_error`: what Synapse's own loader says against the new text, None if it takes it or was not asked;
    `old_loader_error`: what it says against the old one, if it refused the new one. `shadowed`: entries that another of
    Synapse's files would keep from counting; nothing may be written then. `as_tokens`: of each registration that is to
    be loaded, by path.

    Of a removal: `still_listed`: registrations of ours that somebody else's line lists; `other_registrations`: what
    else is listed; `removed_flags`: the flags that went."""

    text: str = field(default="", repr=False)
    refused: tuple[str, ...] = ()
    same_file: bool = True
    secrets_to_mask: tuple[str, ...] = field(default=(), repr=False)
    loader_error: Optional[str] = None
    old_loader_error: Optional[str] = None
    shadowed: tuple[str, ...] = ()
    as_tokens: dict[str, str] = field(default_factory=dict, repr=False)
    still_listed: tuple[str, ...] = ()
    other_registrations: tuple[str, ...] = ()
    removed_flags: tuple[str, ...] = ()


def add_entries(request: EditRequest) -> EditResult:
    """The text with our entries."""
    from documents.homeserver.adding import add_entries
    from documents.homeserver.entries import Entries

    entries = Entries(request.owner, request.registrations, request.experimental_features)
    try:
        new = add_entries(request.text, entries)
    except Refused as refused:
        return EditResult(refused=refused.lines())
    return _judge(request, new, must_count=True)


def remove_entries(request: EditRequest) -> EditResult:
    """The text without this owner's entries."""
    from documents.homeserver.removing import remove_entries

    try:
        new = remove_entries(request.text, request.owner)
    except Refused as refused:
        return EditResult(refused=refused.lines())
    registrations, flags = config.list_entries(config.parse(new))
    _, old_flags = config.list_entries(config.parse(request.text))
    return replace(
        _judge(request, new, must_count=False),
        still_listed=tuple(path for path in registrations if path in request.registrations),
        other_registrations=tuple(path for path in registrations if path not in request.registrations),
        removed_flags=tuple(flag for flag in old_flags if flag not in flags),
    )


def _judge(request: EditRequest, new: str, must_count: bool) -> EditResult:
    """The result with the loader's judgement. `must_count`: whether Synapse has to take our entries from now on."""
    old, inside_file = request.text, request.inside_file
    if not request.judge:
        return EditResult(new)
    process = synapse_process.find_main()
    options = synapse_process.read_options(process, inside_file)
    secrets = config.collect_secrets(new) | config.collect_secrets(old)
    same_file, error, old_error = _has_text(inside_file, old), None, None
    shadowed: tuple[str, ...] = ()
    as_tokens: dict[str, str] = {}
    if same_file and (new != old or request.outdated):
        loader.become_synapse(process)
        error = loader.load(new, inside_file, options, secrets)
        if error is not None and new != old:
            old_error = loader.load(old, inside_file, options, secrets)
        if error is None:
            shadowed = find_shadowed(request, new, options) if must_count else ()
            as_tokens = config.read_as_tokens(_merge_files(options, inside_file, new))
    return EditResult(
        new,
        same_file=same_file,
        secrets_to_mask=tuple(sorted(secrets)),
        loader_error=error,
        old_loader_error=old_error,
        shadowed=shadowed,
        as_tokens=as_tokens,
    )


def _has_text(path: str, text: str) -> bool:
    try:
        return Path(path).read_bytes() == text.encode()
    except OSError:
        return False


def find_shadowed(request: EditRequest, new: str, options: list[str]) -> tuple[str, ...]:
    """Entries that Synapse would not take although the new text has them, or that it would lose: another file's list
    counts."""
    old_entries, new_entries = (config.list_entries(config.parse(text)) for text in (request.text, new))
    old_merged, new_merged = (
        config.list_entries(_merge_files(options, request.inside_file, text)) for text in (request.text, new)
    )
    shadowed: list[str] = []
    for kind, ours in enumerate((request.registrations, request.experimental_features)):
        taken_out = {*old_entries[kind]} - {*new_entries[kind]}  # ours, of an earlier setting
        kept = [entry for entry in old_merged[kind] if entry not in taken_out]
        shadowed += [entry for entry in dict.fromkeys([*kept, *ours]) if entry not in new_merged[kind]]
    return tuple(shadowed)


def _merge_files(options: list[str], inside_file: str, text: str) -> dict[Any, Any]:
    """The configuration that all of Synapse's files make, with `text` in the place of `inside_file`."""
    documents = []
    for file in synapse_process.list_files(options):
        replaced = os.path.realpath(file) == os.path.realpath(inside_file)
        documents.append(config.parse(text if replaced else Path(file).read_text()))
    return synapse_process.merge(documents)
