"""Pins: a binary that is older than its sources, or one without encryption because it was built without cgo."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from lab import bridge_build


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, to be changed."""
    copy = tmp_path / "bridge"
    shutil.copytree(bridge_build.SOURCES, copy)
    monkeypatch.setattr(bridge_build, "SOURCES", copy)
    return copy


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for Go: each build is recorded and writes its number."""
    made: list[Path] = []

    def build(out: Path, _: bridge_build.Release) -> None:
        made.append(out)
        out.write_text(f"build {len(made)}")

    monkeypatch.setattr(bridge_build, "_build", build)
    return made


def test_built_once_and_again_only_when_a_source_changes(sources: Path, builds: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "bin" / "core"
    assert bridge_build.binary(out, bridge_build.PINNED) == out
    bridge_build.binary(out, bridge_build.PINNED)
    assert len(builds) == 1
    for number, name in enumerate(("main.go", "connector.go", "go.mod", "go.sum"), 2):
        with open(sources / name, "a") as file:
            file.write("\n")
        bridge_build.binary(out, bridge_build.PINNED)
        assert out.read_text() == f"build {number}", name
    out.unlink()
    bridge_build.binary(out, bridge_build.PINNED)
    assert len(builds) == 6


def test_a_build_that_fails_leaves_no_stamp_for_the_old_binary(
    sources: Path, builds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "core"
    bridge_build.binary(out, bridge_build.PINNED)
    before = (sources / "main.go").read_text()
    (sources / "main.go").write_text(before + "\n")

    def fail(*_: object) -> None:
        raise bridge_build.BuildError("no")

    with monkeypatch.context() as patched:
        patched.setattr(bridge_build, "_build", fail)
        with pytest.raises(bridge_build.BuildError):
            bridge_build.binary(out, bridge_build.PINNED)
    bridge_build.binary(out, bridge_build.PINNED)
    assert len(builds) == 2


def test_what_go_says_is_in_the_error_and_the_old_binary_stays(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "core"
    out.write_text("old")
    (sources / "connector.go").write_text("package main\n\nfunc (\n")
    with pytest.raises(bridge_build.BuildError, match=r"(?s)go build failed with exit code 1:.*connector\.go:\d"):
        bridge_build.binary(out, bridge_build.PINNED)
    assert out.read_text() == "old"
    assert not (tmp_path / "core.sources").exists()


@pytest.mark.parametrize(("present", "missing"), [((), "go"), (("go",), "gcc")])
def test_a_missing_tool_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...], missing: str
) -> None:
    for name in present:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bridge_build.BuildError, match=f"{missing} is not on PATH; install"):
        bridge_build.binary(tmp_path / "core", bridge_build.PINNED)


def test_the_binary_has_encryption_and_needs_no_library(core_binary: Path) -> None:
    data = core_binary.read_bytes()
    assert b"Creating bot device with MSC4190" in data  # bridgev2/matrix/crypto.go, left out without cgo
    assert PT_INTERP not in program_headers(data)


PT_INTERP = 3  # names the dynamic loader; a static program has none (elf(5))


def program_headers(elf: bytes) -> list[int]:
    """The types of the program headers of a 64-bit little-endian ELF file."""
    assert elf[:6] == b"\x7fELF\x02\x01"
    (start,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return [struct.unpack_from("<I", elf, start + size * number)[0] for number in range(count)]


# The flags of the build: with others Go would compile everything a second time.
GO_VET = ["go", "vet", "-modfile=go.mod", "-trimpath", "-tags", bridge_build.TAGS, "."]


def test_go_vet_and_gofmt_have_nothing_to_say() -> None:
    environment = {**os.environ, "CGO_ENABLED": "1"}
    for words in (["gofmt", "-l", "."], GO_VET, [GO_VET[0], GO_VET[1], "-modfile=next.mod", *GO_VET[3:]]):
        done = subprocess.run(words, cwd=bridge_build.SOURCES, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words
