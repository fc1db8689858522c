"""homeserver.yaml on the host: our entries in (`apply`) or out (`remove`), with one restart of Synapse, its workers
included, if it needs one.

The text is computed, and judged by Synapse's own loader, in Synapse's container (synapse/synapse_inside.py) before
anything is written. A start that fails brings the old file back, and Synapse with it. From the write until Synapse is
healthy a journal in the stack's directory holds the old file: a run that is killed in between is finished, or taken
back, by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from documents.launcher import RUN_FROM_STDIN
from documents.masking import clean
from documents.places import Synapse
from host_programs import host_lock, program_file
from host_programs.common import ScriptError, docker, logs, say
from host_programs.container import inside, look, running_of
from host_programs.files import files, safe_files
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.synapse import synapse_address, synapse_inside, worker
from host_programs.synapse.exchange import Request, address, ask, connect
from host_programs.synapse.synapse_inside import Edit, Edited
from host_programs.verbs import words_of
from host_programs.wire import WireError, plain, typed
from verdicts.host_facts import Container

PROBE = 0.1  # seconds between two questions for health
ALREADY = 10.0  # seconds that a Synapse gets to answer before anything is done: it may just be starting
ASKERS = 8  # questions at a time
CRASHES = 3  # restarts by Docker after ours until we stop waiting


@dataclass(frozen=True)
class Arguments:
    """What this stack (`owner`, as "mautrix-signal/contabo") needs in homeserver.yaml: `registrations`, paths as
    Synapse sees them, and flags. `watch`: the same registrations on the host: Synapse is restarted if one is newer
    than its start. `journal`: a file's path on the host. `bridges`: names of this stack's containers: another one of
    it leaves, and is stopped before Synapse forgets it. `files`: the registrations, written before."""

    synapse: Synapse
    owner: str
    registrations: tuple[str, ...]
    experimental_features: tuple[str, ...]
    watch: tuple[str, ...]
    journal: str
    bridges: tuple[str, ...]
    files: tuple[OwnedFile, ...]
    stack: str

    @property
    def path(self) -> Path:
        return Path(self.synapse.homeserver_file)

    def inside(self, container: Optional[Container]) -> str:
        """The same file as Synapse sees it."""
        return (inside(container, str(self.path)) if container else None) or self.synapse.inside(self.path.name)


@dataclass(frozen=True)
class Journal:
    """An edit that has begun: the file as it was with its times of access and change (ns), and the SHA-256 of what it
    becomes."""

    old: str = field(repr=False)
    times: tuple[int, ...]
    new: str


@dataclass(frozen=True)
class Applied:
    """`health_seconds`: from the restart to health; None without a restart."""

    changed: bool
    restarted: bool = False
    health_seconds: Optional[float] = None


@dataclass(frozen=True)
class Removed:
    """As Applied; `left`: registrations of ours that stay listed, because somebody else wrote them there."""

    changed: bool
    restarted: bool = False
    health_seconds: Optional[float] = None
    left: tuple[str, ...] = ()


def _seconds(stamp: str) -> float:
    """Docker's time (2026-11-24T14:12:35.123456789Z) in seconds since the epoch."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?", stamp)
    if not match:
        raise ScriptError(f"Docker's time {stamp!r}: not like 2026-11-24T14:12:35.123456789Z")
    whole = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return whole.timestamp() + float(match[2] or 0)


def _status(container: Optional[Container]) -> str:
    return container.status if container else "absent"


# ---- health


def _unwell(base: str) -> Optional[str]:
    """None if the health address answers 200, or, where a proxy does not hand that through, the API's versions; else
    why not."""
    for path in ("/health", "/_matrix/client/versions"):
        url, connection = f"{base}{path}", connect(address(base), 3)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {str(error) or type(error).__name__}"
        finally:
            connection.close()
        if status != 404:
            break
    return None if status == 200 else f"{url} answered {status}"


