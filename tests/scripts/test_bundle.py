"""A script that works in the checkout and not on the host, or a secret that shows up in the command's text."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from scripts import bundle
from scripts.files import OwnedFile, OwnedFiles

SCRIPTS = sorted(
    path.stem
    for path in (Path(__file__).parents[2] / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def _file(path: Path) -> OwnedFiles:
    return OwnedFiles("p/a", (OwnedFile(str(path), "x", os.geteuid(), os.getegid()),))


def run(script: str, verb: str, arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", bundle.command(verb)],
        input=bundle.pack(script, arguments),
        text=True, capture_output=True, cwd=folder, env={"PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip


def test_a_script_runs_where_there_is_no_checkout(tmp_path: Path) -> None:
    done = run("scripts.files", "create", _file(tmp_path / "a"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"kept": [], "paths": [f"{tmp_path}/a"]}
    assert (tmp_path / "a").read_text() == "x"


def test_a_stop_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    done = run("scripts.files", "create", _file(tmp_path / "a"), tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"{tmp_path}/a: exists and was not made by this stack: move it away, or choose another name in the settings\n"
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_finds_all_it_imports(script: str, tmp_path: Path) -> None:
    """An unknown verb gets as far as the imports."""
    done = run(f"scripts.{script}", "no-such-verb", {}, tmp_path)
    assert "ModuleNotFoundError" not in done.stderr and "ImportError" not in done.stderr, done.stderr


def test_the_command_holds_no_argument(tmp_path: Path) -> None:
    assert bundle.command("create").endswith(" create")
    assert len(bundle.command("create")) < 200, "it is repeated in every error message"


def test_the_same_input_gives_the_same_text() -> None:
    assert bundle.pack("scripts.files", {"a": 1, "b": 2}) == bundle.pack("scripts.files", {"b": 2, "a": 1})


def test_another_reapply_makes_another_text_and_no_other_argument() -> None:
    once, again = (json.loads(bundle.pack("scripts.files", {"a": 1}, reapply)) for reapply in (0, 1))
    assert {key for key in once if once[key] != again[key]} == {"reapply"}


def test_an_unknown_script_is_said_at_once() -> None:
    with pytest.raises(LookupError, match=r"scripts\.nothing"):
        bundle.pack("scripts.nothing", {})


def test_a_script_that_packs_another_one_can_do_so_on_the_host() -> None:
    sources = json.loads(bundle.pack("scripts.facts", {}))["sources"]
    assert {"scripts.launch", "scripts.facts_inside"} <= set(sources)
