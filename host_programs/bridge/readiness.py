"""The bridge is up only when it says so itself, Synapse reaches it, its bot is there, it reaches the media repository
(a login uploads), and an event arrives (synapse/delivery.py). A running container proves nothing: a bridge that cannot
reach Synapse tries again for ever.

`wait_until_ready` waits, right after the container's start, until all of it holds; then the configs of earlier
containers go. If it does not hold, the error says why: the exit code's meaning or what is missing, and the last lines
of the log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from documents.masking import clean_log
from documents.places import BridgePlace, Synapse
from host_programs.backup import archives
from host_programs.bridge.bridge_status import request_readiness
from host_programs.docker import (
    find_temporary_file_error,
    inspect_container,
    read_last_exit,
    read_log,
    request_in_container,
    run_docker,
)
from host_programs.files import directory, files, safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres.psql import run_sql
from host_programs.synapse import delivery
from host_programs.synapse.client import SynapseClient
from host_programs.synapse.exchange import MEDIA_CONFIG, Request, ping_request
from verdicts.answers import Exchange, is_still_starting, summarize_answer
from verdicts.exit_codes import NEEDS_A_CHANGE, ExitCode, explain_exit_code
from verdicts.host_facts.docker import Container

LOG_LINES = 50
KEYS_LOST = 34  # verdicts/exit_codes.py
REQUEST_NEW_KEYS = """
INSERT INTO kv_store (bridge_id, key, value) VALUES ('', 'recovery_key', 'overwrite')
ON CONFLICT (bridge_id, key) DO UPDATE SET value = excluded.value;
"""
MAX_RESTARTS = 2  # so many in one wait, and it is a loop
DELIVERY_PAUSE = 0.05  # seconds between two looks for what the bridge does about an event
PAUSE_FACTOR = (
    1.25  # each pause is longer than the one before: many bridges that start at a time are not asked to death
)
LONGEST_PAUSE = 2.0  # seconds
QUESTION_TIMEOUT = 5.0  # seconds for one question
LAST_TIMEOUT = 2.0  # and for one of the last look's, after the time is up


@dataclass(frozen=True)
class ReadinessArguments:
    """`container_id` is the container that is meant; `bot` a user id; `timeout` seconds from now, `pause` between the
    first two looks. `mark`: a file's path; it will hold "CONTAINER_ID ATTEMPT IMAGE" of the container that got
    ready. `new_keys`: the bot of an empty database may get new cross-signing keys where Synapse still has those of
    an earlier one. `config`: the directory of the container's, of this `stack`. `archives`: the directory of the
    archives of `archive_owner` (stack and domain) and `program`."""

    bridge: BridgePlace
    container_id: str
    synapse: Synapse
    bot: str
    appservice_id: str
    as_token: str = field(repr=False)
    doublepuppet_as_token: str = field(repr=False)
    timeout: float
    mark: str
    attempt: int
    new_keys: bool
    stack: str
    config: str
    archives: str
    archive_owner: str
    program: str
    pause: float = 0.3


@dataclass(frozen=True)
class Ready:
    """What was seen: seconds waited, restarts meanwhile, the ping's own time, an event's way to the bridge and back,
    and the bot's name."""

    container_id: str
    ready_seconds: float
    restart_count: int
    ping_ms: float
    event_ms: int
    displayname: str


