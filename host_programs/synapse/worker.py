"""The containers of Synapse's workers, as the setting synapseWorkers names them."""

from __future__ import annotations

from documents.places import Synapse
from host_programs import program_file
from host_programs.common import ScriptError
from host_programs.container import inside, look
from host_programs.synapse import worker_inside
from verdicts.host_facts import Worker, WorkerFacts


def worker(name: str, synapse: Synapse) -> Worker:
    """What there is to know of it. ScriptError if Docker fails."""
    container = look(name)
    if container is None:
        return Worker(None)
    homeserver = inside(container, synapse.homeserver_file) or ""
    if not container.running:
        return Worker(container, homeserver)
    arguments = worker_inside.Arguments(homeserver or synapse.inside("homeserver.yaml"))
    try:
        seen = program_file.run_inside(name, worker_inside.look, arguments, timeout=30)
    except program_file.InsideError as error:
        seen = WorkerFacts(error=str(error))
    return Worker(container, homeserver, seen)


def unwell(name: str, synapse: Synapse) -> str:
    """Why it is not up; "" if it is."""
    try:
        facts = worker(name, synapse).facts
    except ScriptError as error:
        return str(error)
    return (facts.error or facts.unwell) if facts else "it does not run"