def _wait(name: str, unwell: Callable[[bool], Optional[str]], deadline: float, restarts: int) -> Optional[str]:
    """None once the container is well; else, at the deadline or when it is clear that it will not be, why. `unwell`
    says why it is not well yet, and is told when the container was looked at since it was last asked; `restarts`:
    Docker's count of its own restarts before; it begins anew when somebody restarts the container."""
    begin = looked = time.monotonic()
    fresh = True
    while True:
        why, fresh = unwell(fresh), False
        now = time.monotonic()
        if not why:
            return None
        if now - begin >= deadline:
            return f"not healthy within {deadline:.0f} s: {why}"
        if now - looked >= 1:
            looked = now
            with contextlib.suppress(ScriptError):  # Docker does not answer just now: health alone has to tell
                container = look(name)
                if container is None:
                    return "its container is absent"
                restarts = min(restarts, container.restarts)
                if container.restarts - restarts >= CRASHES:
                    return f"it ended {CRASHES} times with exit code {container.exit_code}"
                if container.status in ("exited", "dead", "created", "paused"):
                    return f"its container is {container.status}, exit code {container.exit_code}"
                fresh = True
        time.sleep(PROBE)


def _wait_main(synapse: Synapse, deadline: float, restarts: int) -> Optional[str]:
    where = ("", "")

    def unwell(fresh: bool) -> Optional[str]:
        nonlocal where
        if fresh:
            where = _base(synapse)  # each start may give it another address
        url, nowhere = where
        return nowhere or _unwell(url)

    return _wait(synapse.container, unwell, deadline, restarts)


def _base(synapse: Synapse) -> tuple[str, str]:
    """Where Synapse answers, or why that is not known."""
    try:
        return synapse_address.base(synapse), ""
    except ScriptError as error:
        return "", str(error)


@dataclass(frozen=True)
class Restart:
    """`seconds`: from the command to Synapse's health; `why`: None, or why not all is healthy, and then `logs`: the
    containers that tell more."""

    seconds: float
    why: Optional[str]
    logs: tuple[str, ...]


def _restart(synapse: Synapse, workers: Sequence[str]) -> Restart:
    """Restart the container, and once it is healthy `workers` side by side: a file that Synapse does not start with
    leaves them alone. A Docker that fails is a reason too, and raises nothing: the caller has a file to put back."""
    begin, name = time.monotonic(), synapse.container
    why = _restart_one(name, lambda restarts: _wait_main(synapse, synapse.deadline, restarts))
    seconds = round(time.monotonic() - begin, 2)
    if why or not workers:
        return Restart(seconds, why, (name,))
    with ThreadPoolExecutor(max_workers=len(workers)) as pool:
        each = pool.map(
            lambda name: _restart_one(name, lambda restarts: _wait_worker(name, synapse, synapse.deadline, restarts)),
            workers,
        )
        ill = {name: why for name, why in zip(workers, each) if why}
    why = "; ".join(f"its worker {name}: {why}" for name, why in ill.items())
    return Restart(seconds, why or None, tuple(ill) or (name,))


def _restart_one(name: str, wait: Callable[[int], Optional[str]]) -> Optional[str]:
    say(f"restarting {name}")
    before = None
    with contextlib.suppress(ScriptError):
        before = look(name)
    try:
        done = docker("restart", name, check=False)
    except ScriptError as error:  # no answer in 600 s
        return str(error)
    if done.returncode:
        return f"docker restart: {done.stderr.strip()}"
    return wait(before.restarts if before else 0)


def _wait_worker(name: str, synapse: Synapse, deadline: float, restarts: int) -> Optional[str]:
    return _wait(name, lambda _: worker.unwell(name, synapse), deadline, restarts)


def _started_since(names: Sequence[str], stamp: float) -> list[str]:
    """Those containers that Docker started after that time (seconds since the epoch), or does not tell of."""
    found = []
    for name in names:
        try:
            container = look(name)
        except ScriptError:
            container = None
        if container is None or _seconds(container.started) > stamp:
            found.append(name)
    return found


