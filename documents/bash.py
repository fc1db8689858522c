"""Reads a bash script as far as a careful edit needs it: statements, what is nested in them, words, redirections.

It is a reader, not an interpreter: it knows where a statement ends (quotes, heredocs, `$(…)`, `case`, line
continuations), so that an edit lands between two statements and never in one. What it cannot read is an
`Unreadable` with its line. The grammar is that of bash(1), "SHELL GRAMMAR" and "QUOTING".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Union


class Unreadable(Exception):
    """The text at `at` (an offset) is not bash that this reader knows; the text says what was expected."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at = at


@dataclass
class Word:
    """A word as it is written (`raw`, quotes and all), where it starts, and the statements of its `$(…)`."""

    raw: str
    at: int
    nested: list[Statement] = field(default_factory=list)


@dataclass
class Redirect:
    """`2>> file`: descriptor as written ("" if none), operator, target (for a heredoc: its delimiter)."""

    descriptor: str
    operator: str
    target: Word


@dataclass
class Simple:
    """Assignments (a name and the raw value, an array's with its parentheses), then the command's words."""

    at: int
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


@dataclass
class Compound:
    """`kind` is if, while, until, for, select, case, group, subshell, arithmetic, test or function. `bodies` are its
    lists as they are written; `name` is the function's or the loop variable's; `words` the loop's or case's."""

    at: int
    kind: str
    bodies: list[list[Statement]] = field(default_factory=list)
    name: str = ""
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


Command = Union[Simple, Compound]


@dataclass
class Pipeline:
    commands: list[Command]
    negated: bool = False


@dataclass
class Statement:
    """Pipelines joined by && and || (the operator before each, "" for the first), from `start` to `end`.

    `boundary` is the offset behind the line end that closes it (heredoc bodies included), or the text's length at
    its end; None if another statement follows on the same line.
    """

    start: int
    parts: list[tuple[str, Pipeline]]
    end: int = 0
    boundary: int | None = None
    background: bool = False

    def commands(self) -> Iterator[Command]:
        for _, pipeline in self.parts:
            yield from pipeline.commands


