"""A bridge that was set up by hand and is said to come along, while something of it does not."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents.places import Postgres
from host_programs.backup import archives
from host_programs.backup.archives import BridgeData
from host_programs.bridge import adopt
from host_programs.messages import ScriptError
from tests.documents.test_adoption import CONFIG
from tests.facts import container
from verdicts.host_facts.docker import Container, Mount

EXAMPLE: dict[str, Any] = {"bridge": {"permissions": {"example.com": "user"}}, "encryption": {"allow": False}}


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config, self.archive = folder / "signal/config.yaml", folder / "archives/mautrix-signal-1.tar.gz"
        self.config.parent.mkdir()
        self.archive.parent.mkdir()
        self.write(bridge={"permissions": {"@me:echo6.co": "admin"}})
        mounts = (Mount(str(self.config.parent), "/data"),)
        self.containers: dict[str, Container] = {
            "signal": container("signal", image="dock.mau.dev/mautrix/signal:v0.2601.0", mounts=mounts),
            "matrix-postgres": container("matrix-postgres"),
        }
        self.archived_data: list[BridgeData] = []
        monkeypatch.setattr(adopt, "run_docker", self.docker)
        monkeypatch.setattr(adopt, "inspect_all_containers", lambda: tuple(self.containers.values()))
        monkeypatch.setattr(adopt, "inspect_container", self.containers.get)
        variables = {("matrix-postgres", "POSTGRES_USER"): "synapse"}
        monkeypatch.setattr(adopt, "read_variable", lambda *words: variables[words])
        monkeypatch.setattr(archives, "write_archive", self.archived)

    def write(self, **changed: Any) -> None:
        self.config.write_text(yaml.safe_dump({**copy.deepcopy(CONFIG), **changed}))

    def docker(self, *words: str, **_: Any) -> subprocess.CompletedProcess[str]:
        assert words[0] == "run", "it only reads"
        return subprocess.CompletedProcess(words, 0, yaml.safe_dump(EXAMPLE), "")

    def archived(self, data: BridgeData, reason: str) -> str:
        assert reason == "adopted" and data.postgres == Postgres("matrix-postgres", 5432, "synapse")
        self.archived_data.append(data)
        return str(self.archive)

    def run(self, *more: str) -> None:
        adopt.main(["--config", str(self.config), "--archive-dir", str(self.archive.parent), *more])


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_an_archive_its_settings_and_what_is_left_to_do(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.run()
    (data,) = host.archived_data
    assert (data.stack, data.domain, data.image) == (
        "by-hand/signal", "echo6.co", "dock.mau.dev/mautrix/signal:v0.2601.0",
    )  # fmt: skip
    assert (data.database.container, data.database.database, data.database.role) == (
        "matrix-postgres", "signal", "si@gnal",
    )  # fmt: skip
    settings = host.archive.with_name("mautrix-signal-1.bridges.yaml")
    assert settings.stat().st_mode & 0o777 == 0o600
    (entry,) = yaml.safe_load(settings.read_text())["config"]["mautrix-signal:bridges"]
    assert (entry["kind"], entry["image"], entry["restore"]) == ("signal", data.image, str(host.archive))
    assert entry["bridgeConfig"]["bridge"] == {"permissions": {"@me:echo6.co": "admin"}}
    said = capsys.readouterr().err
    assert "warning: container signal runs" in said and "p%2Fw" not in said and "a key" not in said
    assert f"- put the lines of {settings} into Pulumi.STACK.yaml" in said
    assert "pulumi config set acceptArchiveOf by-hand/signal@echo6.co" in said


def test_a_bridge_that_was_stopped_is_not_warned_of(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.containers["signal"] = container("signal", status="exited", mounts=host.containers["signal"].mounts)
    host.run("--image", "other:v1")
    assert host.archived_data[0].image == "other:v1" and "warning" not in capsys.readouterr().err


def test_an_image_without_a_release_is_no_setting(host: Host) -> None:
    """The setting wants an exact tag."""
    with pytest.raises(ScriptError, match="signal:latest names no release: name the bridge's image and release with"):
        host.run("--image", "dock.mau.dev/mautrix/signal:latest")
    assert host.archived_data == [] and list(host.archive.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda host: host.config.unlink(), "cannot be read: no such file"),
        (lambda host: host.config.write_text("- a\n"), "is no mapping: name the bridge's config.yaml"),
        (lambda host: host.config.write_text("a: [\n"), "cannot be read: "),
        (lambda host: host.write(database={"type": "sqlite3-fk-wal"}), "database.type: is 'sqlite3-fk-wal'"),
        (
            lambda host: host.containers.pop("signal"),
            "no container has it: name the bridge's image and release with --image",
        ),
        (lambda host: host.containers.pop("matrix-postgres"), "there is no container matrix-postgres: name Postgres'"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left_behind(host: Host, change: Any, words: str) -> None:
    change(host)
    with pytest.raises(ScriptError) as error:
        host.run()
    assert words in str(error.value) and "\n" not in str(error.value)
    assert host.archived_data == [] and list(host.archive.parent.iterdir()) == []


def test_a_database_that_is_not_there_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "write_archive", lambda *_, **__: "")
    with pytest.raises(ScriptError, match="there is no such database in matrix-postgres"):
        host.run()