class Watch:
    """One wait: what is known of the container, and what each of the four questions was answered last."""

    def __init__(self, arguments: ReadinessArguments) -> None:
        self.arguments = arguments
        # Asked as the bot: a hardened Synapse shows a profile to those alone who share a room with it, and to itself.
        bot = quote(arguments.bot, safe="")
        profile = f"/_matrix/client/v3/profile/{bot}?user_id={bot}"
        self.requests = {
            "ping": ping_request(arguments.appservice_id, arguments.as_token),
            "profile": Request("GET", profile, arguments.as_token),
        }
        self.client = SynapseClient(arguments.synapse, [arguments.as_token])
        self.answers: dict[str, str] = {}  # for people
        self.exchanges: dict[str, Exchange] = {}
        self.bodies: dict[str, Mapping[str, Any]] = {}  # of the answers that hold
        self.first: Optional[Container] = None
        self.state: Optional[Container] = None
        self.exit: Optional[ExitCode] = None

    def why_not(self) -> str:
        """Look at the container: why waiting any longer is of no use, or nothing."""
        before, now = self.state, inspect_container(self.arguments.container_id)
        self.state = now
        if now is None:
            return "was removed" if before else "is not there"
        self.first = self.first or now
        grown = now.restarts - self.first.restarts
        if now.ended or now.restarts > (before or self.first).restarts:
            code = read_last_exit(now)
            self.exit = self.exit if code is None else explain_exit_code(code)
        if now.status in ("exited", "dead", "paused", "removing"):
            return f"is {now.status}"
        if now.status == "created" and now.error:
            return "could not be started"
        if self.exit and (grown or now.status == "restarting") and self.exit.code in NEEDS_A_CHANGE:
            return "exited, and starting it again cannot help"
        if grown >= MAX_RESTARTS or (now.status == "restarting" and now.restarts >= MAX_RESTARTS):
            return "keeps exiting"
        return ""

    def was_ready(self, container: Optional[Container]) -> bool:
        """Whether this very container got ready once."""
        mark = Path(self.arguments.mark)
        return container is not None and mark.is_file() and mark.read_text().split()[:1] == [container.id]

    def ask(self, seconds: float, all_of_them: bool = False) -> bool:
        """Whether the four hold; a question is asked only once the one before it is answered, or `all_of_them`."""
        runs = self.state if self.state and self.state.running else None
        place = self.arguments.bridge
        said = request_readiness(runs, place.network, place.port, seconds) if runs else "the container does not run"
        self.answers, self.bodies = {"ready": said}, {}
        good = said == "200"
        for name, request in self.requests.items():
            if not good and not all_of_them:
                return False
            exchange = self.client.send(name, request, seconds)
            self.exchanges[name], self.answers[name] = exchange, summarize_answer(exchange)
            body = None if exchange.fault or exchange.status != 200 else exchange.json()
            if body is None or (name == "ping" and "duration_ms" not in body):
                good = False
            else:
                self.bodies[name] = body
        if runs and (good or all_of_them):
            self.answers["media"] = said = self._media(runs, seconds)
            good = good and said == "200"
        return good

    def _media(self, runs: Container, seconds: float) -> str:
        """Whether there is a media repository where the bridge uploads."""
        url = f"{self.arguments.synapse.address}{MEDIA_CONFIG}"
        return request_in_container(runs.id, url, seconds, self.arguments.as_token)

    def ready(self, state: Container, begun: float) -> Optional[Ready]:
        """The result, once all of them hold and an event has arrived; None if none did before the time was up."""
        a = self.arguments
        self.answers["files"] = refused = find_temporary_file_error(state.id)
        if refused:
            raise ScriptError(self.report("cannot write temporary files"))
        deadline = max(begun + a.timeout, time.monotonic() + LAST_TIMEOUT)
        try:
            proof = delivery.Delivery(self.client.url, a.doublepuppet_as_token, a.bot, a.as_token)
            arrived = delivery.prove_delivery(proof, deadline, min(a.pause, DELIVERY_PAUSE))
        except ScriptError as error:
            raise ScriptError(clean_log(str(error), [a.as_token, a.doublepuppet_as_token])) from None
        self.answers["event"] = "arrived" if arrived is not None else "an invitation of the bot was not handed over"
        if arrived is None:
            return None
        return Ready(
            state.id,
            round(time.monotonic() - begun, 1),
            state.restarts,
            float(self.bodies["ping"]["duration_ms"]),
            round(arrived * 1000),
            str(self.bodies["profile"].get("displayname", "")),
        )

    def report(self, why: str) -> str:
        """The error's text; its first line says what and what to do."""
        state, exit_, name = self.state, self.exit, self.arguments.bridge.container
        anew = (
            ""
            if self.was_ready(self.first)
            else ". The next `pulumi up` makes the container anew, since it never got ready"
        )
        died = f": exit code {exit_.code}: {exit_.meaning}" if exit_ else ""
        lines = [f"{name} {why}{died}. What to do: {self._todo()}{anew}.{self._way_back()}"]
        if state:
            oom = ", killed for lack of memory" if state.oom_killed else ""
            lines.append(f"  container  {state.status}, restarted {state.restarts} times{oom}")
            lines += [f"  docker     {state.error}"] if state.error else []
        lines += [f"  {question:<9}  {answer}" for question, answer in self.answers.items()]
        if state:
            lines += [
                f"--- last {LOG_LINES} log lines of {name} ---",
                read_log(state.id, LOG_LINES).strip("\n") or "(empty)",
            ]
        return clean_log("\n".join(lines), [self.arguments.as_token])

    def _way_back(self) -> str:
        """Which image and archive lead back, if this image never worked; "" if there is none."""
        a, mark = self.arguments, Path(self.arguments.mark)
        if mark.is_file() and mark.read_text().split()[2:] == [a.bridge.image]:
            return ""
        for path, manifest in archives.list_earlier_archives(a.archives, a.program, a.archive_owner):
            if manifest.image == a.bridge.image:
                return ""
            return (
                f" Or go back: set this bridge's image to {manifest.image} and its goBackTo to {path}, then "
                "`pulumi up`; the database as it is now is archived first."
            )
        return ""

    def _todo(self) -> str:
        if self.exit:
            return self.exit.fix
        if self.state is None:
            return "find out who removed it (docker events)"
        if self.state.error:
            return "fix what Docker says above"
        profile = self.exchanges.get("profile")
        if profile and (profile.fault or is_still_starting(profile)):
            where = profile.url.partition("/_matrix/")[0] or "any address"
            return f"Synapse does not answer at {where}: start it, or fix it (docker logs)"
        if self.answers.get("files"):
            return (
                "have the directory in TMPDIR, or /tmp, of the image writable for everybody, and make room on Docker's "
                "disk: what people send goes through a file there"
            )
        if self.answers.get("ready") != "200":
            return "the bridge runs but does not get as far as it should: the log's last lines say what it waits for"
        if "event" in self.answers:
            return (
                "Synapse pings the bridge and delivers nothing to it: restart the process of Synapse that pushes to "
                "appservices (notify_appservices_from_worker), or wait, if it was long without a bridge: it tries "
                "again "
                "after minutes"
            )
        if "ping" not in self.bodies:
            return "Synapse cannot reach the bridge: compare its registration's url with the container's name and port"
        if "profile" in self.bodies:
            return (
                f"the bridge finds no media repository at {self.arguments.synapse.address}, where it uploads: set "
                "homeserverAddress to what serves the whole client API inside the network"
            )
        return f"Synapse knows no profile of {self.arguments.bot}: look at the bot's registration in the log"


