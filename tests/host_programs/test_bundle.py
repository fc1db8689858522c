"""A script that works in the checkout and not on the host, or a secret that shows up in the command's text."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from host_programs import bundle
from host_programs.files.files import OwnedFile, OwnedFiles

FILES = "host_programs.files.files"
SCRIPTS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "scripts").glob("*.py") if "run(*VERBS)" in path.read_text()
)


def _file(path: Path) -> OwnedFiles:
    return OwnedFiles("p/a", (OwnedFile(str(path), "x", os.geteuid(), os.getegid()),))


def run(
    script: str, verb: str, arguments: object, folder: Path, least: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", bundle.command(verb)],
        input=bundle.pack(script, arguments, least=least),
        text=True, capture_output=True, cwd=folder, env={"PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip


def test_a_script_runs_where_there_is_no_checkout(tmp_path: Path) -> None:
    done = run("host_programs.files.files", "create", _file(tmp_path / "a"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"kept": [], "paths": [f"{tmp_path}/a"]}
    assert (tmp_path / "a").read_text() == "x"


def test_a_stop_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    done = run("host_programs.files.files", "create", _file(tmp_path / "a"), tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"{tmp_path}/a: exists and was not made by this stack: move it away, or choose another name in the settings\n"
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_finds_all_it_imports(script: str, tmp_path: Path) -> None:
    """An unknown verb gets as far as the imports."""
    done = run(f"host_programs.{script}", "no-such-verb", {}, tmp_path, least=True)
    assert "ModuleNotFoundError" not in done.stderr and "ImportError" not in done.stderr, done.stderr


def test_the_command_holds_no_argument(tmp_path: Path) -> None:
    assert bundle.command("create").endswith(" create")
    assert len(bundle.command("create")) < 190, "it is repeated in every error message"


def test_the_same_input_gives_the_same_text() -> None:
    one, other = (bundle.pack(FILES, arguments) for arguments in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one == other


def test_another_reapply_makes_another_text_and_no_other_argument() -> None:
    once, again = (bundle.unpacked(bundle.pack(FILES, {"a": 1}, reapply)) for reapply in (0, 1))
    assert {key for key in once if once[key] != again[key]} == {"reapply"}


def test_an_unknown_script_is_said_at_once() -> None:
    with pytest.raises(LookupError, match=r"scripts\.nothing"):
        bundle.pack("host_programs.nothing", {})


def test_a_script_that_packs_another_one_can_do_so_on_the_host() -> None:
    for least in (False, True):
        sources = bundle.unpacked(bundle.pack("host_programs.facts", {}, least=least))["sources"]
        assert {"host_programs.launch", "host_programs.synapse.inside.synapse_facts"} <= set(sources)


def _stored(path: Path) -> bundle.Stored:
    text = f"# Programs: written by the Pulumi stack p/a.\n{json.dumps(bundle.everything())}"
    path.write_text(text)
    return bundle.Stored(str(path), hashlib.sha256(text.encode()).hexdigest())


def test_a_script_runs_from_the_programs_that_the_host_has(tmp_path: Path) -> None:
    packed = bundle.pack(FILES, _file(tmp_path / "a"), stored=_stored(tmp_path / "programs"))
    assert len(packed) < 1500
    done = subprocess.run(
        ["sh", "-c", bundle.command("create")],
        input=packed, text=True, capture_output=True, cwd="/", env={"PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "a").read_text() == "x"


@pytest.mark.parametrize("change", ["gone", "another"])
def test_programs_that_somebody_changed_are_not_run(tmp_path: Path, change: str) -> None:
    """Root would run them."""
    stored = _stored(tmp_path / "programs")
    packed = bundle.pack(FILES, _file(tmp_path / "a"), stored=stored)
    if change == "gone":
        Path(stored.path).unlink()
    else:
        Path(stored.path).write_text(Path(stored.path).read_text() + "x")
    done = subprocess.run(
        ["sh", "-c", bundle.command("create")], input=packed, text=True, capture_output=True, cwd="/", check=False
    )
    assert done.returncode == 1 and not (tmp_path / "a").exists()
    assert (
        done.stderr.startswith(f"{stored.path}: gone, or not what this stack wrote") and "writes it anew" in done.stderr
    )


def test_what_the_state_has_to_hold_is_small() -> None:
    """It is written at every step."""
    whole, least = (bundle.pack("host_programs.files.directory", {}, least=least) for least in (False, True))
    assert len(least) < 13_000 < len(whole) / 5
