"""Launches a job whose sources an earlier step left on this host (bundle.py, Stored): it travels in place of
host_programs/launch.py, which is among them."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any


def launch(job: dict[str, Any]) -> None:
    """Ends with a line for a person if the file is not what that step wrote, whoever may have written there."""
    path, launcher = job["stored"]["path"], job["stored"]["launcher"]
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != job["stored"]["sha256"]:
        again = "`pulumi up`, or `pulumi destroy --run-program`, writes it anew"
        sys.exit(f"{path}: gone, or not what this stack wrote, and this step's program is in it: {again}")
    job["sources"] = json.loads(data.partition(b"\n")[2])
    found: dict[str, Any] = {}
    exec(job["sources"][launcher], found)
    found["launch"](job)
