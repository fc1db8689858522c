"""Which Pulumi CLI is used. An installed one that is passed over costs a person minutes of building; one that is used
although it is too old or has no Python language host fails later without a word of why, and so does set-up's own one
that is taken for an installed one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import which_pulumi
from lab.which_pulumi import LANGUAGE_HOST, Installed, Unusable, installed

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Puts a stub `pulumi` of a version, and a language host if wanted, into a new folder."""

    def put(name: str, version: str = "v9.0.0", *, host: bool = True) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        programs = {"pulumi": f"[ $1 = version ] && echo {version}"} if version else {}
        for program, text in {**programs, **({LANGUAGE_HOST: "exit 1"} if host else {})}.items():
            (folder / program).write_text(f"#!/bin/sh\n{text}\n")
            (folder / program).chmod(0o755)
        return folder

    return put


def joined(*folders: Path) -> str:
    return os.pathsep.join(map(str, folders))


def test_an_installed_one_with_its_language_host_is_used(install: Install) -> None:
    folder = install("installed")
    assert installed(str(folder)) == Installed(folder / "pulumi", folder, "v9.0.0")


def test_the_floor_is_the_version_of_the_sdk(install: Install) -> None:
    # An older CLI is not tested with the SDK; the SDK's own is.
    requirements = (which_pulumi.ROOT / "requirements.txt").read_text().split()
    assert f"pulumi=={which_pulumi.oldest().removeprefix('v')}" in requirements
    exact, old = install("exact", which_pulumi.oldest()), install("old", "v3.99.12")
    assert isinstance(installed(str(exact)), Installed)
    assert installed(str(old)) == Unusable(f"{old}/pulumi is v3.99.12, older than {which_pulumi.oldest()}")


def test_a_language_host_elsewhere_on_path_will_do(install: Install) -> None:
    folder, other = install("installed", host=False), install("host", "")
    assert installed(joined(folder, other)) == Installed(folder / "pulumi", other, "v9.0.0")
    assert installed(str(folder)) == Unusable(f"{folder}/pulumi (v9.0.0) has no {LANGUAGE_HOST} beside it or on PATH")


def test_a_link_is_followed_to_the_language_host(install: Install, tmp_path: Path) -> None:
    folder = install("release")
    links = tmp_path / "links"
    links.mkdir()
    (links / "pulumi").symlink_to(folder / "pulumi")
    assert installed(str(links)) == Installed(links / "pulumi", folder, "v9.0.0")


def test_one_that_does_not_run_is_not_used(install: Install) -> None:
    folder = install("broken", "nonsense")
    assert installed(str(folder)) == Unusable(f"{folder}/pulumi does not tell its version (`pulumi version`)")


def test_the_built_one_is_no_installed_one(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built, links = install("built"), tmp_path / "links"
    links.mkdir()
    (links / "pulumi").symlink_to(built / "pulumi")
    monkeypatch.setattr(which_pulumi, "BUILT", built)
    assert installed(joined(built)) is None
    assert installed(joined(links)) is None, "a link to it neither"
    real = install("installed", host=False)
    assert isinstance(installed(joined(built, real)), Unusable), "nor is its language host the installed one's"


def test_the_lab_runs_the_one_that_is_chosen(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_PULUMI", raising=False)
    built, found, old, given = install("built"), install("installed"), install("old", "v1.0.0"), install("given")
    monkeypatch.setattr(which_pulumi, "BUILT", built)
    for first, chosen in ((found, found), (old, built)):
        monkeypatch.setenv("PATH", joined(built, first), prepend=None)
        assert which_pulumi.program() == str(chosen / "pulumi")
    monkeypatch.setenv("PATH", joined(built, found))
    assert str(built) not in which_pulumi.path_with_pulumi().split(os.pathsep)
    monkeypatch.setenv("LAB_PULUMI", str(given / "pulumi"))
    assert which_pulumi.program() == str(given / "pulumi")


def test_the_virtual_environments_python_comes_first(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pulumi's folder may be /usr/bin, with a python3 that has no SDK.
    folder = install("installed")
    monkeypatch.delenv("LAB_PULUMI", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    assert which_pulumi.path_with_pulumi().split(os.pathsep)[:2] == [str(which_pulumi.VENV / "bin"), str(folder)]


def set_up(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`tools/setup.sh cli-ready` on a machine with `folder` first on PATH."""
    clean = {key: value for key, value in os.environ.items() if key != "LAB_PULUMI"}
    path = joined(folder, which_pulumi.BUILT, Path(os.environ["PATH"]))
    script = which_pulumi.ROOT / "tools/setup.sh"
    return subprocess.run(
        [script, "cli-ready"], env={**clean, "PATH": path, **env}, capture_output=True, text=True, timeout=60
    )


def test_set_up_says_which_one_it_uses_and_builds_none(install: Install) -> None:
    folder = install("installed")
    done = set_up(folder)
    assert (done.returncode, done.stderr) == (
        0,
        f"setup: Pulumi CLI: {folder}/pulumi (v9.0.0), as installed; none is built\n",
    )


def test_set_up_says_why_it_does_not_use_one(install: Install) -> None:
    folder = install("old", "v3.1.0")
    done = set_up(folder)
    assert f"setup: Pulumi CLI: {folder}/pulumi is v3.1.0, older than {which_pulumi.oldest()}; not used" in done.stderr


def test_set_up_does_not_look_when_one_is_named(install: Install) -> None:
    done = set_up(install("old", "v3.1.0"), LAB_PULUMI=str(install("named") / "pulumi"))
    assert (done.returncode, done.stderr) == (0, "")