def wait_until_ready(arguments: ReadinessArguments) -> Ready:
    """Wait until the bridge is ready. ScriptError: at once if waiting cannot help, else when the time is up."""
    begun, pause = time.monotonic(), arguments.pause
    watch, new_keys = Watch(arguments), arguments.new_keys
    _restart_unproven(watch)
    while True:
        why = watch.why_not()
        left = begun + arguments.timeout - time.monotonic()
        if not why and watch.ask(min(QUESTION_TIMEOUT, max(left, LAST_TIMEOUT))) and watch.state:
            result = watch.ready(watch.state, begun)
            if result is None:
                raise ScriptError(watch.report(f"is not handed events within {arguments.timeout:g} s"))
            _write_ready_mark(arguments, result)
            _remove_old_configs(arguments)
            return result
        if not why and time.monotonic() + pause < begun + arguments.timeout:
            time.sleep(pause)
            pause = min(pause * PAUSE_FACTOR, LONGEST_PAUSE)
            continue
        if new_keys and watch.exit and watch.exit.code == KEYS_LOST:
            _renew_keys(arguments)
            watch, new_keys = Watch(arguments), False
            continue
        if not why:
            watch.ask(LAST_TIMEOUT, all_of_them=True)
        raise ScriptError(watch.report(why or f"is not ready after {arguments.timeout:g} s"))


def _restart_unproven(watch: Watch) -> None:
    """A container that kept ending before this wait began did so for a reason that may be mended since: what counts is
    what it does from now on, and Docker may let it wait for minutes. One that got ready, and runs, is left alone: it is
    only looked at once more, since another bridge came."""
    state = inspect_container(watch.arguments.container_id)
    if state is None:
        return
    unproven = state.running and state.restarts and not watch.was_ready(state)
    if state.status != "restarting" and not unproven:
        return
    watch.state = state
    if not watch.ask(LAST_TIMEOUT):
        say(f"{state.name}: has ended {state.restarts} times before: it is started anew")
        run_docker("restart", watch.arguments.container_id, timeout=90)
    watch.state = None


def _renew_keys(arguments: ReadinessArguments) -> None:
    """Have the bridge make new cross-signing keys for its bot, and start it again (bridgev2/matrix/crypto.go)."""
    name, bot, database = arguments.bridge.container, arguments.bot, arguments.bridge.database
    say(f"{name}: Synapse has cross-signing keys of an earlier {bot}, and the database is new: new ones")
    run_sql(database.container, database.role, database.database, REQUEST_NEW_KEYS, timeout=30)
    run_docker("restart", arguments.container_id, timeout=60)


def _write_ready_mark(arguments: ReadinessArguments, seen: Ready) -> None:
    """The container got ready: later runs know it by this, and do not make it anew."""
    text = f"{seen.container_id} {arguments.attempt} {arguments.bridge.image}\n"
    safe_files.write_file(Path(arguments.mark), text.encode())


def _remove_old_configs(arguments: ReadinessArguments) -> None:
    for config in directory.list_configs(Path(arguments.bridge.directory)):
        if str(config.parent) != arguments.config:
            files.remove_own_file(arguments.stack, config, own_directory=True)
