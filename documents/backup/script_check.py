"""Checks the operator's backup script for preview: what prevents the edit, what our dumps would do to his or his script
to ours, and what to know."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from documents.backup.backup_script import add_call, dump_call_of, find_interpreter, has_call
from documents.backup.dump_script import name_dump
from documents.backup.script_commands import ENCRYPTION, EXIT_TRAP, STOP, UPLOAD, list_commands, search_code
from documents.places import Deployment
from documents.refusal import Problem, Refused

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_ASSIGNED = re.compile(r"^\s*(?:(?:export|readonly|local|declare)\s+)?([A-Za-z_]\w*)=(.*/.*)$", re.MULTILINE)
# Whatever may take files by their number or order; rather one too many: the way out is one setting.
_BY_NUMBER = re.compile(
    r"""\b(?:ls|find|stat|sort|(?:printf|echo)\b[^|]*\*[^|]*)\b.*\|.*\b(?:head|tail|sed|awk|sort)\b|\bls\b.*\|.*\bwc\b"""
    r"""|\bls\b(?:\s+-\S+)*\s+-\w*[tSvXU]\w*\b|\b(?:mapfile|readarray|logrotate|savelog)\b|-printf\s+\S*%[TACB]|\[[@*]\]:"""
    r"""|\bstat\b.*%[WYZwyz]|\(\.?[oO][mnac]|\bmv\b.*\.\d+\s.*\.\d+\b|=\([^)]*\*"""
)
_TAKES = re.compile(
    r"""\b(?:rm|xargs|unlink|shred|mapfile|readarray|logrotate|savelog|while|until|for|cp|mv|scp|rsync)\b"""
    r"""|=[\"']?(?:\$\(|`)|=\(|-delete\b|(?<![>\d])>(?!>)\s*(?!/dev/|&)\S|\btee\b(?!\s+-a)"""
)
_CLEANS = re.compile(
    r"""\bfind\b.*(?:-delete\b|-exec\s+(?:rm|unlink)\b|\|.*\b(?:rm|unlink)\b)|\b(?:tmpwatch|tmpreaper)\b"""
    r"""|\brsync\b.*\s--del\w*|\brm\s+(?:-\S+\s+)*-\w*[rR]"""
)
_LITERAL = re.compile(
    r"""^\s*(?:(?:export|readonly|local|declare)\s+)?([A-Za-z_]\w*)=["']?(/[\w./-]+)["']?\s*(?:[;#].*)?$""",
    re.MULTILINE,
)
_PATH = re.compile(r"""(?<![\w./}$:-])/[\w.+-]+(?:/[\w.*+-]*)*""")
_PACKS = re.compile(r"\b(?:tar|zip|7z[ar]?|mksquashfs)\b")
_REMOVES = re.compile(r"\brm\s+-\w*[rR]")


@dataclass(frozen=True)
class BackupScriptCheck:
    """`problems` and `warnings` are whole lines; `has_call`: whether the script holds the call already."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    has_call: bool


def check_backup_script(text: str, deployment: Deployment) -> BackupScriptCheck:
    """Everything there is to report about the operator's script."""
    plan, call = deployment.backup, dump_call_of(deployment)
    problems: list[Problem] = []
    try:
        find_interpreter(text)
    except Refused as refused:
        problems += refused.problems
    try:
        add_call(text, call)
    except Refused as refused:
        problems += refused.problems
    problems += _check_removals([*list_commands(text)], deployment)
    warnings = [*_describe_proof(text)] if plan.proves_script else []
    if plan.has_own_directory:
        warnings += _check_beside(text, deployment)
    else:
        problems += _check_among(text, deployment)
        filtered = "through backupFilter" if plan.filter else "in plain text"
        sent = f"{{word}}: sends our dumps ({filtered}), too, if it sends the directory {plan.directory}"
        warnings += _describe_each_tool(text, UPLOAD, sent)
    no_status = "sets an EXIT trap of its own, which decides the script's exit status"
    warnings += _describe_each_tool(
        text, EXIT_TRAP, f"{no_status}: a failed dump of ours is told by `status` and on stderr"
    )
    return BackupScriptCheck(
        Refused(problems).lines(plan.script), tuple(f"{plan.script}:{w}" for w in warnings), has_call(text, call)
    )


def _describe_each_tool(text: str, pattern: re.Pattern[str], words: str) -> Iterator[str]:
    """One line for each tool that the pattern finds, with its first place. `words` may hold {word}, the tool."""
    found: dict[str, int] = {}
    for number, word in search_code(text, pattern):
        found.setdefault(word, number)
    for word, number in found.items():
        told = words.replace("{word}", word)
        yield f"{number}: {told}"


def _describe_proof(text: str) -> Iterator[str]:
    """What happens when `up` runs the script."""
    for pattern, does in ((UPLOAD, "uploads"), (STOP, "stops a service"), (ENCRYPTION, "encrypts")):
        yield from _describe_each_tool(
            text, pattern, f"{{word}}: {does}, and `up` runs this script once (proveBackupScript)"
        )


def _check_beside(text: str, deployment: Deployment) -> Iterator[str]:
    """What to know where our dumps have a directory of their own."""
    plan = deployment.backup
    if not plan.filter and not plan.accept_plain:
        fix = "set backupFilter and backupFilterSuffix (as `age -r …` and .age), or acceptPlainDumps true"
        yield from _describe_each_tool(
            text, ENCRYPTION, f"encrypts ({{word}}), and our dumps in {plan.directory} are plain: {fix}"
        )
    code = "\n".join(line for _, line in list_commands(text))
    above = (str(path) for path in (PurePosixPath(plan.directory), *PurePosixPath(plan.directory).parents[:-1]))
    if not any(re.search(rf"(?<![\w./-]){re.escape(path)}/?(?![\w./-])", code) for path in above):
        kept = f"{plan.directory} is not among what it sends, so our dumps stay on this host alone: add that path"
        yield from [*_describe_each_tool(text, UPLOAD, f"uploads ({{word}}), and {kept}")][:1]


def _check_removals(commands: list[tuple[int, str]], deployment: Deployment) -> Iterator[Problem]:
    """A clean-up of a directory above ours: an archive may be the only copy of a bridge that was removed."""
    plan, dumped = deployment.backup, [database.database for database in deployment.dumped_databases]
    kept = {
        f"{bridge.setting}.archiveDir": (bridge.archive.directory, [f"{bridge.bridge.name}-20260131T235959Z.tar.gz"])
        for bridge in deployment.bridges
    }
    if plan.has_own_directory:
        dumps = [name_dump(name, deployment.shared_name, "20260131T235959Z") + plan.suffix for name in dumped]
        kept["backupDir"] = (plan.directory, dumps)
    values = dict(_LITERAL.findall("\n".join(line for _, line in commands)))
    for number, line in commands:
        if not _CLEANS.search(line):
            continue
        line = re.sub(r"\$\{?(\w+)\}?", lambda name: values.get(name[1], name[0]), line)
        reached = {
            directory: key
            for key, (directory, names) in kept.items()
            if _reaches(line.replace('"', "").replace("'", ""), directory, names)
        }
        for directory, key in reached.items():
            fix = f"leave that out there (find: `-path {directory} -prune -o`), or set {key} to a directory elsewhere"
            yield Problem(number, f"removes files below a directory in which ours are ({directory})", fix)


def _reaches(line: str, directory: str, names: list[str]) -> bool:
    """Whether a clean-up takes files of these names in the directory."""
    spared = re.findall(r"(?:-path\s+|--exclude[= ])(\S+)", line)
    if any(fnmatch.fnmatchcase(name, glob) for glob in spared for name in (directory, f"{directory}/{names[0]}")):
        return False
    ours = PurePosixPath(directory)
    if sent := re.search(r"\brsync\b[^|;&>]*", line):  # it deletes where it copies to
        line = sent[0].split()[-1]
    above = [path for path in map(PurePosixPath, _PATH.findall(line)) if _is_above(path, ours)]
    if not above:
        return False
    depth = re.search(r"-maxdepth\s+(\d+)", line)
    nearest = max(len([part for part in path.parts if "*" not in part]) for path in above)
    if depth and int(depth[1]) < len(ours.parts) + 1 - nearest:
        return False
    globs = re.findall(r"-i?name\s+(\S+)", line)
    return not globs or any(fnmatch.fnmatchcase(name, glob) for name in (*names, ours.name) for glob in globs)


def _is_above(path: PurePosixPath, ours: PurePosixPath) -> bool:
    """Whether a path, whose last part may be a pattern, holds or is a directory of ours."""
    fixed = path.parent if "*" in path.name else path
    if "*" in path.name and fixed in ours.parents:
        return fnmatch.fnmatchcase(ours.parts[len(fixed.parts)], path.name)
    return fixed == ours or fixed in ours.parents


# our dumps among the script's own --------------------------------------------------------------------------------


def _check_among(text: str, deployment: Deployment) -> Iterator[Problem]:
    """What would happen to our dumps, or through them to his, in the directory that the script names."""
    plan = deployment.backup
    commands = [*list_commands(text)]
    for name in _VARIABLE.findall(plan.directory):
        yield from _check_variable(commands, name, plan.directory)
        yield from _check_scratch(commands, name)
    if variable := re.fullmatch(r"\$\{?([A-Za-z_]\w*)\}?", plan.directory):
        yield from _check_order(commands, variable[1], deployment)
    if not plan.filter and not plan.accept_plain:
        fix = "set backupFilter and backupFilterSuffix (as `age -r …` and .age), or accept it: acceptPlainDumps true"
        reason = "encrypts its dumps, and ours would lie beside them in plain text"
        yield from (Problem(number, f"{reason} ({word})", fix) for number, word in search_code(text, ENCRYPTION))


OWN = "give ours a directory of their own: `pulumi config rm backupDir`"


def _check_variable(commands: list[tuple[int, str]], name: str, directory: str) -> Iterator[Problem]:
    """A variable that the script does not have where the call stands."""
    code = "\n".join(line for _, line in commands)
    if not re.search(rf"(?<!\w){name}(?!\w)", code):
        names = dict.fromkeys(match[0] for match in _ASSIGNED.findall(code))
        hint = f" (it sets {', '.join(names)})" if names else ""
        fix = "set backupDir to the variable that it has, as '${DIR}', or to an absolute path"
        yield Problem(1, f"backupDir is {directory}, and the script has no {name}{hint}", fix)
    sets = [(number, line) for number, line in commands if re.search(rf"(?<![\w$]){name}=", line)]
    local = [number for number, line in sets if re.search(rf"\b(?:local|typeset)\b.*(?<!\w){name}=", line)]
    if local and len(local) == len(sets):
        yield Problem(local[0], f"{name} (backupDir) is local to a function, so our call would not see it", OWN)


def _mention(name: str) -> str:
    """The pattern of a variable where the script uses it, in quotes or without."""
    return rf"[\"']?\$\{{?{name}(?:\}}|(?!\w))[\"']?"


def _check_scratch(commands: list[tuple[int, str]], name: str) -> Iterator[Problem]:
    """A directory for one run: what is put there later is in no archive, or removed."""
    variable = _mention(name)
    whole = re.compile(rf"{variable}/?(?:\*|\.)?[\"']?(?=[\s;|&)]|$)")
    a_file_of_it = re.compile(rf"-C\s*{variable}/?\s+(?=[\"']?[$\w])")  # tar's: not the whole
    for number, line in commands:
        if re.search(rf"(?<!\w){name}=.*\bmktemp\b", line):
            yield Problem(number, f"makes {name} (backupDir) anew for each run", OWN)
        elif whole.search(a_file_of_it.sub("", line)):
            does = "removes" if _REMOVES.search(line) else "packs" if _PACKS.search(line) else ""
            lost = f"{does} the directory {name} (backupDir): our dumps would be in no archive, or lost"
            yield from [Problem(number, lost, OWN)] if does else []


def _check_order(commands: list[tuple[int, str]], name: str, deployment: Deployment) -> Iterator[Problem]:
    """A clean-up by number, or a copy of the newest file: with our dumps in the directory it takes others."""
    ours = [
        name_dump(database.database, deployment.shared_name, "20260131T235959Z") + deployment.backup.suffix
        for database in deployment.dumped_databases
    ]
    variable = _mention(name)
    for number, line in commands:
        listed = line.partition("|")[0]
        elsewhere = not re.search(variable, line) and re.search(r"[$/]\w", re.sub(r"\$\(", "", listed))
        if elsewhere or not (_BY_NUMBER.search(line) and _TAKES.search(line)):
            continue
        patterns = re.findall(rf"{variable}/([^\s\"'|);&]+)", line) + re.findall(r"-i?name\s+[\"']?([^\s\"']+)", line)
        globs = [re.sub(r"\$\{?\w+\}?", "*", pattern).partition("(")[0] for pattern in patterns]
        if globs and not any(fnmatch.fnmatchcase(dump, glob) for dump in ours for glob in globs):
            continue
        reason = f"takes files of {name} (backupDir) by their number or order: with ours among them it takes others"
        yield Problem(number, reason, f"{OWN}, or `pulumi config set backupDir '${{{name}}}/mautrix'`")
