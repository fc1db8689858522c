"""The steps that register this stack's appservices with Synapse, and that unregister them.

register_appservices    writes the registration files and our lines in homeserver.yaml, and restarts Synapse once if any
                        of these changed. The file of a bridge that leaves is archived, and goes with it (cleanup/).
unregister_appservices  takes our lines out, restarts Synapse, and then removes the registration files.

Synapse's own loader checks the new text before it is written. If a start fails, the old homeserver.yaml comes back, and
Synapse with it. From the write until Synapse is healthy, a journal in the stack's directory holds the old text: the
next run takes back what a killed run wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from documents.homeserver.entries import Entries
from documents.masking import clean_log
from documents.places import Postgres, Synapse
from host_programs import host_lock
from host_programs.docker import inspect_container, list_running_containers, run_docker
from host_programs.files import safe_files
from host_programs.files.files import OwnedFile
from host_programs.messages import ScriptError, say
from host_programs.synapse import event_position, homeserver_file, homeserver_journal, restart
from host_programs.synapse.client import find_url
from host_programs.synapse.exchange import Request, send_request
from host_programs.synapse.inside import homeserver_edit
from host_programs.synapse.inside.homeserver_edit import EditRequest, EditResult
from host_programs.synapse.registration_files import (
    find_registrations,
    read_all_tokens,
    remove_registrations,
    restore_listed,
    write_registrations,
)
from verdicts.host_facts.docker import Container


@dataclass(frozen=True)
class Appservices:
    """What Synapse needs to know of the bridges of `stack` ("project/name", which also marks our lines and files).

    `registrations`: files in Synapse's directory on the host, each with its text (secret) and owner.
    `experimental_features`: flags that must be true. `journal`: a file's path on the host. `bridges`: names of the
    stack's containers: another one that runs is leaving, and is stopped before Synapse forgets it. `postgres` has
    Synapse's database."""

    synapse: Synapse
    postgres: Postgres
    stack: str
    registrations: tuple[OwnedFile, ...]
    experimental_features: tuple[str, ...]
    journal: str
    bridges: tuple[str, ...]

    @property
    def homeserver_file(self) -> Path:
        return Path(self.synapse.homeserver_file)

    @property
    def listed(self) -> tuple[str, ...]:
        """The registrations' paths as Synapse sees them."""
        return tuple(self.synapse.path_inside(Path(file.path).name) for file in self.registrations)


@dataclass(frozen=True)
class SynapseChanges:
    """`changed`: whether homeserver.yaml is another one now. `removed`: paths of registration files."""

    changed: bool
    restarted: bool = False
    removed: tuple[str, ...] = ()


# ---- register


def register_appservices(arguments: Appservices) -> SynapseChanges:
    """Synapse is restarted if homeserver.yaml changes, or if that file or a registration is newer than Synapse's start.
    ScriptError: nothing has changed, or Synapse runs with the old homeserver.yaml again, unless the text says
    otherwise."""
    with host_lock.hold_lock(str(arguments.homeserver_file), arguments.stack):
        tokens = read_all_tokens(arguments.registrations)
        text = homeserver_file.read_text(arguments.homeserver_file)[1]
        restore_listed(arguments.synapse, arguments.stack, arguments.registrations, text)
        homeserver_journal.undo_interrupted_edit(arguments.synapse, Path(arguments.journal), tokens)
        return _register(arguments, tokens)


def _register(arguments: Appservices, tokens: Collection[str]) -> SynapseChanges:
    synapse, path = arguments.synapse, arguments.homeserver_file
    safe_files.remove_unfinished(path, foreign=True)
    old, text = homeserver_file.read_text(path)
    if fault := restart.explain_unhealthy_synapse(synapse):
        raise ScriptError(f"{fault}, nothing was touched: start Synapse, then run this again")
    container = inspect_container(synapse.container)
    with write_registrations(synapse, arguments.stack, arguments.registrations):
        request = _edit_request(arguments, container, text)
        edited = homeserver_file.run_edit(synapse, container, homeserver_edit.add_entries, request)
        changed = edited.text != text
        if not changed and not _is_outdated(arguments):
            return SynapseChanges(changed=False)
        secrets = {*edited.secrets_to_mask, *tokens}
        if edited.problem:
            raise ScriptError(f"{path}: nothing was touched: {clean_log(edited.problem, secrets)}")
    others = {path: token for path, token in edited.as_tokens.items() if path not in arguments.listed}
    loaded = _list_loaded(synapse, others)
    must_be_loaded = {*loaded, *arguments.listed}
    journal = homeserver_journal.journal_edit(Path(arguments.journal), old, edited.text)
    with _stop_leaving(arguments), journal as edit_in_progress:
        if changed:
            homeserver_file.write_text(path, old.data, edited.text)
            say(f"{path}: the entries of {arguments.stack} are in it")
        if synapse.skips_old_events and not loaded:
            event_position.skip_old_events(arguments.postgres, synapse.database)
        done = restart.restart_synapse(synapse, synapse.workers)
        if not done.fault:
            lost = must_be_loaded - _list_loaded(synapse, edited.as_tokens)
            fault = f"it runs, but does not know the as_token of {', '.join(sorted(lost))}" if lost else ""
            done = replace(done, fault=fault)
        if done.fault:
            raise homeserver_journal.undo_edit(synapse, edit_in_progress, done, secrets)
    say(f"{synapse.container}: healthy {done.seconds} s after the restart")
    return SynapseChanges(changed, restarted=True)


