"""`make bench`: how long `pulumi up` and its sisters take on the lab, beside the same work done by hand.

    python -m lab.bench [--runs 5] [--json FILE] [--before FILE]

A run measures every row once, one after the other, so that a slow minute of the machine hits them all; the table shows
medians. The floor of a fresh `up` is the time by hand plus that of the `up`, with its preview, of a program that makes
the three providers and nothing else. `--before` names what `--json` wrote for an earlier version.
Outages and restarts are Synapse's: see lab/prober.py, and Docker's own events. The prober's 50 requests a second cost
Synapse a tenth of a core, so that no row whose time a target compares is probed. Memory is resident memory as /proc has
it: of the Python process that runs the program (its peak as the kernel kept it), and of the CLI with all its children,
plugins and host programs included (the highest sum seen; pages that they share count for each).
It runs in the foreground alone. The lab is reset, before and after: what is deployed on it is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
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
EMPTY_PREVIEW = "an empty program's preview"
PROVIDERS_UP = "pulumi up, fresh, the three providers alone"
RESTART = "a bare docker restart"
SSH_UP = "pulumi up, fresh, over SSH"
SSH_PREVIEW = "pulumi preview, no change, over SSH"
MANY_LIMITS = {5: 2, 20: 4}  # bridges: how often the time of one bridge's fresh `up` theirs may take
MANY = tuple(MANY_LIMITS)
MANY_UP = {number: f"pulumi up, fresh, {number} bridges" for number in MANY}
MANY_PREVIEW = {number: f"pulumi preview, no change, {number} bridges" for number in MANY}
ROWS = (
    BY_HAND, PROVIDERS_UP, UP, UP_DIRECT, UP_AGAIN, PREVIEW, DESTROY, EMPTY_PREVIEW, RESTART, SSH_UP, SSH_PREVIEW,
    *MANY_UP.values(), *MANY_PREVIEW.values(),
)  # fmt: skip

THREE_PROVIDERS = """\
import pulumi_command as command
import pulumi_docker as docker
import pulumi_postgresql as postgresql

