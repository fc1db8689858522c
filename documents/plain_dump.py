"""A plain dump of somebody's as psql would read it: psql takes commands of its own (a backslash: a shell, a file,
another user) wherever it does not stand inside of a quote, a comment or COPY's data. What is restored must hold none.

The boundaries are those of psql's own scanner (src/fe_utils/psqlscan.l). Where it would depend on a setting of the
server, or where a statement may hold a semicolon that does not end it, the dump is refused: pg_dump writes neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Optional

from documents.refusal import Problem, Refused

_TOKEN = re.compile(
    rb"--[^\n]*|/\*|\*/|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*|\$[0-9]+|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"
    rb"|[0-9]+|[^\s]"
)
_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\r?\n?\Z")  # pg_dump's own, around all that it writes
_END_OF_DATA = re.compile(rb"\\\.\r?\n?\Z")
_FIX = "this is no dump of pg_dump's: restore one that is"


def checked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, with pg_dump's own \\restrict and \\unrestrict left empty. Raises Refused at the first line that psql
    would take for a command of its own, or that cannot be told."""
    reader = _Reader()
    number = 0
    for number, line in enumerate(lines, start=1):
        reason = reader.read(line)
        if reason:
            raise Refused([Problem(number, reason, _FIX)])
        yield b"\n" if reader.restricts else line
    if reader.inside:
        raise Refused([Problem(number, "it ends in the middle of a statement", "it is cut off: restore a whole one")])


class _Reader:
    """Where a line begins: `_data` is COPY's; `_quote` what a quote or comment ends with ("" in none), `_depth` how
    many comments are open; `_words` are those of the statement so far, outside of quotes; `_parens` are open."""

    def __init__(self) -> None:
        self._data = False
        self._quote = b""
        self._depth = self._parens = 0
        self._words: list[bytes] = []
        self._begun = False
        self.restricts = False

    @property
    def inside(self) -> bool:
        return bool(self._data or self._quote or self._begun)

    def read(self, line: bytes) -> str:
        """Take the line; why it must not be run, or nothing."""
        self.restricts = False
        if b"\0" in line:
            return "a NUL byte, where psql reads no further"
        if self._data:
            self._data = not _END_OF_DATA.match(line)
            return ""
        if not self.inside and _RESTRICT.match(line):
            self.restricts = True
            return ""
        at: Optional[int] = 0
        while at is not None:
            at, reason = self._quoted(line, at) if self._quote else self._plain(line, at)
            if reason:
                return reason
        return ""

    def _quoted(self, line: bytes, at: int) -> tuple[Optional[int], str]:
        """On from `at`, inside of a quote or comment: where it ends."""
        if self._quote == b"*/":
            for match in re.finditer(rb"/\*|\*/", line[at:]):
                self._depth += 1 if match[0] == b"/*" else -1
                if not self._depth:
                    self._quote = b""
                    return at + match.end(), ""
            return None, ""
        end = line.find(self._quote, at)
        if end < 0:
            return None, ""
        if self._quote == b"'":
            before = line[at:end]
            if (len(before) - len(before.rstrip(b"\\"))) % 2:
                return None, "a backslash before a quote, which the server may read in two ways"
        end += len(self._quote)
        self._quote = b""
        return end, ""

    def _plain(self, line: bytes, at: int) -> tuple[Optional[int], str]:
        """On from `at`, outside of quotes: to the next quote, or the line's end."""
        for match in _TOKEN.finditer(line, at):
            token = match[0]
            if token.startswith(b"--"):
                continue
            if token == b"\\":
                return None, "a command of psql's (a backslash outside of data and quotes)"
            if token == b"/*":
                self._quote, self._depth = b"*/", 1
                return match.end(), ""
            if token == b";" and not self._parens:
                copies = self._words[:1] == [b"copy"] and b"stdin" in self._words and b"from" in self._words
                self._words, self._begun = [], False
                if copies:
                    self._data = True
                    return None, "more after COPY … FROM stdin;" if line[match.end() :].strip() else ""
                continue
            self._begun = True
            if token in (b"'", b'"') or (token.startswith(b"$") and token.endswith(b"$")):
                self._quote = token
                return match.end(), ""
            if token == b"(":
                self._parens += 1
            elif token == b")":
                self._parens = max(0, self._parens - 1)
            elif token[:1].isalpha() or token[:1] == b"_":
                self._words.append(token.lower())
                if token.lower() == b"begin" and self._words[0] == b"create":
                    return None, "a body that is SQL (BEGIN ATOMIC)"
        return None, ""