def _is_outdated(arguments: Appservices) -> bool:
    """Whether one of Synapse's processes is older than the files that it starts with."""
    paths = [arguments.homeserver_file, *(Path(file.path) for file in arguments.registrations)]
    newest = max(content.status.st_mtime for path in paths if (content := safe_files.read_file(path, foreign=True)))
    return not restart.are_started_since([arguments.synapse.container, *arguments.synapse.workers], newest)


def _edit_request(arguments: Appservices, container: Optional[Container], text: str) -> EditRequest:
    running = container is not None and container.running
    return EditRequest(
        text=text,
        entries=Entries(arguments.stack, arguments.listed, arguments.experimental_features),
        inside_file=homeserver_file.find_path_inside(arguments.synapse, container) if running else "",
    )


@contextlib.contextmanager
def _stop_leaving(arguments: Appservices) -> Iterator[None]:
    """Stop the stack's bridges that are no longer named: Synapse would not take any more what they still receive from
    their network. If the body fails, start them again."""
    running = list_running_containers(arguments.stack, arguments.synapse.network)
    leaving = [name for name in running if name not in arguments.bridges]
    for name in leaving:
        say(
            f"{name}: is no longer among the stack's bridges: it is stopped; its database is archived and all of it "
            "goes when this `pulumi up` succeeds, or the next one that does"
        )
        run_docker("stop", "--time", "30", name)
    try:
        yield
    except ScriptError:
        for name in leaving:
            run_docker("start", name, check=False)
        raise


def _list_loaded(synapse: Synapse, as_tokens: Mapping[str, str]) -> set[str]:
    """The registrations whose as_token (by path) Synapse accepts: it has loaded them."""
    try:
        url = find_url(synapse)
    except ScriptError:
        return set()
    requests = {path: Request("GET", "/_matrix/client/v3/account/whoami", token) for path, token in as_tokens.items()}
    return {path for path, request in requests.items() if send_request("whoami", url, request, 10).status == 200}


# ---- unregister


def unregister_appservices(arguments: Appservices) -> SynapseChanges:
    """A Synapse that is down, or would not start anyhow, does not stop the removal: a warning says that the restart is
    left. If it would not start because our entries are out, that is a ScriptError, and nothing is written. If Synapse
    does not come up after the restart, that is a ScriptError, too; the lines stay out, and the files stay until the
    next run."""
    with host_lock.hold_lock(str(arguments.homeserver_file), arguments.stack):
        result = _unregister(arguments)
        named = [file.path for file in arguments.registrations]
        paths = [*find_registrations(arguments.synapse, arguments.stack), *named]
        return replace(result, removed=remove_registrations(arguments.synapse, arguments.stack, paths))


def _unregister(arguments: Appservices) -> SynapseChanges:
    synapse, path = arguments.synapse, arguments.homeserver_file
    safe_files.remove_unfinished(path, foreign=True)
    if safe_files.read_file(path, foreign=True) is None:
        say(f"warning: {path}: is gone, so there is nothing to take out")
        return SynapseChanges(changed=False)
    interrupted = safe_files.read_file(Path(arguments.journal)) is not None  # the restart that was due is ours to do
    container = inspect_container(synapse.container)
    old, text = homeserver_file.read_text(path)
    request = _edit_request(arguments, container, text)
    edited = homeserver_file.run_edit(synapse, container, homeserver_edit.remove_entries, request)
    if edited.text == text and not interrupted:
        return SynapseChanges(changed=False)
    others = ", ".join(other for other in edited.registrations if other not in arguments.listed)
    flags = ", ".join(flag for flag in arguments.experimental_features if flag in text and flag not in edited.text)
    if others and flags:
        say(f"note: {path}: {flags} went with us; should {others} need one of them, set it by hand")
    secrets = {*edited.secrets_to_mask, *read_all_tokens(arguments.registrations)}
    if edited.old_loads:
        raise ScriptError(
            f"{path}: Synapse's own loader refuses it without our entries, nothing was changed:\n"
            + clean_log(edited.problem.partition("\n")[2], secrets)
        )
    no_restart = _explain_no_restart(synapse, container, edited, interrupted)
    with homeserver_journal.journal_edit(Path(arguments.journal), old, edited.text):
        if edited.text != text:
            homeserver_file.write_text(path, old.data, edited.text)
            say(f"{path}: the entries of {arguments.stack} are out")
        name = synapse.container
        if no_restart:
            say(
                f"warning: container {name}: {clean_log(no_restart, secrets)}: the file is changed, the restart is "
                f"left to you: docker restart {' '.join([name, *synapse.workers])}"
            )
            return SynapseChanges(changed=True)
        workers = [name for name in synapse.workers if (worker := inspect_container(name)) and worker.running]
        done = restart.restart_synapse(synapse, workers)
        if done.fault:
            raise ScriptError(
                f"{name}: Synapse did not come up after its restart: {clean_log(done.fault, secrets)}\n"
                f"{path}: our entries are out of it and stay out; with Synapse fixed, the same command goes on from "
                f"here\n{restart.quote_logs(done.containers, secrets)}"
            )
    say(f"{name}: healthy {done.seconds} s after the restart")
    return SynapseChanges(changed=True, restarted=True)


def _explain_no_restart(synapse: Synapse, container: Optional[Container], edited: EditResult, interrupted: bool) -> str:
    """Why Synapse is not to be restarted, which is no reason to keep our lines; "" if it is."""
    if container is None or (not container.running and not interrupted):
        return f"is {restart.describe_status(container)}"
    if edited.problem or interrupted:
        return edited.problem
    fault = restart.wait_until_healthy(container.name, synapse, min(restart.PATIENCE, synapse.deadline))
    return f"is not healthy ({fault})" if fault else ""
