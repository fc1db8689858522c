"""One lab for all end-to-end tests of a run, or one for each of its workers.

A test gets it as it was in the beginning (`lab`) or with the bridge deployed (`deployed`); what another test left is
used again only if that test passed and says that it left it so.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from documents.places import Deployment
from lab.box import ROOT, Lab
from lab.pulumi_cli import cli
from lab.ssh_server import host_over_ssh
from settings.reader import parse
from tests.facts import defaults

PASSED = pytest.StashKey[bool]()

# As the README has it: the program opens the way to Postgres on a host behind SSH.
REFRESH = ("refresh", "--yes", *(["--run-program"] if host_over_ssh() else []))


def deployment_of(lab: Lab) -> Deployment:
    """The places of the lab's stack, out of the config that the lab wrote for it."""
    config = yaml.safe_load((lab.dir / "Pulumi.lab.yaml").read_text())["config"]
    return parse(defaults(config)).deployment("mautrix-signal/lab")


def copy_project(target: Path) -> None:
    """The project as an operator has it: for stacks whose Pulumi.STACK.yaml must not be in this checkout."""
    target.mkdir()
    for name in ("Pulumi.yaml", "__main__.py", "requirements.txt"):
        shutil.copy(ROOT / name, target)
    for name in ("components", "documents", "examples", "host_programs", "settings", "verdicts", "workstation"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    (target / ".venv").symlink_to(ROOT / ".venv")


def pulumi(project: Path, env: Mapping[str, str], *words: str, fails: bool = False) -> str:
    """What the CLI prints in such a project, where it must not fail; or all that it says where it must, without the
    traceback of a defect."""
    done = subprocess.run(
        [cli(), *words, "--non-interactive", "--color", "never"],
        cwd=project, env=dict(env), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert (done.returncode != 0) is fails, told
    assert not (fails and "Traceback" in told), told
    return told if fails else done.stdout


@contextmanager
def user_that_synapse_does_not_see(lab: Lab) -> Iterator[str]:
    """A user whom preflight, which asks with psql, finds in Synapse's table, and whom the stop-and-check then finds
    unknown: to Synapse itself a view hides that row."""
    user = "@nobody:echo6.co"
    row = f'to_jsonb(known) || \'{{"name": "{user}"}}\''
    lab.psql(
        f"insert into users select made.* from users known, jsonb_populate_record(null::users, {row}) made "
        "where known.name = '@matt:echo6.co'; alter table users rename to all_users; "
        f"create view users as select * from all_users where name <> '{user}' "
        "or current_setting('application_name') = 'psql'",
        "synapse",
    )
    try:
        yield user
    finally:
        lab.psql(
            f"drop view users; alter table all_users rename to users; delete from users where name = '{user}'",
            "synapse",
        )


@dataclass
class Shared:
    """The lab of the run, and whether `pulumi up` has been run on it and nothing has changed since. A test that
    cannot leave it as `deployed` gave it sets `spoilt`."""

    lab: Lab
    deployed: bool = False
    spoilt: bool = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(scope="session")
def shared(worker_id: str) -> Iterator[Shared]:
    """The checkout's own lab; a second worker has one beside it, which goes when the worker does."""
    first = worker_id in ("master", "gw0")
    home = ROOT if first else ROOT / ".lab" / worker_id
    home.mkdir(parents=True, exist_ok=True)
    lab = Lab(home)
    lab.up()
    yield Shared(lab)
    if not first:
        lab.down()


@pytest.fixture
def running_lab(shared: Shared) -> Lab:
    """The lab, in whatever state; for tests that change nothing."""
    return shared.lab


@pytest.fixture
def lab(shared: Shared) -> Lab:
    """The lab as it was before any `up`, with an empty stack."""
    shared.deployed = False
    shared.lab.reset()
    return shared.lab


@pytest.fixture
def deployed(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab on which `pulumi up` has been run; for tests that leave it as they found it."""
    if not shared.deployed:
        shared.lab.reset()
        shared.lab.pulumi("up", "--yes", "--skip-preview")
    shared.deployed = shared.spoilt = False
    yield shared.lab
    shared.deployed = request.node.stash.get(PASSED, False) and not shared.spoilt
