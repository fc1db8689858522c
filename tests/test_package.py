"""A package that lacks a room, or a file that is no module: another program would find out on its host."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json
from pathlib import Path
from mautrix_bridges import components
from mautrix_bridges.components.backup import DUMP_SCRIPT
from mautrix_bridges.scripts import bundle
print(json.dumps([components.__file__, DUMP_SCRIPT.read_text(), bundle.everything(), components.__all__]))
"""


def test_another_program_finds_all_of_it_installed(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", ROOT, copy], check=True)
    subprocess.run(["cp", "-a", ROOT / "mautrix_bridges", ROOT / "pyproject.toml", copy], check=True)
    words = [
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(tmp_path / "installed"),
    ]
    subprocess.run([sys.executable, "-m", "pip", *words, copy], check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    where, dump_script, programs, names = json.loads(done.stdout)
    assert where.startswith(str(tmp_path / "installed"))
    assert dump_script == (ROOT / "mautrix_bridges/scripts/bridge_backup.sh").read_text()
    from mautrix_bridges.scripts import bundle

    assert programs == bundle.everything()
    assert {"BridgeDatabase", "SynapseRegistration", "BridgeContainer"} <= {*names}


@pytest.mark.parametrize(("made", "used"), [((".venv", "provider"), ".venv"), (("provider",), "provider")])
def test_the_component_provider_runs_with_whichever_environment_there_is(
    tmp_path: Path, made: tuple[str, ...], used: str
) -> None:
    """The checkout's, or the one that `pulumi package add` makes in the provider's folder."""
    (tmp_path / "provider").mkdir()
    plugin = Path(shutil.copy(ROOT / "provider" / "pulumi-resource-mautrix-bridges", tmp_path / "provider"))
    for each in made:
        python = tmp_path / each / "bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {each} $PYTHONPATH $@\n")
        python.chmod(0o755)
    done = subprocess.run([plugin, "1234"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [used, str(tmp_path), f"{tmp_path}/provider", "1234"]
    assert (ROOT / "provider" / "requirements.txt").read_text() == "-r ../requirements.txt\n"
