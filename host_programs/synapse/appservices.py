"""The steps that register this stack's appservices with Synapse, and that unregister them.

register_appservices    writes the registration files and our lines in homeserver.yaml, and restarts Synapse once if any
                        of these changed. The file of a bridge that leaves is archived, and goes with it (cleanup/).
unregister_appservices  takes our lines out, restarts Synapse, and then removes the registration files.

Synapse's own loader judges the new text before it is written. If a start fails, the old homeserver.yaml comes back, and
Synapse with it. From the write until Synapse is healthy, a journal in the stack's directory holds the old text: the
next run finishes what a killed run began, or takes it back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from documents.masking import clean_log
from documents.places import Synapse
from host_programs import host_lock
from host_programs.docker import inspect_container, list_running_containers, run_docker
from host_programs.files import safe_files
from host_programs.files.files import OwnedFile
from host_programs.messages import ScriptError, say
from host_programs.synapse import restart
from host_programs.synapse.exchange import Request, send_request
from host_programs.synapse.homeserver import edit, file, recovery
from host_programs.synapse.inside import homeserver_edit
from host_programs.synapse.inside.homeserver_edit import EditRequest, EditResult
from host_programs.synapse.registration_files import (
    read_tokens,
    remove_registrations,
    restore_listed,
    write_registrations,
)
from verdicts.host_facts.docker import Container

REQUESTS = 8  # to Synapse at a time


@dataclass(frozen=True)
class Appservices:
    """What Synapse needs to know of the bridges of `stack` ("project/name", which also marks our lines and files).

    `registrations`: files in Synapse's directory on the host, each with its text (secret) and owner.
    `experimental_features`: flags that must be true. `journal`: a file's path on the host. `bridges`: names of the
    stack's containers: another one that runs is leaving, and is stopped before Synapse forgets it."""

    synapse: Synapse
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
        return tuple(self.synapse.path_inside(Path(each.path).name) for each in self.registrations)


@dataclass(frozen=True)
class Registered:
    """`changed`: whether homeserver.yaml is another one now. `health_seconds`: from the restart to health; None without
    a restart."""

    changed: bool
    restarted: bool = False
    health_seconds: Optional[float] = None


@dataclass(frozen=True)
class Unregistered:
    """As Registered. `removed`: paths of registration files. `still_listed`: registrations of ours that somebody else's
    line lists, as Synapse sees them: their files stay."""

    changed: bool
    restarted: bool = False
    health_seconds: Optional[float] = None
    removed: tuple[str, ...] = ()
    still_listed: tuple[str, ...] = ()


# ---- register


def register_appservices(arguments: Appservices) -> Registered:
    """Registration files, lines in homeserver.yaml, and one restart of Synapse, which only a change takes.

    Synapse is restarted if homeserver.yaml changes, or if that file or a registration is newer than Synapse's start.
    ScriptError: nothing has changed, or Synapse runs with the old homeserver.yaml again, unless the text says
    otherwise."""
    with host_lock.hold_lock(str(arguments.homeserver_file), arguments.stack):
        tokens = read_tokens(arguments.registrations)
        recovery.finish_interrupted_edit(arguments.synapse, Path(arguments.journal), tokens)
        return _register(arguments, tokens)


def _register(arguments: Appservices, tokens: Collection[str]) -> Registered:
    synapse, path, name = arguments.synapse, arguments.homeserver_file, arguments.synapse.container
    old, text = file.read_text(path)
    restore_listed(synapse, arguments.stack, arguments.registrations, text)
    container = inspect_container(name)
    if container is None or not container.running:
        status = restart.describe_status(container)
        raise ScriptError(f"container {name}: is {status}, nothing was touched: start Synapse, then run this again")
    if fault := restart.explain_unhealthy_synapse(synapse, container.restarts):
        raise ScriptError(f"{fault}, nothing was touched: fix it, then run this again")
    with write_registrations(synapse, arguments.stack, arguments.registrations):
        outdated = _is_outdated(arguments)
        edited = edit.run_edit(
            synapse, container, homeserver_edit.add_entries, _request(arguments, container, text, outdated)
        )
        secrets = {*edited.secrets_to_mask, *tokens}
        _require_loadable(arguments, container, edited, secrets)
    changed, done = edited.text != text, None
    if changed or outdated:
        known, begin = _list_known(synapse, edited.as_tokens), time.time()
        with _stop_leaving(arguments), file.journal_edit(Path(arguments.journal), old, edited.text) as journal:
            if changed:
                file.write_text(path, old.data, edited.text)
                say(f"{path}: the entries of {arguments.stack} are in it")
            done = restart.restart_synapse(synapse, synapse.workers)
            if done.fault is None:
                done = replace(done, fault=_explain_unknown(arguments, {*known}, edited.as_tokens))
            if done.fault:
                raise recovery.undo_edit(synapse, journal, done, secrets, begin)
        say(f"{name}: healthy {done.seconds} s after the restart")
    return Registered(changed, done is not None, done.seconds if done else None)


