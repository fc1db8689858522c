"""`make bench`: how long `pulumi up` and its sisters take on the lab, beside the same work done by hand.

    python -m lab.bench [--runs 5] [--json FILE]

A run measures every row once, one after the other, so that a slow minute of the machine hits them all; the table shows
medians. Outages and restarts are Synapse's: see lab/prober.py, and Docker's own events. Memory is resident memory as
/proc has it: of the Python process that runs the program (its peak as the kernel kept it), and of the CLI with all
its children, plugins and host scripts included (the highest sum seen; pages that they share count for each).
The lab is reset, before and after: what is deployed on it is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from types import TracebackType

from lab.box import Lab
from lab.delay import Delay
from lab.engine import LabError, last_lines
from lab.pulumi_cli import cli
from lab.ssh_server import SshServer

BY_HAND = "by hand (lab/by_hand.sh)"
UP = "pulumi up, fresh"
UP_DIRECT = "pulumi up --skip-preview, fresh"
UP_AGAIN = "pulumi up, no change"
PREVIEW = "pulumi preview, no change"
DESTROY = "pulumi destroy"
EMPTY = "an empty program's preview"
RESTART = "a bare docker restart"
SSH_UP = "pulumi up, fresh, over SSH"
SSH_PREVIEW = "pulumi preview, no change, over SSH"
MANY = (5, 20)  # bridges
MANY_UP = {number: f"pulumi up, fresh, {number} bridges" for number in MANY}
MANY_PREVIEW = {number: f"pulumi preview, no change, {number} bridges" for number in MANY}
ROWS = (
    BY_HAND, UP, UP_DIRECT, UP_AGAIN, PREVIEW, DESTROY, EMPTY, RESTART, SSH_UP, SSH_PREVIEW,
    *MANY_UP.values(), *MANY_PREVIEW.values(),
)  # fmt: skip

SSH_DELAY = 0.05  # seconds, each way

SAMPLE_SECONDS = 0.5  # a sample of all processes costs some hundredths of a second of one core
# What the language host's child process has in its command line, in all versions so far.
PROGRAM_MARK = "pulumi-language-python-exec"
MEASURES = re.compile(r"lab\.prober|^docker\0events")  # likewise what measures
# Long enough for the prober to see a good answer after the last bad one, and for Docker to have told of its events.
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Measurement:
    """One row of one run. Times in seconds, memory in bytes, connections over SSH; None: not measured there."""

    seconds: float
    outage: float | None = None
    restarts: int | None = None
    program: int | None = None
    tree: int | None = None
    connections: int | None = None


@dataclass(frozen=True)
class Verdict:
    """One target: what is wanted, what was measured, whether it is met."""

    target: str
    measured: str
    met: bool


# ---------------------------------------------------------------- pure


def verdicts(found: Mapping[str, Sequence[Measurement]]) -> list[Verdict]:
    """The targets against the measurements of all runs, by row. Medians, except restarts and memory: every run."""

    def seconds(row: str) -> float:
        return median(item.seconds for item in found[row])

    hand, fresh, preview, empty = seconds(BY_HAND), seconds(UP), seconds(PREVIEW), seconds(EMPTY)
    most = MANY[-1]
    restarts, together = (sorted({_known(item.restarts) for item in found[row]}) for row in (UP, MANY_UP[most]))
    outage = median(_known(item.outage) for item in found[UP])
    bare = median(_known(item.outage) for item in found[RESTART])
    program = max(item.program for items in found.values() for item in items if item.program is not None)
    return [
        Verdict(
            "a fresh `pulumi up` takes at most 1.5 times as long as by hand",
            f"{fresh:.2f} s, {fresh / hand:.2f} times",
            fresh <= 1.5 * hand,
        ),
        Verdict(
            "a preview without change takes at most 1.5 s longer than an empty program's",
            f"{preview:.2f} s, {preview - empty:+.2f} s",
            preview <= empty + 1.5,
        ),
        Verdict(
            "a fresh `pulumi up` restarts Synapse exactly once",
            " or ".join(map(str, restarts)),
            restarts == [1],
        ),
        Verdict(
            "its outage of Synapse is at most 1.2 times a bare restart's",
            f"{outage:.2f} s, {outage / bare:.2f} times" if bare else f"{outage:.2f} s, a bare restart none",
            outage <= 1.2 * bare,
        ),
        Verdict("the program stays under 150 MB", f"{program / 1e6:.0f} MB", program < 150e6),
        Verdict(
            "over SSH, 50 ms away, a fresh `pulumi up` takes at most 1.5 times as long",
            f"{seconds(SSH_UP):.2f} s, {seconds(SSH_UP) / fresh:.2f} times",
            seconds(SSH_UP) <= 1.5 * fresh,
        ),
        Verdict(
            "over SSH, 50 ms away, a preview without change takes at most 2 s longer",
            f"{seconds(SSH_PREVIEW):.2f} s, {seconds(SSH_PREVIEW) - preview:+.2f} s",
            seconds(SSH_PREVIEW) <= preview + 2,
        ),
        Verdict(
            f"{most} bridges: a fresh `pulumi up` takes at most 2.5 times as long as one bridge's",
            f"{seconds(MANY_UP[most]):.2f} s, {seconds(MANY_UP[most]) / fresh:.2f} times",
            seconds(MANY_UP[most]) <= 2.5 * fresh,
        ),
        Verdict(
            f"{most} bridges: it restarts Synapse exactly once",
            " or ".join(map(str, together)),
            together == [1],
        ),
        Verdict(
            f"{most} bridges: a preview without change takes at most 3 s longer than one bridge's",
            f"{seconds(MANY_PREVIEW[most]):.2f} s, {seconds(MANY_PREVIEW[most]) - preview:+.2f} s",
            seconds(MANY_PREVIEW[most]) <= preview + 3,
        ),
        *(
            Verdict(f"{row}: at most {limit} connections", str(most), most <= limit)
            for row, limit in ((SSH_UP, 30), (SSH_PREVIEW, 3))
            for most in (max(_known(item.connections) for item in found[row]),)
        ),
    ]


def _known(value: float | None) -> float:
    if value is None:
        raise ValueError("a row that a target needs was not measured")
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text in columns: the first flush left, the others flush right, a line under the header."""
    lines = [list(header), *map(list, rows)]
    if any(len(line) != len(header) for line in lines):
        raise ValueError("a row has not as many cells as the header")
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def report(found: Mapping[str, Sequence[Measurement]]) -> str:
    """The whole of what the benchmark has to say about its measurements."""
    header = ["median of the runs", "s", "fastest", "slowest", "outage s", "restarts", "program MB", "all MB"]
    rows = []
    for row in ROWS:
        items = found[row]
        times = [item.seconds for item in items]
        outages = [item.outage for item in items if item.outage is not None]
        restarts = sorted({item.restarts for item in items if item.restarts is not None})
        programs = [item.program for item in items if item.program is not None]
        trees = [item.tree for item in items if item.tree is not None]
        rows.append(
            [
                row,
                *(f"{value:.2f}" for value in (median(times), min(times), max(times))),
                f"{median(outages):.2f}" if outages else "-",
                "/".join(map(str, restarts)) if restarts else "-",
                f"{median(programs) / 1e6:.0f}" if programs else "-",
                f"{median(trees) / 1e6:.0f}" if trees else "-",
            ]
        )
    targets = [[item.target, item.measured, "met" if item.met else "MISSED"] for item in verdicts(found)]
    return f"{table(header, rows)}\n\n{table(['target', 'measured', ''], targets)}"


