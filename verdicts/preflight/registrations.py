"""Checks the registrations that Synapse has: appservices that conflict with ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from documents.homeserver.entries import Entries
from documents.places import BridgeDeployment, Deployment
from verdicts.host_facts.host import HostFacts
from verdicts.host_facts.synapse import Registration


def check_registrations(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Ids and namespaces of ours that other appservices have."""
    ours = Entries.of(deployment).registrations
    for other in facts.synapse.registrations:
        if other.path in ours:
            continue
        if other.error:
            yield f"registration {other.path}: cannot be read: {other.error}: fix it, or Synapse will not start again"
            continue
        if other.id == deployment.doublepuppet_id:
            yield f"registration {other.path}: has the id {other.id} too: set another doublepuppetId"
        for bridge in deployment.bridges:
            yield from _find_conflicts(other, bridge)


def check_own_registrations(facts: HostFacts, deployment: Deployment) -> Iterator[str]:
    """Files of ours that keep a Synapse down: homeserver.yaml lists them, and they are gone. `up` itself writes
    them again for a Synapse that runs, and after a run that was killed."""
    synapse, running = deployment.synapse, facts.synapse_container is not None and facts.synapse_container.running
    if facts.interrupted or (running and not facts.synapse_silent):
        return
    present = (*(bridge.registration for bridge in facts.bridges), facts.doublepuppet)
    lines = ((facts.homeserver and facts.homeserver.text) or "").splitlines()
    for path, found in zip(deployment.registration_paths, present, strict=True):
        inside = re.escape(synapse.path_inside(path.rpartition("/")[2]))
        number = next((n for n, line in enumerate(lines, 1) if re.match(rf"[^#]*{inside}(?![\w.-])", line)), 0)
        if found is None and number:
            yield (
                f"{synapse.homeserver_file}:{number}: lists {path}, which is gone, and Synapse does not start without "
                "it: take this line out (and its key, if that is then empty) and start "
                f"{synapse.container}: `up` writes both again"
            )


def _find_conflicts(other: Registration, deployment: BridgeDeployment) -> Iterator[str]:
    bridge, domain = deployment.bridge, deployment.synapse.domain
    advice = (
        f"if a {bridge.network_name} bridge was set up by hand, this program can take it over with its account: "
        "on its host, `.venv/bin/python -m host_programs.bridge.adopt --config ITS/config.yaml` says how"
    )
    if other.id == bridge.appservice_id:
        fix = "Synapse would not start: remove one of the two"
        yield f"registration {other.path}: has the id {other.id} too: {fix}; {advice}"
        return
    ghosts = (f"@{bridge.username_template.replace('{{.}}', ghost)}:{domain}" for ghost in bridge.ghost_ids)
    users = [deployment.bot, *ghosts]
    for regex in other.exclusive:
        covered = next((user for user in users if _matches(regex, user)), None)
        if covered:
            clash = f"its exclusive namespace {regex} covers {covered}"
            yield f"registration {other.path}: {clash}: narrow it or remove it; {advice}"


def _matches(regex: str, user: str) -> bool:
    with contextlib.suppress(re.error):
        return re.match(regex, user) is not None
    return False