_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^\]]*\])?(\+?)=")
_RESERVED = {"if", "while", "until", "for", "select", "case", "{", "[[", "function"}
_BLANK = " \t"
_META = " \t\n;&|<>()"
_REDIRECT = re.compile(r"(\d+|\{[A-Za-z_]\w*\})?(<<<|<<-|<<|<>|<&|<|>>|>\||>&|>|&>>|&>)")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.heredocs: list[tuple[str, bool, int]] = []
        self.nested: list[Statement] = []

    # characters ------------------------------------------------------------------------------------------------

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def blanks(self) -> None:
        """Over blanks, line continuations and a comment, to the next token or line end."""
        while True:
            if self.peek() and self.peek() in _BLANK:
                self.at += 1
            elif self.peek(2) == "\\\n":
                self.at += 2
            elif self.peek() == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def newline(self) -> None:
        """Over one line end and the bodies of the heredocs that were announced before it."""
        self.at += 1
        for delimiter, tabs, since in self.heredocs:
            while True:
                if self.at >= len(self.text):
                    raise Unreadable(since, f"the heredoc has no closing line {delimiter!r}")
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = min(end + 1, len(self.text))
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.heredocs = []

    def newlines(self) -> None:
        self.blanks()
        while self.peek() == "\n":
            self.newline()
            self.blanks()

    # words -----------------------------------------------------------------------------------------------------

    def until(self, quote: str, escapes: bool) -> None:
        since = self.at
        self.at += 1
        while self.peek() != quote:
            if not self.peek():
                raise Unreadable(since, f"the {quote} has no closing one")
            if escapes and self.peek() == "\\":
                self.at += 1
            self.at += 1
        self.at += 1

    def double(self) -> None:
        since = self.at
        self.at += 1
        while self.peek() != '"':
            if not self.peek():
                raise Unreadable(since, 'the " has no closing one')
            self.piece(quoted=True)
        self.at += 1

    def piece(self, *, quoted: bool) -> None:
        """Over one character, escape, quotation or expansion."""
        character = self.peek()
        if character == "\\":
            self.at += 2
        elif character == "'" and not quoted:
            self.until("'", escapes=False)
        elif character == '"':
            self.double()
        elif character == "`":
            self.until("`", escapes=True)
        elif character == "$":
            self.dollar(quoted=quoted)
        else:
            self.at += 1

    def dollar(self, *, quoted: bool) -> None:
        since = self.at
        if self.peek(3) == "$((" and self.arithmetic(since + 1):
            return
        if self.peek(2) == "$(":
            self.at += 2
            self.substitution(since)
        elif self.peek(2) == "${":
            self.at += 2
            while self.peek() != "}":
                if not self.peek():
                    raise Unreadable(since, "the ${ has no closing }")
                self.piece(quoted=quoted)
            self.at += 1
        elif self.peek(2) == "$'" and not quoted:
            self.at += 1
            self.until("'", escapes=True)
        else:
            self.at += 1

    def substitution(self, since: int) -> None:
        inner, pending = self.nested, self.heredocs
        self.nested, self.heredocs = [], []
        statements = self.statements(closers=(")",))
        if self.peek() != ")":
            raise Unreadable(since, "the parenthesis has no closing one")
        self.at += 1
        self.nested, self.heredocs = inner + statements, pending + self.heredocs

    def arithmetic(self, at: int) -> bool:
        """Over `((…))` at `at`, if that is what it is; else nothing is moved (`$((` may open two subshells)."""
        position, depth = at, 0
        while position < len(self.text):
            character = self.text[position]
            if character == "\n" and depth == 0:
                return False
            depth += {"(": 1, ")": -1}.get(character, 0)
            position += 1
            if depth == 0:
                break
            if depth == 1 and character == ")" and self.text[position : position + 1] != ")":
                return False
        if depth:
            return False
        self.at = position
        return True

    def word(self) -> Word:
        start, outer = self.at, self.nested
        self.nested = []
        if self.peek(2) in ("<(", ">("):
            self.at += 2
            self.substitution(start)
        while self.peek():
            character = self.peek()
            if character == "(" and self.at > start:
                if _ASSIGNMENT.fullmatch(self.text, start, self.at):
                    self.array()
                    continue
                if self.text[self.at - 1] in "@?*+!":  # extended globbing
                    self.parenthesis()
                    continue
            if character in _META:
                break
            self.piece(quoted=False)
        if self.at == start:
            raise Unreadable(start, f"unexpected {self.peek() or 'end of the script'}")
        if self.at > len(self.text):
            raise Unreadable(len(self.text) - 1, "ends in a backslash and nothing follows it")
        word = Word(self.text[start : self.at], start, self.nested)
        self.nested = outer
        return word

    def parenthesis(self) -> None:
        since, depth = self.at, 0
        while self.peek():
            if self.peek() in "()":
                depth += 1 if self.peek() == "(" else -1
                self.at += 1
                if not depth:
                    return
            else:
                self.piece(quoted=False)
        raise Unreadable(since, "the parenthesis has no closing one")

    def array(self) -> None:
        since = self.at
        self.at += 1
        self.newlines()
        while self.peek() != ")":
            if not self.peek():
                raise Unreadable(since, "the array has no closing parenthesis")
            self.nested += self.word().nested
            self.newlines()
        self.at += 1

    def reserved(self) -> str:
        """The unquoted word that starts here, or ""; nothing is moved."""
        match = re.compile(r"[^\s;&|<>()'\"\\$`]+").match(self.text, self.at)
        if not match or (self.text[match.end() : match.end() + 1] or "\n") not in _META:
            return ""
        return match.group()

    def expect(self, word: str, since: int, what: str) -> None:
        self.newlines()
        if self.reserved() != word:
            raise Unreadable(since, f"the {what} has no {word}")
        self.at += len(word)

    # commands --------------------------------------------------------------------------------------------------

    def statements(self, words: tuple[str, ...] = (), closers: tuple[str, ...] = ()) -> list[Statement]:
        """Statements up to one of the reserved `words` or the operators `closers` (which stay), or the text's end."""
        found: list[Statement] = []
        while True:
            self.newlines()
            if not self.peek() or self.reserved() in words or any(self.peek(len(c)) == c for c in closers):
                return found
            found.append(self.statement())

    def statement(self) -> Statement:
        self.blanks()
        statement = Statement(self.at, [("", self.pipeline())])
        while True:
            self.blanks()
            operator = self.peek(2)
            if operator not in ("&&", "||"):
                break
            self.at += 2
            self.newlines()
            statement.parts.append((operator, self.pipeline()))
        statement.end = self.at
        if self.peek() in (";", "&") and self.peek(2) not in (";;", ";&"):
            statement.background = self.peek() == "&"
            self.at += 1
            statement.end = self.at
            self.blanks()
        if self.peek() == "\n":
            self.newline()
            statement.boundary = self.at
        elif not self.peek():
            if self.heredocs:
                raise Unreadable(self.heredocs[0][2], f"the heredoc has no closing line {self.heredocs[0][0]!r}")
            statement.boundary = self.at
        return statement

    def pipeline(self) -> Pipeline:
        self.blanks()
        negated = False
        while self.reserved() in ("!", "time", "coproc"):
            negated ^= self.reserved() == "!"
            self.at += len(self.reserved())
            self.blanks()
            if self.peek(3) == "-p ":
                self.at += 3
                self.blanks()
        commands = [self.command()]
        while True:
            self.blanks()
            if self.peek() != "|" or self.peek(2) == "||":
                return Pipeline(commands, negated)
            self.at += 2 if self.peek(2) == "|&" else 1
            self.newlines()
            commands.append(self.command())

    def command(self) -> Command:
        self.blanks()
        since = self.at
        if self.peek(2) == "((" and self.arithmetic(since):
            return self.redirected(Compound(since, "arithmetic"))
        if self.peek() == "(":
            self.at += 1
            body = self.statements(closers=(")",))
            if self.peek() != ")":
                raise Unreadable(since, "the parenthesis has no closing one")
            self.at += 1
            return self.redirected(Compound(since, "subshell", [body]))
        word = self.reserved()
        if word in _RESERVED:
            self.at += len(word)
            return self.redirected(self.compound(word, since))
        return self.simple()

    def compound(self, word: str, since: int) -> Compound:
        if word == "{":
            body = self.statements(words=("}",))
            self.expect("}", since, "{")
            return Compound(since, "group", [body])
        if word == "[[":
            return Compound(since, "test", words=[self.test(since)])
        if word in ("while", "until"):
            condition = self.statements(words=("do",))
            return Compound(since, word, [condition, self.loop(since, word)])
        if word in ("for", "select"):
            return self.for_loop(word, since)
        if word == "if":
            bodies = [self.statements(words=("then",))]
            self.expect("then", since, "if")
            while True:
                bodies.append(self.statements(words=("elif", "else", "fi")))
                if self.reserved() == "elif":
                    self.at += 4
                    bodies.append(self.statements(words=("then",)))
                    self.expect("then", since, "elif")
                    continue
                if self.reserved() == "else":
                    self.at += 4
                    bodies.append(self.statements(words=("fi",)))
                self.expect("fi", since, "if")
                return Compound(since, "if", bodies)
        if word == "case":
            return self.case(since)
        self.blanks()  # function NAME [()]
        name = self.word().raw
        self.blanks()
        if self.peek() == "(":
            self.at += 1
            self.blanks()
            self.at += 1
        return self.function(name, since)

    def function(self, name: str, since: int) -> Compound:
        self.newlines()
        return Compound(since, "function", [[Statement(self.at, [("", Pipeline([self.command()]))], self.at)]], name)

    def loop(self, since: int, what: str) -> list[Statement]:
        self.newlines()
        if self.reserved() == "{":
            self.at += 1
            body = self.statements(words=("}",))
            self.expect("}", since, what)
            return body
        self.expect("do", since, what)
        body = self.statements(words=("done",))
        self.expect("done", since, what)
        return body

    def for_loop(self, kind: str, since: int) -> Compound:
        self.blanks()
        found = Compound(since, kind)
        if self.peek(2) == "((":
            if not self.arithmetic(self.at):
                raise Unreadable(since, "the for (( has no closing ))")
        else:
            found.name = self.word().raw
            self.newlines()
            if self.reserved() == "in":
                self.at += 2
                self.blanks()
                while self.peek() not in (";", "\n", ""):
                    found.words.append(self.word())
                    self.blanks()
            else:
                found.words.append(Word('"$@"', since))
        self.blanks()
        if self.peek() == ";":
            self.at += 1
        found.bodies.append(self.loop(since, kind))
        return found

    def case(self, since: int) -> Compound:
        self.blanks()
        found = Compound(since, "case", words=[self.word()])
        self.expect("in", since, "case")
        while True:
            self.newlines()
            if self.reserved() == "esac":
                self.at += 4
                return found
            if not self.peek():
                raise Unreadable(since, "the case has no esac")
            if self.peek() == "(":
                self.at += 1
            while self.peek() != ")":
                self.blanks()
                found.words.append(self.word())
                self.blanks()
                if self.peek() == "|":
                    self.at += 1
                elif self.peek() != ")":
                    raise Unreadable(self.at, "the case's pattern has no closing parenthesis")
            self.at += 1
            found.bodies.append(self.statements(words=("esac",), closers=(";;", ";&")))
            for closer in (";;&", ";;", ";&"):
                if self.peek(len(closer)) == closer:
                    self.at += len(closer)
                    break

    def test(self, since: int) -> Word:
        start, outer = self.at, self.nested
        self.nested = []
        while not re.compile(r"(?<=\s)\]\](?=[\s;&|)]|$)").match(self.text, self.at):
            if not self.peek():
                raise Unreadable(since, "the [[ has no closing ]]")
            self.piece(quoted=False)
        word = Word(self.text[start : self.at].strip(), start, self.nested)
        self.at, self.nested = self.at + 2, outer
        return word

    def redirected(self, found: Compound) -> Compound:
        while True:
            self.blanks()
            redirect = self.redirect()
            if redirect is None:
                return found
            found.redirects.append(redirect)

    def redirect(self) -> Redirect | None:
        match = _REDIRECT.match(self.text, self.at)
        if not match or self.text[match.end() - 1 : match.end() + 1] in ("<(", ">("):
            return None
        self.at = match.end()
        self.blanks()
        target = self.word()
        if match.group(2) in ("<<", "<<-"):
            delimiter = re.sub(r"\\(.)|['\"]", r"\1", target.raw)
            self.heredocs.append((delimiter, match.group(2) == "<<-", match.start()))
        return Redirect(match.group(1) or "", match.group(2), target)

    def simple(self) -> Command:
        found = Simple(self.at)
        while True:
            self.blanks()
            redirect = self.redirect()
            if redirect is not None:
                found.redirects.append(redirect)
                continue
            if not self.peek() or (self.peek() in _META and self.peek(2) not in ("<(", ">(")):
                if self.peek() == "(" and len(found.words) == 1 and not found.assignments:
                    self.at += 1
                    self.blanks()
                    if self.peek() != ")":
                        raise Unreadable(self.at, "unexpected parenthesis")
                    self.at += 1
                    return self.function(found.words[0].raw, found.at)
                if not (found.words or found.assignments or found.redirects):
                    raise Unreadable(self.at, f"unexpected {self.peek() or 'end of the script'}")
                return found
            word = self.word()
            match = _ASSIGNMENT.match(word.raw)
            if match and not found.words:
                value = Word(word.raw[match.end() :], word.at + match.end(), word.nested)
                found.assignments.append((match.group(1), value))
            else:
                found.words.append(word)


