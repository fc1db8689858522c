"""The call of our dump script in the operator's nightly backup script, and the settings in our own one.

The operator's script is not read as a shell would read it: three lines go in (mark, call, mark) at a place that a
person would choose, its own interpreter says whether that is one (backup/shell_syntax.py), and whatever the place is
not good for, the operator moves the marks and they stay where he put them. What is searched for in the script (uploads,
encryption, a variable's name) is searched for in its lines as text.

Laws: `remove` gives the text back byte for byte as it was before `add`; `add` twice is `add`; the blocks of two owners
come and go in any order.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from documents.places import Deployment
from documents.refusal import Problem, Refused

CLOSING_LINE = "PostgreSQL database dump complete"
SHELLS = ("bash", "sh", "dash", "ash", "ksh", "zsh")

_CALL = "mautrix_status=$?;"  # how the line of every owner begins
_ADDED = " (added by Pulumi)"  # marks with these words are ours and go with us; the operator's own stay
_MARK = re.compile(r"[ \t]*# (?P<way>>>>|<<<) (?P<owner>\S+)(?P<added> \(added by Pulumi\))?[ \t]*")
_DUMP = re.compile(r"\b(?:pg_dump|pg_dumpall|pg_basebackup)\b")
_FUNCTION = re.compile(r"\s*(?:function\s+\S+|[\w-]+\s*\(\s*\))")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_ASSIGNED = re.compile(r"^\s*(?:(?:export|readonly|local|declare)\s+)?([A-Za-z_]\w*)=(.*/.*)$", re.MULTILINE)
_EXIT_TRAP = re.compile(r"\btrap\s+(?!-\s).*\s(?:EXIT|0)\b")
# A command's first word, wherever a command may begin, with a path or variables before it.
_BEGIN = (
    r"(?:^|[|;&(`!]|\b(?:if|then|do|else|elif|while|sudo|exec|nice|xargs|command(?:\s+-v)?))\s*(?:\w+=\S*\s+)*(?:\S*/)?"
)
_UPLOAD = re.compile(
    _BEGIN + r"(?P<word>rclone|aws|rsync|scp|sftp|lftp|restic|borg|borgmatic|kopia|duplicity|s3cmd|s5cmd|gsutil|gcloud"
    r"|azcopy|b2|mc|curl(?=.*\s(?:-T|--upload-file|-F|--form)\b))(?=[\s;|&)]|$)"
)
_ENCRYPT = re.compile(_BEGIN + r"(?P<word>gpg2?|age|rage|openssl(?=\s+(?:enc|smime|cms|pkeyutl)\b))(?=\s|$)")
_CLEAN_UP = re.compile(_BEGIN + r"(?:find|tmpwatch|tmpreaper|ls\s+(?:-\S+\s+)*-\w*t)(?=\w*\s|\w*$)")
_SETTINGS = re.compile(
    r"(?<=# --- settings, written by Pulumi: do not edit\n).*(?=# --- end of the settings\n)", re.DOTALL
)
_PLAIN_VALUE = re.compile(
    r"""\s*(?:export\s+|readonly\s+|local\s+)?(?P<name>\w+)=(?P<quote>["']?)(?P<value>[\w/.:${}-]*)(?P=quote)\s*(?:[;#].*)?\Z"""
)
_REFERENCE = re.compile(r"\$\{(\w+)(?::?-([\w/.-]*))?\}|\$(\w+)")
_OWNER = re.compile(r"^# owner: (\S+)$", re.MULTILINE)


def dump_script(template: str, deployment: Deployment) -> str:
    """host_programs/backup/bridge_backup.sh with the settings of one stack."""
    plan = deployment.backup
    pairs = ((each.database, each.role) for each in deployment.dumped)
    settings = (
        f"# owner: {deployment.stack}",
        f"mark={shlex.quote(deployment.shared_name)}",
        f"container={shlex.quote(deployment.postgres.container)}",
        f"databases=({' '.join(shlex.quote(f'{database}:{role}') for database, role in pairs)}) # database:role",
        f"days={plan.days}",
        f"filter={shlex.quote(plan.filter)}",
        f"suffix={shlex.quote(plan.suffix)}",
        *([f"export DOCKER_HOST={shlex.quote(deployment.docker_host)}"] if deployment.docker_host else ()),
    )
    return _SETTINGS.sub(lambda _: "".join(f"{line}\n" for line in settings), template)


def dump_script_owner(text: str) -> str:
    """The stack ("project/name") whose dump script this is; "" if it is none of ours."""
    settings = _SETTINGS.search(text)
    owner = _OWNER.search(settings[0]) if settings else None
    return owner[1] if owner else ""


@dataclass(frozen=True)
class Block:
    """The call of one stack's (`owner`) dump script `command` (its absolute path) with `directory`, an absolute path
    or an expression of the script's such as ${BACKUP_DIR}."""

    owner: str
    command: str
    directory: str


def block(deployment: Deployment) -> Block:
    return Block(deployment.stack, deployment.dump_script, deployment.backup.directory)


@dataclass(frozen=True)
class _Place:
    """Where a block stands: the index of its two marks' lines, and whether they are ours."""

    begin: int
    end: int
    added: bool


def add(text: str, block: Block) -> str:
    """The script with the block. Refused if only one mark stands, if something else than a call stands between the two,
    or if the line before the place goes on in the next."""
    lines, there = _lines(text), _find(text, block.owner)
    if there:
        for number in range(there.begin + 1, there.end):
            if not _is_call(lines[number]):
                reason = f"stands between the marks of {block.owner}, where only its call belongs"
                raise Refused([Problem(number + 1, reason, "move it above or below them")])
        margin = re.match(r"[ \t]*", lines[there.begin])
        lines[there.begin + 1 : there.end] = [f"{margin[0] if margin else ''}{_call(text, block)}\n"]
        return "".join(lines)
    place = _place(lines)
    if place and re.search(r"(?<!\\)(?:\\\\)*\\\n\Z", lines[place - 1]):
        fix = f"put the two lines `# >>> {block.owner}` and `# <<< {block.owner}` where the call should stand"
        raise Refused([Problem(place, "goes on in the next line, before which the call would stand", fix)])
    ours = [f"# >>> {block.owner}{_ADDED}\n", f"{_call(text, block)}\n", f"# <<< {block.owner}{_ADDED}\n"]
    if place == len(lines) and text and not text.endswith("\n"):
        ours = ["\n", *ours[:2], ours[2].rstrip("\n")]
    return "".join([*lines[:place], *ours, *lines[place:]])


def remove(text: str, owner: str) -> str:
    """The script without this owner's call; marks that the operator wrote stay, as an empty pair. Refused if only one
    mark stands."""
    lines, there = _lines(text), _find(text, owner)
    if not there:
        return text
    kept = [line for line in lines[there.begin + 1 : there.end] if not _is_call(line)]  # somebody else's
    if not there.added:
        return "".join([*lines[: there.begin + 1], *kept, *lines[there.end :]])
    before, after = "".join([*lines[: there.begin], *kept]), "".join(lines[there.end + 1 :])
    at_end = not after and not lines[there.end].endswith("\n")  # it was put behind a line without an end
    return before[:-1] if at_end else before + after


def before(text: str, owner: str) -> str:
    """The text above this owner's block; all of it if there is none."""
    there = _find(text, owner)
    return "".join(_lines(text)[: there.begin]) if there else text


def interpreter(text: str) -> str:
    """The shell that runs the script, by its first line; a script without one is run by cron's shell, sh. Refused if
    it is no shell."""
    first = _lines(text)[0].strip() if text else ""
    if not first.startswith("#!"):
        return "sh"
    words = [word.rpartition("/")[2] for word in first[2:].split() if not word.startswith("-")]
    name = next((word for word in words if word != "env" and "=" not in word), "")
    if name not in SHELLS:
        fix = "set backupScript to none, and have cron run our dump script (output backupCron)"
        raise Refused([Problem(1, f"is a script for {name or first}, and the call is for a shell", fix)])
    return name


# the verdict for preview -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """`problems` and `warnings` are whole lines, `edited` the script as `up` will write it ("" if it cannot), `stands`:
    it holds the call already."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    edited: str
    stands: bool


def judge(text: str, deployment: Deployment) -> Judgement:
    """All that is to be said of the operator's script, at once."""
    plan, path, edited = deployment.backup, deployment.backup.script, ""
    problems: list[Problem] = []
    try:
        interpreter(text)
    except Refused as refused:
        problems += refused.problems
    try:
        edited = add(text, block(deployment))
    except Refused as refused:
        problems += refused.problems
    problems += _directory_problems(text, plan.directory)
    filtered = "through backupFilter" if plan.filter else "in plain text"
    if not plan.filter and not plan.accept_plain:
        fix = "set backupFilter and backupFilterSuffix (as `age -r …` and .age), or accept it: acceptPlainDumps true"
        reason = "encrypts its dumps, and ours would lie beside them in plain text"
        problems += [Problem(number, f"{reason} ({word})", fix) for number, word in _search(text, _ENCRYPT)]
    warnings = [
        f"{path}:{number}: uploads ({word}): our dumps go along {filtered} if it sends their directory, and stay at "
        "home if it sends a file of its own; the script is not run for the proof, our dump script is"
        for number, word in uploads(text)
    ]
    warnings += [
        f"{path}:{number}: sets an EXIT trap of its own, which decides the script's exit status: "
        "a failed dump of ours is told on stderr only"
        for number, _ in _search(text, _EXIT_TRAP)
    ]
    return Judgement(Refused(problems).lines(path), tuple(warnings), edited, edited == text)


def uploads(text: str) -> list[tuple[int, str]]:
    """Lines (from 1) that send something to another place, and by what."""
    return list(_search(text, _UPLOAD))


def _directory_problems(text: str, directory: str) -> Iterator[Problem]:
    code = "\n".join(line for _, line in _code(text))
    for name in _VARIABLE.findall(directory):
        if not re.search(rf"(?<!\w){name}(?!\w)", code):
            names = dict.fromkeys(match[0] for match in _ASSIGNED.findall(code))
            hint = f" (it sets {', '.join(names)})" if names else ""
            fix = "set backupDir to the variable that it has, as '${DIR}', or to an absolute path"
            yield Problem(1, f"backupDir is {directory}, and the script has no {name}{hint}", fix)


def directory_of(text: str, directory: str) -> str:
    """The absolute path that `directory` (a path, or an expression of the script's) stands for, as far as the script's
    own plain assignments tell; "" if they do not."""
    values: dict[str, str] = {}
    for _, line in _code(text):
        match = _PLAIN_VALUE.match(line)
        if match:
            values[match["name"]] = _expanded(match["value"], values)
    path = _expanded(directory, values)
    return path if path.startswith("/") and "$" not in path else ""


def _expanded(value: str, values: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda name: values.get(name[1] or name[3], name[2] or name[0]), value)


# the text --------------------------------------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+\Z", text)


def _code(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number, without comments, calls of dump scripts, and what is only said."""
    for number, line in enumerate(text.split("\n"), 1):
        if not re.match(rf"\s*(?:#|{re.escape(_CALL)}|(?:echo|printf)\s(?!.*[|]))", line):
            yield number, line


def _search(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    for number, line in _code(text):
        match = pattern.search(line)
        if match:
            yield number, match.groupdict().get("word") or match[0].strip()


def _find(text: str, owner: str) -> _Place | None:
    marks = [
        (number, match["way"], bool(match["added"]))
        for number, line in enumerate(_lines(text))
        if (match := _MARK.fullmatch(line.rstrip("\n"))) and match["owner"] == owner
    ]
    if not marks:
        return None
    if [way for _, way, _ in marks] != [">>>", "<<<"]:
        reason = f"the marks of {owner} should be one pair, `# >>> {owner}` and below it `# <<< {owner}`"
        raise Refused([Problem(marks[0][0] + 1, reason, "put the missing one back, or take all of them out")])
    return _Place(marks[0][0], marks[1][0], marks[0][2])


def _place(lines: list[str]) -> int:
    """The index of the line before which the block goes."""
    dumps = [n for n, line in enumerate(lines) if not line.lstrip().startswith("#") and _DUMP.search(line)]
    for n in range(dumps[-1] + 1, len(lines)) if dumps else ():
        at_margin = not re.match(r"[\s#]", lines[n]) and not _FUNCTION.match(lines[n])
        if at_margin and (_CLEAN_UP.search(lines[n]) or _UPLOAD.search(lines[n])):
            return n
    said = [n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    return said[-1] if said and re.match(r"exit\b", lines[said[-1]]) else len(lines)


def _is_call(line: str) -> bool:
    return line.lstrip(" \t").startswith(_CALL)


def _call(text: str, block: Block) -> str:
    """One line for any POSIX shell, also under `set -eu`: the script's last exit status is what it was before."""
    directory = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda name: f"${{{name[1] or name[2]}-}}", block.directory)
    fails = "trap 'exit 1' EXIT"
    if any(True for _ in _search(text, _EXIT_TRAP)):
        fails = "echo 'a dump failed; the EXIT trap of this script decides its exit status' >&2"
    return f'{_CALL} {shlex.quote(block.command)} "{directory}" || {fails}; (exit "$mautrix_status") && :'
