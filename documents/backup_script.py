"""Puts a managed block of database dumps into the operator's pg_backup.sh, and takes it out again.

The script is read (documents/bash.py), never run. From its own dump and its own cleanup the block takes the backup
directory, the timestamp and the days of retention. The block:

- stands between two marker lines that name its owner, at the script's top level, behind the last dump before the
  cleanup and that dump's check, before the cleanup; the text outside of the markers stays byte for byte.
- dumps each database to `<directory>/<database>_<timestamp>.sql.gz` with mode 0600: `pg_dump | gzip` into a `.part`
  file under pipefail (without it a failed pg_dump counts as success: gzip's status is the pipeline's), then
  `gzip -t`, then pg_dump's closing line, then a rename. A failed dump leaves no file.
- deletes its own old dumps after the script's own days, and a database's only after a new dump of it succeeded.
- lets the script go on after a failed dump, as its `set -e` or not, and makes it end non-zero: on failure, and only
  then, an EXIT trap is set that first runs the script's own EXIT trap (which sees the failure in `$?`) and then exits
  with the script's status, or 1 if that was 0. An `exit 0` at the end or in a branch cannot hide the failure; what
  could (`exec`, a later trap) is refused. `$?` is handed through, so the script's last status stays what it was.
- dumps a database once in a run: when two blocks ask for `mas`, the first one that runs dumps it and the second one
  sees that. Each block is complete by itself, so either can go and the other does the work.

A database that the operator's own lines dump already is left out of the block.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from string import Template

from documents.bash import (
    Command,
    Compound,
    Part,
    Pipeline,
    Redirect,
    Simple,
    Statement,
    Unreadable,
    Word,
    literal,
    parts,
    read,
)

CLOSING_LINE = "PostgreSQL database dump complete"
"""The comment that pg_dump writes last (pg_dump.c); since August 2025 an `\\unrestrict` line follows it."""


@dataclass(frozen=True)
class Dump:
    """A database, and the role that `pg_dump -U` connects as (inside the container, where no password is asked)."""

    database: str
    role: str


@dataclass(frozen=True)
class Block:
    """What a stack wants dumped. `owner` is its visible name in the file (`mautrix-signal/contabo`), `container` the
    one that runs Postgres."""

    owner: str
    container: str
    dumps: tuple[Dump, ...]


@dataclass(frozen=True)
class Problem:
    """Why the script is not edited: 1-based line (0: none), the reason, and what the operator can do."""

    line: int
    reason: str
    fix: str


class Refused(Exception):
    """The script cannot be edited safely; `problems` says all that is wrong. Nothing was changed."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__(self.report("pg_backup.sh"))

    def report(self, file: str) -> str:
        """One line a problem: FILE:LINE: REASON: FIX."""
        return "\n".join(f"{file}{f':{p.line}' if p.line else ''}: {p.reason}: {p.fix}" for p in self.problems)


def add(text: str, block: Block) -> str:
    """The script with the block as it should be; the same text if it is so already. Raises `Refused`."""
    _check(block)
    lines, blocks = _split(text)
    others = [found for found in blocks if found.owner != block.owner]
    script = _Script("\n".join(lines))
    wanted = [dump for dump in block.dumps if dump.database not in script.databases()]
    if wanted:
        source = script.source()
        others.append(_Placed(block.owner, source.line, _render(block, wanted, source)))
    return _join(lines, others)


def remove(text: str, owner: str) -> str:
    """The script without the owner's block, everything else byte for byte; no block, no change. Raises `Refused` if
    one of the two marker lines is gone."""
    lines, blocks = _split(text)
    return _join(lines, [found for found in blocks if found.owner != owner])


def missing(text: str, block: Block) -> tuple[str, ...]:
    """What `add` would put right, in words; empty if nothing. Raises `Refused`."""
    wanted = add(text, block)
    if wanted == text:
        return ()
    if any(found.owner == block.owner for found in _split(text)[1]):
        return (f"the block of {block.owner} as it should be",)
    there = dumped(text)
    return tuple(f"the dump of {dump.database}" for dump in block.dumps if dump.database not in there)


def dumped(text: str) -> tuple[str, ...]:
    """The databases that the operator's own lines dump, sorted: the ones that can be told from the script. A
    pg_dumpall does not count (no single database can be restored from it), nor does a dump of some tables or of the
    schema alone. Raises `Refused` if the script cannot be read."""
    return tuple(sorted(_Script("\n".join(_split(text)[0])).databases(strict=False)))


def owners(text: str) -> tuple[str, ...]:
    """Whose blocks stand in the script, in their order."""
    return tuple(found.owner for found in _split(text)[1])


def directory(text: str) -> str:
    """A bash program that prints the absolute path of the directory that the script dumps into. It is made of the
    script's own assignments (and `cd`, `source`), and wants the script's path as `$0`. Raises `Refused`."""
    script = _Script("\n".join(_split(text)[0]))
    source = script.source()
    show = [
        f'mautrix_directory="{source.directory}"',
        """case "$mautrix_directory" in /*) ;; *) mautrix_directory="$PWD/$mautrix_directory" ;; esac""",
    ]
    return "\n".join(
        [*script.assignments_for(source.directory, source.offset), *show, """printf '%s' "$mautrix_directory\""""]
    )


# the marker lines ------------------------------------------------------------------------------------------------

_NOTE = 'managed by Pulumi, taken out by "pulumi destroy"; edits between these two marks are lost'
_BEGIN = re.compile(r"# >>> (\S+): managed by Pulumi\b.*")
_END = re.compile(r"# <<< (\S+)\s*")


