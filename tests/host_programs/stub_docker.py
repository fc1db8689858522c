#!/usr/bin/env -S python3 -I -S
"""A `docker` for tests: it answers exactly the command lines it was told, and nothing else (exit code 64).

Run as `docker` it plays; imported it gives `StubDocker`, which makes a folder for PATH with such a `docker` in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def out(text: str = "", *, err: str = "", code: int = 0, sleep: float = 0) -> dict[str, Any]:
    """One answer: stdout, stderr, exit code, and seconds before it."""
    return {"out": text, "err": err, "code": code, "sleep": sleep}


class StubDocker:
    """`on(words, answer, …)`: the answers to that command line in turn; the last one stands from then on. Several that
    are inspected at once are those that are inspected one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "docker").symlink_to(Path(__file__).resolve())
        self.script: dict[str, list[dict[str, Any]]] = {}

    def on(self, words: str, *answers: dict[str, Any]) -> None:
        self.script[words] = list(answers)
        (self.folder / "script.json").write_text(json.dumps(self.script))

    @property
    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a script under test."""
        return {**os.environ, "PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}"}


def play(folder: Path, words: str) -> int:
    script = json.loads((folder / "script.json").read_text()) if (folder / "script.json").exists() else {}
    kind, _, names = words.partition(" inspect ")
    if words in script or len(names.split()) < 2:
        answer = said(folder, script, words)
    else:
        # As if each had been asked for alone.
        each = [said(folder, script, f"{kind} inspect {name}") for name in names.split()]
        found = [item for one in each for item in json.loads(one["out"] or "[]")]
        answer = out(
            json.dumps(found),
            err="".join(one["err"] for one in each),
            code=max(one["code"] for one in each),
            sleep=max(one["sleep"] for one in each),
        )
    time.sleep(answer["sleep"])
    print(answer["out"], end="", flush=True)
    print(answer["err"], end="", file=sys.stderr)
    return int(answer["code"])


def said(folder: Path, script: dict[str, list[dict[str, Any]]], words: str) -> dict[str, Any]:
    with (folder / "calls").open("a") as log:
        log.write(json.dumps(words) + "\n")  # a word may have lines: a program
    if words not in script:
        return out(err=f"stub docker: not in the script: {words}\n", code=64)
    turn = (folder / "calls").read_text().splitlines().count(json.dumps(words)) - 1
    return script[words][min(turn, len(script[words]) - 1)]


if __name__ == "__main__":
    sys.exit(play(Path(sys.argv[0]).parent, " ".join(sys.argv[1:])))
