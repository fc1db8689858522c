"""The call of our dump script in the operator's nightly backup script: three lines in, three lines out.

The lines are a mark, the call and a mark. Where our dumps have a directory of their own, they stand at the head of the
script: nothing can end it before the call. Where the directory is an expression of the script's, they stand behind its
last dump, at the margin. The script's own interpreter says whether the place is valid
(host_programs/backup/scripts.py). If the place does not suit the operator, he moves the marks, and they stay where he
put them.

Laws: `remove_call` gives back, byte for byte, the text before `add_call`. A second `add_call` changes nothing. The
calls of two owners come and go in any order.
"""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass

from documents.backup.script_commands import A_CALL, CLEAN_UP, CONTINUED, EXIT_TRAP, UPLOAD, search_code
from documents.places import Deployment
from documents.refusal import Problem, Refused

SHELLS = ("bash", "sh", "dash", "ash", "ksh", "mksh", "zsh")

_ADDED = " (added by Pulumi)"  # marks with these words are ours and are removed with the call; the operator's stay
_MARK = re.compile(r"[ \t]*# (?P<way>>>>|<<<) (?P<owner>\S+)(?P<added> \(added by Pulumi\))?[ \t]*")
_DUMP = re.compile(r"\b(?:pg_dump|pg_dumpall|pg_basebackup)\b")
_FUNCTION = re.compile(r"\s*(?:function\s+\S+|[\w-]+\s*\(\s*\))")
_COMMENT = re.compile(r"\s*#")
_SET = re.compile(r"\s*set(?:\s+[-+][\w-]+(?:\s+[a-z]+)?)+\s*(?:#.*)?\n?\Z")


@dataclass(frozen=True)
class DumpCall:
    """The call of one stack's dump script. `owner` is the stack, `command` the script's absolute path, `directory` an
    absolute path or an expression of the operator's script, such as ${BACKUP_DIR}."""

    owner: str
    command: str
    directory: str

    @property
    def has_own_directory(self) -> bool:
        """As of BackupPlan."""
        return self.directory.startswith("/")


def dump_call_of(deployment: Deployment) -> DumpCall:
    return DumpCall(deployment.stack, deployment.dump_script, deployment.backup.directory)


@dataclass(frozen=True)
class _Marks:
    """The lines of an owner's two marks, by index; `added`: whether we wrote them."""

    begin: int
    end: int
    added: bool


def add_call(text: str, call: DumpCall, at_end: bool = False) -> str:
    """The script with the call; `at_end`: behind all the rest, where no place above will do.

    Raises Refused if only one mark exists, if anything but a call stands between the two, or if the line before the
    place goes on in the next.
    """
    marks = _find_marks(text, call.owner)
    if marks and marks.added and _is_at_head(text, marks) not in (None, call.has_own_directory):
        text, marks = remove_call(text, call.owner), None  # ours, and for another kind of place
    lines = split_lines(text)
    if marks:
        for number in range(marks.begin + 1, marks.end):
            if not _is_call(lines[number]):
                reason = f"stands between the marks of {call.owner}, where only its call belongs"
                raise Refused([Problem(number + 1, reason, "move it above or below them")])
        margin = re.match(r"[ \t]*", lines[marks.begin])
        lines[marks.begin + 1 : marks.end] = [f"{margin[0] if margin else ''}{_call_line(text, call)}\n"]
        return "".join(lines)
    place = _find_head(lines) if call.has_own_directory else len(lines) if at_end else _choose_place(lines)
    if place and lines[place - 1].endswith("\n") and CONTINUED.search(lines[place - 1][:-1]):
        fix = f"put the two lines `# >>> {call.owner}` and `# <<< {call.owner}` where the call should stand"
        raise Refused([Problem(place, "goes on in the next line, before which the call would stand", fix)])
    added = [f"# >>> {call.owner}{_ADDED}\n", f"{_call_line(text, call)}\n", f"# <<< {call.owner}{_ADDED}\n"]
    if place == len(lines) and text and not text.endswith("\n"):
        added = ["\n", *added[:2], added[2].rstrip("\n")]
    return "".join([*lines[:place], *added, *lines[place:]])


def has_call(text: str, call: DumpCall) -> bool:
    """Whether the script calls the dump script just as `add_call` would have it."""
    try:
        return add_call(text, call) == text
    except Refused:
        return False


def remove_call(text: str, owner: str) -> str:
    """The script without this owner's call. Marks that the operator wrote stay, as an empty pair.

    Raises Refused if only one mark exists.
    """
    lines, marks = split_lines(text), _find_marks(text, owner)
    if not marks:
        return text
    foreign = [line for line in lines[marks.begin + 1 : marks.end] if not _is_call(line)]
    if not marks.added:
        return "".join([*lines[: marks.begin + 1], *foreign, *lines[marks.end :]])
    before, after = "".join([*lines[: marks.begin], *foreign]), "".join(lines[marks.end + 1 :])
    at_end = not after and not lines[marks.end].endswith("\n")  # added behind a last line without a line break
    return before[:-1] if at_end else before + after


