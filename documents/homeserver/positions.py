"""Where the entries under our two keys are in the text, and the comments that say whose they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from documents.homeserver.entries import OWNER
from documents.homeserver.lines import BREAK, Edit, ends_in_break, line_end
from documents.homeserver.reading import HomeserverFile
from documents.refusal import Problem, Refused

MARK = re.compile(rf"# pulumi stack (?P<owners>{OWNER}(?:, {OWNER})*)(?P<before>; before: )?")
_MARK_BEHIND = re.compile(rf"[ \t]*,?[ \t]*{MARK.pattern}")  # from the end of an entry to the mark on its line
ONE_LINE = "on one line"  # the `before` of a flow collection that we split


def node_end(text: str, node: Node) -> int:
    """Where a node's own text ends (PyYAML lets a collection without brackets run on to the next token)."""
    if isinstance(node, ScalarNode):
        if node.style in ("|", ">"):
            head = text[node.start_mark.index : line_end(text, node.start_mark.index)]
            whole = text[: node.end_mark.index]
            return len(whole) - 1 if "+" in head.split("#")[0] and ends_in_break(whole) else len(whole.rstrip())
        return int(node.end_mark.index)
    end = int(node.end_mark.index)
    if isinstance(node, (SequenceNode, MappingNode)) and node.value:
        closed = node.flow_style and text[end - 1] in "]}"  # a mapping in a flow list may have none: [a: b]
        last = node.value[-1]
        return end if closed else node_end(text, last[1] if isinstance(last, tuple) else last)
    return end


@dataclass(frozen=True)
class PresentEntry:
    """An entry under one of our two keys: its name (path or flag), its place in the text, and its mark."""

    name: Any
    start: int
    end: int
    mark: re.Match[str] | None  # names the owners; None: somebody else's entry

    @property
    def owners(self) -> list[str]:
        return owners_of(self.mark) if self.mark else []


def owners_of(mark: re.Match[str]) -> list[str]:
    return mark.group("owners").split(", ")


def find_entries(file: HomeserverFile, key: str) -> list[PresentEntry]:
    pair = file.pair(key)
    if pair is None or not isinstance(pair[1], (SequenceNode, MappingNode)):
        return []
    present = []
    for part in pair[1].value:
        first, last = part if isinstance(part, tuple) else (part, part)
        end = node_end(file.text, last)
        mark = _MARK_BEHIND.match(file.text, end)
        mark = None if mark and mark.group("before") else mark
        if mark and BREAK.search(file.text, first.start_mark.index, end):  # an entry of ours has one line
            reason = f"an entry of {mark.group('owners')} runs together with what stands above it"
            fix = "give each a comma or a dash of its own"
            raise Refused([Problem(file.line(first.start_mark.index), reason, fix)])
        name = first.value if isinstance(first, ScalarNode) else None
        present.append(PresentEntry(name, first.start_mark.index, end, mark))
    if isinstance(pair[1], SequenceNode):  # an alias among them has no value of its own here
        names = file.document.get(key) or []
        present = [PresentEntry(name, c.start, c.end, c.mark) for name, c in zip(names, present)]
    return present


def find_key_mark(file: HomeserverFile, key: str) -> re.Match[str] | None:
    """The mark between a key and its value.

    On the key's line it says that the key is ours, or that its value was replaced. On a line below, among somebody's
    comments, only the second counts: null may stand on a line of its own.
    """
    pair = file.pair(key)
    if pair is None:
        return None
    text = file.text
    colon = re.compile(r"\s*:").match(text, pair[0].end_mark.index)
    at = colon.end() if colon else pair[0].end_mark.index
    first = True
    blank = re.compile(r"[ \t]*")
    while True:
        match = blank.match(text, at)
        assert match
        at = match.end()
        if at < len(text) and text[at] == "#":
            mark = MARK.match(text, at)
            if mark and (first or mark.group("before")):
                return mark
        elif at < len(text) and not BREAK.match(text, at):
            return None
        at, first = line_end(text, at), False
        if at == len(text):
            return None


def find_split_mark(file: HomeserverFile, key: str) -> re.Match[str] | None:
    """The mark where we split a flow collection that was on one line."""
    pair = file.pair(key)
    if pair is None or not isinstance(pair[1], (SequenceNode, MappingNode)) or not pair[1].flow_style:
        return None
    for part in pair[1].value:
        mark = _MARK_BEHIND.match(file.text, node_end(file.text, part[1] if isinstance(part, tuple) else part))
        if mark and mark.group("before") and file.text.startswith(ONE_LINE, mark.end()):
            return mark
    return None


def find_key_marks(file: HomeserverFile, key: str) -> list[re.Match[str]]:
    """The marks that belong to the key or its value as a whole, not to one entry."""
    return [mark for mark in (find_key_mark(file, key), find_split_mark(file, key)) if mark]


def make_mark(owners: Sequence[str]) -> str:
    return f"# pulumi stack {', '.join(owners)}"


def rename_owners(mark: re.Match[str], owners: Sequence[str]) -> Edit:
    return Edit(mark.start("owners"), mark.end("owners"), ", ".join(owners))
