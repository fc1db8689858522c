"""The containers of Synapse's workers, as the setting synapseWorkers names them."""

from __future__ import annotations

from documents.places import Synapse
from host_programs import program_file
from host_programs.docker import find_path_in_container, inspect_container
from host_programs.messages import ScriptError
from host_programs.synapse.inside import worker_facts
from verdicts.host_facts.synapse import Worker, WorkerFacts


def inspect_worker(name: str, synapse: Synapse) -> Worker:
    """The container, and what it says of itself. ScriptError if Docker fails."""
    container = inspect_container(name)
    if container is None:
        return Worker(None)
    homeserver = find_path_in_container(container, synapse.homeserver_file) or ""
    if not container.running:
        return Worker(container, homeserver)
    request = worker_facts.WorkerRequest(homeserver or synapse.path_inside("homeserver.yaml"))
    try:
        facts = program_file.run_inside(name, worker_facts.inspect_worker, request, timeout=30)
    except program_file.InsideError as error:
        facts = WorkerFacts(error=str(error))
    return Worker(container, homeserver, facts)


def explain_unhealthy_worker(name: str, synapse: Synapse) -> str:
    """Why it is not healthy; "" if it is."""
    try:
        facts = inspect_worker(name, synapse).facts
    except ScriptError as error:
        return str(error)
    return (facts.error or facts.unwell) if facts else "it does not run"
