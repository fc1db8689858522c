"""Removes our entries from homeserver.yaml, and puts back what stood there before them."""

from __future__ import annotations

import re
from typing import Any

from yaml.nodes import ScalarNode, SequenceNode

from documents.homeserver.entries import KEYS
from documents.homeserver.lines import Edit, apply_edits, delete_lines, line_end, line_start
from documents.homeserver.meaning import is_equal
from documents.homeserver.positions import (
    MARK,
    ONE_LINE,
    find_entries,
    find_key_mark,
    find_key_marks,
    find_split_mark,
    owners_of,
    rename_owners,
)
from documents.homeserver.reading import HomeserverFile, find_duplicates, line_number, read_document, read_file
from documents.refusal import Problem, Refused

_EMPTY = re.compile(r"(?:~|[Nn]ull|NULL|\[[ \t]*\]|\{[ \t]*\})")


def remove_entries(text: str, owner: str) -> str:
    """The file without this owner's entries. Everything else stays, later edits by others included.

    A replaced value comes back. A key of ours stays while somebody else's entries are under it. A text without the
    owner's mark is not even parsed. Raises Refused if the file cannot be read or something else would change.
    """
    if not any(owner in owners_of(mark) for mark in MARK.finditer(text)):
        return text
    file = read_file(text)
    if duplicates := list(find_duplicates(file, file.root, among=KEYS)):
        raise Refused(duplicates)
    rest = dict(file.document)
    new = text
    for key in KEYS:
        now = read_file(new)
        pair, present = now.pair(key), find_entries(now, key)
        gone = [n for n, entry in enumerate(present) if set(entry.owners) == {owner}]
        if pair and gone:
            if isinstance(pair[1], SequenceNode):
                rest[key] = [value for n, value in enumerate(rest[key]) if n not in gone]
            else:
                names = {present[n].name for n in gone}
                rest[key] = {name: value for name, value in rest[key].items() if name not in names}
        for step in (_remove_owner, _remove_entries, _remove_head, _remove_split):
            new = step(new, key, owner)
    if new != text and not _is_only_rest(read_document(new), rest):
        reason = f"the lines of {owner} cannot be taken out without changing others"
        fix = "give each of its entries a line of its own, or take them out by hand"
        raise Refused([Problem(_first_marked_line(text, owner), reason, fix)])
    return new


def _first_marked_line(text: str, owner: str) -> int:
    return next(line_number(text, mark.start()) for mark in MARK.finditer(text) if owner in owners_of(mark))


def _is_only_rest(document: Any, rest: dict[Any, Any]) -> bool:
    """Whether `document` equals `rest`. One of our two keys, if empty in `rest`, may be absent, null or empty."""
    if not isinstance(document, dict):
        return document is None and not any(rest.values())
    for key in KEYS:
        if not rest.get(key) and not document.get(key):
            rest = {name: value for name, value in rest.items() if name != key}
            document = {name: value for name, value in document.items() if name != key}
    return is_equal(document, rest)


def _remove_owner(text: str, key: str, owner: str) -> str:
    """Takes the owner's name out of the marks of lines that other stacks need, too."""
    file = read_file(text)
    marks = [*(entry.mark for entry in find_entries(file, key) if entry.mark), *find_key_marks(file, key)]
    others = [(mark, [name for name in owners_of(mark) if name != owner]) for mark in marks]
    return apply_edits(
        text, [rename_owners(mark, names) for mark, names in others if names and names != owners_of(mark)]
    )


def _remove_entries(text: str, key: str, owner: str) -> str:
    """Deletes the lines of the entries that only this owner needs."""
    gone = [entry for entry in find_entries(read_file(text), key) if set(entry.owners) == {owner}]
    return delete_lines(text, [(line_start(text, entry.start), line_end(text, entry.end)) for entry in gone])


def _remove_head(text: str, key: str, owner: str) -> str:
    """Deletes the line of a key that only this owner needs, or its mark if somebody has entries under it.

    A value that the mark noted as replaced comes back.
    """
    file = _read_if_any(text)
    mark = find_key_mark(file, key) if file else None
    if file is None or mark is None or set(owners_of(mark)) != {owner}:
        return text
    pair = file.pair(key)
    assert pair
    empty = isinstance(pair[1], ScalarNode)
    if mark.group("before"):
        if empty:
            return apply_edits(text, [Edit(mark.start(), mark.end(), "")])
        old = _EMPTY.match(text, mark.end())
        tail = re.compile(r"[ \t]*").match(text, old.end() if old else mark.end())
        assert tail
        start = mark.start() if text.startswith("#", tail.end()) else len(text[: mark.start()].rstrip(" \t"))
        return apply_edits(text, [Edit(start, tail.end(), "")])
    if empty:
        return delete_lines(text, [(line_start(text, pair[0].start_mark.index), line_end(text, mark.end()))])
    return apply_edits(text, [Edit(len(text[: mark.start()].rstrip(" \t")), mark.end(), "")])


def _remove_split(text: str, key: str, owner: str) -> str:
    """Joins a flow collection that only this owner split, unless somebody wrote in between."""
    file = _read_if_any(text)
    mark = find_split_mark(file, key) if file else None
    if file is None or mark is None or set(owners_of(mark)) != {owner}:
        return text
    end = mark.end() + len(ONE_LINE)
    start = len(text[: mark.start("owners") - len("# pulumi stack ")].rstrip(" \t"))
    margin = " " * (file.root.start_mark.column + 2)
    joint = re.compile(rf"(?:\r\n|[\n\r]){margin}(?=[ \t]*,?[ \t]*[\]}}])").match(text, end)
    return apply_edits(text, [Edit(start, joint.end() if joint else end, "")])


def _read_if_any(text: str) -> HomeserverFile | None:
    """The file between two steps of a removal; None if nothing is left in it."""
    return None if read_document(text) is None else read_file(text)