def descendants(parents: Mapping[int, int], roots: Iterable[int]) -> set[int]:
    """`roots` and all processes below them; `parents` maps a process id to its parent's."""
    children: dict[int, list[int]] = {}
    for process, parent in parents.items():
        children.setdefault(parent, []).append(process)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        process = waiting.pop()
        if process not in found:
            found.add(process)
            waiting += children.get(process, [])
    return found


def parent_of(stat: str) -> int:
    """The parent's id in the text of /proc/PID/stat. The name in it may hold spaces and parentheses (proc(5))."""
    return int(stat.rpartition(")")[2].split()[1])


def status_bytes(status: str, field: str) -> int:
    """VmRSS or VmHWM in the text of /proc/PID/status, in bytes; 0 for a process without memory of its own."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0


# ---------------------------------------------------------------- measuring


class Memory:
    """Context manager: samples /proc for the children of this process that run `pulumi`, and all below them.

    `program`: the highest peak of a process that ran the program; `tree`: the highest sum. Bytes; 0: never seen.
    """

    def __init__(self) -> None:
        self.program = 0
        self.tree = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample_on(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Take one sample."""
        parents: dict[int, int] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and (stat := _read(folder / "stat")):
                parents[int(folder.name)] = parent_of(stat)
        # Everything that this process starts except what measures.
        roots = [
            process
            for process, parent in parents.items()
            if parent == os.getpid() and not MEASURES.search(_read(Path(f"/proc/{process}/cmdline")))
        ]
        total = 0
        for process in descendants(parents, roots):
            status = _read(Path(f"/proc/{process}/status"))
            total += status_bytes(status, "VmRSS")
            if PROGRAM_MARK in _read(Path(f"/proc/{process}/cmdline")):
                self.program = max(self.program, status_bytes(status, "VmHWM"))
        self.tree = max(self.tree, total)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (OSError, ValueError):  # gone in the meantime
        return ""


