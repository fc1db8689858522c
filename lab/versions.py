"""`python -m lab.versions`: the way there and back on neighbours of other versions, as a table.

Each row has a host of its own: a fresh `up`, `up` again without a change, a rotation of the tokens, `destroy`, and then
the host is as it was in the beginning.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import bridge_build, images
from lab.box import ROOT, Lab
from lab.engine import LabError
from lab.faults import DESTROY, UP, Faults
from lab.place import Say

NEWEST_SYNAPSE = "1.163.2"
HOME = ROOT / ".lab/versions"
STEPS = {"up": 1, "rotation": 2, "destroy": 2}  # with their tokenGeneration


@dataclass(frozen=True)
class Row:
    """`postgres`: as LAB_POSTGRES; `synapse`: as LAB_SYNAPSE; `bridge`: the release that its core stands in for."""

    postgres: str
    synapse: str
    bridge: bridge_build.Release

    def __str__(self) -> str:
        return f"Postgres {self.postgres}, Synapse {self.synapse}, bridge {self.bridge.tag}"


# The oldest of all, the newest of all, and between them each version once.
ROWS = (
    Row("14", images.SYNAPSE_VERSION, bridge_build.PINNED),
    Row("15", NEWEST_SYNAPSE, bridge_build.PINNED),
    Row("16", images.SYNAPSE_VERSION, bridge_build.NEXT),
    Row("18", NEWEST_SYNAPSE, bridge_build.NEXT),
)
NEWEST = ROWS[-1]


@dataclass(frozen=True)
class Result:
    """`ran`: the versions of Postgres, Synapse and bridge; `wrong`: what was, "" if nothing."""

    ran: tuple[str, str, str]
    wrong: str


@contextmanager
def open_lab(row: Row, home: Path = HOME, say: Say | None = None) -> Iterator[Lab]:
    """A lab of its own with these versions, in `home`; it goes at the end."""
    before = dict(os.environ)
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(LAB_POSTGRES=row.postgres, LAB_SYNAPSE=row.synapse)
    lab = Lab(home, say)
    try:
        yield lab
    finally:
        lab.down()
        os.environ.clear()
        os.environ.update(before)


def try_row(row: Row, lab: Lab) -> Result:
    """There and back on the row's lab."""
    ran, step = (row.postgres, row.synapse, row.bridge.tag), "the lab"
    try:
        faults = Faults(lab)
        if row.bridge == bridge_build.NEXT:
            faults.image = lab.containers.make_next_bridge_image()
        python = "import synapse; print(synapse.__version__)"
        synapse = lab.docker("exec", lab.synapse, "python3", "-c", python).stdout.strip()
        ran = lab.psql("show server_version").split()[0], synapse, row.bridge.tag
        for step, generation in STEPS.items():
            faults.turn(generation)
            lab.pulumi(*(DESTROY if step == "destroy" else UP))
            # That of the deployed bridge runs `up` again, which has to find no change.
            wrong = faults.find_fault_of_gone() if step == "destroy" else faults.find_fault_of_deployed()
            if wrong:
                return Result(ran, f"{step}: {wrong}")
    except LabError as error:
        return Result(ran, f"{step}: {error}")
    return Result(ran, "")


def table(results: Sequence[Result]) -> str:
    """In Markdown, as docs/operations.md has it."""
    lines = ["| Postgres | Synapse | Bridge core | There and back |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(result.ran)} | {'FAIL' if result.wrong else 'ok'} |" for result in results]
    return "\n".join(lines)


def main(say: Callable[[str], None] = lambda line: print(line, flush=True)) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.versions", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", default="", help='words of a row, such as "Postgres 14"')
    wanted, results = parser.parse_args().only, list[Result]()
    for row in ROWS:
        if wanted not in str(row):
            continue
        with open_lab(row, say=lambda line: None) as lab:
            results.append(try_row(row, lab))
        say(f"{row}: {results[-1].wrong[:3000] or 'ok'}")
    say(f"\n{table(results)}")
    return int(any(result.wrong for result in results))


if __name__ == "__main__":
    sys.exit(main())