def text_above_call(text: str, owner: str) -> str:
    """The text above this owner's marks; all of it if there are none."""
    marks = _find_marks(text, owner)
    return "".join(split_lines(text)[: marks.begin]) if marks else text


def find_interpreter(text: str) -> str:
    """The shell that its first line names. cron runs a script without such a line with sh.

    Raises Refused if the interpreter is no shell.
    """
    first = split_lines(text)[0] if text else ""
    if first.startswith("\ufeff"):
        raise Refused([Problem(1, "begins with a byte order mark, so no shell reads its first line", "take that out")])
    if first.endswith("\r\n"):
        raise Refused([Problem(1, "has carriage returns, so no shell runs it", "`sed -i 's/\\r$//'` takes them out")])
    first = first.strip()
    if not first.startswith("#!"):
        return "sh"
    words = [word.rpartition("/")[2] for word in first[2:].split() if not word.startswith("-")]
    name = next((word for word in words if word not in ("env", "busybox") and "=" not in word), "")
    if name not in SHELLS:
        fix = "set backupScript to none: the host then runs our dump script by itself"
        raise Refused([Problem(1, f"is a script for {name or first}, and the call is for a shell", fix)])
    return name


def _find_marks(text: str, owner: str) -> _Marks | None:
    marks = [
        (number, match["way"], bool(match["added"]))
        for number, line in enumerate(split_lines(text))
        if (match := _MARK.fullmatch(line.rstrip("\n"))) and match["owner"] == owner
    ]
    if not marks:
        return None
    if [way for _, way, _ in marks] != [">>>", "<<<"]:
        reason = f"the marks of {owner} should be one pair, `# >>> {owner}` and below it `# <<< {owner}`"
        raise Refused([Problem(marks[0][0] + 1, reason, "put the missing one back, or take all of them out")])
    return _Marks(marks[0][0], marks[1][0], marks[0][2])


def _find_head(lines: list[str]) -> int:
    """The index of the line before which the call goes at the head: behind the `set` lines there, or else behind the
    first comment, which `#!` begins. Another stack's marks are no comment."""

    def is_comment(line: str) -> bool:
        return _COMMENT.match(line) is not None and not _MARK.fullmatch(line.rstrip("\n"))

    head = list(itertools.takewhile(lambda line: not line.strip() or is_comment(line) or _SET.match(line), lines))
    sets = [n for n, line in enumerate(head, 1) if _SET.match(line)]
    return sets[-1] if sets else len(list(itertools.takewhile(is_comment, head)))


def _choose_place(lines: list[str]) -> int:
    """The index of the line before which the call goes among the script's own dumps: behind the last of them, before a
    clean-up, an upload or an exit."""
    dumps = [n for n, line in enumerate(lines) if not _COMMENT.match(line) and _DUMP.search(line)]
    for n in range(dumps[-1] + 1, len(lines)) if dumps else ():
        at_margin = not re.match(r"[\s#]", lines[n]) and not _FUNCTION.match(lines[n])
        if at_margin and (CLEAN_UP.search(lines[n]) or UPLOAD.search(lines[n])):
            return n
    commands = [n for n, line in enumerate(lines) if line.strip() and not _COMMENT.match(line)]
    return commands[-1] if commands and re.match(r"exit\b", lines[commands[-1]]) else len(lines)


def _is_at_head(text: str, marks: _Marks) -> bool | None:
    """Whether the call between the marks was made for a directory of its own; None if there is no call."""
    calls = [line for line in split_lines(text)[marks.begin + 1 : marks.end] if _is_call(line)]
    return re.search(r' "/[^"]*" ?> ?/dev/null \|\|', "".join(calls)) is not None if calls else None


def _is_call(line: str) -> bool:
    return A_CALL.match(line) is not None


def _call_line(text: str, call: DumpCall) -> str:
    """One line for any POSIX shell, also under `set -eu`. The script's last exit status stays what it was before, and
    so does what it says, unless a dump fails. Where our dump script is gone (a copy of this one came back after a
    destroy), the line does nothing."""
    directory = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda name: f"${{{name[1] or name[2]}-}}", call.directory)
    on_failure = "trap 'exit 1' EXIT"
    if any(True for _ in search_code(text, EXIT_TRAP)):
        on_failure = "echo 'a dump failed; the EXIT trap of this script decides its exit status' >&2"
    command = shlex.quote(call.command)
    run = f'[ ! -x {command} ] || {command} "{directory}" >/dev/null || {on_failure}'
    return f'mautrix_status=$?; {run}; (exit "$mautrix_status") && :'


def split_lines(text: str) -> list[str]:
    """The lines with their line breaks."""
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)