def _ill(synapse: Synapse, restarts: int) -> str:
    """What of Synapse is not well, and why; "" if it is well, or becomes so in a moment."""
    seconds = min(ALREADY, synapse.deadline)
    if why := _wait_main(synapse, seconds, restarts):
        return f"container {synapse.container}: Synapse is down ({why})"
    for name in synapse.workers:
        container = look(name)
        if container is None or not container.running:
            return f"container {name}: is {_status(container)}"
        if why := _wait_worker(name, synapse, seconds, container.restarts):
            return f"container {name}: its worker is down ({why})"
    return ""


# ---- the file and its judge


def _text(path: Path) -> tuple[safe_files.Content, str]:
    try:
        content = safe_files.read(path)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content is None:
        raise ScriptError(f"{path}: no such file: check the setting synapseDir")
    try:
        return content, content.data.decode()
    except UnicodeDecodeError as error:
        line = content.data.count(b"\n", 0, error.start) + 1
        raise ScriptError(f"{path}:{line}: not UTF-8 text: Synapse cannot read it: save it as UTF-8") from None


def _asked(command: list[str], stdin: bytes) -> subprocess.CompletedProcess[str]:
    try:
        raw = subprocess.run(command, input=stdin, capture_output=True, timeout=300, check=False)
        out, err = (data.decode(errors="replace") for data in (raw.stdout, raw.stderr))
        return subprocess.CompletedProcess(command, raw.returncode, out, err)
    except subprocess.TimeoutExpired:
        raise ScriptError(f"{' '.join(command[:3])}: no answer in 300 s") from None
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def _inside(arguments: Arguments, container: Optional[Container], verb: str, text: str, pending: bool) -> Edited:
    """Run a verb of synapse/synapse_inside.py where PyYAML is: in the running container; else in a short-lived
    one of its image, without network or rights; else in this machine's own python3."""
    up = container is not None and container.running
    edit = Edit(
        text=text,
        inside_file=arguments.inside(container),
        owner=arguments.owner,
        registrations=arguments.registrations,
        experimental_features=arguments.experimental_features,
        judge=up,
        pending=pending,
    )
    code = ["-c", RUN_FROM_STDIN, *words_of(getattr(synapse_inside, verb)).split()]
    if up:
        tries = [["docker", "exec", "-i", arguments.synapse.container, "python3", *code]]
    else:
        safe = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
        image = [container.image_id] if container else []
        tries = [["docker", "run", *safe.split(), "--entrypoint", "python3", each, *code] for each in image]
        tries.append([sys.executable or "python3", *code])
    failed = []
    for command in tries:
        done = _asked(command, program_file.inside_order(edit))
        if done.returncode == 0:
            edited = typed(Edited, json.loads(done.stdout), "the edit")
            if edited.refused:
                raise ScriptError("\n".join(f"{arguments.path}:{line}" for line in edited.refused))
            return edited
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        failed.append(f"{command[0]} {command[1]}: {last}" if command[0] == "docker" else f"python3 here: {last}")
    fix = "" if up else f": start {arguments.synapse.container}, or install PyYAML here (apt install python3-yaml)"
    raise ScriptError(f"{arguments.path}: nowhere to run the edit ({'; '.join(failed)}){fix}")


def _write(path: Path, old: bytes, new: str) -> None:
    if _text(path)[0].data != old:
        raise ScriptError(f"{path}: somebody changed it at this very moment: nothing was written, run it again")
    safe_files.rewrite(path, new.encode())


