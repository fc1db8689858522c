"""The speed table could say `met` of numbers that miss: each target is tested on both sides of its limit, and that the
slowest run does not hide behind a median where every run counts. The rest: what is read from /proc, and whose it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import bench
from lab.bench import Measurement, Verdict

MB = 1_000_000


def measurements() -> dict[str, list[Measurement]]:
    """Three runs in which every target is just met."""
    found = {row: [Measurement(1.0)] * 3 for row in bench.ROWS}
    found[bench.BY_HAND] = [Measurement(seconds, 2.0, 1) for seconds in (2.5, 2.4, 9.0)]
    found[bench.PROVIDERS_UP] = [Measurement(1.5)] * 3
    found[bench.UP] = [Measurement(6.0, None, 1, 149 * MB, 700 * MB)] * 3
    found[bench.UP_DIRECT] = [Measurement(5.0, 2.4, 1, 149 * MB, 700 * MB)] * 3
    found[bench.PREVIEW] = [Measurement(2.5, program=149 * MB)] * 3
    found[bench.RESTART] = [Measurement(2.1, 2.0, 1)] * 3
    found[bench.SSH_UP] = [Measurement(9.0, connections=30)] * 3
    found[bench.SSH_PREVIEW] = [Measurement(4.5, connections=3)] * 3
    found[bench.MANY_UP[5]] = [Measurement(12.0, None, 1, 149 * MB)] * 3
    found[bench.MANY_UP[20]] = [Measurement(24.0, None, 1, 149 * MB)] * 3
    found[bench.MANY_PREVIEW[20]] = [Measurement(5.5)] * 3
    return found


def missed(found: dict[str, list[Measurement]], before: dict[str, float] | None = None) -> list[str]:
    return [item.target for item in bench.verdicts(found, before) if not item.is_met]


def test_all_met_at_the_limits() -> None:
    assert missed(measurements()) == []


@pytest.mark.parametrize(
    ("row", "worse", "words"),
    [
        (bench.BY_HAND, {"seconds": 2.49}, "1.5 times the floor"),
        (bench.PROVIDERS_UP, {"seconds": 1.49}, "1.5 times the floor"),
        (bench.PREVIEW, {"seconds": 2.51}, "1.5 s longer than an empty"),
        (bench.UP, {"restarts": 2}, "exactly once"),
        (bench.UP, {"restarts": 0}, "exactly once"),
        (bench.UP_DIRECT, {"outage": 2.41}, "1.2 times a bare restart"),
        (bench.DESTROY, {"program": 150 * MB}, "under 150 MB"),
        (bench.SSH_UP, {"seconds": 9.01}, "at most 1.5 times as long"),
        (bench.SSH_PREVIEW, {"seconds": 4.51}, "at most 2 s longer"),
        (bench.MANY_UP[5], {"seconds": 12.01}, "5 bridges: a fresh `pulumi up` takes at most 2 times as long"),
        (bench.MANY_UP[5], {"restarts": 2}, "5 bridges: it restarts Synapse exactly once"),
        (bench.MANY_UP[20], {"seconds": 24.01}, "20 bridges: a fresh `pulumi up` takes at most 4 times as long"),
        (bench.MANY_UP[20], {"restarts": 2}, "20 bridges: it restarts Synapse exactly once"),
        (bench.MANY_PREVIEW[20], {"seconds": 5.51}, "at most 3 s longer"),
        (bench.SSH_UP, {"connections": 31}, "at most 30 connections"),
        (bench.SSH_PREVIEW, {"connections": 4}, "at most 3 connections"),
    ],
)
def test_each_target_is_missed_beyond_its_limit(row: str, worse: dict[str, Any], words: str) -> None:
    found = measurements()
    found[row] = [replace(item, **worse) for item in found[row]]
    [target] = missed(found)
    assert words in target


@pytest.mark.parametrize("row", [bench.UP, bench.PREVIEW])
def test_one_bridge_that_is_slower_than_before_is_missed(row: str) -> None:
    found = measurements()
    before = {bench.UP: 6.0, bench.PREVIEW: 2.5}
    assert missed(found, before) == []
    assert missed(found, {**before, row: before[row] - 0.01}) == [f"{row}: takes no longer than before"]


def test_the_times_before_are_the_medians_of_what_json_wrote() -> None:
    rows = {bench.UP: [{"seconds": 3.0}, {"seconds": 9.0}, {"seconds": 4.0}], bench.PREVIEW: [{"seconds": 2.0}]}
    assert bench.earlier_seconds(json.dumps(rows)) == {bench.UP: 4.0, bench.PREVIEW: 2.0}
    for text in ("", "[]", "{}", json.dumps({**rows, bench.UP: []})):
        with pytest.raises(ValueError, match=r"^not what `python -m lab.bench --json FILE` writes"):
            bench.earlier_seconds(text)


@pytest.mark.parametrize(("worse", "words"), [({"restarts": 2}, "exactly once"), ({"program": 151 * MB}, "150 MB")])
def test_one_bad_run_is_enough_for_restarts_and_memory(worse: dict[str, int], words: str) -> None:
    found = measurements()
    found[bench.UP] = [*found[bench.UP][:2], replace(found[bench.UP][2], **worse)]
    [target] = missed(found)
    assert words in target


def test_one_slow_run_is_not_enough_for_times() -> None:
    found = measurements()
    found[bench.UP] = [*found[bench.UP][:2], replace(found[bench.UP][2], seconds=60.0, outage=30.0)]
    assert missed(found) == []


def test_what_was_not_measured_is_no_verdict() -> None:
    found = measurements()
    found[bench.UP] = [Measurement(6.0)] * 3
    with pytest.raises(ValueError, match="not measured"):
        bench.verdicts(found)


def test_restarts_that_differ_are_both_named() -> None:
    found = measurements()
    found[bench.UP] = [*found[bench.UP][:2], replace(found[bench.UP][2], restarts=2)]
    [verdict] = [item for item in bench.verdicts(found) if item.target.startswith("a fresh `pulumi up` restarts")]
    assert verdict == Verdict("a fresh `pulumi up` restarts Synapse exactly once", "1 or 2", False)


def test_report_shows_median_extremes_and_verdicts() -> None:
    found = measurements()
    found[bench.PREVIEW] = [replace(item, seconds=9.0) for item in found[bench.PREVIEW]]
    lines = bench.report(found).splitlines()
    [by_hand] = [line for line in lines if line.startswith(bench.BY_HAND)]
    assert by_hand.removeprefix(bench.BY_HAND).split() == ["2.50", "2.40", "9.00", "2.00", "1", "-", "-"]
    fresh = next(line for line in lines if line.startswith(bench.UP + "  "))
    assert fresh.removeprefix(bench.UP).split() == ["6.00", "6.00", "6.00", "-", "1", "149", "700"]
    assert [line.split()[-1] for line in lines[-14:]] == ["met", "MISSED", *["met"] * 12]


def test_ratios_name_the_floor_and_what_more_bridges_take() -> None:
    rows = [line.split()[-3:] for line in bench.ratios(measurements()).splitlines()[2:]]
    assert rows == [
        ["4.00", "1.00", "-"],
        ["6.00", "1.50", "1.00"],
        ["12.00", "3.00", "2.00"],
        ["24.00", "6.00", "4.00"],
    ]


def test_with_sigint_ignored_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the background of a shell: every row would be 5 s too long."""
    monkeypatch.setattr("lab.bench.Lab.here", lambda say: pytest.fail("the lab was asked for"))
    monkeypatch.setattr("lab.bench.signal.getsignal", lambda number: signal.SIG_IGN)
    assert bench.main([]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "SIGINT is ignored" in line and "run it in the foreground" in line


def test_table_lines_up() -> None:
    assert bench.table(["what", "s"], [["a", "1.00"], ["longer", "10.00"]]) == (
        "what        s\n------  -----\na        1.00\nlonger  10.00"
    )
    with pytest.raises(ValueError, match="cells"):
        bench.table(["what", "s"], [["a"]])


def test_descendants_leave_out_others_and_end_in_a_loop() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    assert bench.descendants(parents, [10]) == {10, 11, 12}
    assert bench.descendants({2: 3, 3: 2}, [2]) == {2, 3}  # ids that were used again while /proc was read


def test_parent_of_a_process_with_a_strange_name() -> None:
    assert bench.parent_of("4711 (a) b (c) S 42 4711 4711 0 -1") == 42


def test_status_bytes() -> None:
    status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
    assert bench.status_bytes(status, "VmRSS") == 1024 * 1024
    assert bench.status_bytes(status, "VmHWM") == 2048 * 1024
    assert bench.status_bytes("Name:\tkthreadd\n", "VmRSS") == 0


def test_a_sample_finds_the_program_below_a_child_and_not_the_prober() -> None:
    """A real tree: this process, a shell, and below it one that looks like the program and holds 50 MB."""
    hold = "import sys; held = bytearray(b'x') * 50_000_000; print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold]
    inner = subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", *command, bench.PROGRAM_MARK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    prober = subprocess.Popen([*command, "lab.prober"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for process in (inner, prober):
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        memory = bench.Memory()
        memory.sample()
        assert 50 * MB < memory.program < 90 * MB
        assert memory.program < memory.tree < 100 * MB
    finally:
        for process in (inner, prober):
            process.communicate()


def test_each_start_is_counted_however_many_events_docker_has_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty bridges push an event out of the last 256 that Docker keeps."""
    docker, told = tmp_path / "docker", tmp_path / "told"
    docker.write_text(f"#!/bin/sh\necho $5 >> {told}\nprintf 'one\\ntwo\\n'\necho >> {told}\nexec sleep 60\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with bench.Starts("synapse") as starts:
        while not told.is_file() or told.read_text().count("\n") < 2:
            pass
    assert starts.count == 2 and told.read_text() == "event=start\n\n"