class Starts:
    """Context manager: counts how often a container is started meanwhile, as Docker's events have it. They are read as
    they come: Docker keeps its last 256, and each `docker exec` of a bridge's step is two of them."""

    def __init__(self, container: str) -> None:
        self.count = 0
        self._words = ["docker", "events", "--filter", f"container={container}", "--filter", "event=start"]

    def __enter__(self) -> Starts:
        self._told = tempfile.TemporaryFile("w+")
        words = [*self._words, "--since", f"{time.time():.6f}", "--format", "{{.ID}}"]
        self._events = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._told)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._told:
            self._events.terminate()
            self._events.wait()
            self._told.seek(0)
            self.count = len(self._told.read().split())


def measure(lab: Lab, work: Callable[[], object], *, probe: bool = False, memory: bool = False) -> Measurement:
    """Do `work` once; `probe`: watch Synapse meanwhile, `memory`: sample the processes that it starts."""
    prober, starts = (lab.prober(), Starts(lab.synapse)) if probe else (None, None)
    sampler = Memory() if memory else None
    with prober or nullcontext(), starts or nullcontext(), sampler or nullcontext():
        begun = time.monotonic()
        work()
        seconds = time.monotonic() - begun
        if probe:
            lab.wait_healthy()
            time.sleep(SETTLE_SECONDS)
    return Measurement(
        seconds,
        sum(outage.seconds for outage in prober.outages) if prober else None,
        starts.count if starts else None,
        (sampler.program or None) if sampler else None,
        (sampler.tree or None) if sampler else None,
    )


def by_hand_environment(lab: Lab) -> dict[str, str]:
    """What lab/by_hand.sh takes from its environment, for this lab."""
    config = {key: str(value) for key, value in lab.config.items()}
    return {
        "NETWORK": lab.network,
        "SYNAPSE_CONTAINER": lab.synapse,
        "SYNAPSE_DIR": config["synapseDir"],
        "SYNAPSE_URL": lab.synapse_url,
        "HOMESERVER_ADDRESS": config["homeserverAddress"],
        "POSTGRES_CONTAINER": lab.postgres,
        "BACKUP_SCRIPT": config["backupScript"],
        "IMAGE": str(lab.own_bridge["image"]),
        "BRIDGE_CONTAINER": lab.bridge,
        "BRIDGE_DIR": str(lab.own_bridge["directory"]),
        "COPIES": str(lab.dir / "by-hand"),
    }


