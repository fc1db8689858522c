"""The way back of an edit of homeserver.yaml: after a failed start, and after a run that was killed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from documents.masking import clean_log
from documents.places import Synapse
from host_programs.docker import inspect_container
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.synapse import restart
from host_programs.synapse.homeserver.file import Journal, hash_data, put_back, read_journal, read_text


def undo_edit(
    synapse: Synapse, journal: Journal, failed: restart.Restart, secrets: Collection[str], begin: float
) -> ScriptError:
    """Put the old file back, and restart Synapse and those of its workers that were started since `begin` (seconds
    since the epoch); the error that says all that."""
    path, name = Path(synapse.homeserver_file), synapse.container
    logs = restart.quote_logs(failed, secrets)  # of the failed start, before the next one
    head = f"{name}: Synapse did not come up after its restart: {clean_log(failed.fault or '', secrets)}"
    if hash_data(journal.old.encode()) == journal.new:
        return ScriptError(
            f"{head}\n{path}: was not changed by this run, so there is nothing to put back; the registrations are "
            f"new: a bridge that runs works again once `pulumi up` goes through\n{logs}"
        )
    try:
        put_back(path, journal)
    except (ScriptError, OSError) as error:
        return ScriptError(f"{head}\n{error}: Synapse is down: fix {path} and run docker restart {name}\n{logs}")
    again = restart.restart_synapse(synapse, restart.find_started_since(synapse.workers, begin))
    end = (
        f"Synapse is still not healthy with it ({clean_log(again.fault, secrets)}): it has another cause"
        if again.fault
        else f"Synapse is healthy again with it after {again.seconds} s"
    )
    return ScriptError(f"{head}\n{path}: is as it was before; {end}\nof the failed start, {logs}")


def finish_interrupted_edit(synapse: Synapse, journal_file: Path, secrets: Collection[str]) -> None:
    """Finish what a killed run began: Synapse gets the new file, or the old one back. ScriptError if the new file could
    not stay, or Synapse is not healthy with the old one."""
    path, name = Path(synapse.homeserver_file), synapse.container
    journal = read_journal(journal_file, path)
    if journal is None:
        return
    container, (content, _) = inspect_container(name), read_text(path)
    is_new = hash_data(content.data) == journal.new
    if is_new or content.data == journal.old.encode():
        changed, names = content.status.st_mtime, [name, *synapse.workers]
        running = container is not None and container.running
        restarted = running and restart.find_started_since(names, changed) == names
        if not restarted or restart.explain_unhealthy_synapse(synapse, 0):
            say(f"{path}: an earlier run was ended before {name} was healthy with what it wrote: finishing that first")
            done = restart.restart_synapse(synapse, synapse.workers)
            if done.fault and is_new:
                error = undo_edit(synapse, journal, done, secrets, changed)
                safe_files.remove_file(journal_file)
                raise error
            if done.fault:
                logs = restart.quote_logs(done, secrets)
                raise ScriptError(
                    f"{name}: is not healthy ({clean_log(done.fault, secrets)}), though {path} is as it was before an "
                    f"earlier run of this stack that was ended: it has another cause\n{logs}"
                )
    else:
        say(f"{path}: somebody changed it after an earlier run was ended: it is taken as it is")
    safe_files.remove_file(journal_file)
