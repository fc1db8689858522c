"""Runs a bundle (`bundle.py`) on a machine without a checkout: its modules are imported from the bundle."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import nullcontext
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.util import spec_from_loader
from typing import Any


class Sent(MetaPathFinder, InspectLoader):
    """Finds modules in a bundle's `sources`."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return spec_from_loader(name, self, is_package=self.is_package(name)) if name in self.job["sources"] else None

    def is_package(self, name: str) -> bool:
        return name in self.job["packages"]

    def get_source(self, name: str) -> str:
        return str(self.job["sources"][name])


def launch(job: dict[str, Any]) -> None:
    """Run one of the script's VERBS, the one that argv names, with the bundle's arguments as standard input."""
    sys.meta_path.insert(0, Sent(job))
    if job["docker_host"]:
        os.environ["DOCKER_HOST"] = job["docker_host"]
    sys.stdin = io.StringIO(json.dumps(job["arguments"]))
    script, common = import_module(job["script"]), import_module("host_programs.common")
    during = import_module("host_programs.host_lock").at_work(job["step"]) if job["step"] else nullcontext()
    each = None if job["each"] is None else {key: common.Contained(**told) for key, told in job["each"].items()}
    common.run(*script.VERBS, during=during, each=each)
