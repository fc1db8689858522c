"""The way back of an edit of homeserver.yaml: after a failed start, and after a run that was killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from documents.masking import clean_log
from documents.places import Synapse
from host_programs.files import safe_files
from host_programs.messages import ScriptError, say
from host_programs.synapse import restart
from host_programs.synapse.homeserver_file import read_text
from host_programs.wire import WireError, from_json, to_json


@dataclass(frozen=True)
class Journal:
    """An edit in progress: the `old` text, its times of access and change (ns), and the SHA-256 of the `new` one."""

    old: str = field(repr=False)
    times: tuple[int, ...]
    new: str


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def journal_edit(file: Path, old: safe_files.Content, new: str) -> Iterator[Journal]:
    """Keep the journal in `file` while the body runs. It stays there only if this process dies in the body."""
    journal = Journal(old.data.decode(), (old.status.st_atime_ns, old.status.st_mtime_ns), _hash(new.encode()))
    if safe_files.inspect_file(file.parent):  # it may be removed by hand, at a destroy
        safe_files.write_file(file, json.dumps(to_json(journal)).encode())
    try:
        yield journal
    except ScriptError:
        safe_files.remove_file(file)
        raise
    safe_files.remove_file(file)


class _Rewritten(ScriptError):
    """homeserver.yaml is no longer what we wrote."""


def put_back(path: Path, journal: Journal) -> None:
    """Write the old text again, with its old time of change: nothing has changed since Synapse read it. ScriptError if
    somebody edited the new text."""
    if _hash(read_text(path)[0].data) != journal.new:
        raise _Rewritten(f"{path}: somebody changed it meanwhile, so it was not put back")
    safe_files.rewrite_file(path, journal.old.encode(), (journal.times[0], journal.times[1]), foreign=True)


def undo_edit(synapse: Synapse, journal: Journal, failed: restart.Restart, secrets: Collection[str]) -> ScriptError:
    """Put the old file back, and restart Synapse and those of its workers that were restarted with the new one; the
    error that says all that."""
    path, name = Path(synapse.homeserver_file), synapse.container
    logs = restart.quote_logs(failed.containers, secrets)  # of the failed start, before the next one
    head = f"{name}: Synapse did not come up after its restart: {clean_log(failed.fault, secrets)}"
    if _hash(journal.old.encode()) == journal.new:
        return ScriptError(
            f"{head}\n{path}: was not changed by this run, so there is nothing to put back; the registrations are "
            f"new: a bridge that runs works again once `pulumi up` goes through\n{logs}"
        )
    try:
        put_back(path, journal)
    except (ScriptError, OSError) as error:
        if isinstance(error, _Rewritten) and _is_healthy(synapse):
            return ScriptError(
                f"{clean_log(failed.fault, secrets)}\n{path}: was written anew when {name} started, so our entries are "
                f"gone: put them into what writes it; Synapse runs as before\n{logs}"
            )
        return ScriptError(f"{head}\n{error}: Synapse is down: fix {path} and run docker restart {name}\n{logs}")
    again = restart.restart_synapse(synapse, failed.workers)
    end = (
        f"Synapse is still not healthy with it ({clean_log(again.fault, secrets)}): it has another cause"
        if again.fault
        else f"Synapse is healthy again with it after {again.seconds} s"
    )
    return ScriptError(f"{head}\n{path}: is as it was before; {end}\nof the failed start, {logs}")


def _is_healthy(synapse: Synapse) -> bool:
    try:
        return not restart.explain_unhealthy_synapse(synapse)
    except ScriptError:  # Docker does not answer
        return False


def undo_interrupted_edit(synapse: Synapse, journal_file: Path, secrets: Collection[str]) -> None:
    """Take back what a killed run wrote, and restart Synapse: it may run with that, or not at all. ScriptError if it
    does not come up."""
    path, name = Path(synapse.homeserver_file), synapse.container
    content = safe_files.read_file(journal_file)
    if content is None:
        return
    try:
        journal = from_json(Journal, json.loads(content.data), journal_file.name)
    except (ValueError, WireError) as error:
        raise ScriptError(
            f"{journal_file}: cannot be read ({error}): compare {path} with a backup, then remove it"
        ) from None
    data = read_text(path)[0].data
    if data != journal.old.encode() and _hash(data) != journal.new:
        say(f"{path}: somebody changed it after an earlier run was ended: it is taken as it is")
        safe_files.remove_file(journal_file)
        return
    say(f"{path}: an earlier run was ended before {name} was healthy with what it wrote: that is taken back first")
    if _hash(data) == journal.new:
        put_back(path, journal)
    done = restart.restart_synapse(synapse, synapse.workers)
    if done.fault:
        raise ScriptError(
            f"{name}: is not healthy ({clean_log(done.fault, secrets)}), though {path} is as it was before an earlier "
            f"run of this stack that was ended: it has another cause\n{restart.quote_logs(done.containers, secrets)}"
        )
    safe_files.remove_file(journal_file)
