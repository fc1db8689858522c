"""Measures how long Synapse is away: asks for /_matrix/client/versions 50 times a second from a process of its own.

    with Prober(url) as prober:
        ...            # restart Synapse, run pulumi, ...
    prober.outages     # [Outage(seconds=1.93, failed=95)]

An outage lasts from the start of the first failed request to the end of the first good one. `python -m lab.prober URL`
probes until its standard input ends and prints the samples as JSON; that is the process.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

RATE_PER_SECOND = 50
REQUEST_TIMEOUT_SECONDS = 1.0
# Good answers for less than this between two failures belong to one outage: a server that is shutting down or coming
# up may answer now and then. Two restarts of Synapse are never so close.
MERGE_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    """One request; times in seconds on the monotonic clock."""

    begun: float
    ended: float
    good: bool


@dataclass(frozen=True)
class Outage:
    """`seconds`: first failed request to first good answer; to the last sample if none came. `failed`: requests."""

    seconds: float
    failed: int
    ended: bool = True


def outages(samples: Iterable[Sample], merge: float = MERGE_SECONDS) -> list[Outage]:
    """The outages in samples that are in order of time. Pure."""
    spans: list[list[Sample]] = []  # each: its failed samples, then the good one that ended it
    current: list[Sample] | None = None
    for sample in samples:
        if current is not None:
            current.append(sample)
            if sample.good:
                spans.append(current)
                current = None
        elif not sample.good:
            if spans and sample.begun - spans[-1][-1].ended < merge:
                current = [*spans.pop(), sample]
            else:
                current = [sample]
    found = [Outage(span[-1].ended - span[0].begun, sum(not item.good for item in span)) for span in spans]
    if current is not None:
        failed = sum(not item.good for item in current)
        found.append(Outage(current[-1].ended - current[0].begun, failed, ended=False))
    return found


def probe(url: str) -> bool:
    """One GET of URL/_matrix/client/versions on a new connection: is it answered with 200 and a whole body?"""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/_matrix/client/versions")
        response = connection.getresponse()
        response.read()
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Prober:
    """Context manager around the probing process. `outages` and `samples` are there after the block."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.samples: list[Sample] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Prober:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab.prober", self.url],
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if first.strip() != "probing":
            raise RuntimeError(f"the prober did not start: {first!r}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        output, _ = self._process.communicate(timeout=10)
        self.samples = [Sample(*item) for item in json.loads(output)]

    @property
    def outages(self) -> list[Outage]:
        return outages(self.samples)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m lab.prober URL", file=sys.stderr)
        return 2
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    print("probing", flush=True)
    samples: list[tuple[float, float, bool]] = []
    due = time.monotonic()
    while not stop.is_set():
        begun = time.monotonic()
        good = probe(sys.argv[1])
        samples.append((begun, time.monotonic(), good))
        # A request that took longer than a period is not made up for: it would be a burst on a server that is busy.
        due = max(due + 1 / RATE_PER_SECOND, time.monotonic())
        stop.wait(due - time.monotonic())
    print(json.dumps(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
