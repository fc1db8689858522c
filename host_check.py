"""Looks at the host before anything is planned: stops with the list of all that is wrong, or says what will change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from components.host import Host, HostError
from plan import Plan
from verdicts.preflight import arguments, judge

DESTROYS = ("destroy", "down", "dn")
OPERATIONS = (*DESTROYS, "up", "update", "preview", "pre", "refresh", "watch", "import")


@dataclass(frozen=True)
class Found:
    """What the components need to know of the host."""

    postgres_address: str
    superuser_password: pulumi.Output[str]
    synapse_owner: tuple[int, int]
    attempt: int
    bridge_status: dict[str, Any]


def refuse_or_tell(host: Host, plan: Plan) -> Found:
    """Raises pulumi.RunError, one line a problem, unless the plan may go on; a destroy always may, with warnings."""
    settings = plan.settings
    going = destroying()
    try:
        facts = host.read("scripts.facts", "read", arguments(settings, plan.bridge))
        findings = judge(facts, settings, plan.bridge, plan.stack, plan.entries, plan.block)
    except HostError as error:
        raise pulumi.RunError(str(error)) from None
    if findings.problems and not going:
        count = len(findings.problems)
        head = f"the host is not ready; nothing was changed. {count} problem{'s' * (count > 1)}:"
        raise pulumi.RunError("\n".join([head, *(f"- {problem}" for problem in findings.problems)]))
    if pulumi.runtime.is_dry_run() and not going:
        for warning in findings.warnings:
            pulumi.log.warn(warning)
        for diff in findings.diffs:
            pulumi.log.info(f"up will make this change:\n{diff}")
    postgres = facts["containers"][settings.postgres_container] or {"networks": {}}
    synapse = facts["synapse"]
    return Found(
        postgres_address=postgres["networks"].get(settings.network, ""),
        superuser_password=pulumi.Output.secret(settings.postgres_password or facts["superuser_password"] or ""),
        synapse_owner=(synapse.get("uid", 0), synapse.get("gid", 0)),
        attempt=findings.attempt,
        bridge_status=facts["bridge"],
    )


def destroying() -> bool:
    """Whether `pulumi destroy --run-program` runs this program. Pulumi does not tell (pkg/v3 v3.259.0: the run request
    has no such field), so the command line of the CLI above this process does."""
    process = os.getppid()
    while process > 1:
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return False  # no /proc, or the process is gone
        if Path(words[0]).name == "pulumi":
            return next((word in DESTROYS for word in words[1:] if word in OPERATIONS), False)
        process = int(status.rpartition(")")[2].split()[1])
    return False