command.Provider("command")
docker.Provider("docker")
postgresql.Provider("postgresql", host="127.0.0.1", superuser=False)
"""

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
    result: str
    is_met: bool


Measurements = Mapping[str, Sequence[Measurement]]  # of all runs, by row


# ---------------------------------------------------------------- pure


def median_seconds(measurements: Measurements, row: str) -> float:
    return median(item.seconds for item in measurements[row])


def floor_seconds(measurements: Measurements) -> float:
    """What no fresh `pulumi up` can be faster than: the median, over the runs, of both parts together."""
    pairs = zip(measurements[BY_HAND], measurements[PROVIDERS_UP], strict=True)
    return median(by_hand.seconds + providers.seconds for by_hand, providers in pairs)


def verdicts(measurements: Measurements, before: Mapping[str, float] | None = None) -> list[Verdict]:
    """The targets against the measurements. Medians, except restarts, memory and connections: every run.

    `before`: median seconds of an earlier version, by row.
    """

    def seconds(row: str) -> float:
        return median_seconds(measurements, row)

    def outage(row: str) -> float:
        return median(_known(item.outage) for item in measurements[row])

    def times(target: str, value: float, limit: float, base: float) -> Verdict:
        result = f"{value:.2f} s, {value / base:.2f} times" if base else f"{value:.2f} s, the other none"
        return Verdict(target, result, value <= limit * base)

    def longer(target: str, row: str, limit: float, base_row: str) -> Verdict:
        value, base = seconds(row), seconds(base_row)
        return Verdict(target, f"{value:.2f} s, {value - base:+.2f} s", value <= base + limit)

    def one_restart(target: str, row: str) -> Verdict:
        restarts = sorted({_known(item.restarts) for item in measurements[row]})
        return Verdict(target, " or ".join(map(str, restarts)), restarts == [1])

    def connections(row: str, limit: int) -> Verdict:
        most = max(_known(item.connections) for item in measurements[row])
        return Verdict(f"{row}: at most {limit} connections", str(most), most <= limit)

    fresh, most = seconds(UP), MANY[-1]
    program = max(item.program for items in measurements.values() for item in items if item.program is not None)
    return [
        times("a fresh `pulumi up` takes at most 1.5 times the floor", fresh, 1.5, floor_seconds(measurements)),
        *(
            times(f"{row}: takes no longer than before", seconds(row), 1, before[row])
            for row in (UP, PREVIEW)
            if before is not None
        ),
        longer(
            "a preview without change takes at most 1.5 s longer than an empty program's", PREVIEW, 1.5, EMPTY_PREVIEW
        ),
        one_restart("a fresh `pulumi up` restarts Synapse exactly once", UP),
        times("its outage of Synapse is at most 1.2 times a bare restart's", outage(UP_DIRECT), 1.2, outage(RESTART)),
        Verdict("the program stays under 150 MB", f"{program / 1e6:.0f} MB", program < 150e6),
        times("over SSH, 50 ms away, a fresh `pulumi up` takes at most 1.5 times as long", seconds(SSH_UP), 1.5, fresh),
        longer("over SSH, 50 ms away, a preview without change takes at most 2 s longer", SSH_PREVIEW, 2, PREVIEW),
        *(
            times(
                f"{number} bridges: a fresh `pulumi up` takes at most {limit} times as long as one bridge's",
                seconds(MANY_UP[number]),
                limit,
                fresh,
            )
            for number, limit in MANY_LIMITS.items()
        ),
        *(one_restart(f"{number} bridges: it restarts Synapse exactly once", MANY_UP[number]) for number in MANY),
        longer(
            f"{most} bridges: a preview without change takes at most 3 s longer than one bridge's",
            MANY_PREVIEW[most],
            3,
            PREVIEW,
        ),
        connections(SSH_UP, 30),
        connections(SSH_PREVIEW, 3),
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


def ratios(measurements: Measurements) -> str:
    """The fresh `up`s as a table: their medians beside the floor's and one bridge's."""
    floor, one = floor_seconds(measurements), median_seconds(measurements, UP)
    rows = [["the floor: by hand, and the three providers alone", f"{floor:.2f}", "1.00", "-"]]
    for title, row in {"1 bridge": UP, **{f"{number} bridges": MANY_UP[number] for number in MANY}}.items():
        value = median_seconds(measurements, row)
        rows.append([title, f"{value:.2f}", f"{value / floor:.2f}", f"{value / one:.2f}"])
    return table(["a fresh up (median)", "s", "times the floor", "times one bridge"], rows)


def report(measurements: Measurements, before: Mapping[str, float] | None = None) -> str:
    """The whole of what the benchmark has to say about its measurements. `before`: as for `verdicts`."""
    header = ["median of the runs", "s", "fastest", "slowest", "outage s", "restarts", "program MB", "all MB"]
    rows = []
    for row in ROWS:
        items = measurements[row]
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
    targets = [
        [item.target, item.result, "met" if item.is_met else "MISSED"] for item in verdicts(measurements, before)
    ]
    parts = [table(header, rows), ratios(measurements), table(["target", "measured", ""], targets)]
    return "\n\n".join(parts)


def earlier_seconds(text: str) -> dict[str, float]:
    """The median seconds by row in what `--json` wrote. Raises ValueError if it is that of no benchmark."""
    try:
        rows = json.loads(text)
        return {row: median(item["seconds"] for item in rows[row]) for row in (UP, PREVIEW)}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not what `python -m lab.bench --json FILE` writes ({error!r})") from None


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


def measure(
    lab: Lab, work: Callable[[], object], *, probe: bool = False, restarts: bool = False, memory: bool = False
) -> Measurement:
    """Do `work` once, and meanwhile: `probe` Synapse, count its `restarts`, sample the `memory` of what is started."""
    prober = lab.prober() if probe else None
    starts = Starts(lab.synapse) if restarts else None
    sampler = Memory() if memory else None
    with prober or nullcontext(), starts or nullcontext(), sampler or nullcontext():
        started = time.monotonic()
        work()
        seconds = time.monotonic() - started
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
        "HOMESERVER_ADDRESS": f"http://{config['synapseContainer']}:8008",
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


class SmallProgram:
    """A Pulumi project of this `text` alone, with a state of its own under .lab/, in the lab's environment."""

    def __init__(self, lab: Lab, name: str, text: str) -> None:
        self.name = name
        self.folder = lab.dir / "bench" / name
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        (self.folder / "__main__.py").write_text(text)
        self.env = {**lab.env(), "PULUMI_BACKEND_URL": f"file://{self.folder}/state"}
        self.cli = cli()
        self.run("stack", "init", name)

    def run(self, *words: str) -> None:
        """Run the CLI in the project. Raises LabError with the end of its output."""
        command = [self.cli, *words, "--non-interactive", "--color", "never"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise LabError(
                f"{words[0]} of the program {self.name} failed:\n{last_lines(done.stdout + done.stderr, 20)}"
            )

    def preview(self) -> None:
        self.run("preview", "--stack", self.name)

    def up(self) -> None:
        self.run("up", "--yes", "--stack", self.name)

    def destroy(self) -> None:
        self.run("destroy", "--yes", "--skip-preview", "--stack", self.name)


def run_once(
    lab: Lab, empty: SmallProgram, providers: SmallProgram, say: Callable[[str], None]
) -> dict[str, Measurement]:
    """Every row once, on a lab that is reset where a row wants a fresh one."""
    measured: dict[str, Measurement] = {}

    def take(
        row: str, work: Callable[[], object], *, probe: bool = False, restarts: bool = False, memory: bool = False
    ) -> None:
        measured[row] = measure(lab, work, probe=probe, restarts=restarts, memory=memory)
        say(f"  {row}: {measured[row].seconds:.2f} s")

    lab.reset()
    shutil.rmtree(lab.dir / "by-hand", ignore_errors=True)
    take(BY_HAND, lambda: by_hand(lab), restarts=True)
    shutil.rmtree(lab.dir / "by-hand", ignore_errors=True)
    take(PROVIDERS_UP, providers.up)
    providers.destroy()  # not measured: the next run's is fresh again
    _fresh(lab)
    take(UP_DIRECT, lambda: lab.pulumi("up", "--yes", "--skip-preview"), probe=True, restarts=True, memory=True)
    _fresh(lab)
    take(UP, lambda: lab.pulumi("up", "--yes"), restarts=True, memory=True)
    # Once more, not measured: the output status is asked for at the start, so only now it tells of a bridge.
    lab.pulumi("up", "--yes", "--skip-preview")
    # With --expect-no-changes the CLI fails when something would change: then the row would measure something else.
    again = ("up", "--yes", "--expect-no-changes")
    take(UP_AGAIN, lambda: lab.pulumi(*again), probe=True, restarts=True, memory=True)
    take(PREVIEW, lambda: lab.pulumi("preview", "--expect-no-changes"), memory=True)
    take(EMPTY_PREVIEW, empty.preview, memory=True)
    take(DESTROY, lambda: lab.pulumi("destroy", "--yes"), probe=True, restarts=True, memory=True)
    take(RESTART, lambda: (lab.docker("restart", lab.synapse), lab.wait_healthy()), probe=True, restarts=True)
    with SshServer(lab) as server, Delay(server.port, SSH_DELAY) as far:
        _fresh(lab)
        lab.write_config(None, (), **server.config(far.port))
        for row, words in ((SSH_UP, ("up", "--yes")), (SSH_PREVIEW, ("preview", "--expect-no-changes"))):
            before = server.logins()
            take(row, lambda words=words: lab.pulumi(*words))  # type: ignore[misc]
            measured[row] = replace(measured[row], connections=server.logins() - before)
            lab.pulumi("up", "--yes", "--skip-preview")  # as above
    for number in MANY:
        _fresh(lab)
        lab.write_config(None, [lab.custom_bridge(f"n{index}") for index in range(2, number + 1)])
        take(MANY_UP[number], lambda: lab.pulumi("up", "--yes"), restarts=True, memory=True)
        lab.pulumi("up", "--yes", "--skip-preview")  # as above
        take(MANY_PREVIEW[number], lambda: lab.pulumi("preview", "--expect-no-changes"), memory=True)
    return measured


def _fresh(lab: Lab) -> None:
    """A pristine host and an empty stack; making the stack is no part of what is measured."""
    lab.reset()
    lab.pulumi("stack", "ls")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description="The speed table; see lab/bench.py.")
    parser.add_argument("--runs", type=int, default=5, help="how often every row is measured (default 5)")
    parser.add_argument("--json", type=Path, help="also write every single measurement to this file")
    parser.add_argument("--before", type=Path, help="what --json wrote for an earlier version: one bridge against it")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    try:
        before = earlier_seconds(arguments.before.read_text()) if arguments.before else None
    except (OSError, ValueError) as error:
        parser.error(f"--before {arguments.before}: {error}")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        print(
            "python -m lab.bench: SIGINT is ignored, as in the background of a shell, and every call of the Pulumi CLI "
            "would take 5 s longer: run it in the foreground",
            file=sys.stderr,
        )
        return 1

    def say(line: str) -> None:
        print(f"bench: {line}", file=sys.stderr, flush=True)

    lab = Lab.here(say=lambda line: None)
    started = time.monotonic()
    try:
        say("the lab is made ready (minutes on a new machine) ...")
        lab.up()
        empty, providers = SmallProgram(lab, "empty", ""), SmallProgram(lab, "providers", THREE_PROVIDERS)
        say("warming up: a preview of each program ...")
        empty.preview()
        providers.preview()
        _fresh(lab)
        lab.pulumi("preview")
        measurements: dict[str, list[Measurement]] = {row: [] for row in ROWS}
        for number in range(1, arguments.runs + 1):
            say(f"run {number} of {arguments.runs}, {time.monotonic() - started:.0f} s since the start")
            for row, measurement in run_once(lab, empty, providers, say).items():
                measurements[row].append(measurement)
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
            json.dumps({row: [asdict(item) for item in measurements[row]] for row in ROWS}, indent=2) + "\n"
        )
    plugins = "emulated" if os.environ.get("LAB_PLUGINS") is None else "real"
    print(
        f"{arguments.runs} runs, {os.cpu_count()} cores, {plugins} provider plugins\n\n{report(measurements, before)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
