"""A text's lines, and edits of a text that leave every other byte as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what PyYAML takes for the end of a line


def line_start(text: str, index: int) -> int:
    """The index where the line of `index` starts. A byte order mark belongs to no line."""
    start = 1 if text.startswith("\ufeff") else 0
    for found in BREAK.finditer(text):
        if found.end() > index:
            break
        start = found.end()
    return start


def line_end(text: str, index: int) -> int:
    """The index behind the line of `index`: where the next line starts, or the end of the text."""
    match = BREAK.search(text, index)
    return match.end() if match else len(text)


def line_break(text: str, index: int) -> str:
    """The line break to use at `index`: that of the line before it, else the text's first one."""
    breaks = [found[0] for found in BREAK.finditer(text, 0, index) if found[0] in ("\r\n", "\n", "\r")]
    first = re.search("\r\n|\n|\r", text)
    return breaks[-1] if breaks else first[0] if first else "\n"


@dataclass(frozen=True)
class Edit:
    """Replaces `start` to `end` by `text`."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def insert_lines(text: str, at: int, lines: Sequence[str]) -> Edit:
    """Inserts lines at `at`, the start of a line. A file whose last line has no line break has none afterwards, too."""
    end = line_break(text, at)
    if at == len(text) and not ends_in_break(text):
        return Edit(at, at, "".join(end + line for line in lines))
    return Edit(at, at, "".join(line + end for line in lines))


def ends_in_break(text: str) -> bool:
    return text == "" or text[-1] in "\n\r\x85\u2028\u2029"


def delete_lines(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Deletes whole lines. If the last line goes and had no line break, the new last line has none either."""
    bare = not ends_in_break(text)
    last_goes = False
    for start, end in sorted(spans, reverse=True):
        last_goes = last_goes or end >= len(text)
        text = text[:start] + text[end:]
    if bare and last_goes:
        last = [found for found in BREAK.finditer(text) if found.end() == len(text)]
        text = text[: last[0].start()] if last else text
    return text
