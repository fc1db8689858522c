"""homeserver.yaml on the host: our entries in (`apply`) or out (`remove`), with one restart of Synapse if it needs one.

The text is computed, and judged by Synapse's own loader, in Synapse's container (scripts/synapse_inside.py) before
anything is written. A start that fails brings the old file back, and Synapse with it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from documents.masking import clean
from scripts import bundle, synapse_inside
from scripts.common import ScriptError, docker, logs, rewrite, run, say

INSIDE = synapse_inside.__name__  # sent on into Synapse's container
PROBE = 0.1  # seconds between two questions for health
ALREADY = 10.0  # seconds that a Synapse gets to answer before anything is done: it may just be starting
CRASHES = 3  # restarts by Docker after ours until we stop waiting


@dataclass(frozen=True)
class Container:
    """What Docker says of Synapse's container; `state` is running, exited, … or absent."""

    name: str
    state: str
    started: float = 0  # seconds since the epoch
    image: str = ""
    crashes: int = 0
    code: int = 0

    @property
    def up(self) -> bool:
        return self.state == "running"


def _container(name: str) -> Container:
    done = docker("inspect", "--type", "container", name, check=False, timeout=60)
    if done.returncode:
        if "no such" in done.stderr.lower():
            return Container(name, "absent")
        raise ScriptError(f"docker inspect {name}: {done.stderr.strip()}")
    try:
        found = json.loads(done.stdout)[0]
        state = found["State"]
        return Container(
            name,
            str(state["Status"]),
            _seconds(state["StartedAt"]),
            str(found["Image"]),
            int(found.get("RestartCount") or 0),
            int(state.get("ExitCode") or 0),
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ScriptError(f"docker inspect {name}: not what Docker says of a container ({error!r})") from None


def _seconds(stamp: str) -> float:
    """Docker's time (2026-11-24T14:12:35.123456789Z) in seconds since the epoch."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?", stamp)
    if not found:
        raise ValueError(stamp)
    whole = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return whole.timestamp() + float(found[2] or 0)


# ---- health


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def _unwell(url: str) -> str | None:
    """None if the health address answers 200, else why not."""
    try:
        with _OPENER.open(url, timeout=3) as answer:
            return None if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"{url} answered {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}"


def _wait(name: str, url: str, deadline: float, crashes: int = 0) -> str | None:
    """None once Synapse is healthy; else, at the deadline or when it is clear that it will not be, why. `crashes`:
    Docker's count of its own restarts before; it begins anew when somebody restarts the container."""
    begin = looked = time.monotonic()
    while True:
        why = _unwell(url)
        now = time.monotonic()
        if why is None:
            return None
        if now - begin >= deadline:
            return f"not healthy within {deadline:.0f} s: {why}"
        if now - looked >= 1:
            looked = now
            container = _container(name)
            crashes = min(crashes, container.crashes)
            if container.crashes - crashes >= CRASHES:
                return f"it ended {CRASHES} times with exit code {container.code}"
            if container.state in ("exited", "dead", "created", "paused", "absent"):
                return f"its container is {container.state}, exit code {container.code}"
        time.sleep(PROBE)


def _restart(name: str, url: str, deadline: float) -> tuple[float, str | None]:
    """Restart the container; seconds from the command to health, and None or why it is not healthy."""
    say(f"restarting {name}")
    crashes = _container(name).crashes
    begin = time.monotonic()
    done = docker("restart", name, check=False)
    why = f"docker restart: {done.stderr.strip()}" if done.returncode else _wait(name, url, deadline, crashes)
    return round(time.monotonic() - begin, 2), why


# ---- the file and its judge


def _text(path: Path) -> tuple[bytes, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return data, data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScriptError(f"{path}:{line}: not UTF-8 text: Synapse cannot read it: save it as UTF-8") from None


def _asked(command: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise ScriptError(f"{' '.join(command[:3])}: no answer in 300 s") from None
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def _inside(container: Container, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a verb of scripts/synapse_inside.py where PyYAML is: in the running container; else in a short-lived
    one of its image, without network or rights; else in this machine's own python3."""
    stdin = bundle.pack(INSIDE, arguments)
    code = ["-c", bundle.LAUNCH, verb]
    if container.up:
        tries = [["docker", "exec", "-i", container.name, "python3", *code]]
    else:
        safe = "--rm -i --network none --read-only --cap-drop ALL --security-opt no-new-privileges --user 65534:65534"
        once = ["docker", "run", *safe.split(), "--entrypoint", "python3", container.image, *code]
        tries = [once] if container.image else []
        tries.append([sys.executable or "python3", *code])
    failed = []
    for command in tries:
        done = _asked(command, stdin)
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        failed.append(f"{command[0]} {command[1]}: {last}" if command[0] == "docker" else f"python3 here: {last}")
    fix = "" if container.up else f": start {container.name}, or install PyYAML here (apt install python3-yaml)"
    raise ScriptError(f"{arguments['file']}: nowhere to run the edit ({'; '.join(failed)}){fix}")


def _arguments(arguments: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
    names = ("file", "inside_file", "owner", "registrations", "experimental_features")
    return {**{name: arguments[name] for name in names}, "text": text, **more}


def _write(path: Path, old: bytes, new: str) -> None:
    if path.read_bytes() != old:
        raise ScriptError(f"{path}: somebody changed it at this very moment: nothing was written, run it again")
    rewrite(path, new.encode())


def _put_back(path: Path, old: bytes, ours: bytes, times: tuple[int, int]) -> None:
    """The old content and its time of change (nothing has changed since Synapse read it)."""
    if path.read_bytes() != ours:
        raise ScriptError(f"{path}: somebody changed it meanwhile, so it was not put back")
    rewrite(path, old)
    os.utime(path, ns=times)


def _watched_tokens(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        try:
            found |= synapse_inside._tokens(Path(path).read_text(errors="replace"))
        except OSError:
            continue
    return found


def _changed_since(start: float, paths: Iterable[str]) -> bool:
    for path in paths:
        try:
            if os.stat(path).st_mtime > start:
                return True
        except OSError:
            continue
    return False


def _log(name: str, hide: Iterable[str]) -> str:
    return f"the last 50 log lines of {name}:\n" + clean(logs(name, 50), hide).rstrip()


# ---- verbs


def apply(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: file (on the host), container, inside_file (the same file as Synapse sees it), owner, registrations,
    experimental_features, watch (registration files on the host), health_url, health_deadline (seconds).

    Synapse is restarted once if homeserver.yaml changes or it or a watched file is newer than Synapse's start; not at
    all otherwise. Result: changed, restarted, health_seconds (null without a restart).
    """
    name, url, deadline = arguments["container"], arguments["health_url"], float(arguments["health_deadline"])
    path = Path(arguments["file"])
    container = _container(name)
    if not container.up:
        raise ScriptError(
            f"container {name}: is {container.state}, nothing was touched: start Synapse, then run this again"
        )
    if why := _wait(name, url, min(ALREADY, deadline), container.crashes):
        raise ScriptError(
            f"container {name}: Synapse is down ({why}), nothing was touched: fix it, then run this again"
        )
    if not path.is_file():
        raise ScriptError(f"{path}: no such file: check the setting synapseDir")
    stat = path.stat()
    old, text = _text(path)
    pending = _changed_since(container.started, [str(path), *arguments["watch"]])
    made = _inside(container, "apply", _arguments(arguments, text, pending=pending))
    if made.get("refused"):
        raise ScriptError(str(made["refused"]))
    new = str(made["text"])
    changed = new != text
    hide = {*made["hide"], *_watched_tokens(arguments["watch"])}
    if not made["same"]:
        raise ScriptError(
            f"{path}: is not what {name} has as {arguments['inside_file']}, nothing was touched: "
            "check the settings synapseDir and synapseDataMount"
        )
    if made["error"] is not None:
        whose = "it refuses the file as it was, too" if made["before"] is not None else "the file is as it was"
        raise ScriptError(
            f"{path}: Synapse's own loader refuses the new configuration, nothing was restarted, {whose}:\n"
            + clean(str(made["error"]), hide)
        )
    if changed:
        _write(path, old, new)
        say(f"{path}: the entries of {arguments['owner']} are in it")
    if not changed and not pending:
        return {"changed": False, "restarted": False, "health_seconds": None}
    seconds, why = _restart(name, url, deadline)
    if why:
        raise ScriptError(_undone(arguments, path, old, new.encode(), (stat.st_atime_ns, stat.st_mtime_ns), why, hide))
    say(f"{name}: healthy {seconds} s after the restart")
    return {"changed": changed, "restarted": True, "health_seconds": seconds}


def _undone(
    arguments: dict[str, Any], path: Path, old: bytes, new: bytes, times: tuple[int, int], why: str, hide: Iterable[str]
) -> str:
    """Put the old file back and Synapse with it; the text of the error."""
    name = arguments["container"]
    log = _log(name, hide)  # of the failed start, before the next one
    head = f"{name}: Synapse did not come up after its restart: {clean(why, hide)}"
    if old == new:
        return f"{head}\n{path}: was not changed by this run, so there is nothing to put back\n{log}"
    try:
        _put_back(path, old, new, times)
    except (ScriptError, OSError) as error:
        return f"{head}\n{error}: Synapse is down: fix {path} and run docker restart {name}\n{log}"
    seconds, still = _restart(name, arguments["health_url"], float(arguments["health_deadline"]))
    end = (
        f"Synapse is still not healthy with it ({clean(still, hide)}): it has another cause"
        if still
        else f"Synapse is healthy again with it after {seconds} s"
    )
    return f"{head}\n{path}: is as it was before; {end}\nof the failed start, {log}"


def remove(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as for `apply`. Takes this owner's entries out, and restarts Synapse if it runs and the file changed.

    A Synapse that is down, or that its own loader would not start anyhow, does not stop the removal: a warning says
    that the restart is left. A Synapse that does not come up after the restart is an error, but the entries stay out:
    what they named is about to go. Result: changed, restarted, health_seconds, left (registrations of ours that stay
    listed, because somebody else wrote them there).
    """
    name, url, deadline = arguments["container"], arguments["health_url"], float(arguments["health_deadline"])
    path = Path(arguments["file"])
    if not path.is_file():
        say(f"warning: {path}: is gone, so there is nothing to take out")
        return {"changed": False, "restarted": False, "health_seconds": None, "left": []}
    try:
        container = _container(name)
    except ScriptError as stop:
        say(f"warning: {stop}")
        container = Container(name, "absent")
    old, text = _text(path)
    made = _inside(container, "remove", _arguments(arguments, text, check=container.up))
    if made.get("refused"):
        raise ScriptError(str(made["refused"]))
    new = str(made["text"])
    result = {"changed": new != text, "restarted": False, "health_seconds": None, "left": made["left"]}
    for listed in made["left"]:
        whose = f"a line that is not marked as {arguments['owner']}'s"
        fix = "Synapse does not start without that file: take the line out by hand before the file goes"
        say(f"warning: {path}: still lists {listed} ({whose}): {fix}")
    if new == text:
        return result
    if made["others"] and made["flags"]:
        flags, others = ", ".join(made["flags"]), ", ".join(made["others"])
        say(f"note: {path}: {flags} went with us; should {others} need one of them, set it by hand")
    hide = {*made["hide"], *_watched_tokens(arguments["watch"])}
    why = f"is {container.state}" if not container.up else None
    if container.up and not made["same"]:
        why = f"has another file as {arguments['inside_file']}"
    elif made.get("error") is not None and made["before"] is not None:
        why = f"would not start, with our entries or without: {clean(str(made['error']), hide)}"
    elif made.get("error") is not None:
        raise ScriptError(
            f"{path}: Synapse's own loader refuses it without our entries, nothing was changed:\n"
            + clean(str(made["error"]), hide)
        )
    elif container.up and (ill := _wait(name, url, min(ALREADY, deadline), container.crashes)):
        why = f"is not healthy ({ill})"
    _write(path, old, new)
    say(f"{path}: the entries of {arguments['owner']} are out")
    if why:
        say(f"warning: container {name} {why}: the file is changed, the restart is left to you: docker restart {name}")
        return result
    seconds, ill = _restart(name, url, deadline)
    if ill:
        raise ScriptError(
            f"{name}: Synapse did not come up after its restart: {clean(ill, hide)}\n"
            f"{path}: our entries are out of it and stay out; with Synapse fixed, the same command goes on from here\n"
            + _log(name, hide)
        )
    say(f"{name}: healthy {seconds} s after the restart")
    return {**result, "restarted": True, "health_seconds": seconds}


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Read-only. Arguments: file, container, inside_file, owner, registrations, experimental_features. Result:
    missing (our entries that the file does not hold), refused (lines: why it could not be edited)."""
    path = Path(arguments["file"])
    _, text = _text(path)
    return _inside(_container(arguments["container"]), "check", _arguments(arguments, text))


VERBS = (apply, remove, check)

if __name__ == "__main__":
    run(*VERBS)
