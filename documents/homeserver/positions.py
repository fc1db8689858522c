"""Where the entries under our two keys are in the text, the comments that say whose they are, and edits of the text
that leave every other byte as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from documents.homeserver.entries import OWNER
from documents.homeserver.reading import HomeserverFile
from documents.refusal import Problem, Refused

BREAK = re.compile(r"\r\n|[\n\r]")
MARK = re.compile(rf"# pulumi stack (?P<owners>{OWNER}(?:, {OWNER})*)(?P<before>; before: )?")
ONE_LINE = "on one line"  # the `before` of a flow collection that we split
_MARK_BEHIND = re.compile(
    rf"[ \t]*,?[ \t]*(?P<mark>{MARK.pattern})"
)  # from the end of an entry to the mark on its line
_BEFORE_VALUE = re.compile(r"\s*:(?:\s+|#[^\n\r]*)*")  # from the end of a key to its value, over comments


class Edit(NamedTuple):
    """Replaces `start` to `end` by `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class PresentEntry:
    """An entry under one of our two keys: its name (path or flag), its place in the text, and its mark, which names the
    owners; None: somebody else's entry."""

    name: Any
    start: int
    end: int
    mark: re.Match[str] | None

    @property
    def owners(self) -> list[str]:
        return owners_of(self.mark) if self.mark else []


@dataclass(frozen=True)
class Section:
    """One of our two keys, with its value and the entries in it. Two marks belong to the key as a whole: `head`, before
    the value, says that the key is ours or that its value was replaced; `split` is where we split a flow collection
    that was on one line."""

    key: ScalarNode
    value: Node
    entries: Sequence[PresentEntry] = ()
    head: re.Match[str] | None = None
    split: re.Match[str] | None = None

    @property
    def marks(self) -> list[re.Match[str]]:
        """`head` and `split`, as far as there are any."""
        return [mark for mark in (self.head, self.split) if mark]


def find_section(file: HomeserverFile, key: str) -> Section | None:
    """None if the file does not have the key. Raises Refused if an entry of a stack's shares its line."""
    pair = file.pair(key)
    if pair is None:
        return None
    node, value = pair
    head = _find_head(file.text, node)
    if not isinstance(value, (SequenceNode, MappingNode)):
        return Section(node, value, head=head)
    entries: list[PresentEntry] = []
    split = None
    for number, part in enumerate(value.value):
        first, last = part if isinstance(part, tuple) else (part, part)
        start, end = first.start_mark.index, _node_end(file.text, last)
        mark = _MARK_BEHIND.match(file.text, end)
        if mark and mark["before"]:
            split, mark = (mark if file.text.startswith(ONE_LINE, mark.end()) else split), None
        if mark and BREAK.search(file.text, start, end):
            reason = f"an entry of {mark['owners']} runs together with what stands above it"
            raise Refused([Problem(file.line(first), reason, "give each a comma or a dash of its own")])
        # An alias in a list has no value of its own here.
        name = file.document[key][number] if isinstance(value, SequenceNode) else first.value
        entries.append(PresentEntry(name, start, end, mark))
    return Section(node, value, entries, head, split if value.flow_style else None)


def _find_head(text: str, key: ScalarNode) -> re.Match[str] | None:
    """On the key's line, any mark. On a line below, among somebody's comments, only one that replaced a value: null may
    stand on a line of its own."""
    start = key.end_mark.index
    gap = _BEFORE_VALUE.match(text, start)
    for mark in MARK.finditer(text, start, gap.end() if gap else start):
        begin = max(start, line_start(text, mark.start()))
        if "#" not in text[begin : mark.start()] and (begin == start or mark["before"]):
            return mark
    return None


def _node_end(text: str, node: Node) -> int:
    """Where a node's own text ends (PyYAML lets a collection without brackets run on to the next token)."""
    end = int(node.end_mark.index)
    if isinstance(node, ScalarNode) and node.style in ("|", ">"):  # its end mark is behind blank lines and comments
        head = text[node.start_mark.index : line_end(text, node.start_mark.index)].split("#")[0]
        keeps_blank_lines = "+" in head and ends_in_break(text[:end])
        return end - 1 if keeps_blank_lines else len(text[:end].rstrip())
    if isinstance(node, (SequenceNode, MappingNode)) and node.value:
        closed = node.flow_style and text[end - 1] in "]}"  # a mapping in a flow list may have none: [a: b]
        last = node.value[-1]
        return end if closed else _node_end(text, last[1] if isinstance(last, tuple) else last)
    return end


def owners_of(mark: re.Match[str]) -> list[str]:
    return mark["owners"].split(", ")


def rename_owners(mark: re.Match[str], owners: Sequence[str]) -> Edit:
    return Edit(mark.start("owners"), mark.end("owners"), ", ".join(owners))


def line_start(text: str, index: int) -> int:
    """The index where the line of `index` starts. A byte order mark belongs to no line."""
    start = max(text.rfind(sign, 0, index) for sign in "\n\r") + 1
    return start or int(text.startswith("\ufeff"))


def line_end(text: str, index: int) -> int:
    """The index behind the line of `index`: where the next line starts, or the end of the text."""
    match = BREAK.search(text, index)
    return match.end() if match else len(text)


def line_break(text: str) -> str:
    """The line break to use: the text's first one."""
    match = BREAK.search(text)
    return match[0] if match else "\n"


def ends_in_break(text: str) -> bool:
    return text == "" or text[-1] in "\n\r"


def insert_lines(text: str, at: int, lines: Sequence[str]) -> Edit:
    """Inserts lines at `at`, the start of a line. A file whose last line has no line break has none afterwards, too."""
    end = line_break(text)
    if at == len(text) and not ends_in_break(text):
        return Edit(at, at, "".join(end + line for line in lines))
    return Edit(at, at, "".join(line + end for line in lines))


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