def by_hand(lab: Lab, verb: str = "up") -> None:
    """Run lab/by_hand.sh on the lab. Raises LabError with the end of its output."""
    script = lab.root / "lab/by_hand.sh"
    env = {**os.environ, **by_hand_environment(lab)}
    done = subprocess.run([str(script), verb], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(
            f"by hand, {verb} failed with exit code {done.returncode}:\n{last_lines(done.stdout + done.stderr, 20)}"
        )


class EmptyProgram:
    """A Pulumi project without a line of program, with a state of its own under .lab/, in the lab's environment."""

    def __init__(self, lab: Lab) -> None:
        self.folder = lab.dir / "bench"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "Pulumi.yaml").write_text("name: empty\nruntime: python\n")
        (self.folder / "__main__.py").write_text("")
        self.env = {**lab.env(), "PULUMI_BACKEND_URL": f"file://{self.folder}/state"}
        self.cli = cli()
        self.run("stack", "init", "empty")

    def run(self, *words: str) -> None:
        """Run the CLI in the project. Raises LabError with the end of its output."""
        command = [self.cli, *words, "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise LabError(f"the empty program's {words[0]} failed:\n{last_lines(done.stdout + done.stderr, 20)}")

    def preview(self) -> None:
        self.run("preview", "--stack", "empty")


def run_once(lab: Lab, empty: EmptyProgram, say: Callable[[str], None]) -> dict[str, Measurement]:
    """Every row once, on a lab that is reset where a row wants a fresh one."""
    found: dict[str, Measurement] = {}

    def take(row: str, work: Callable[[], object], *, probe: bool = False, memory: bool = False) -> None:
        found[row] = measure(lab, work, probe=probe, memory=memory)
        say(f"  {row}: {found[row].seconds:.2f} s")

    lab.reset()
    shutil.rmtree(lab.dir / "by-hand", ignore_errors=True)
    take(BY_HAND, lambda: by_hand(lab), probe=True)
    shutil.rmtree(lab.dir / "by-hand", ignore_errors=True)
    _fresh(lab)
    take(UP_DIRECT, lambda: lab.pulumi("up", "--yes", "--skip-preview"), probe=True, memory=True)
    _fresh(lab)
    take(UP, lambda: lab.pulumi("up", "--yes"), probe=True, memory=True)
    # Once more, not measured: the output status is asked for at the start, so only now it tells of a bridge.
    lab.pulumi("up", "--yes", "--skip-preview")
    # With --expect-no-changes the CLI fails when something would change: then the row would measure something else.
    take(UP_AGAIN, lambda: lab.pulumi("up", "--yes", "--expect-no-changes"), probe=True, memory=True)
    take(PREVIEW, lambda: lab.pulumi("preview", "--expect-no-changes"), memory=True)
    take(EMPTY, empty.preview, memory=True)
    take(DESTROY, lambda: lab.pulumi("destroy", "--yes"), probe=True, memory=True)
    take(RESTART, lambda: (lab.docker("restart", lab.synapse), lab.wait_healthy()), probe=True)
    with SshServer(lab) as server, Delay(server.port, SSH_DELAY) as far:
        _fresh(lab)
        lab.write_config(None, (), **server.config(far.port))
        for row, words in ((SSH_UP, ("up", "--yes")), (SSH_PREVIEW, ("preview", "--expect-no-changes"))):
            before = server.logins()
            take(row, lambda words=words: lab.pulumi(*words))  # type: ignore[misc]
            found[row] = replace(found[row], connections=server.logins() - before)
            lab.pulumi("up", "--yes", "--skip-preview")  # as above
    for number in MANY:
        _fresh(lab)
        lab.write_config(None, [lab.custom_bridge(f"n{each}") for each in range(2, number + 1)])
        take(MANY_UP[number], lambda: lab.pulumi("up", "--yes"), probe=True, memory=True)
        lab.pulumi("up", "--yes", "--skip-preview")  # as above
        take(MANY_PREVIEW[number], lambda: lab.pulumi("preview", "--expect-no-changes"), memory=True)
    return found


def _fresh(lab: Lab) -> None:
    """A pristine host and an empty stack; making the stack is no part of what is measured."""
    lab.reset()
    lab.pulumi("stack", "ls")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description="The speed table; see lab/bench.py.")
    parser.add_argument("--runs", type=int, default=5, help="how often every row is measured (default 5)")
    parser.add_argument("--json", type=Path, help="also write every single measurement to this file")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error("--runs: at least 1")

    def say(line: str) -> None:
        print(f"bench: {line}", file=sys.stderr, flush=True)

    lab = Lab.here(say=lambda line: None)
    begun = time.monotonic()
    try:
        say("the lab is made ready (minutes on a new machine) ...")
        lab.up()
        empty = EmptyProgram(lab)
        say("warming up: a preview of each program ...")
        empty.preview()
        _fresh(lab)
        lab.pulumi("preview")
        found: dict[str, list[Measurement]] = {row: [] for row in ROWS}
        for number in range(1, arguments.runs + 1):
            say(f"run {number} of {arguments.runs}, {time.monotonic() - begun:.0f} s since the start")
            for row, measurement in run_once(lab, empty, say).items():
                found[row].append(measurement)
        lab.reset()
    except LabError as error:
        print(f"python -m lab.bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("python -m lab.bench: interrupted; `python -m lab reset` clears what is deployed", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(lab.dir / "bench", ignore_errors=True)
        shutil.rmtree(lab.dir / "by-hand", ignore_errors=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({row: [asdict(item) for item in found[row]] for row in ROWS}, indent=2) + "\n"
        )
    plugins = "emulated" if os.environ.get("LAB_PLUGINS") is None else "real"
    print(f"{arguments.runs} runs, {os.cpu_count()} cores, {plugins} provider plugins\n\n{report(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