def _put_back(path: Path, journal: Journal) -> None:
    """The old content and its time of change (nothing has changed since Synapse read it)."""
    if _digest(_text(path)[0].data) != journal.new:
        raise ScriptError(f"{path}: somebody changed it meanwhile, so it was not put back")
    safe_files.rewrite(path, journal.old.encode(), (journal.times[0], journal.times[1]))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _journalled(arguments: Arguments, old: safe_files.Content, new: str) -> Iterator[Journal]:
    """The journal is there while the body runs, and after it only if this process dies in it."""
    times = (old.status.st_atime_ns, old.status.st_mtime_ns)
    journal, file = Journal(old.data.decode(), times, _digest(new.encode())), Path(arguments.journal)
    if file.parent.is_dir():  # gone by hand, at a destroy
        safe_files.write(file, json.dumps(plain(journal)).encode())
    try:
        yield journal
    except ScriptError:
        safe_files.remove(file)
        raise
    safe_files.remove(file)


def _recover(arguments: Arguments) -> None:
    """What an earlier run began and was killed in: Synapse gets the new file, or the old one back. ScriptError if that
    run's file could not stay, or Synapse is not healthy with the old one."""
    file, path, name = Path(arguments.journal), arguments.path, arguments.synapse.container
    found = safe_files.read(file)
    if found is None:
        return
    try:
        journal = typed(Journal, json.loads(found.data), file.name)
    except (ValueError, WireError) as error:
        raise ScriptError(f"{file}: cannot be read ({error}): compare {path} with a backup, then remove it") from None
    now, (content, _) = look(name), _text(path)
    ours = _digest(content.data) == journal.new
    if ours or content.data == journal.old.encode():
        synapse, changed = arguments.synapse, content.status.st_mtime
        names = [name, *synapse.workers]
        fresh = now is not None and now.running and _started_since(names, changed) == names
        if not fresh or _ill(synapse, 0):
            say(f"{path}: an earlier run was ended before {name} was healthy with what it wrote: finishing that first")
            done = _restart(synapse, synapse.workers)
            hide = _watched_tokens(arguments.watch)
            if done.why and ours:
                text = _undone(arguments, journal, done, hide, changed)
                safe_files.remove(file)
                raise ScriptError(text)
            if done.why:
                raise ScriptError(
                    f"{name}: is not healthy ({clean(done.why, hide)}), though {path} is as it was before an earlier "
                    f"run of this stack that was ended: it has another cause\n{_log(done, hide)}"
                )
    else:
        say(f"{path}: somebody changed it after an earlier run was ended: it is taken as it is")
    safe_files.remove(file)


def _watched_tokens(paths: Iterable[str]) -> set[str]:
    tokens: set[str] = set()
    for path in paths:
        with contextlib.suppress(OSError):
            tokens |= synapse_inside.tokens(Path(path).read_text(errors="replace"))
    return tokens


def _log(done: Restart, hide: Iterable[str]) -> str:
    texts = (f"the last 50 log lines of {name}:\n{clean(logs(name, 50), hide).rstrip()}" for name in done.logs)
    return "\n".join(texts)


# ---- verbs


def apply(arguments: Arguments) -> Applied:
    """Our entries into the file. Synapse is restarted once if homeserver.yaml changes or it or a watched file is newer
    than Synapse's start; not at all otherwise. ScriptError: nothing is changed, or Synapse runs with the old file
    again, unless it says otherwise."""
    with host_lock.held(str(arguments.path), arguments.owner):
        _recover(arguments)
        files.create(OwnedFiles(arguments.stack, arguments.files))
        return _apply(arguments)


