"""Reads a plain dump of the nightly backup: what the bridge's pickle key encrypts in it, and that it holds no commands
for psql itself, before psql restores it.

These dumps are our own dump script's; what they hold is the bridge's. Archives need none of this: they hold dumps in
pg_dump's custom format (host_programs/postgres/dump_restore.py).

psql takes a backslash outside of quotes, comments and COPY's data as a command of its own: a shell, a file, another
user. The boundaries here are those of psql's scanner (src/fe_utils/psqlscan.l). A dump is refused, too, where a
boundary depends on a setting of the server, or where a semicolon may not end its statement: pg_dump writes neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Optional

from documents.backup.dump_script import CLOSING_LINE
from documents.refusal import Problem, Refused

_TOKEN = re.compile(
    rb"--[^\r\n]*|/\*|\*/|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*|\$[0-9]+|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"
    rb"|[0-9][A-Za-z0-9_.\x80-\xff]*\$?|[^\s]"
)
_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\r?\n?\Z")  # pg_dump's own, around all that it writes
_END_OF_DATA = re.compile(rb"\\\.\r?\n?\Z")
_ACCOUNTS = re.compile(rb"COPY public\.crypto_account \(([a-z_, ]+)\) FROM stdin;")
_BYTES = re.compile(rb"\\\\x((?:[0-9a-f]{2})*)")
_FIRST_LINES = (b"--", b"-- PostgreSQL database dump")
_NOT_OURS = "it should be a whole dump of our dump script; if backupFilter changed it, undo that first"


def is_nightly_dump(path: str) -> bool:
    """Whether the path, of a setting, names a nightly dump; else it names an archive."""
    return path.endswith(".sql.gz")


def read_accounts(lines: Iterable[bytes]) -> tuple[bytes, ...]:
    """The accounts in a whole dump that its bridge's pickle key encrypts (documents/bridge/pickle_key.py); none of a
    form that we do not know.

    Raises Refused if it is no whole dump of pg_dump's, and as `check_dump_lines`.
    """
    reader, accounts, column, is_whole = _Reader(), list[bytes](), -1, False
    for number, line in enumerate(lines):
        text = line.rstrip(b"\r\n")
        if number < len(_FIRST_LINES) and text != _FIRST_LINES[number]:
            raise Refused([Problem(number + 1, "it does not begin as a dump of pg_dump's", _NOT_OURS)])
        was_data, was_inside = reader.is_data, reader.is_inside
        reader.read(line)
        if not was_data and reader.is_data:
            match = _ACCOUNTS.fullmatch(text)
            columns = match[1].split(b", ") if match else []
            column = columns.index(b"account") if b"account" in columns else -1
        elif reader.is_data and column >= 0:
            accounts.extend(_parse_bytes(text.split(b"\t")[column : column + 1]))
        is_whole = is_whole or (not was_inside and text == f"-- {CLOSING_LINE}".encode())
    if not is_whole or reader.is_inside:
        raise reader.refuse("pg_dump's closing line is not at its end", _NOT_OURS)
    return tuple(accounts)


def _parse_bytes(fields: Iterable[bytes]) -> Iterator[bytes]:
    """Values of type bytea in COPY's data, as pg_dump writes them; none of another form."""
    for match in filter(None, (_BYTES.fullmatch(field) for field in fields)):
        yield bytes.fromhex(match[1].decode())


def check_dump_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The same lines, with pg_dump's own \\restrict and \\unrestrict emptied.

    Raises Refused at the first line that psql takes, or may take, as a command of its own.
    """
    reader = _Reader()
    for line in lines:
        yield b"\n" if reader.read(line) else line
    if reader.is_inside:
        raise reader.refuse("it ends in the middle of a statement", "it is cut off: restore a whole one")


class _Reader:
    """The state at the start of a line.

    `_data`: in COPY's data; `_quote`: how the open quote or comment ends ("" if none is open); `_depth`: number of open
    comments; `_words`: those of the statement so far, outside of quotes; `_parens`: number of open parentheses;
    `_in_statement`: whether a statement is not ended yet.
    """

    def __init__(self) -> None:
        self._number = self._depth = self._parens = 0
        self._data = self._in_statement = False
        self._quote = b""
        self._words: list[bytes] = []

    @property
    def is_data(self) -> bool:
        return self._data

    @property
    def is_inside(self) -> bool:
        return bool(self._data or self._quote or self._in_statement)

    def refuse(self, reason: str, fix: str = "this is no dump of pg_dump's: restore one that is") -> Refused:
        return Refused([Problem(self._number, reason, fix)])

    def read(self, line: bytes) -> bool:
        """Read one line; whether it is a command of pg_dump's own. Raises Refused if it must not be run."""
        self._number += 1
        if b"\0" in line:
            raise self.refuse("a NUL byte, where psql reads no further")
        if self._data:
            self._data = not _END_OF_DATA.match(line)
            return False
        if not self.is_inside and _RESTRICT.match(line):
            return True
        at: Optional[int] = 0
        while at is not None:
            at = self._read_quoted(line, at) if self._quote else self._read_plain(line, at)
        return False

    def _read_quoted(self, line: bytes, at: int) -> Optional[int]:
        """Read on from `at`, inside a quote or comment; where it ends, None if not in this line."""
        if self._quote == b"*/":
            for match in re.finditer(rb"/\*|\*/", line[at:]):
                self._depth += 1 if match[0] == b"/*" else -1
                if not self._depth:
                    self._quote = b""
                    return at + match.end()
            return None
        end = line.find(self._quote, at)
        if end < 0:
            return None
        before = line[at:end]
        if self._quote == b"'" and (len(before) - len(before.rstrip(b"\\"))) % 2:
            raise self.refuse("a backslash before a quote, which the server may read in two ways")
        end += len(self._quote)
        self._quote = b""
        return end

    def _read_plain(self, line: bytes, at: int) -> Optional[int]:
        """Read on from `at`, outside of quotes; where the next quote begins, None if not in this line."""
        for match in _TOKEN.finditer(line, at):
            token = match[0]
            if token.startswith(b"--"):
                continue
            if token == b"\\":
                raise self.refuse("a command of psql's (a backslash outside of data and quotes)")
            if token[:1].isdigit() and token.endswith(b"$"):
                raise self.refuse("a dollar behind a number, which versions of psql read in different ways")
            if token == b"/*":
                self._quote, self._depth = b"*/", 1
                return match.end()
            if token == b";" and not self._parens:
                words = self._words
                copies = words[:1] == [b"copy"] and (b"from", b"stdin") in zip(words, words[1:])
                self._words, self._in_statement = [], False
                if copies:
                    self._data = True
                    if line[match.end() :].strip():
                        raise self.refuse("more after COPY … FROM stdin;")
                    return None
                continue
            self._in_statement = True
            if token in (b"'", b'"') or (token.startswith(b"$") and token.endswith(b"$")):
                self._quote = token
                return match.end()
            if token == b"(":
                self._parens += 1
            elif token == b")":
                self._parens = max(0, self._parens - 1)
            elif not self._parens and (token[:1].isalpha() or token[:1] == b"_"):
                self._words.append(token.lower())
                if token.lower() == b"begin" and self._words[0] == b"create":
                    raise self.refuse("a body that is SQL (BEGIN ATOMIC)")
        return None
