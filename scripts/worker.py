"""The containers of Synapse's workers, as the setting synapseWorkers names them."""

from __future__ import annotations

import json

from documents.places import Synapse
from scripts import bundle, worker_inside
from scripts.common import ScriptError, docker
from scripts.container import inside, look
from scripts.wire import typed
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
    done = docker(
        "exec", "-i", name, "python3", "-c", bundle.LAUNCH, "look",
        stdin=bundle.pack(worker_inside.__name__, arguments), check=False, timeout=30,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return Worker(container, homeserver, WorkerFacts(error=said))
    return Worker(container, homeserver, typed(WorkerFacts, json.loads(done.stdout), f"the answer of {name}"))


def unwell(name: str, synapse: Synapse) -> str:
    """Why it is not up; "" if it is."""
    try:
        facts = worker(name, synapse).facts
    except ScriptError as error:
        return str(error)
    return (facts.error or facts.unwell) if facts else "it does not run"
