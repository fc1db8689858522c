"""An image is found by its tag alone. If the tag did not change with everything that makes the image, a machine would
go on with an old one and nobody would know what was tested."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lab import bridge_build, images
from lab.engine import LabError


@pytest.fixture
def recipes_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "recipes"
    shutil.copytree(images.RECIPES, copy)
    monkeypatch.setattr(images, "RECIPES", copy)
    return copy


def tags() -> dict[str, str]:
    return {name: images.tag(recipe) for name, recipe in images.recipes().items()}


def test_tags_are_stable_and_say_the_version() -> None:
    assert tags() == tags()
    assert tags()["postgres"].startswith("mxlab/postgres:15-")
    assert tags()["synapse"].startswith("mxlab/synapse:1.147.1-")
    assert tags()["bridge"].startswith("mxlab/bridge:v0.2603.0-")


def test_other_versions_have_tags_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tags()
    monkeypatch.setenv("LAB_SYNAPSE", "1.163.2")
    for version in images.POSTGRES_VERSIONS:
        monkeypatch.setenv("LAB_POSTGRES", version)
        made = tags()
        assert made["postgres"].startswith(f"mxlab/postgres:{version}-")
        assert made["synapse"].startswith("mxlab/synapse:1.163.2-")
        assert (made["bridge"], made["bridge-next"]) == (before["bridge"], before["bridge-next"])
    monkeypatch.setenv("LAB_POSTGRES", "9")
    with pytest.raises(LabError, match="LAB_POSTGRES=9: should be one of 15, 14, 16, 18"):
        images.recipes()


def test_every_file_of_a_recipe_is_in_its_tag(recipes_copy: Path) -> None:
    for name, recipe in images.recipes().items():
        assert recipe.script in recipe.files
        for file in recipe.files:
            before = tags()
            with (recipes_copy / file).open("a") as opened:
                opened.write("# changed\n")
            after = tags()
            users = {each.name for each in images.recipes().values() if file in each.files}
            assert name in users and {part for part in before if before[part] != after[part]} == users, file


def test_every_file_there_is_belongs_to_a_recipe() -> None:
    used = {"base.sh", *(file for recipe in images.recipes().values() for file in recipe.files)}
    assert {path.name for path in images.RECIPES.iterdir()} == used


def test_the_base_is_in_every_tag(recipes_copy: Path) -> None:
    before, base = tags(), images.base_tag()
    with (recipes_copy / "base.sh").open("a") as opened:
        opened.write("# changed\n")
    assert images.base_tag() != base
    assert all(before[name] != tag for name, tag in tags().items())


@pytest.mark.parametrize("field", ["changes", "arguments", "options", "extra"])
def test_settings_are_in_the_tag(field: str) -> None:
    recipe = images.recipes()["synapse"]
    others: dict[str, object] = {
        "changes": (*recipe.changes, "LABEL a=b"),
        "arguments": (("SYNAPSE_VERSION", "1.0.0"),),
        "options": ("--stop-signal", "SIGHUP"),
        "extra": "x",
    }
    assert images.tag(replace(recipe, **{field: others[field]})) != images.tag(recipe)  # type: ignore[arg-type]


def test_the_bridges_sources_are_in_its_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tags()
    monkeypatch.setattr(bridge_build, "sources_hash", lambda release: "other")
    assert {name for name, tag in tags().items() if tag != before[name]} == {"bridge", "bridge-next"}