def _apply(arguments: Arguments) -> Applied:
    synapse, path = arguments.synapse, arguments.path
    name, container = synapse.container, look(synapse.container)
    if container is None or not container.running:
        raise ScriptError(
            f"container {name}: is {_status(container)}, nothing was touched: start Synapse, then run this again"
        )
    if ill := _ill(synapse, container.restarts):
        raise ScriptError(f"{ill}, nothing was touched: fix it, then run this again")
    old, text = _text(path)
    newest = max([os.stat(each).st_mtime for each in (str(path), *arguments.watch) if os.path.exists(each)])
    names = [name, *synapse.workers]
    pending = _started_since(names, newest) != names
    made = _inside(arguments, container, "apply", text, pending)
    changed = made.text != text
    hide = {*made.hide, *_watched_tokens(arguments.watch)}
    if not made.same:
        raise ScriptError(
            f"{path}: is not what {name} has as {arguments.inside(container)}, nothing was touched: "
            "check the settings synapseDir, synapseDataMount and homeserverFile"
        )
    if made.error is not None:
        whose = "it refuses the file as it was, too" if made.before is not None else "the file is as it was"
        raise ScriptError(
            f"{path}: Synapse's own loader refuses the new configuration, nothing was restarted, {whose}:\n"
            + clean(made.error, hide)
        )
    if made.unheard:
        raise ScriptError(
            f"{path}: Synapse would not load {', '.join(made.unheard)} with it, since another file of its "
            "configuration sets the same key and the last one counts: nothing was touched: set homeserverFile to that "
            "file"
        )
    if not changed and not pending:
        return Applied(changed=False)
    known, begin = _known(synapse, made.tokens), time.time()
    with _leaving(arguments), _journalled(arguments, old, made.text) as journal:
        if changed:
            _write(path, old.data, made.text)
            say(f"{path}: the entries of {arguments.owner} are in it")
        done = _restart(synapse, synapse.workers)
        if done.why is None:
            gone = {*known, *arguments.registrations} - _known(synapse, made.tokens)
            why = f"it runs, but does not know the as_token of {', '.join(sorted(gone))}" if gone else None
            done = replace(done, why=why)
        if done.why:
            raise ScriptError(_undone(arguments, journal, done, hide, begin))
    say(f"{name}: healthy {done.seconds} s after the restart")
    return Applied(changed, True, done.seconds)


@contextlib.contextmanager
def _leaving(arguments: Arguments) -> Iterator[None]:
    """Bridges of this stack that are no longer named are stopped first: what they would still receive from their
    network, Synapse would not take. Should the body fail, they go on."""
    running = running_of(arguments.owner, arguments.synapse.network)
    leaving = [name for name in running if name not in arguments.bridges]
    for name in leaving:
        say(f"{name}: is no longer among the stack's bridges: it is stopped")
        docker("stop", "--time", "30", name)
    try:
        yield
    except ScriptError:
        for name in leaving:
            docker("start", name, check=False)
        raise


def _known(synapse: Synapse, tokens: Mapping[str, str]) -> set[str]:
    """Those of the registrations (path -> as_token) whose token Synapse accepts: it has loaded them."""
    url, nowhere = _base(synapse)
    if nowhere:
        return set()
    with ThreadPoolExecutor(max_workers=ASKERS) as pool:  # Synapse asks MAS about each one that it does not know
        answers = pool.map(lambda token: _whoami(url, token), tokens.values())
        return {path for path, status in zip(tokens, answers) if status == 200}


def _whoami(url: str, token: str) -> Optional[int]:
    with contextlib.suppress(ScriptError):  # a token that no header can hold is nobody's
        return ask("whoami", url, Request("GET", "/_matrix/client/v3/account/whoami", token), 10).status
    return None


def _undone(arguments: Arguments, journal: Journal, failed: Restart, hide: Iterable[str], begin: float) -> str:
    """Put the old file back and Synapse with it, and those of its workers that were started since `begin`; the text of
    the error."""
    name, path = arguments.synapse.container, arguments.path
    log = _log(failed, hide)  # of the failed start, before the next one
    head = f"{name}: Synapse did not come up after its restart: {clean(failed.why or '', hide)}"
    if _digest(journal.old.encode()) == journal.new:
        return (
            f"{head}\n{path}: was not changed by this run, so there is nothing to put back; the registrations are "
            f"new: a bridge that runs works again once `pulumi up` goes through\n{log}"
        )
    try:
        _put_back(path, journal)
    except (ScriptError, OSError) as error:
        return f"{head}\n{error}: Synapse is down: fix {path} and run docker restart {name}\n{log}"
    again = _restart(arguments.synapse, _started_since(arguments.synapse.workers, begin))
    end = (
        f"Synapse is still not healthy with it ({clean(again.why, hide)}): it has another cause"
        if again.why
        else f"Synapse is healthy again with it after {again.seconds} s"
    )
    return f"{head}\n{path}: is as it was before; {end}\nof the failed start, {log}"