@dataclass(frozen=True)
class _Placed:
    """A block's lines, and before which of the operator's lines (0-based) it stands."""

    owner: str
    before: int
    lines: tuple[str, ...]


def _split(text: str) -> tuple[list[str], list[_Placed]]:
    """The operator's lines and the managed blocks. Splitting at "\\n" alone keeps every other byte; a text without
    a final newline has no empty last line, so a block behind its last line brings that newline and takes it along."""
    lines: list[str] = []
    blocks: list[_Placed] = []
    inside: tuple[str, int] | None = None
    ours: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        begin, end = _BEGIN.fullmatch(line), _END.fullmatch(line)
        if inside is None and not begin:
            if end and end.group(1) in {found.owner for found in blocks}:
                raise Refused(Problem(number, f"a second mark ends the block of {end.group(1)}", "delete this line"))
            lines.append(line)
            continue
        if begin:
            if inside:
                raise Refused(_unclosed(*inside))
            inside, ours = (begin.group(1), number), []
        ours.append(line)
        if inside and end and end.group(1) == inside[0]:
            blocks.append(_Placed(inside[0], len(lines), tuple(ours)))
            inside = None
    if inside:
        raise Refused(_unclosed(*inside))
    return lines, blocks


def _unclosed(owner: str, line: int) -> Problem:
    return Problem(
        line,
        f"the block of {owner} begins here and its last line, `# <<< {owner}`, is gone",
        "put that line back behind the block, or delete the block by hand with this line",
    )


def _join(lines: Sequence[str], blocks: Iterable[_Placed]) -> str:
    result: list[str] = []
    queue = sorted(blocks, key=lambda found: (found.before, found.owner))
    for index in range(len(lines) + 1):
        while queue and queue[0].before == index:
            result += queue.pop(0).lines
        result += lines[index : index + 1]
    return "\n".join(result)


# the block -------------------------------------------------------------------------------------------------------

