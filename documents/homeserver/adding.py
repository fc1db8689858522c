"""Adds our entries to homeserver.yaml as lines of text, and checks the result by its meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from documents.homeserver.checking import read_writable_file
from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS, Entries, wanted_names
from documents.homeserver.lines import (
    BREAK,
    Edit,
    apply_edits,
    ends_in_break,
    insert_lines,
    line_break,
    line_end,
    line_start,
)
from documents.homeserver.meaning import expected_document, is_equal
from documents.homeserver.positions import (
    ONE_LINE,
    PresentEntry,
    find_entries,
    find_key_marks,
    make_mark,
    owners_of,
    rename_owners,
)
from documents.homeserver.reading import HomeserverFile, read_document
from documents.homeserver.removing import remove_entries
from documents.refusal import Problem, Refused

_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.@+-]*\Z")  # needs no quotes, unless it is a word like yes or null


def _to_yaml(value: str) -> str:
    """A string as YAML text, valid in block and flow style."""
    if _PLAIN.match(value) and yaml.load(value, Loader=yaml.SafeLoader) == value:
        return value
    return '"' + "".join(f"\\{char}" if char in '"\\' else char for char in value) + '"'


def _texts(key: str, names: Sequence[str]) -> list[str]:
    return [_to_yaml(name) if key == REGISTRATIONS else f"{_to_yaml(name)}: true" for name in names]


def _add_key(text: str, key: str, entries: Entries, at_top: bool) -> str:
    """Adds the entries of one of the two keys to a text that has none of this owner's."""
    file = read_writable_file(text, entries)
    owner, note = entries.owner, f"  {make_mark([entries.owner])}"
    present = find_entries(file, key)
    new: list[str] = []
    edits: list[Edit] = []
    for name in wanted_names(key, entries):
        held = [entry for entry in present if entry.name == name]
        if not held:
            new.append(name)
        elif all(entry.mark for entry in held):  # other stacks have it: this one joins them
            mark = held[0].mark
            assert mark
            edits.append(rename_owners(mark, [*owners_of(mark), owner]))
    if not new and not edits:
        return text
    edits += [rename_owners(mark, [*owners_of(mark), owner]) for mark in find_key_marks(file, key)]
    margin = " " * file.root.start_mark.column
    dash = "- " if key == REGISTRATIONS else ""
    texts = _texts(key, new)

    def lines(indent: str) -> list[str]:
        return [f"{indent}{dash}{words}{note}" for words in texts]

    pair = file.pair(key)
    value = pair[1] if pair else None
    if not texts:
        pass
    elif value is None:
        at = line_start(text, file.root.start_mark.index) if at_top else len(text)
        edits.append(insert_lines(text, at, [f"{margin}{key}:{note}", *lines(f"{margin}  ")]))
    elif isinstance(value, (SequenceNode, MappingNode)) and not value.flow_style:
        edits.append(insert_lines(text, line_end(text, present[-1].end), lines(" " * value.start_mark.column)))
    elif present or BREAK.search(text, value.start_mark.index, value.end_mark.index):
        edits += _insert_into_flow(text, margin, value, present, texts, owner)
    else:  # nothing, ~, [] or {}
        start, end = value.start_mark.index, value.end_mark.index
        if start != end:
            edits.append(Edit(start, start, f"{make_mark([owner])}; before: "))
        edits.append(insert_lines(text, line_end(text, end), lines(f"{margin}  ")))
    return apply_edits(text, edits)


def _insert_into_flow(
    text: str, margin: str, value: Node, present: Sequence[PresentEntry], texts: Sequence[str], owner: str
) -> list[Edit]:
    """Entries inside [ ] or { }, one a line and with its own comma, so that a later removal deletes whole lines."""
    note = f"  {make_mark([owner])}"
    if not present:
        at = line_end(text, value.start_mark.index)
        return [insert_lines(text, at, [f"{margin}  {words},{note}" for words in texts])]
    last = present[-1]
    lead = text[line_start(text, last.start) : last.start]
    indent = re.match("[ ]*", lead.lstrip("\ufeff"))
    entry_margin = indent.group() if indent and not lead.strip(" ,") else f"{margin}  "
    rest = re.compile(r"[ \t]*(,?)[ \t]*(?:#[^\n\r\x85\u2028\u2029]*)?(?=[\n\r\x85\u2028\u2029])").match(text, last.end)
    if rest:
        comma = rest.group(1) == ","
        lines = [f"{entry_margin}{words},{note}" if comma else f"{entry_margin}, {words}{note}" for words in texts]
        return [insert_lines(text, line_end(text, last.end), lines)]
    feed = line_break(text, last.end)
    lines = [f"{note}; before: {ONE_LINE}", *(f"{margin}  , {words}{note}" for words in texts), f"{margin}  "]
    return [Edit(last.end, last.end, feed.join(lines))]


def _is_settled(file: HomeserverFile, entries: Entries) -> bool:
    """Whether the file holds exactly what this owner needs, so that there is nothing to do."""
    owner = entries.owner
    for key in KEYS:
        present, wanted = find_entries(file, key), wanted_names(key, entries)
        mine = [entry for entry in present if owner in entry.owners]
        if any(entry.name not in wanted for entry in mine):
            return False
        for name in wanted:
            held = [entry for entry in present if entry.name == name]
            if not any(owner in entry.owners or not entry.mark for entry in held):
                return False
        if not mine and any(owner in owners_of(mark) for mark in find_key_marks(file, key)):
            return False
    return True


def add_entries(text: str, entries: Entries) -> str:
    """The file with exactly these entries of the owner's: earlier ones that are no longer wanted go.

    The text is unchanged if it holds them already, whoever put them there. Raises Refused, with every problem that
    was found, if no safe edit exists.
    """
    if _is_settled(read_writable_file(text, entries), entries):
        return text
    base = remove_entries(text, entries.owner)
    file = read_writable_file(base, entries)
    want = expected_document(file.document, entries)
    for at_top in (False, True):  # people look at the end; after an open block scalar only the top works
        new = base
        try:
            for key in KEYS:
                new = _add_key(new, key, entries, at_top)
            if is_equal(read_document(new), want) and remove_entries(new, entries.owner) == base:
                return new
        except Refused:
            continue
    raise Refused([_no_safe_edit(file)])


def _no_safe_edit(file: HomeserverFile) -> Problem:
    """The refusal when every edit that was tried would break one of the two laws."""
    pair = file.pair(REGISTRATIONS) or file.pair(FEATURES)
    line = file.line(pair[0].start_mark.index) if pair else file.line(len(file.text))
    fix = f"write {REGISTRATIONS} and {FEATURES} in block style, one entry a line"
    if not ends_in_break(file.text):
        fix = "end the file's last line with a line break"
    return Problem(line, "an edit here would change other settings or could not be undone", fix)