def remove(arguments: Arguments) -> Removed:
    """This owner's entries out of the file; Synapse is restarted if it runs and the file changed.

    A Synapse that is down, or that its own loader would not start anyhow, does not stop the removal: a warning says
    that the restart is left. A Synapse that does not come up after the restart is a ScriptError, but the entries stay
    out: what they named is about to go.
    """
    with host_lock.held(str(arguments.path), arguments.owner):
        if safe_files.read(arguments.path) is None:
            say(f"warning: {arguments.path}: is gone, so there is nothing to take out")
            return Removed(changed=False)
        killed = safe_files.read(Path(arguments.journal)) is not None
        removed = _remove(arguments, killed)
        listed = arguments.synapse.homeserver_file, arguments.synapse.data_mount
        files.erase(OwnedFiles(arguments.stack, arguments.files, *listed))
        return removed


def _remove(arguments: Arguments, killed: bool) -> Removed:
    """`killed`: an earlier run was ended between its write and a healthy Synapse, so that the restart is ours to do."""
    synapse, path, name = arguments.synapse, arguments.path, arguments.synapse.container
    try:
        container = look(name)
    except ScriptError as error:
        say(f"warning: {error}")
        container = None
    old, text = _text(path)
    made = _inside(arguments, container, "remove", text, pending=False)
    for listed in made.left:
        whose = f"a line that is not marked as {arguments.owner}'s"
        fix = "Synapse does not start without that file: take the line out by hand before the file goes"
        say(f"warning: {path}: still lists {listed} ({whose}): {fix}")
    if made.text == text and not killed:
        return Removed(changed=False, left=made.left)
    if made.others and made.flags:
        flags, others = ", ".join(made.flags), ", ".join(made.others)
        say(f"note: {path}: {flags} went with us; should {others} need one of them, set it by hand")
    hide = {*made.hide, *_watched_tokens(arguments.watch)}
    why: Optional[str] = None
    if container is None or (not container.running and not killed):
        why = f"is {_status(container)}"
    elif not made.same:
        why = f"has another file as {arguments.inside(container)}"
    elif made.error is not None and made.before is not None:
        why = f"would not start, with our entries or without: {clean(made.error, hide)}"
    elif made.error is not None:
        raise ScriptError(
            f"{path}: Synapse's own loader refuses it without our entries, nothing was changed:\n"
            + clean(made.error, hide)
        )
    elif not killed and (ill := _wait_main(synapse, min(ALREADY, synapse.deadline), container.restarts)):
        why = f"is not healthy ({ill})"
    running = [each for each in synapse.workers if (found := look(each)) and found.running] if not why else []
    with _journalled(arguments, old, made.text):
        if made.text != text:
            _write(path, old.data, made.text)
            say(f"{path}: the entries of {arguments.owner} are out")
        if why:
            say(
                f"warning: container {name} {why}: the file is changed, the restart is left to you: docker restart "
                f"{' '.join([name, *synapse.workers])}"
            )
            return Removed(changed=True, left=made.left)
        done = _restart(synapse, running)
        if done.why:
            raise ScriptError(
                f"{name}: Synapse did not come up after its restart: {clean(done.why, hide)}\n"
                f"{path}: our entries are out of it and stay out; with Synapse fixed, the same command goes on from "
                f"here\n" + _log(done, hide)
            )
    say(f"{name}: healthy {done.seconds} s after the restart")
    return Removed(True, True, done.seconds, made.left)