_NAMES = (
    ("database", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*"), "letters, digits, _ and -"),
    ("role", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*"), "letters, digits, _ and -"),
    ("container", re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*"), "a Docker container's name"),
    ("owner", re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*"), "letters, digits, _ . / and -"),
)


def _check(block: Block) -> None:
    """Names that go into a shell script, a file's name and a pattern of `find` are plain ones, or refused."""
    names = [("owner", block.owner), ("container", block.container)]
    for dump in block.dumps:
        names += [("database", dump.database), ("role", dump.role)]
    rules = {kind: (pattern, what) for kind, pattern, what in _NAMES}
    problems = [
        Problem(
            0, f"{kind} {name!r} cannot go into a shell script", f"it should be {rules[kind][1]}, and not begin with -"
        )
        for kind, name in dict.fromkeys(names)
        if not rules[kind][0].fullmatch(name)
    ]
    if problems:
        raise Refused(*problems)


@dataclass(frozen=True)
class _Source:
    """What the block takes from the script: where it stands (line before which, offset), shell text for the
    directory, the timestamp and the days of retention (None: the script keeps its dumps), and how it calls docker."""

    line: int
    offset: int
    directory: str
    stamp: str
    days: str | None
    digits: bool
    docker: str


class _Template(Template):
    delimiter = "@"


# Not a file of its own: the host gets our Python modules only. The tests run it and shellcheck it.
_BLOCK = _Template(r"""# >>> @owner: @note
# shellcheck disable=SC2320
mautrix_status=$?
mautrix_directory="@directory"
mautrix_stamp="@stamp"
mautrix_dump() ( # DATABASE ROLE: a whole dump with mode 0600, or none; old ones go when there is a new one
  set +e -o pipefail
  umask 077
  mautrix_file="${mautrix_directory}/$1_${mautrix_stamp}.sql.gz"
  rm -f "${mautrix_file}.part"
  if @docker exec @container pg_dump -U "$2" -d "$1" | gzip >| "${mautrix_file}.part" &&
    gzip -t "${mautrix_file}.part" &&
    [[ "$(gzip -dc "${mautrix_file}.part" | tail -n 10)" == *'-- @closing'* ]] &&
    mv -f "${mautrix_file}.part" "${mautrix_file}"; then
    echo "$(date): Backup created: ${mautrix_file} ($(du -h "${mautrix_file}" | cut -f1))"
@cleanup  else
    rm -f "${mautrix_file}.part"
    echo "$(date): ERROR: $1 backup failed" >&2
    exit 1
  fi
)
mautrix_backup() { # DATABASE ROLE: once a run; after a failure the script goes on and in the end exits non-zero
  if [[ "${mautrix_done-}" == *"|$1|"* ]]; then return 0; fi
  if mautrix_dump "$1" "$2"; then mautrix_done="${mautrix_done-}|$1|"; return 0; fi
  if [[ "$(trap -p EXIT)" == *mautrix_trap* ]]; then return 0; fi
  eval "mautrix_trap=($(trap -p EXIT))" # the script's own EXIT trap: it still runs, and sees the failure
  # shellcheck disable=SC2154
  trap 'mautrix_status=$?; [ "${mautrix_status}" -ne 0 ] || mautrix_status=1
    ( (exit "${mautrix_status}") && :; eval "${mautrix_trap[2]-}" ) || :; exit "${mautrix_status}"' EXIT
}
# shellcheck disable=SC2218
{
@dumps
}
(exit "${mautrix_status}") && : # the next line finds the $? from before the block
# <<< @owner""")

_CLEANUP = _Template(r"""    find "${mautrix_directory}" -maxdepth 1 -type f -mtime "+@days" \
      \( -name "$1_@glob.sql.gz" -o -name "$1_@glob.sql.gz.part" \) -delete
""")


def _render(block: Block, dumps: Sequence[Dump], source: _Source) -> tuple[str, ...]:
    glob = "[0-9]*" if source.digits else "*"
    text = _BLOCK.substitute(
        owner=block.owner,
        note=_NOTE,
        directory=source.directory,
        stamp=source.stamp,
        docker=source.docker,
        container=block.container,
        closing=CLOSING_LINE,
        cleanup=_CLEANUP.substitute(days=source.days, glob=glob) if source.days else "",
        dumps="\n".join(f"  mautrix_backup {dump.database} {dump.role}" for dump in dumps),
    )
    return tuple(text.split("\n"))


# reading the script ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """A simple command that runs: inside which function ("" at the top level), the pipelines around it (innermost
    first, with the place in each), and whether a subshell holds what it does to the shell (exit, trap, variables)."""

    command: Simple
    function: str
    around: tuple[tuple[Pipeline, int], ...]
    inner: bool
    guard: str  # the operator before it in its list: "", "&&" or "||"
    nested: bool  # in a compound or a function, that is not unconditionally run

    @property
    def name(self) -> str:
        word = literal(self.command.words[0].raw) if self.command.words else None
        return posixpath.basename(word) if word else ""


@dataclass(frozen=True)
class _Assigned:
    raw: str
    at: int
    function: str
    top: bool
    loop: bool = False


@dataclass(frozen=True)
class _Dumping:
    """A pg_dump that runs: the call, its words from pg_dump on, the shell words before it."""

    call: _Call
    arguments: tuple[str, ...]
    before: tuple[str, ...]
    everything: bool  # pg_dumpall


_DECLARE = {"local", "export", "readonly", "declare", "typeset"}
_RUNNERS = {
    "docker", "podman", "docker-compose", "sudo", "su", "runuser", "gosu", "nice", "ionice", "timeout", "env", "ssh",
    "chronic", "bash", "sh", "kubectl", "time", "nohup",
}  # fmt: skip
_PRINTF_DATE = re.compile(r"-v (\w+) ['\"]?%\(([^)]*)\)T")
_OURS = re.compile(r"\bmautrix_(?:status|directory|stamp|dump|file|backup|done|trap)\b")


class _Script:
    """The operator's script without any managed block."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._readable()
        try:
            self.statements = read(text)
        except Unreadable as error:
            raise self.refused(
                error.at, f"cannot be read as bash: {error}", "fix the script (bash -n shows it too)"
            ) from None
        self.functions: dict[str, Compound] = {}
        self._find_functions(self.statements)
        self.assigned: dict[str, list[_Assigned]] = {}
        self.calls = [list(self._calls(statement)) for statement in self.statements]
        self._find_assignments()
        reached = next(
            (i for i, calls in enumerate(self.calls) if any(_always_exits(c) for c in calls)), len(self.calls)
        )
        self.dumps = [self._dumpings(calls) if i <= reached else [] for i, calls in enumerate(self.calls)]

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def refused(self, at: int, reason: str, fix: str) -> Refused:
        return Refused(Problem(self.line(at), reason, fix))

    def _readable(self) -> None:
        if self.text.startswith("\ufeff"):
            raise Refused(
                Problem(
                    1, "begins with a byte order mark, so the kernel does not see `#!`", "save it as UTF-8 without one"
                )
            )
        if "\r\n" in self.text or self.text.endswith("\r"):
            at = self.text.index("\r")
            raise self.refused(
                at, "ends in CR LF, and bash takes the CR as part of the command", "convert the line ends (dos2unix)"
            )
        if "\0" in self.text:
            raise self.refused(self.text.index("\0"), "holds a NUL character", "is this the backup script?")
        first = self.text.split("\n", 1)[0]
        if not re.fullmatch(r"#!\s*(/\S*/bash|/\S*/env\s+(-S\s+)?bash)(\s.*)?", first):
            what = f"is `{first}`" if first.startswith("#!") else "is no `#!` line"
            raise Refused(
                Problem(
                    1,
                    f"the first line {what}, and the dumps need bash (pipefail, a chained trap)",
                    "make it #!/bin/bash",
                )
            )
        clash = _OURS.search(self.text)
        if clash:
            raise self.refused(
                clash.start(),
                f"uses the name {clash.group()}, which our block uses too",
                "rename it, or delete what is left of a block",
            )

    # what runs ---------------------------------------------------------------------------------------------------

    def _find_functions(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            for command in statement.commands():
                if isinstance(command, Compound):
                    if command.kind == "function":
                        self.functions[command.name] = command
                    for body in command.bodies:
                        self._find_functions(body)

    def _calls(
        self,
        statement: Statement,
        function: str = "",
        around: tuple[tuple[Pipeline, int], ...] = (),
        inner: bool = False,
        nested: bool = False,
        seen: frozenset[str] = frozenset(),
    ) -> Iterator[_Call]:
        """All simple commands that a statement may run, calls of the script's functions followed."""
        for guard, pipeline in statement.parts:
            for place, command in enumerate(pipeline.commands):
                where = ((pipeline, place), *around)
                piped = inner or len(pipeline.commands) > 1 or statement.background
                for word in _words(command):
                    for sub in word.nested:
                        yield from self._calls(sub, function, where, True, nested, seen)
                if isinstance(command, Simple):
                    call = _Call(command, function, where, piped, guard, nested)
                    yield call
                    if call.name in self.functions and call.name not in seen:
                        body = self.functions[call.name].bodies[0]
                        for sub in body:
                            yield from self._calls(
                                sub, call.name, where, piped, nested or bool(guard), seen | {call.name}
                            )
                elif command.kind != "function":
                    for body in command.bodies:
                        for sub in body:
                            deeper = nested or command.kind not in ("group", "subshell") or bool(guard)
                            yield from self._calls(
                                sub, function, where, piped or command.kind == "subshell", deeper, seen
                            )

    def _find_assignments(self) -> None:
        def note(name: str, raw: str, at: int, function: str, top: bool, loop: bool = False) -> None:
            found = _Assigned(raw, at, function, top, loop)
            if found not in self.assigned.setdefault(name, []):
                self.assigned[name].append(found)

        for calls in self.calls:
            for call in calls:
                command, top = call.command, not (call.function or call.nested or call.inner)
                if not command.words:
                    for name, word in command.assignments:
                        note(name, word.raw, word.at, call.function, top)
                if call.name in _DECLARE:
                    for word in command.words[1:]:
                        match = re.match(r"([A-Za-z_]\w*)\+?=", word.raw)
                        if match:
                            note(match.group(1), word.raw[match.end() :], word.at, call.function, top)
                if call.name == ":":
                    for word in command.words[1:]:
                        match = re.search(r"\$\{([A-Za-z_]\w*):?=(.*)\}", word.raw)
                        if match:
                            note(match.group(1), match.group(2), word.at, call.function, top)
                stamp = (
                    _PRINTF_DATE.search(" ".join(word.raw for word in command.words)) if call.name == "printf" else None
                )
                if stamp:
                    note(stamp.group(1), f"$(date +'{stamp.group(2)}')", command.at, call.function, top)
                if call.name in ("read", "mapfile", "readarray"):
                    for word in command.words[1:]:
                        if re.fullmatch(r"[A-Za-z_]\w*", word.raw):
                            note(word.raw, "$((0))", word.at, call.function, False)
        for compound, function in self._loops():
            for word in compound.words:
                note(compound.name, word.raw, word.at, function, False, True)

    def _loops(self) -> Iterator[tuple[Compound, str]]:
        def walk(statements: Iterable[Statement], function: str) -> Iterator[tuple[Compound, str]]:
            for statement in statements:
                for command in statement.commands():
                    if isinstance(command, Compound):
                        if command.kind in ("for", "select") and command.name:
                            yield command, function
                        for body in command.bodies:
                            yield from walk(body, command.name if command.kind == "function" else function)

        return walk(self.statements, "")

    # values ------------------------------------------------------------------------------------------------------

    def values(self, raw: str, function: str, seen: frozenset[str] = frozenset()) -> set[str] | None:
        """The texts that a word may have, None if that cannot be told from the script."""
        if raw.startswith("("):
            found: set[str] = set()
            for word in _elements(raw):
                element = self.values(word, function, seen)
                if element is None:
                    return None
                found |= element
            return found
        texts = {""}
        for part in parts(raw):
            if part.kind == "text":
                options: set[str] | None = {part.value}
            elif part.kind == "variable":
                options = self._variable(part, function, seen)
            else:
                options = None
            if options is None or len(texts) * len(options) > 256:
                return None
            texts = {text + option for text in texts for option in options}
        return texts

    def _variable(self, part: Part, function: str, seen: frozenset[str]) -> set[str] | None:
        name = part.value
        default = re.fullmatch(r"\$\{\w+(?:\[[@*]\])?:?[-=](.*)\}", part.raw, re.DOTALL)
        found: set[str] = set()
        if name.isdigit():
            if not function:
                return self.values(default.group(1), function, seen) if default else None
            for calls in self.calls:
                for call in calls:
                    if call.name == function and name != "0":
                        given = call.command.words[int(name) :][:1]
                        if not given and not default:
                            return None
                        value = self.values(
                            given[0].raw if given else default.group(1) if default else "", call.function, seen
                        )
                        if value is None:
                            return None
                        found |= value
            return found or None
        if name in seen or name not in self.assigned:
            return self.values(default.group(1), function, seen) if default else None
        for assigned in self.assigned[name]:
            value = self.values(assigned.raw, assigned.function, seen | {name})
            if value is None:
                return None
            found |= {piece for text in value for piece in text.split()} if assigned.loop else value
        if default:
            found -= {""}
        return found or None

    # dumps -------------------------------------------------------------------------------------------------------

    def _dumpings(self, calls: Iterable[_Call]) -> list[_Dumping]:
        found: list[_Dumping] = []
        for call in calls:
            found += self._dumping(call, [word.raw for word in call.command.words])
        return found

    def _dumping(self, call: _Call, words: list[str], depth: int = 0) -> list[_Dumping]:
        words = [piece for word in words for piece in self._expanded(word)]
        texts = [literal(word) for word in words]
        first = posixpath.basename(texts[0] or "") if texts else ""
        if not texts or (first not in _RUNNERS | {"pg_dump", "pg_dumpall"} and texts[0] is not None):
            return []
        for index, text in enumerate(texts):
            name = posixpath.basename(text or "")
            if name in ("pg_dump", "pg_dumpall"):
                if set(texts[index + 1 :]) & {"--version", "-V", "--help", "-?"}:
                    return []
                return [_Dumping(call, tuple(words[index + 1 :]), tuple(words[:index]), name == "pg_dumpall")]
            if text and depth == 0 and index and "pg_dump" in text:  # sh -c "pg_dump … | gzip"
                try:
                    inner = read(text)
                except Unreadable:
                    continue
                found = []
                for statement in inner:
                    for nested in self._calls(statement):
                        found += self._dumping(call, [word.raw for word in nested.command.words], 1)
                return found
            if text is None and depth == 0 and index and "pg_dump" in words[index]:
                inside = "".join(p.value if p.kind == "text" else p.raw for p in parts(words[index]))
                try:
                    inner = read(inside)
                except Unreadable:
                    continue
                found = []
                for statement in inner:
                    for nested in self._calls(statement):
                        found += self._dumping(call, [word.raw for word in nested.command.words], 1)
                return found
        return []

    def _expanded(self, raw: str) -> list[str]:
        """A word that is nothing but `$NAME` or `"${NAME[@]}"` with words in it, as those words."""
        pieces = parts(raw)
        if len(pieces) != 1 or pieces[0].kind != "variable" or len(self.assigned.get(pieces[0].value, ())) != 1:
            return [raw]
        value = self.assigned[pieces[0].value][0].raw
        if value.startswith("(") and "[" in pieces[0].raw:
            return _elements(value)
        text = literal(value)
        return text.split() if text and not pieces[0].quoted and " " in text else [raw]

    def _databases(self, dumping: _Dumping) -> set[str] | None:
        """The databases that a pg_dump dumps whole; None if they cannot be told."""
        if dumping.everything:
            return set()
        database: str | None = None
        user: str | None = None
        rest = list(dumping.arguments)
        while rest:
            raw = rest.pop(0)
            text = literal(raw)
            short = re.match(r"-(\w)(.*)", raw.strip("\"'"), re.DOTALL)
            long = re.match(r"--([\w-]+)(?:=(.*))?$", raw, re.DOTALL)
            if text in _PARTIAL or (text and re.match(r"-[tn].|--(table|schema)=", text)):
                return set()
            if long:
                value = long.group(2)
                if value is None and long.group(1) in _LONG_WITH_VALUE and rest:
                    value = rest.pop(0)
                if long.group(1) == "dbname":
                    database = value
                if long.group(1) == "username":
                    user = value
            elif short:
                letter, value = short.group(1), short.group(2) or None
                if letter in _SHORT_WITH_VALUE and value is None and rest:
                    value = rest.pop(0)
                if letter == "d":
                    database = value
                if letter == "U":
                    user = value
            elif database is None:
                database = raw
        name = database if database is not None else user
        values = self.values(name, dumping.call.function) if name is not None else None
        if values is None:
            return None
        return {_database(value) for value in values}

    def databases(self, *, strict: bool = True) -> set[str]:
        """What the script dumps. `strict` refuses a dump whose database cannot be told: it might be one of ours."""
        found: set[str] = set()
        for dumpings in self.dumps:
            for dumping in dumpings:
                names = self._databases(dumping)
                if names is None and strict:
                    raise self.refused(
                        dumping.call.command.at,
                        "it cannot be told which database this pg_dump dumps, so it may be one of ours",
                        "write the database's name in this script, as text or as a variable with a plain value",
                    )
                found |= names or set()
        return found

    # where, whereto, how long --------------------------------------------------------------------------------------

    def source(self) -> _Source:
        dumping = [index for index, found in enumerate(self.dumps) if found]
        if not dumping:
            raise self.refused(
                0, "no pg_dump that runs is found in it", "is this the backup script? (setting backupScript)"
            )
        cleaning = [
            index for index in range(len(self.statements)) if self._finds(index) or self._deletes_otherwise(index)
        ]
        both = [index for index in cleaning if index in dumping]
        if both:
            raise self.refused(
                self.statements[both[0]].start,
                "the dump and the cleanup are one command, so there is no place between them",
                "take the cleanup out of it, to the end of the script",
            )
        end = next((index for index in cleaning if index > dumping[0]), len(self.statements))
        anchor = max(index for index in dumping if index < end)
        last = self._section(anchor, end)
        boundary = self.statements[last].boundary
        assert boundary is not None
        if boundary == len(self.text) and self.text.endswith("\\"):
            raise self.refused(boundary, "ends in a backslash and nothing follows it", "delete the backslash")
        self._nothing_hides(last)
        directory, stamp, digits, name = self._target([i for i in dumping if i <= anchor], boundary)
        before = self.dumps[anchor][-1].before
        program = re.match(r"((?:sudo )?(?:/[\w./-]+/)?docker) exec ", " ".join(before) + " ")
        line = (
            self.text.count("\n", 0, boundary)
            if self.text[:boundary].endswith("\n")
            else self.text.count("\n", 0, boundary) + 1
        )
        return _Source(
            line,
            boundary,
            directory,
            stamp,
            self._days(cleaning, directory, name, boundary),
            digits,
            program.group(1) if program else "docker",
        )

    def _section(self, anchor: int, end: int) -> int:
        """The last statement that belongs to the dump: its check and messages up to a blank line, a comment, the
        cleanup or an exit. A check that may exit comes after the block (which hands `$?` through), so that ours run
        when the dump before failed; unless it reads PIPESTATUS, which only the next command can."""
        ending = self._exits(anchor, well=True)
        if ending:
            raise self.refused(
                ending.at, "may end the script well in the dump itself, before ours", "take this exit out of it"
            )
        last = anchor
        while last + 1 < end:
            here, following = self.statements[last], self.statements[last + 1]
            text = self.text[following.start : following.end]
            if here.boundary is not None and "PIPESTATUS" not in text:
                status = "$?" in text.split("\n", 1)[0]
                apart = bool(self.text[here.boundary : following.start].strip(" \t"))
                if self._exits(last + 1) or (apart and not status):
                    break
            ending = self._exits(last + 1, well=True)
            if ending:
                raise self.refused(
                    ending.at,
                    "may end the script well together with the dump, before ours",
                    "put this exit at the end of the script",
                )
            last += 1
        if self.statements[last].boundary is None:
            raise self.refused(
                self.statements[last + 1].start,
                "the cleanup stands on the line of the dump",
                "put it on a line of its own",
            )
        return last

    def _exits(self, index: int, *, well: bool = False) -> Simple | None:
        """A command in the statement that may end the script; with `well`, one that may end it with success or always
        ends it (an `exit 1` in a branch does not count)."""
        for call in self.calls[index]:
            if call.inner or call.name not in ("exit", "return", "exec") or (call.name == "return" and call.function):
                continue
            words = [literal(word.raw) for word in call.command.words[1:]]
            if call.name == "exec" and not words:
                continue  # only redirections
            failing = words[0] != "0" if words else call.guard == "||"
            if not (well and failing and (call.nested or call.guard) and call.name != "exec"):
                return call.command
        return None

    def _nothing_hides(self, last: int) -> None:
        """Behind the block nothing may replace the EXIT trap or the shell."""
        for calls in self.calls[last + 1 :]:
            for call in calls:
                words = [literal(word.raw) for word in call.command.words]
                if call.inner:
                    continue
                if call.name == "exec" and len(words) > 1:
                    raise self.refused(
                        call.command.at,
                        "exec replaces the shell, so a failed dump could not be told at the end",
                        "call it without exec",
                    )
                if (
                    call.name == "trap"
                    and {"EXIT", "exit", "0", None} & set(words[1:][1:] or words[1:])
                    and "-p" not in words
                ):
                    raise self.refused(
                        call.command.at,
                        "sets a trap for EXIT after the dumps, which would hide a failed one",
                        "move this trap before the first dump",
                    )

    def _target(self, dumping: Sequence[int], boundary: int) -> tuple[str, str, bool, str]:
        """Shell text of the directory and the timestamp, whether the latter begins with a digit, and a sample of the
        dump's file name, from the last dump that tells them; the refusal is the last one's."""
        refusal: Refused | None = None
        for index in reversed(dumping):
            for found in reversed(self.dumps[index]):
                try:
                    return self._read_target(found, boundary)
                except Refused as error:
                    refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _read_target(self, dumping: _Dumping, boundary: int) -> tuple[str, str, bool, str]:
        call = dumping.call
        at = call.command.at
        raw = _written_to(dumping)
        if raw is None:
            raise self.refused(
                at,
                "it cannot be told into which file this dumps",
                'write it as: … | gzip > "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
            )
        pieces = parts(raw)
        for _ in range(12):
            if any(piece.kind == "text" and "/" in piece.value for piece in pieces):
                break
            opened = self._open(pieces[0], call.function)
            if opened is None:
                break
            pieces = opened + pieces[1:]
        cut = max((i for i, piece in enumerate(pieces) if piece.kind == "text" and "/" in piece.value), default=None)
        if cut is None:
            if pieces and pieces[0].kind == "text":
                head, base = [Part("text", ".", ".")], pieces
            else:
                raise self.refused(
                    at,
                    f"it cannot be told into which directory {raw} is",
                    'write it as "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
                )
        else:
            left, _, right = pieces[cut].value.rpartition("/")
            head = [*pieces[:cut], Part("text", left, left)] if left or cut else [Part("text", "/", "/")]
            base = [Part("text", right, right), *pieces[cut + 1 :]]
        relative = not head or (head[0].kind == "text" and not head[0].value.startswith("/"))
        if relative and any(c.name in ("cd", "pushd") for c in self._statement_of(at)):
            raise self.refused(
                at,
                "dumps into a directory that only this command is in",
                'write it as "${BACKUP_DIR}/name_${TIMESTAMP}.sql.gz"',
            )
        directory = "".join(self._usable(piece, call.function, boundary, at) for piece in head)
        if self._dated(head, call.function):
            raise self.refused(
                at,
                "dumps into a directory that is another one each time",
                "dump into one directory, with the timestamp in the file's name",
            )
        base = self._flat(base, call.function)
        dates = [i for i, piece in enumerate(base) if self._is_date(piece)]
        if not dates:
            raise self.refused(
                at,
                "the dump's name has no timestamp that is set from `date`",
                'name it like "${BACKUP_DIR}/synapse_${TIMESTAMP}.sql.gz"',
            )
        stamped = base[dates[0] : dates[-1] + 1]
        stamp = "".join(self._usable(piece, call.function, boundary, at) for piece in stamped)
        sample = "".join(
            piece.value if piece.kind == "text" else "20260101" if self._is_date(piece) else "synapse" for piece in base
        )
        return directory, stamp, self._begins_with_digit(base[dates[0]]), sample

    def _statement_of(self, at: int) -> list[_Call]:
        """The calls of the statements that run the command at the offset."""
        return [c for calls in self.calls if any(c.command.at == at for c in calls) for c in calls]

    def _open(self, piece: Part, function: str) -> list[Part] | None:
        """What a variable was set to, if that is one thing."""
        if piece.kind != "variable":
            return None
        if piece.value.isdigit():
            values = self._variable(piece, function, frozenset())
            return [Part("text", v, v) for v in values] if values and len(values) == 1 else None
        found = self.assigned.get(piece.value, [])
        if len({assigned.raw for assigned in found}) != 1 or found[0].loop:
            return None
        opened = parts(found[0].raw)
        return None if any(p.kind == "variable" and p.value == piece.value for p in opened) else opened

    def _flat(self, pieces: Sequence[Part], function: str, depth: int = 0) -> list[Part]:
        """Pieces with every variable opened that is not itself a date and whose value is known."""
        result: list[Part] = []
        for piece in pieces:
            opened = None if self._is_date(piece) or depth > 8 else self._open(piece, function)
            result += [piece] if opened is None else self._flat(opened, function, depth + 1)
        return result

    def _is_date(self, piece: Part) -> bool:
        if piece.kind == "command":
            return bool(re.match(r"\s*(\S*/)?date\b", piece.value))
        if piece.kind != "variable":
            return False
        found = self.assigned.get(piece.value, [])
        return bool(found) and all(
            [p.kind for p in parts(a.raw) if p.value] == ["command"]
            and self._is_date(next(p for p in parts(a.raw) if p.value))
            for a in found
        )

    def _begins_with_digit(self, piece: Part) -> bool:
        if piece.kind == "variable":
            return all(
                self._begins_with_digit(next(p for p in parts(a.raw) if p.value)) for a in self.assigned[piece.value]
            )
        return bool(re.search(r"""[+]["']?(%[-_^#]?[YFymdHsGC]|\d)""", piece.value))

    def _dated(self, pieces: Sequence[Part], function: str) -> bool:
        def inside(piece: Part, depth: int = 0) -> bool:
            if self._is_date(piece):
                return True
            found = self.assigned.get(piece.value, []) if piece.kind == "variable" and depth < 8 else []
            return any(inside(p, depth + 1) for a in found for p in parts(a.raw))

        return any(inside(piece) for piece in pieces)

    def _usable(self, piece: Part, function: str, boundary: int, at: int) -> str:
        """The piece as text between double quotes that has the same value at the block's place."""
        if piece.kind == "text":
            return re.sub(r'([$`"\\])', r"\\\1", piece.value)
        if piece.kind == "command":
            if self._is_date(piece):
                return piece.raw
        elif piece.kind == "variable":
            found = self.assigned.get(piece.value, [])
            if not piece.value.isdigit() and (
                not found or any(a.top and a.at < boundary for a in found) or self._set_before(found, boundary)
            ):
                return piece.raw
            if piece.value.isdigit() and not function:
                return piece.raw
            opened = self._open(piece, function)
            if opened is not None:
                return "".join(self._usable(p, function, boundary, at) for p in opened)
        elif piece.kind == "other" and piece.raw.startswith(("$((", "${")):
            names = set(re.findall(r"[A-Za-z_]\w*", piece.raw))
            if not any(a.function or a.at > boundary for name in names for a in self.assigned.get(name, [])):
                return piece.raw
        raise self.refused(
            at,
            f"the value of {piece.raw} here is not the script's own at its top level",
            "set it once, at the top of the script",
        )

    def _set_before(self, found: Sequence[_Assigned], boundary: int) -> bool:
        """Set in a branch before the block, outside of functions and loops: `if …; then DIR=a; else DIR=b; fi`."""
        return any(not a.function and not a.loop and a.at < boundary for a in found)

    # retention -----------------------------------------------------------------------------------------------------

    def _finds(self, index: int) -> list[_Call]:
        """The `find … -mtime` of a statement that deletes."""
        calls = self.calls[index]
        finds = [c for c in calls if c.name == "find" and "-mtime" in [word.raw for word in c.command.words]]
        deletes = any(
            c.name == "rm" or {"-delete", "rm", "/bin/rm"} & {literal(word.raw) for word in c.command.words}
            for c in calls
        )
        return finds if deletes else []

    def _deletes_otherwise(self, index: int) -> bool:
        """A statement that deletes by number, by -mmin or the like: a list of files that `rm` gets, or a find that
        deletes without -mtime."""
        if self._finds(index):
            return False
        calls = self.calls[index]
        removing = [c for c in calls if c.name == "rm" or (c.name == "xargs" and "rm" in _texts(c))]
        listing = [c for c in calls if c.name in ("ls", "find", "head", "tail", "sort")]
        return any(
            c.name in ("tmpreaper", "tmpwatch") or (c.name == "find" and {"-delete", "rm", "/bin/rm"} & _texts(c))
            for c in calls
        ) or any(_feeds(lister, remover) for lister in listing for remover in removing)

    def _days(self, cleaning: Sequence[int], directory: str, name: str, boundary: int) -> str | None:
        found: list[tuple[Simple, str, str]] = []
        for index in cleaning:
            for call in self._finds(index):
                words = [word.raw for word in call.command.words]
                roots = words[1 : next(i for i, w in enumerate(words) if i and w[:1] in "-(!\\")]
                if roots and not any(self._same_place(root, directory, call.function) for root in roots):
                    continue
                found.append((call.command, words[words.index("-mtime") + 1], call.function))
        if len({days for _, days, _ in found}) > 1:
            fitting = [item for item in found if self._matches(item[0], name, item[2])]
            found = fitting or found
        if len({days.strip("\"'") for _, days, _ in found}) > 1:
            lines = ", ".join(str(self.line(command.at)) for command, _, _ in found)
            raise self.refused(
                found[0][0].at, f"there are several retentions for the dumps (lines {lines})", "give the dumps one"
            )
        if not found:
            other = next((index for index in cleaning if self._deletes_otherwise(index)), None)
            if other is not None:
                raise self.refused(
                    self.statements[other].start,
                    "old dumps go by another rule than their age in days, which ours cannot follow",
                    'use find "${BACKUP_DIR}" -name … -mtime +14 -delete',
                )
            return None
        command, raw, function = found[0]
        pieces = parts(raw)
        if not pieces or pieces[0].kind != "text" or not pieces[0].value.startswith("+"):
            raise self.refused(
                command.at,
                f"-mtime {raw} is no retention in days",
                "write it as -mtime +14 or -mtime +${RETENTION_DAYS}",
            )
        rest = [Part("text", pieces[0].value[1:], pieces[0].value[1:]), *pieces[1:]]
        days = "".join(self._later(piece, function, boundary, command.at) for piece in rest)
        if not days:
            raise self.refused(command.at, f"-mtime {raw} is no retention in days", "write it as -mtime +14")
        return days

    def _later(self, piece: Part, function: str, boundary: int, at: int) -> str:
        """As `_usable`, and a variable that is set only after the block is replaced by what it is set to."""
        found = self.assigned.get(piece.value, []) if piece.kind == "variable" else []
        if found and not any(a.at < boundary and not a.function for a in found):
            opened = self._open(piece, function)
            if opened is not None:
                return "".join(self._later(p, function, boundary, at) for p in opened)
        return self._usable(piece, function, boundary, at)

    def _same_place(self, root: str, directory: str, function: str) -> bool:
        """Whether a root of `find` is the directory of the dumps or above it, or may be."""
        ours, theirs = self.values(f'"{directory}"', ""), self.values(root, function)
        if ours and theirs:
            return any(
                o.rstrip("/") == t.rstrip("/") or (o + "/").startswith(t.rstrip("/") + "/")
                for o in ours
                for t in theirs
            )
        return True

    def _matches(self, find: Simple, name: str, function: str) -> bool:
        words = [word.raw for word in find.words]
        for index, word in enumerate(words[:-1]):
            if word == "-name":
                patterns = self.values(words[index + 1], function) or set()
                if any(re.fullmatch(re.escape(p).replace(r"\*", ".*").replace(r"\?", "."), name) for p in patterns):
                    return True
        return "-name" not in words

    def assignments_for(self, directory: str, before: int) -> list[str]:
        """The script's own top-level statements before the offset that set what `directory` is made of."""
        names = {piece.value for piece in parts(f'"{directory}"') if piece.kind == "variable"}
        chosen: list[Statement] = []
        for statement, calls in reversed(tuple(zip(self.statements, self.calls))):
            if statement.start >= before:
                continue
            outer = [call for call in calls if not call.inner]
            plain = all(
                not c.command.words or c.name in _DECLARE | {":", "[", "test", "source", ".", "cd", "printf", "exit"}
                for c in outer
            )
            if not plain or any(isinstance(c, Compound) and c.kind == "function" for c in statement.commands()):
                continue
            sourcing = any(call.name in ("source", ".", "cd") for call in outer)
            sets = {
                name
                for name, found in self.assigned.items()
                if any(statement.start <= a.at < statement.end for a in found)
            }
            if sourcing or sets & names:
                chosen.append(statement)
                text = self.text[statement.start : statement.end]
                names |= set(re.findall(r"\$\{?([A-Za-z_]\w*)", text))
        return [self.text[s.start : s.end] for s in reversed(chosen)]


def _texts(call: _Call) -> set[str | None]:
    return {literal(word.raw) for word in call.command.words}


def _always_exits(call: _Call) -> bool:
    """`exit` at the top level, outside of every condition."""
    return call.name == "exit" and not (call.inner or call.nested or call.guard)


def _feeds(lister: _Call, remover: _Call) -> bool:
    """Whether what the one prints may be what the other gets: one pipeline, one loop, or `rm $(ls …)`."""
    for pipeline, place in lister.around:
        for other, there in remover.around:
            if pipeline is other and (place != there or _is_loop(pipeline.commands[place])):
                return True
        if pipeline.commands[place] is remover.command and lister.command is not remover.command:
            return True
    return False


def _is_loop(command: Command) -> bool:
    return isinstance(command, Compound) and command.kind in ("for", "while", "until", "select")


_PARTIAL = {"-s", "--schema-only", "-a", "--data-only", "-t", "--table", "-n", "--schema"}
_SHORT_WITH_VALUE = set("dUhpfFjZnNtTESeL")
_LONG_WITH_VALUE = {
    "dbname", "username", "host", "port", "file", "format", "jobs", "compress", "exclude-schema", "exclude-table",
    "exclude-table-data", "encoding", "superuser", "extension", "role", "lock-wait-timeout", "section", "snapshot",
}  # fmt: skip


def _database(value: str) -> str:
    """The database's name in what -d may be: a name, a URL or a connection string."""
    url = re.match(r"postgres(?:ql)?://[^/]*/([^?]*)", value)
    if url:
        return url.group(1)
    string = re.search(r"\bdbname\s*=\s*'?([^\s']+)", value)
    return string.group(1) if string else value


def _elements(raw: str) -> list[str]:
    """The raw words of `(a "b" c)`."""
    try:
        command = read("x " + raw[1:-1].replace("\n", " "))[0].parts[0][1].commands[0]
    except (Unreadable, IndexError):
        return []
    return [word.raw for word in command.words[1:]]


def _words(command: Command) -> Iterator[Word]:
    if isinstance(command, Simple):
        yield from (word for _, word in command.assignments)
    yield from command.words
    yield from (redirect.target for redirect in command.redirects)


def _written_to(dumping: _Dumping) -> str | None:
    """The word for the file that the dump goes to: `> FILE` of the command, of the rest of its pipeline or of what is
    around them; `tee FILE`; `-f FILE` of a pg_dump that runs on the host."""

    def file(redirects: Iterable[Redirect]) -> str | None:
        for redirect in redirects:
            if (
                redirect.operator in (">", ">>", ">|")
                and redirect.descriptor in ("", "1")
                and redirect.target.raw != "/dev/null"
            ):
                return redirect.target.raw
        return None

    if not dumping.before:
        for option, value in zip(dumping.arguments, dumping.arguments[1:]):
            if option in ("-f", "--file"):
                return value
    for pipeline, place in dumping.call.around:
        for command in pipeline.commands[place:]:
            found = file(command.redirects)
            if found:
                return found
            if isinstance(command, Simple) and command.words and command.words[0].raw == "tee":
                return command.words[-1].raw if len(command.words) > 1 else None
    return None