def read(text: str) -> list[Statement]:
    """The statements of a script, in order. Raises `Unreadable`."""
    reader = _Reader(text)
    found = reader.statements()
    if reader.at < len(text):
        raise Unreadable(reader.at, f"unexpected {reader.peek()}")
    return found


@dataclass(frozen=True)
class Part:
    """A piece of a word: `text` (literal, quotes taken off), `variable` (its name in `value`), `command` (what is
    inside `$(…)` or backquotes), `other` (arithmetic and the like). `raw` is how it would be written in quotes."""

    kind: str
    value: str
    raw: str
    quoted: bool = False


_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*|\d+)(\[[@*]\])?((?::?[-=])(?:[^{}]|\$\{[^{}]*\})*)?\}|([A-Za-z_]\w*|\d))")


def parts(raw: str) -> list[Part]:
    """A word taken apart."""
    found: list[Part] = []
    reader = _Reader(raw)
    quoted = False

    def literal(text: str) -> None:
        if found and found[-1].kind == "text" and found[-1].quoted == quoted:
            text = found.pop().value + text
        found.append(Part("text", text, text, quoted))

    while reader.at < len(raw):
        start = reader.at
        character = reader.peek()
        if character == '"':
            quoted = not quoted
            reader.at += 1
        elif character == "'" and not quoted:
            reader.until("'", escapes=False)
            quoted = True
            literal(raw[start + 1 : reader.at - 1])
            quoted = False
        elif character == "\\":
            following = raw[start + 1 : start + 2]
            if following != "\n":
                literal(following if not quoted or following in '$`"\\' else "\\" + following)
            reader.at += 2
        elif character == "`":
            reader.until("`", escapes=True)
            found.append(Part("command", raw[start + 1 : reader.at - 1], raw[start : reader.at], quoted))
        elif character == "$":
            match = _VARIABLE.match(raw, start)
            reader.piece(quoted=quoted)
            piece = raw[start : reader.at]
            if match:
                reader.at = match.end()
                found.append(Part("variable", match.group(1) or match.group(4), match.group(), quoted))
            elif piece.startswith("$(") and not piece.startswith("$(("):
                found.append(Part("command", piece[2:-1], piece, quoted))
            elif piece == "$":
                literal("$")
            else:
                found.append(Part("other", piece, piece, quoted))
        else:
            literal(character)
            reader.at += 1
    return found


def literal(raw: str) -> str | None:
    """The word's text if nothing in it is expanded, else None."""
    pieces = parts(raw)
    return "".join(piece.value for piece in pieces) if all(piece.kind == "text" for piece in pieces) else None