def _is_outdated(arguments: Appservices) -> bool:
    """Whether one of Synapse's processes is older than the files that it starts with."""
    paths = [arguments.synapse.homeserver_file, *(each.path for each in arguments.registrations)]
    newest = max(os.stat(path).st_mtime for path in paths if os.path.exists(path))
    names = [arguments.synapse.container, *arguments.synapse.workers]
    return restart.find_started_since(names, newest) != names


def _request(arguments: Appservices, container: Optional[Container], text: str, outdated: bool) -> EditRequest:
    return EditRequest(
        text=text,
        inside_file=edit.find_path_inside(arguments.synapse, container),
        owner=arguments.stack,
        registrations=arguments.listed,
        experimental_features=arguments.experimental_features,
        judge=container is not None and container.running,
        outdated=outdated,
    )


def _require_loadable(
    arguments: Appservices, container: Container, edited: EditResult, secrets: Collection[str]
) -> None:
    """ScriptError unless Synapse would start with the new text, and take all that it says."""
    path = arguments.homeserver_file
    if not edited.same_file:
        raise ScriptError(
            f"{path}: is not what {container.name} has as {edit.find_path_inside(arguments.synapse, container)}, "
            "nothing was touched: check the settings synapseDir, synapseDataMount and homeserverFile"
        )
    if edited.loader_error is not None:
        old_too = edited.old_loader_error is not None
        state = "it refuses the file as it was, too" if old_too else "the file is as it was"
        raise ScriptError(
            f"{path}: Synapse's own loader refuses the new configuration, nothing was restarted, {state}:\n"
            + clean_log(edited.loader_error, secrets)
        )
    if edited.shadowed:
        raise ScriptError(
            f"{path}: Synapse would not load {', '.join(edited.shadowed)} with it, since another file of its "
            "configuration sets the same key and the last one counts: nothing was touched: set homeserverFile to that "
            "file"
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


def _explain_unknown(arguments: Appservices, known: set[str], as_tokens: Mapping[str, str]) -> Optional[str]:
    """None if Synapse has loaded our registrations, and those that it `known` before; else which it has not."""
    lost = {*known, *arguments.listed} - _list_known(arguments.synapse, as_tokens)
    return f"it runs, but does not know the as_token of {', '.join(sorted(lost))}" if lost else None


def _list_known(synapse: Synapse, as_tokens: Mapping[str, str]) -> set[str]:
    """The registrations whose as_token (by path) Synapse accepts: it has loaded them."""
    url, no_url = restart.find_url(synapse)
    if no_url:
        return set()
    with ThreadPoolExecutor(max_workers=REQUESTS) as pool:  # Synapse asks MAS about each token that it does not know
        statuses = pool.map(lambda token: _send_whoami(url, token), as_tokens.values())
        return {path for path, status in zip(as_tokens, statuses) if status == 200}


def _send_whoami(url: str, token: str) -> Optional[int]:
    with contextlib.suppress(ScriptError):  # a token that no header can hold is nobody's
        return send_request("whoami", url, Request("GET", "/_matrix/client/v3/account/whoami", token), 10).status
    return None


# ---- unregister


def unregister_appservices(arguments: Appservices) -> Unregistered:
    """This stack's lines out of homeserver.yaml, a restart of Synapse if that changed anything, and then the
    registration files away.

    A Synapse that is down, or that would not start anyhow, does not stop the removal: a warning says that the restart
    is left. If Synapse does not come up after the restart, that is a ScriptError; the lines stay out, and the files
    stay until the next run."""
    with host_lock.hold_lock(str(arguments.homeserver_file), arguments.stack):
        result = _unregister(arguments)
        removed = remove_registrations(arguments.synapse, arguments.stack, arguments.registrations)
        return replace(result, removed=removed)


def _unregister(arguments: Appservices) -> Unregistered:
    path = arguments.homeserver_file
    if safe_files.read_file(path) is None:
        say(f"warning: {path}: is gone, so there is nothing to take out")
        return Unregistered(changed=False)
    interrupted = safe_files.read_file(Path(arguments.journal)) is not None  # the restart that was due is ours to do
    container = _try_look(arguments.synapse.container)
    old, text = file.read_text(path)
    request = _request(arguments, container, text, outdated=False)
    edited = edit.run_edit(arguments.synapse, container, homeserver_edit.remove_entries, request)
    for listed in edited.still_listed:
        line = f"a line that is not marked as {arguments.stack}'s"
        say(f"warning: {path}: still lists {listed} ({line}): its file stays: take both away by hand, the line first")
    if edited.text == text and not interrupted:
        return Unregistered(changed=False, still_listed=edited.still_listed)
    if edited.other_registrations and edited.removed_flags:
        flags, others = ", ".join(edited.removed_flags), ", ".join(edited.other_registrations)
        say(f"note: {path}: {flags} went with us; should {others} need one of them, set it by hand")
    secrets = {*edited.secrets_to_mask, *read_tokens(arguments.registrations)}
    no_restart = _explain_no_restart(arguments, container, edited, interrupted, secrets)
    workers = [] if no_restart else _list_running(arguments.synapse.workers)
    with file.journal_edit(Path(arguments.journal), old, edited.text):
        if edited.text != text:
            file.write_text(path, old.data, edited.text)
            say(f"{path}: the entries of {arguments.stack} are out")
        name = arguments.synapse.container
        if no_restart:
            say(
                f"warning: container {name} {no_restart}: the file is changed, the restart is left to you: "
                f"docker restart {' '.join([name, *arguments.synapse.workers])}"
            )
            return Unregistered(changed=True, still_listed=edited.still_listed)
        done = restart.restart_synapse(arguments.synapse, workers)
        if done.fault:
            raise ScriptError(
                f"{name}: Synapse did not come up after its restart: {clean_log(done.fault, secrets)}\n"
                f"{path}: our entries are out of it and stay out; with Synapse fixed, the same command goes on from "
                f"here\n{restart.quote_logs(done, secrets)}"
            )
    say(f"{name}: healthy {done.seconds} s after the restart")
    return Unregistered(True, True, done.seconds, still_listed=edited.still_listed)


def _explain_no_restart(
    arguments: Appservices,
    container: Optional[Container],
    edited: EditResult,
    interrupted: bool,
    secrets: Collection[str],
) -> str:
    """Why Synapse is not to be restarted, which is no reason to keep our lines; "" if it is. ScriptError if its loader
    refuses the file because our lines are out."""
    synapse = arguments.synapse
    if container is None or (not container.running and not interrupted):
        return f"is {restart.describe_status(container)}"
    if not edited.same_file:
        return f"has another file as {edit.find_path_inside(synapse, container)}"
    if edited.loader_error is not None:
        refusal = clean_log(edited.loader_error, secrets)
        if edited.old_loader_error is not None:
            return f"would not start, with our entries or without: {refusal}"
        path = arguments.homeserver_file
        raise ScriptError(
            f"{path}: Synapse's own loader refuses it without our entries, nothing was changed:\n{refusal}"
        )
    if interrupted:
        return ""
    fault = restart.wait_for_main(synapse, min(restart.PATIENCE, synapse.deadline), container.restarts)
    return f"is not healthy ({fault})" if fault else ""


def _try_look(name: str) -> Optional[Container]:
    try:
        return inspect_container(name)
    except ScriptError as error:
        say(f"warning: {error}")
        return None


def _list_running(names: Collection[str]) -> list[str]:
    return [name for name in names if (container := inspect_container(name)) and container.running]
