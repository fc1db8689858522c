"""Checks the operator's backup script for preview: what prevents the edit, what to know, and the edited text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from documents.backup.backup_script import (
    ENCRYPTION,
    EXIT_TRAP,
    UPLOAD,
    add_call,
    code_lines,
    dump_call_of,
    find_interpreter,
    search_code,
)
from documents.places import Deployment
from documents.refusal import Problem, Refused

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_ASSIGNED = re.compile(r"^\s*(?:(?:export|readonly|local|declare)\s+)?([A-Za-z_]\w*)=(.*/.*)$", re.MULTILINE)
_PLAIN_VALUE = re.compile(
    r"""\s*(?:export\s+|readonly\s+|local\s+)?(?P<name>\w+)=(?P<quote>["']?)(?P<value>[\w/.:${}-]*)(?P=quote)\s*(?:[;#].*)?\Z"""
)
_REFERENCE = re.compile(r"\$\{(\w+)(?::?-([\w/.-]*))?\}|\$(\w+)")


@dataclass(frozen=True)
class BackupScriptCheck:
    """`problems` and `warnings` are whole lines; `edited` is the script as `up` will write it ("" if it cannot);
    `has_call`: whether the script holds the call already."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    edited: str
    has_call: bool


def check_backup_script(text: str, deployment: Deployment) -> BackupScriptCheck:
    """Everything there is to report about the operator's script."""
    plan, path, edited = deployment.backup, deployment.backup.script, ""
    problems: list[Problem] = []
    try:
        find_interpreter(text)
    except Refused as refused:
        problems += refused.problems
    try:
        edited = add_call(text, dump_call_of(deployment))
    except Refused as refused:
        problems += refused.problems
    problems += _check_directory(text, plan.directory)
    filtered = "through backupFilter" if plan.filter else "in plain text"
    if not plan.filter and not plan.accept_plain:
        fix = "set backupFilter and backupFilterSuffix (as `age -r …` and .age), or accept it: acceptPlainDumps true"
        reason = "encrypts its dumps, and ours would lie beside them in plain text"
        problems += [Problem(number, f"{reason} ({word})", fix) for number, word in search_code(text, ENCRYPTION)]
    warnings = [
        f"{path}:{number}: uploads ({word}): if it sends the dumps' directory, it sends our dumps {filtered}, too; if "
        "it sends one file, our dumps stay on the host; the proof runs our dump script, not this script"
        for number, word in find_uploads(text)
    ]
    warnings += [
        f"{path}:{number}: sets an EXIT trap of its own, which decides the script's exit status: "
        "a failed dump of ours is reported on stderr only"
        for number, _ in search_code(text, EXIT_TRAP)
    ]
    return BackupScriptCheck(Refused(problems).lines(path), tuple(warnings), edited, edited == text)


def find_uploads(text: str) -> list[tuple[int, str]]:
    """Lines (from 1) that send something elsewhere, with the program that does."""
    return list(search_code(text, UPLOAD))


def _check_directory(text: str, directory: str) -> Iterator[Problem]:
    code = "\n".join(line for _, line in code_lines(text))
    for name in _VARIABLE.findall(directory):
        if not re.search(rf"(?<!\w){name}(?!\w)", code):
            names = dict.fromkeys(match[0] for match in _ASSIGNED.findall(code))
            hint = f" (it sets {', '.join(names)})" if names else ""
            fix = "set backupDir to the variable that it has, as '${DIR}', or to an absolute path"
            yield Problem(1, f"backupDir is {directory}, and the script has no {name}{hint}", fix)


def resolve_directory(text: str, directory: str) -> str:
    """The absolute path of `directory`, a path or an expression of the script's, by the script's plain assignments.

    "" if they do not tell.
    """
    values: dict[str, str] = {}
    for _, line in code_lines(text):
        match = _PLAIN_VALUE.match(line)
        if match:
            values[match["name"]] = _expand(match["value"], values)
    path = _expand(directory, values)
    return path if path.startswith("/") and "$" not in path else ""


def _expand(value: str, values: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda name: values.get(name[1] or name[3], name[2] or name[0]), value)
