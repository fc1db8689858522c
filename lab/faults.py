"""`python -m lab.faults`: the Pulumi CLI, its plugins and the program killed at every resource boundary of `up`, of a
rotation of the tokens, of an upgrade and of `destroy`; then the README's command, and the next `up` or `destroy`; and
what the host looks like afterwards. Then the mishaps (lab/mishaps.py).

A boundary is the worst point for a resource: done on the host, not yet in the state (lab/plugins/boundary.py).
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab.box import Lab
from lab.engine import LabError, run
from lab.mishaps import Mishaps
from lab.snapshot import Snapshot

UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview")
# What is not ours to take away: Synapse's cache, and the dumps that the operator's script made when it was proven.
OTHERS = ("synapse/media_store/*", "backups/synapse_*")
OURS = "# pulumi stack mautrix-signal/lab"


@dataclass(frozen=True)
class Run:
    """One fault: what was killed where, what came next, and what was wrong then ("" if nothing). `seconds`: of what
    came next."""

    killed: str
    boundary: str
    then: str
    wrong: str
    seconds: float


class Faults:
    """Kills runs on `lab`, and looks at what is left."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.log = lab.dir / "boundaries"
        self.generation, self.image, self.reapply = 1, lab.bridge_image, 0
        lab.reset()
        self.pristine = self.snapshot()
        self.homeserver = self._homeserver().read_text()

    def boundaries(self) -> dict[str, list[str]]:
        """The boundaries of each kind of run, in the order in which one run of that kind passes them."""
        self.lab.reset()
        passed = {"up": self._passed(UP)}
        self.turn()
        passed["rotation"] = self._passed(UP)
        self._upgrade()
        passed["upgrade"] = self._passed(UP)
        passed["destroy"] = self._passed(DESTROY)
        return passed

    def at(self, killed: str, boundary: str, then: str) -> Run:
        """One fault. `killed`: up, rotation, upgrade or destroy; `then`: up or destroy."""
        self._prepare(killed)
        cut = self.lab.pulumi(
            *(DESTROY if killed == "destroy" else UP), check=False, env={"LAB_FAULT": boundary}, timeout=300
        )
        if cut.returncode != -9:
            return Run(killed, boundary, then, f"was not killed: exit code {cut.returncode}: {cut.stdout[-600:]}", 0.0)
        started = time.monotonic()
        try:
            self.lab.pulumi("cancel", "--yes")
            self.lab.up()  # a lab cannot pull the image that a destroy took away
            self.turn(self.generation)
            done = self.lab.pulumi(*(UP if then == "up" else DESTROY), check=False)
            seconds = time.monotonic() - started
            wrong = f"{then} failed:\n{done.stdout[-1500:]}{done.stderr[-500:]}" if done.returncode else ""
            wrong = wrong or (self.find_fault_of_deployed() if then == "up" else self.find_fault_of_gone())
        except LabError as error:
            seconds, wrong = time.monotonic() - started, str(error)
        return Run(killed, boundary, then, wrong, round(seconds, 1))

    # before and after

    def _prepare(self, killed: str) -> None:
        """A host on which the run to be killed has something to do."""
        if killed == "up":
            self._start_fresh()
        else:
            self.start_deployed()
        if killed == "rotation":
            self.turn()
        if killed == "upgrade":
            self._upgrade()

    def start_deployed(self) -> None:
        """A host on which the bridge works, with the first image; the one that is there, if it is such a one."""
        if self.image != self.lab.bridge_image or self.find_fault_of_deployed():
            self._start_fresh()
            self.lab.pulumi(*UP)

    def _start_fresh(self) -> None:
        self.lab.reset()
        self.image, self.reapply = self.lab.bridge_image, 0
        self.turn(1)

    def _upgrade(self) -> None:
        self.image = self.lab.containers.make_next_bridge_image()
        self.turn(self.generation)

    def turn(self, generation: int = 0) -> None:
        self.generation = generation or self.generation + 1
        self.configure()

    def configure(self, others: Sequence[Mapping[str, object]] = (), /, **changes: object) -> None:
        """Write the config as it is by now, with `others` of bridges and these `changes`."""
        reached = {"tokenGeneration": self.generation, "reapply": self.reapply}
        self.lab.write_config({"image": self.image}, others, **reached, **changes)

    def _passed(self, words: Sequence[str]) -> list[str]:
        self.log.unlink(missing_ok=True)
        self.lab.pulumi(*words, env={"LAB_FAULT_LOG": str(self.log)})
        return self.log.read_text().splitlines()

    def snapshot(self) -> Snapshot:
        return self.lab.snapshot(ignore=OTHERS)

    def _homeserver(self) -> Path:
        return self.lab.host_dir / "synapse/homeserver.yaml"

    def _operators(self) -> str:
        """What is wrong with the operator's files and databases, whatever happened to the bridge; "" if nothing is."""
        text = self._homeserver().read_text()
        document, before = yaml.safe_load(text), yaml.safe_load(self.homeserver)
        lost = [key for key, value in before.items() if document.get(key) != value]
        if lost:
            return f"homeserver.yaml lost {', '.join(lost)}"
        if [line for line in text.splitlines() if OURS not in line] != self.homeserver.splitlines():
            return "homeserver.yaml has other lines of the operator's"
        if not self.lab.containers.healthy():
            return "Synapse is not healthy"
        for name in ("synapse", "mas"):
            now, then = (host["postgres"]["databases"].get(name) for host in (self.snapshot(), self.pristine))
            if {**(now or {}), "acl": ""} != {**then, "acl": ""}:
                return f"the database {name} is another one: {now}"
        backups = self.lab.host_dir / "backups"
        kept = {*backups.iterdir()}
        script = run([self.lab.host_dir / "scripts/pg_backup.sh"], check=False)
        for dump in {*backups.iterdir()} - kept:
            dump.unlink()  # a night's dumps stay when the bridge goes, as they should; here they would be a difference
        return "" if script.returncode == 0 else f"pg_backup.sh: exit code {script.returncode}: {script.stderr}"

    def find_fault_of_deployed(self) -> str:
        """What is wrong with a deployed bridge; "" if nothing is."""
        again = self.lab.pulumi(*UP, "--expect-no-changes", check=False)
        if again.returncode:
            return f"`up` again has changes:\n{again.stdout[-1500:]}"
        return self.find_fault_of_ping() or self._operators()

    def find_fault_of_ping(self) -> str:
        """Why Synapse does not reach the bridge, with the token of the stack's outputs; "" if it does."""
        token = self.lab.outputs()["asToken"]
        request = urllib.request.Request(
            f"{self.lab.synapse_url}/_matrix/client/v1/appservice/signal/ping",
            data=b"{}", headers={"Authorization": f"Bearer {token}"}, method="POST",
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except OSError as error:
            return f"Synapse's ping of the bridge: {error}"
        return ""

    def find_fault_of_gone(self) -> str:
        """What is wrong with a host that the bridge has left; "" if it is as it was in the beginning."""
        wrong = self._operators()  # first: it runs the script, whose dumps are the operator's
        now = self.snapshot()
        differs = [key for key, value in self.pristine.items() if now[key] != value]  # type: ignore[literal-required]
        if not wrong and differs:
            parts = [f"{key}: {_difference(self.pristine[key], now[key])}" for key in differs]  # type: ignore[literal-required]
            wrong = f"the host is not as it was: {'; '.join(parts)}"
        return wrong


def _difference(before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        return ", ".join(f"{key}: {before.get(key)} -> {after.get(key)}" for key in sorted(keys)[:6])
    return f"{before} -> {after}"


def every(boundaries: dict[str, list[str]]) -> Iterator[tuple[str, str, str]]:
    """What `make faults` runs: (killed, boundary, then). An `up` that was cut off goes on, and is taken back."""
    for killed, points in boundaries.items():
        for boundary in points:
            for then in {"up": ("up", "destroy"), "rotation": ("up",), "upgrade": ("up",), "destroy": ("destroy",)}[
                killed
            ]:
                yield killed, boundary, then


def table(runs: Sequence[Run]) -> str:
    """For a person: one line a run."""
    rows = [(run.killed, run.boundary, run.then, f"{run.seconds:.1f} s", run.wrong or "ok") for run in runs]
    head = ("killed", "after (done, not in the state)", "then", "took", "result")
    widths = [max(len(row[column].splitlines()[0]) for row in (head, *rows)) for column in range(4)]
    lines = ["  ".join((*(row[n].ljust(widths[n]) for n in range(4)), row[4])) for row in (head, *rows)]
    good = sum(not run.wrong for run in runs)
    return "\n".join([*lines, f"{good} of {len(runs)}"])


def main(say: Callable[[str], None] = lambda line: print(line, flush=True)) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.faults", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", default="", help="a word of the mishap, of the boundary, or of what is killed there")
    wanted = parser.parse_args().only
    started, quiet = time.monotonic(), Lab.here(lambda line: None)
    faults, runs = Faults(quiet), list[Run]()

    def note(run: Run) -> None:
        runs.append(run)
        result = f"FAIL {run.wrong[:2000]}" if run.wrong else "ok"
        say(f"{run.killed}: {run.boundary}, then {run.then}: {run.seconds} s: {result}")

    boundaries = faults.boundaries()
    for killed, boundary, then in every(boundaries):
        if wanted in f"{killed} {boundary}":
            note(faults.at(killed, boundary, then))
    mishaps = Mishaps(faults, [words.removeprefix("create ") for words in boundaries["up"]])
    for name in mishaps.all:
        if wanted in name:
            begun = time.monotonic()
            note(Run("nothing", name, "up", mishaps.make_happen(name), round(time.monotonic() - begun, 1)))
    say(f"\n{table(runs)}, in {time.monotonic() - started:.0f} s")
    quiet.reset()
    return int(any(run.wrong for run in runs))


if __name__ == "__main__":
    sys.exit(main())
