"""Adds our entries to homeserver.yaml as lines of text, and checks the result by its meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import yaml
from yaml.nodes import MappingNode, SequenceNode

from documents.homeserver.entries import FEATURES, KEYS, REGISTRATIONS, Entries
from documents.homeserver.meaning import expected_document, is_equal
from documents.homeserver.positions import (
    BREAK,
    ONE_LINE,
    Edit,
    Section,
    apply_edits,
    find_section,
    insert_lines,
    line_break,
    line_end,
    line_start,
    owners_of,
    rename_owners,
)
from documents.homeserver.reading import HomeserverFile, read_document, read_writable_file
from documents.homeserver.removing import remove_entries
from documents.refusal import Problem, Refused

_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.@+-]*\Z")  # needs no quotes, unless it is a word like yes or null
_LINE_REST = re.compile(r"[ \t]*(,?)[ \t]*(?:#[^\n\r]*)?(?=[\n\r])")  # behind the last entry of a flow collection


def add_entries(text: str, entries: Entries) -> str:
    """The file with exactly these entries of the owner's: earlier ones that are no longer wanted go.

    The text is unchanged if it holds them already, whoever put them there. Raises Refused, with every problem that
    was found, if no safe edit exists.
    """
    if _is_settled(read_writable_file(text, entries.experimental_features), entries):
        return text
    base = remove_entries(text, entries.owner)
    file = read_writable_file(base, entries.experimental_features)
    expected = expected_document(file.document, entries)
    for at_top in (False, True):  # people look at the end; after an open block scalar only the top works
        new = base
        try:
            for key in KEYS:
                new = _add_key(new, key, entries, at_top)
            if is_equal(read_document(new), expected) and remove_entries(new, entries.owner) == base:
                return new
        except Refused:
            continue
    pair = file.pair(REGISTRATIONS) or file.pair(FEATURES)
    reason = "an edit here would change other settings or could not be undone"
    fix = (
        f"write {REGISTRATIONS} and {FEATURES} in block style, one entry a line, without anchors, tags, aliases or "
        "merge keys, and end the last line of the file"
    )
    raise Refused([Problem(file.line(pair[0]) if pair else 1, reason, fix)])


def _is_settled(file: HomeserverFile, entries: Entries) -> bool:
    """Whether the file holds exactly what this owner needs, so that there is nothing to do."""
    for key in KEYS:
        section, wanted = find_section(file, key), entries.under(key)
        present = section.entries if section else ()
        ours = [entry.name for entry in present if entries.owner in entry.owners]
        unmarked = [entry.name for entry in present if not entry.mark]
        if not all(name in wanted for name in ours) or not all(name in ours + unmarked for name in wanted):
            return False
        if section and not ours and any(entries.owner in owners_of(mark) for mark in section.marks):
            return False
    return True


def _add_key(text: str, key: str, entries: Entries, at_top: bool) -> str:
    """Adds the entries of one of the two keys to a text that has none of this owner's."""
    file = read_writable_file(text, entries.experimental_features)
    section = find_section(file, key)
    present = section.entries if section else ()
    new: list[str] = []
    joined = []
    for name in entries.under(key):
        marks = [entry.mark for entry in present if entry.name == name]
        if not marks:
            new.append(_to_yaml(name) if key == REGISTRATIONS else f"{_to_yaml(name)}: true")
        elif all(marks):  # other stacks have it: this one joins them
            joined.append(marks[0])
    if not new and not joined:
        return text
    joined += section.marks if section else []
    edits = [rename_owners(mark, [*owners_of(mark), entries.owner]) for mark in joined if mark]
    note = f"# pulumi stack {entries.owner}"
    margin = " " * file.root.start_mark.column
    lines = [f"{'- ' if key == REGISTRATIONS else ''}{words}  {note}" for words in new]
    if not new:
        pass
    elif section is None:
        at = line_start(text, file.root.start_mark.index) if at_top else len(text)
        edits.append(insert_lines(text, at, [f"{margin}{key}:  {note}", *(f"{margin}  {line}" for line in lines)]))
    else:
        edits += _insert_into_value(text, section, margin, note, new, lines)
    return apply_edits(text, edits)


def _insert_into_value(
    text: str, section: Section, margin: str, note: str, new: Sequence[str], lines: Sequence[str]
) -> list[Edit]:
    """`lines`: the entries `new` as lines of a block collection."""
    value, present = section.value, section.entries
    start, end = value.start_mark.index, value.end_mark.index
    if isinstance(value, (SequenceNode, MappingNode)) and not value.flow_style:
        indent = " " * value.start_mark.column
        return [insert_lines(text, line_end(text, present[-1].end), [f"{indent}{line}" for line in lines])]
    if present:
        return [_insert_into_flow(text, section, margin, note, new)]
    if BREAK.search(text, start, end):  # [ ] or { } over several lines
        return [insert_lines(text, line_end(text, start), [f"{margin}  {words},  {note}" for words in new])]
    replaced = [Edit(start, start, f"{note}; before: ")] if start != end else []  # ~, [] or {}
    return [*replaced, insert_lines(text, line_end(text, end), [f"{margin}  {line}" for line in lines])]


def _insert_into_flow(text: str, section: Section, margin: str, note: str, new: Sequence[str]) -> Edit:
    """Entries behind the last one in [ ] or { }, one a line and with its own comma, so that a later removal deletes
    whole lines."""
    last = section.entries[-1]
    rest = _LINE_REST.match(text, last.end)
    if rest:
        lead = text[line_start(text, last.start) : last.start]
        indent = lead[: len(lead) - len(lead.lstrip(" "))] if not lead.strip(" ,") else f"{margin}  "
        lines = [f"{indent}{words},  {note}" if rest[1] else f"{indent}, {words}  {note}" for words in new]
        return insert_lines(text, line_end(text, last.end), lines)
    lines = [f"  {note}; before: {ONE_LINE}", *(f"{margin}  , {words}  {note}" for words in new), f"{margin}  "]
    return Edit(last.end, last.end, line_break(text).join(lines))


def _to_yaml(value: str) -> str:
    """A string as YAML text, valid in block and flow style."""
    if _PLAIN.match(value) and yaml.load(value, Loader=yaml.SafeLoader) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
