"""All stacks of this project, side by side: `pulumi preview`, `up` or `refresh` of each, and a table at the end.

    .venv/bin/python examples/fleet.py preview              every stack of the backend
    .venv/bin/python examples/fleet.py up host1 host2       these

It uses Pulumi's Automation API and nothing else: stacks, state, secrets, locks and Pulumi.STACK.yaml are those of the
CLI (docs/fleet.md). If a stack fails, the others go on, and the exit code is 1. A refresh runs the program, which opens
the way to Postgres on a host behind SSH.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pulumi import automation

PROJECT = Path(__file__).resolve().parents[1]
OPERATIONS = ("preview", "up", "refresh")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("stacks", nargs="*", help="names of stacks; none: all")
    parser.add_argument("--parallel", type=int, default=8, help="hosts at the same time")
    parser.add_argument("--project", type=Path, default=PROJECT, help="the directory with Pulumi.yaml")
    options = parser.parse_args()
    workspace = automation.LocalWorkspace(work_dir=str(options.project))
    stacks = options.stacks or [stack.name for stack in workspace.list_stacks()]
    with ThreadPoolExecutor(max_workers=options.parallel) as pool:
        rows = list(pool.map(lambda stack: run(options.project, stack, options.operation), stacks))
    width = max(map(len, ["stack", *stacks]))
    print(f"\n{'stack':{width}}  {options.operation:8}  seconds  changes")
    for stack, (succeeded, changes, seconds) in zip(stacks, rows, strict=True):
        print(f"{stack:{width}}  {'ok' if succeeded else 'FAILED':8}  {seconds:7.1f}  {changes}")
    return 0 if all(succeeded for succeeded, _, _ in rows) else 1


def run(project: Path, name: str, operation: str) -> tuple[bool, str, float]:
    """Whether it succeeded, what changed (or where to look), and the seconds that it took."""
    start = time.monotonic()

    def show(line: str) -> None:
        print(f"{name} | {line}", flush=True)

    try:
        stack = automation.select_stack(name, work_dir=str(project))
        if operation == "preview":
            changes = stack.preview(on_output=show).change_summary
        elif operation == "refresh":
            changes = stack.refresh(on_output=show, run_program=True).summary.resource_changes or {}
        else:
            changes = stack.up(on_output=show).summary.resource_changes or {}
    except automation.errors.ConcurrentUpdateError:
        return False, "another run has the stack's lock", time.monotonic() - start
    except automation.errors.CommandError as error:
        show(str(error))
        return False, "see its lines above", time.monotonic() - start
    counts = {automation.OpType(kind).value: count for kind, count in changes.items()}
    counts.pop("same", None)
    return True, ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none", time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main())
