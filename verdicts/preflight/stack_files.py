"""Checks the stack's own files on the host: its directory and its dump script."""

from __future__ import annotations

from collections.abc import Iterator

from documents.places import Deployment
from verdicts.host_facts.host import HostFacts


def check_shared_directory(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """A directory in the place of the stack's own that is somebody else's."""
    stack, directory = deployment.stack, facts.directory
    if directory.stack not in (None, stack):
        yield f"{deployment.shared_directory}: belongs to the stack {directory.stack}: set another sharedDir"
    elif directory.stack is None and directory.entries:
        yield f"{deployment.shared_directory}: holds files that this stack did not make: set another sharedDir"


def check_dump_script(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """A file in the place of our dump script that is somebody else's."""
    if facts.dump_script_owner not in (None, deployment.stack):
        reason = f"belongs to the stack {facts.dump_script_owner}" if facts.dump_script_owner else "is not ours"
        yield f"{deployment.dump_script}: exists and {reason}: set another sharedDir, whose name it has"
