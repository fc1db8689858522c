"""Computes the new text of homeserver.yaml, and has Synapse's own code load it before anybody writes it.

Runs in Synapse's container, where PyYAML and Synapse are. The result on stdout holds the file and its secrets: only
host_programs/synapse/homeserver_file.py reads it, and it is shown to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from documents.homeserver.entries import Entries
from documents.masking import clean_log
from documents.refusal import Refused
from host_programs.synapse.inside import loader
from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside.registrations import list_registrations, read_tokens

SHORTEST = 4  # a secret below this many characters cannot be told from words


@dataclass(frozen=True)
class EditRequest:
    """`text`: of homeserver.yaml as the host read it. `inside_file`: its path in Synapse's running container, whose
    loader is asked about the new text; "" elsewhere, or if nobody will write it."""

    text: str = field(repr=False)
    entries: Entries
    inside_file: str = ""


@dataclass(frozen=True)
class EditResult:
    """`refused`: lines `LINE: reason: fix`, and nothing else is set then. `missing`: the entries that the old text does
    not hold. `text`: the new one; `registrations`: what it lists.

    The rest is Synapse's: `problem`: why it would not start with the new text, or not take all of it ("": it would);
    `old_loads`: whether it would start with the old text, though not with the new one; `secrets_to_mask`: all that a
    log of it could hold; `as_tokens`: of each registration that is loaded then, by path."""

    text: str = field(default="", repr=False)
    refused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    registrations: tuple[str, ...] = ()
    problem: str = ""
    old_loads: bool = False
    secrets_to_mask: tuple[str, ...] = field(default=(), repr=False)
    as_tokens: dict[str, str] = field(default_factory=dict, repr=False)


def add_entries(request: EditRequest) -> EditResult:
    """The text with our entries."""
    from documents.homeserver.adding import add_entries
    from documents.homeserver.meaning import find_missing_entries

    result = _edit(request, lambda text: add_entries(text, request.entries), request.entries.registrations)
    return result if result.refused else replace(result, missing=find_missing_entries(request.text, request.entries))


def remove_entries(request: EditRequest) -> EditResult:
    """The text without this owner's entries."""
    from documents.homeserver.removing import remove_entries

    return _edit(request, lambda text: remove_entries(text, request.entries.owner), ())


def _edit(request: EditRequest, edit: Callable[[str], str], added: tuple[str, ...]) -> EditResult:
    try:
        new = edit(request.text)
    except Refused as refused:
        return EditResult(refused=refused.lines())
    listed = _list_registrations(new)
    result = EditResult(new, registrations=tuple(listed))
    if not request.inside_file:
        return result
    return _judge(request, result, {*_list_registrations(request.text)} - {*listed}, added)


def _list_registrations(text: str) -> list[str]:
    """Empty if the text cannot be read: a removal leaves a file alone in which nothing is ours."""
    from documents.homeserver.reading import read_document

    try:
        return list_registrations(read_document(text))
    except Refused:
        return []


def _judge(request: EditRequest, result: EditResult, gone: set[str], added: tuple[str, ...]) -> EditResult:
    """The result with what Synapse makes of the new text. It has to load what it loaded before and what is `added`,
    without what is `gone`."""
    from documents.masking import find_secrets  # as Synapse's user, this program's file may be out of reach

    process = synapse_process.find_main()
    loader.become_synapse(process)
    if not _has_text(request.inside_file, request.text):
        fix = "check the settings synapseDir, synapseDataMount and homeserverFile"
        return replace(result, problem=f"it is not what Synapse's container has as {request.inside_file}: {fix}")
    try:
        documents = synapse_process.read_configuration(process, request.inside_file)
    except synapse_process.ConfigUnreadable as error:
        return replace(result, problem=str(error))
    loaded_before = list_registrations(synapse_process.merge(documents.values()))
    tokens = read_tokens([*loaded_before, *result.registrations])
    found = {secret for document in documents.values() for secret in find_secrets(document)}
    found |= {token for registration in tokens.values() for token in registration.values()}
    secrets = tuple(secret for secret in found if len(secret) >= SHORTEST)
    options = synapse_process.read_options(process, request.inside_file)
    try:
        loaded = loader.load_registrations(result.text, request.inside_file, options)
    except loader.LoadError as error:
        problem = f"Synapse's own loader refuses the new configuration:\n{clean_log(str(error), secrets)}"
        old_loads = _loads(request.text, request.inside_file, options)
        return replace(result, problem=problem, old_loads=old_loads, secrets_to_mask=secrets)
    lost = [path for path in dict.fromkeys([*loaded_before, *added]) if path not in loaded and path not in gone]
    problem = (
        f"Synapse would not load {', '.join(lost)} with it, since another file of its configuration sets the same key "
        "and the last one counts: set homeserverFile to that file"
    )
    as_tokens = {path: tokens[path]["as_token"] for path in loaded if "as_token" in tokens.get(path, {})}
    return replace(result, problem=problem if lost else "", secrets_to_mask=secrets, as_tokens=as_tokens)


def _loads(text: str, inside_file: str, options: Sequence[str]) -> bool:
    try:
        loader.load_registrations(text, inside_file, options)
    except loader.LoadError:
        return False
    return True


def _has_text(path: str, text: str) -> bool:
    try:
        return Path(path).read_bytes() == text.encode()
    except OSError:
        return False
