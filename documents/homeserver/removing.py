"""Removes our entries from homeserver.yaml, and puts back what stood there before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from documents.homeserver.entries import KEYS
from documents.homeserver.meaning import is_equal
from documents.homeserver.positions import (
    MARK,
    ONE_LINE,
    Edit,
    Section,
    apply_edits,
    ends_in_break,
    find_section,
    line_end,
    line_start,
    owners_of,
    rename_owners,
)
from documents.homeserver.reading import line_number, read_document, read_file
from documents.refusal import Problem, Refused

_EMPTY = re.compile(r"(?:~|[Nn]ull|NULL|\[[ \t]*\]|\{[ \t]*\})?[ \t]*")
_LAST_BREAK = re.compile(r"(?:\r\n|[\n\r])\Z")


def remove_entries(text: str, owner: str) -> str:
    """The file without this owner's entries. Everything else stays, later edits by others included.

    A replaced value comes back. A key of ours stays while somebody else's entries are under it. A text without the
    owner's mark is not even parsed. Raises Refused if the file cannot be read or something else would change.
    """
    marked = [mark for mark in MARK.finditer(text) if owner in owners_of(mark)]
    if not marked:
        return text
    sections = _find_sections(text)
    rest = dict(read_file(text).document)
    for section in sections:
        rest[section.key.value] = _without_owner(rest[section.key.value], section, owner)
    new = apply_edits(text, [edit for section in sections for edit in _remove_lines(text, section, owner)])
    edits = [edit for section in _find_sections(new) for edit in _remove_key_marks(new, section, owner)]
    new = apply_edits(new, edits)
    if not ends_in_break(text):  # if the last line went, the new last one has no line break either
        new = _LAST_BREAK.sub("", new)
    if not is_equal(read_document(new), rest):
        reason = f"the lines of {owner} cannot be taken out without changing others"
        fix = "give each of its entries a line of its own, or take them out by hand"
        raise Refused([Problem(line_number(text, marked[0].start()), reason, fix)])
    return new


def _find_sections(text: str) -> list[Section]:
    file = read_file(text)
    return [section for key in KEYS if (section := find_section(file, key))]


def _without_owner(value: Any, section: Section, owner: str) -> Any:
    """The value of a key without the entries that only this owner needs."""
    gone = [entry.owners == [owner] for entry in section.entries]
    if isinstance(value, list):
        return [item for item, is_gone in zip(value, gone) if not is_gone]
    if isinstance(value, dict):
        names = [entry.name for entry, is_gone in zip(section.entries, gone) if is_gone]
        return {name: flag for name, flag in value.items() if name not in names}
    return value


def _remove_lines(text: str, section: Section, owner: str) -> Iterator[Edit]:
    """Deletes the lines of the entries that only this owner needs. Where other stacks need a line or the key, too, only
    the owner's name goes."""
    for entry in section.entries:
        if entry.owners == [owner]:
            yield Edit(line_start(text, entry.start), line_end(text, entry.end), "")
    for mark in [*(entry.mark for entry in section.entries if entry.mark), *section.marks]:
        others = [name for name in owners_of(mark) if name != owner]
        if others and others != owners_of(mark):
            yield rename_owners(mark, others)


def _remove_key_marks(text: str, section: Section, owner: str) -> Iterator[Edit]:
    """Deletes the line of a key that only this owner needs, or its marks if there is something else under it."""
    head, split = section.head, section.split
    if head and owners_of(head) == [owner]:
        start, end = len(text[: head.start()].rstrip(" \t")), head.end()
        if head["before"] and not section.entries:  # the replaced value comes back
            start = head.start()
        elif head["before"]:
            replaced = _EMPTY.match(text, end)
            end = replaced.end() if replaced else end
            start = head.start() if text.startswith("#", end) else start
        elif not section.entries:
            start, end = line_start(text, section.key.start_mark.index), line_end(text, end)
        yield Edit(start, end, "")
    if split and owners_of(split) == [owner]:
        start, end = len(text[: split.start("mark")].rstrip(" \t")), split.end() + len(ONE_LINE)
        margin = " " * (section.key.start_mark.column + 2)  # of the closing bracket, which got a line of its own
        closing = re.compile(rf"(?:\r\n|[\n\r]){margin}(?=[ \t]*,?[ \t]*[\]}}])").match(text, end)
        yield Edit(start, closing.end() if closing else end, "")
