"""A step that does something else than it was told, or tells a secret when it fails; a verb that the host's older
Python, or one without any package, cannot run; a line that is so long that the command plugin stops reading, and `up`
hangs for ever."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from host_programs.bridge.config import ConfigFile, SettingsQuestion
from host_programs.files.files import OwnedFile
from host_programs.verbs import VERBS, verb_of, words_of
from tests.host_programs.steps import ROOT, dispatching, run_step, run_with

SEED = '{"arguments": {}}'


def dispatched(verb: str, stdin: str = SEED) -> subprocess.CompletedProcess[str]:
    """As `dispatching`."""
    return subprocess.run(
        dispatching(verb), input=stdin, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


# ---- all verbs


def _shapes(kind: Any) -> set[type]:
    """A dataclass and those in it."""
    if not is_dataclass(kind):
        return set().union(*map(_shapes, get_args(kind)), set())
    assert isinstance(kind, type)
    return {kind}.union(*(_shapes(hint) for hint in get_type_hints(kind).values()))


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_is_typed_and_python_3_9_can_read_its_shapes(words: str) -> None:
    """There `X | None` in an annotation cannot be evaluated, which decoding does."""
    verb = verb_of(words)
    hints = get_type_hints(verb)
    result = hints["return"]
    assert len(hints) == 2 and all(is_dataclass(hint) for hint in hints.values() if hint is not result)
    assert is_dataclass(result) or result is type(None), "a removal has none"
    assert not [hint for hint in verb.__annotations__.values() if "|" in hint]
    for shape in set().union(*map(_shapes, hints.values())):
        for each in fields(shape):
            assert not re.search(r"\|", str(each.type)), f"{shape.__name__}.{each.name}: {each.type}"


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_runs_with_the_standard_library_alone(words: str) -> None:
    """It gets as far as its own arguments, so all that it imports is in the program file."""
    done = run_with(words, '{"arguments": 0}', {"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{words}: arguments: is int, should be an object\n"


@pytest.mark.parametrize("words", VERBS)
def test_a_verb_is_found_by_its_words_and_the_words_by_the_verb(words: str) -> None:
    """Pulumi's side names the function, the command line the words."""
    assert words_of(verb_of(words)) == words and len(words.split()) == 2


def test_a_function_that_is_no_step_has_no_words() -> None:
    with pytest.raises(KeyError):
        words_of(test_a_function_that_is_no_step_has_no_words)


@pytest.mark.parametrize("package", ["documents", "verdicts", "host_programs"])
def test_python_3_9_can_read_every_module(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


# ---- one step


@pytest.mark.parametrize("words", ["", "secrets", "secrets make", "make-seed secrets", "secrets make-seed now"])
def test_unknown_words_are_told_the_known_ones_and_nothing_is_run(words: str) -> None:
    done = run_with(words, SEED)
    assert (done.returncode, done.stdout) == (64, "")
    usage, *known = done.stderr.splitlines()
    file, said = r"/.*/mautrix-host-[0-9a-f]{12}\.pyz", "with a JSON object on standard input; one of:"
    assert re.fullmatch(f"usage: python3 -I {file} status; or AREA VERB, {said}", usage)
    assert known == [f"  {each}" for each in sorted(VERBS)]


def test_the_result_alone_is_on_standard_output_as_one_line_of_json() -> None:
    done = dispatched("def verb(arguments: Any) -> Any:\n    say('a note')\n    return {'b': (1,), 'a': arguments}")
    assert (done.returncode, done.stderr) == (0, "a note\n")
    assert done.stdout == '{"a": {}, "b": [1]}\n'


@pytest.mark.parametrize("error", ["messages.ScriptError('what: why')", "dispatch.WireError('what: why')"])
def test_an_expected_end_is_its_own_line_and_no_traceback(error: str) -> None:
    done = dispatched(f"def verb(arguments: Any) -> Any:\n    raise {error}")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "what: why\n")


def test_a_defect_of_ours_is_told_with_its_place() -> None:
    done = dispatched("def verb(arguments: Any) -> Any:\n    raise ValueError('a defect')")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback") and done.stderr.endswith("\nValueError: a defect\n")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        ('OSError(28, "No space left on device", "/opt/a")', "/opt/a: No space left on device"),
        ('OSError(28, "No space left on device")', "No space left on device"),
        ('OSError("cannot read")', "cannot read"),
    ],
)
def test_what_the_host_refuses_is_one_line_and_no_traceback(raised: str, line: str) -> None:
    """A full disk, a parent that is gone: nothing that a person should send us."""
    done = dispatched(f"def verb(arguments: Any) -> dict: raise {raised}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"test verb: {line}: mend that on the host, then run this again\n"


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("stdin", "line"),
    [
        ({"arguments": {"seed": SECRET}}, "secrets make-seed: arguments: unknown: seed"),
        ({"arguments": SECRET}, "secrets make-seed: arguments: is str, should be an object"),
        ({"argumnets": {"a": SECRET}}, "standard input: missing: arguments"),
        ({"arguments": {}, "steps": SECRET}, "standard input: unknown: steps"),
        ({"arguments": {}, "reapply": SECRET}, "standard input.reapply: is str, should be int"),
        ([SECRET], "standard input: is list, should be an object"),
    ],
)
def test_what_does_not_fit_is_named_and_its_value_is_not_told(stdin: object, line: str) -> None:
    done = run_with("secrets make-seed", json.dumps(stdin))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{line}\n")


@pytest.mark.parametrize("stdin", ["", f'{{"arguments": "{SECRET}', f"arguments: {SECRET}"])
def test_a_person_who_types_no_json_is_told_so_in_one_line(stdin: str) -> None:
    done = run_with("secrets make-seed", stdin)
    assert (done.returncode, done.stdout) == (1, "") and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("standard input: is no JSON, should be an object with `arguments`: ")
    assert SECRET not in done.stderr


def test_every_docker_of_a_step_is_the_one_that_it_was_told(tmp_path: Path) -> None:
    """A host with a second daemon: the bridge would be looked for on the wrong one."""
    (tmp_path / "docker").write_text('#!/bin/sh\necho "at $DOCKER_HOST" >&2\nexit 1\n')
    (tmp_path / "docker").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER_HOST": "unix:///of-the-shell"}
    arguments = ConfigFile(
        "p/a", SettingsQuestion({"a": 1}, "i:1", "/b", "synapse"), "", OwnedFile(str(tmp_path / "c"), "", 0, 0)
    )
    for told, used in (("", "unix:///of-the-shell"), ("unix:///other.sock", "unix:///other.sock")):
        done = run_step("config write", arguments, environment, docker_host=told)
        assert done.stderr == f"bridgeConfig: the bridge cannot read it: at {used}\n"


# ---- what it says


LONG = "ä" * 100_000
RAISED = [
    (f"messages.ScriptError('ä' * {len(LONG)})", LONG),
    (f"ValueError('ä' * {len(LONG)})", LONG),
    ("messages.ScriptError('10%\\r' * 30000)", "10%" * 30000),
]


@pytest.mark.parametrize(("raised", "whole"), RAISED, ids=["an error", "a defect", "progress"])
def test_whatever_a_step_says_is_in_short_lines(raised: str, whole: str) -> None:
    done = dispatched(f"def verb(arguments: Any) -> Any:\n    raise {raised}")
    assert done.returncode == 1
    assert max(len(line.encode()) for line in done.stderr.split("\n")) <= 4096
    assert whole in done.stderr.replace("\n", "")
    assert ("Traceback" in done.stderr) == raised.startswith("ValueError")
