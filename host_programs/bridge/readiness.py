"""Waits until a bridge works: it says that it is ready, Synapse reaches it, its bot exists, it reaches the media
repository (a login uploads), and an event arrives (synapse/delivery.py). A running container proves nothing: a bridge
that cannot reach Synapse tries again for ever. If the bridge does not get ready, the error says why: the exit code's
meaning or what is missing, and the last lines of the log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from documents.bridge.pickle_key import fingerprint_key
from documents.masking import clean_log
from documents.places import BridgePlace, Postgres, Synapse
from documents.timestamps import now
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
from host_programs.files import directory, safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres.psql import run_sql
from host_programs.synapse import delivery
from host_programs.synapse.client import SynapseClient
from host_programs.synapse.event_position import EventPosition, read_position
from host_programs.synapse.exchange import MEDIA_CONFIG, Request, ping_request
from verdicts.answers import Exchange, is_still_starting, summarize_answer
from verdicts.exit_codes import NEEDS_A_CHANGE, ExitCode, explain_exit_code
from verdicts.host_facts.docker import Container

LOG_LINES = 50
KEYS_LOST = 34  # verdicts/exit_codes.py
REQUEST_NEW_KEYS = """
INSERT INTO public.kv_store (bridge_id, key, value) VALUES ('', 'recovery_key', 'overwrite')
ON CONFLICT (bridge_id, key) DO UPDATE SET value = excluded.value;
"""
MAX_RESTARTS = 2  # in one wait: more is a loop
DELIVERY_PAUSE = 0.05  # seconds between two checks whether an event has arrived
PAUSE_FACTOR = 1.25  # each pause is longer than the last: many bridges may start at the same time
LONGEST_PAUSE = 2.0  # seconds
QUESTION_TIMEOUT = 5.0  # seconds for one question
PROGRESS_SECONDS = 10.0  # between two looks at how far Synapse is
MANY_EVENTS = 1000  # to go through: a busy Synapse is always some behind
LAST_TIMEOUT = 2.0  # and for one question of the last round, after the time is up


@dataclass(frozen=True)
class ReadinessArguments:
    """`container_id`: the container to wait for; `bot`: a user id; `timeout`: seconds from now; `pause`: seconds
    between the first two rounds of questions. `mark`: the path of a file, which will hold "CONTAINER_ID ATTEMPT IMAGE"
    of the container that got ready. `new_keys`: the bot may get new cross-signing keys, since the database is empty and
    Synapse still has those of an earlier bot. `config`: the directory of the container's config, of this `stack`.
    `postgres` has Synapse's database. `archives`: the directory of the archives of `archive_owner` (stack and domain)
    and `program`. `pickle_key`: what parts of the database are encrypted with."""

    bridge: BridgePlace
    container_id: str
    synapse: Synapse
    postgres: Postgres
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
    pickle_key: str = field(repr=False)
    pause: float = 0.3


@dataclass(frozen=True)
class Ready:
    """`ready_seconds`: how long it took; `restart_count`: restarts since the start; `ping_ms`: Synapse's ping of the
    bridge; `event_ms`: an event's way to the bridge and back; `displayname`: the bot's; `at`: when (timestamps.py,
    now)."""

    container_id: str
    ready_seconds: float
    restart_count: int
    ping_ms: float
    event_ms: int
    displayname: str
    at: str


class Patience:
    """How long an event is waited for: until `deadline` (of time.monotonic), and on as long as Synapse goes through
    many older ones. `seen`: how far it was at the last look."""

    def __init__(self, arguments: ReadinessArguments, deadline: float) -> None:
        self.arguments, self.deadline = arguments, deadline
        self.next_look = time.monotonic() + PROGRESS_SECONDS / 2
        self.seen: Optional[EventPosition] = None

    @property
    def behind(self) -> int:
        """How many events Synapse has to go through first; 0 if they are few."""
        return self.seen.behind if self.seen and self.seen.behind >= MANY_EVENTS else 0

    def ends_before(self, moment: float) -> bool:
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + PROGRESS_SECONDS
            self._look(now)
        return moment >= self.deadline

    def _look(self, now: float) -> None:
        before, self.seen = self.seen, None
        with suppress(ScriptError):  # Postgres does not answer: the deadline decides
            self.seen = read_position(self.arguments.postgres, self.arguments.synapse.database)
        passed = self.seen.position - before.position if self.seen and before else 0
        if self.behind and passed > 0:
            left = round(self.behind / passed * PROGRESS_SECONDS)
            say(f"Synapse goes through old events first: {self.behind} left, about {left} s")
            self.deadline = max(self.deadline, now + self.arguments.timeout)


class Watch:
    """One wait: the container's state, and the last answer to each question."""

    def __init__(self, arguments: ReadinessArguments) -> None:
        self.arguments = arguments
        # The bot itself asks: a hardened Synapse shows a profile to its user, and to those who share a room with it.
        bot = quote(arguments.bot, safe="")
        profile = f"/_matrix/client/v3/profile/{bot}?user_id={bot}"
        self.requests = {
            "ping": ping_request(arguments.appservice_id, arguments.as_token),
            "profile": Request("GET", profile, arguments.as_token),
        }
        self.client = SynapseClient(arguments.synapse, [arguments.as_token])
        self.answers: dict[str, str] = {}  # for people
        self.bodies: dict[str, Mapping[str, Any]] = {}  # of the good answers
        self.exchanges: dict[str, Exchange] = {}
        self.first: Optional[Container] = None
        self.state: Optional[Container] = None
        self.exit: Optional[ExitCode] = None
        self.behind = 0  # events that Synapse has still to go through, and does not

    def find_failure(self, now: Optional[Container]) -> str:
        """Why it is useless to wait any longer for the container, as it is `now`; "" if waiting may help."""
        before, self.state = self.state, now
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

    def read_mark(self) -> list[str]:
        """Id, attempt and image of the container that got ready last."""
        mark = safe_files.read_file(Path(self.arguments.mark), links=False)
        return mark.data.decode(errors="replace").split() if mark else []

    def ask_questions(self, seconds: float, ask_all: bool = False) -> bool:
        """Ask the four questions; whether all answers are good. After a bad answer the rest is skipped, unless
        `ask_all`."""
        running = self.state if self.state and self.state.running else None
        self.answers, self.bodies = {"ready": "the container does not run"}, {}
        if running:
            place = self.arguments.bridge
            self.answers["ready"] = request_readiness(running, place.network, place.port, seconds)
        is_good = self.answers["ready"] == "200"
        for name, request in self.requests.items():
            if not is_good and not ask_all:
                return False
            exchange = self.client.send(name, request, seconds)
            self.exchanges[name], self.answers[name] = exchange, summarize_answer(exchange)
            body = None if exchange.fault or exchange.status != 200 else exchange.json()
            if body is None or (name == "ping" and "duration_ms" not in body):
                is_good = False
            else:
                self.bodies[name] = body
        if running and (is_good or ask_all):
            # Asked at the address to which the bridge uploads.
            url = f"{self.arguments.synapse.address}{MEDIA_CONFIG}"
            self.answers["media"] = request_in_container(running.id, url, seconds, self.arguments.as_token)
            is_good = is_good and self.answers["media"] == "200"
        return is_good

    def prove_delivery(self, container: Container, started: float) -> Ready:
        """Have an event delivered. ScriptError if it does not arrive in time."""
        arguments = self.arguments
        self.answers["files"] = find_temporary_file_error(container.id)
        if self.answers["files"]:
            raise ScriptError(self.write_report("cannot write temporary files"))
        patience = Patience(arguments, max(started + arguments.timeout, time.monotonic() + LAST_TIMEOUT))
        tokens = [arguments.as_token, arguments.doublepuppet_as_token]
        proof = delivery.Delivery(self.client.url, arguments.doublepuppet_as_token, arguments.bot, arguments.as_token)
        try:
            seconds = delivery.prove_delivery(proof, patience.ends_before, min(arguments.pause, DELIVERY_PAUSE))
        except ScriptError as error:
            raise ScriptError(clean_log(str(error), tokens)) from None
        if seconds is None:
            self.answers["event"] = "an invitation of the bot was not handed over"
            self.behind = patience.behind
            raise ScriptError(self.write_report(f"is not handed events within {arguments.timeout:g} s"))
        return Ready(
            container_id=container.id,
            ready_seconds=round(time.monotonic() - started, 1),
            restart_count=container.restarts,
            ping_ms=float(self.bodies["ping"]["duration_ms"]),
            event_ms=round(seconds * 1000),
            displayname=str(self.bodies["profile"].get("displayname", "")),
            at=now(),
        )

    def write_report(self, failure: str) -> str:
        """The error's text; its first line says what happened and what to do."""
        state, name = self.state, self.arguments.bridge.container
        death = f": exit code {self.exit.code}: {self.exit.meaning}" if self.exit else ""
        remedy = f"{self._find_remedy()}."
        if not self.first or self.read_mark()[:1] != [self.first.id]:
            remedy = f"{remedy} The next `pulumi up` makes the container anew, since it never got ready."
        lines = [f"{name} {failure}{death}. What to do: {remedy}{self._describe_way_back()}"]
        if state:
            oom = ", killed for lack of memory" if state.oom_killed else ""
            lines.append(f"  container  {state.status}, restarted {state.restarts} times{oom}")
            lines += [f"  docker     {state.error}"] if state.error else []
        lines += [f"  {question:<9}  {answer}" for question, answer in self.answers.items()]
        if state:
            log = read_log(state.id, LOG_LINES).strip("\n") or "(empty)"
            lines += [f"--- last {LOG_LINES} log lines of {name} ---", log]
        return clean_log("\n".join(lines), [self.arguments.as_token])

    def _describe_way_back(self) -> str:
        """How to go back to an earlier image and its archive, if this image never worked; "" if there is none."""
        arguments, image = self.arguments, self.arguments.bridge.image
        earlier = archives.list_earlier_archives(arguments.archives, arguments.program, arguments.archive_owner)
        path, manifest = next(earlier, (None, None))
        if manifest is None or manifest.image == image or self.read_mark()[2:] == [image]:
            return ""
        return (
            f" Or go back: set this bridge's image to {manifest.image} and its goBackTo to {path}, then `pulumi up`; "
            "the database as it is now is archived first."
        )

    def _find_remedy(self) -> str:
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
        if self.behind:
            return (
                f"Synapse has {self.behind} old events to go through for its application services, and stands still: "
                "its log tells what stops it (docker logs)"
            )
        if "event" in self.answers:
            return (
                "Synapse pings the bridge and delivers nothing to it: restart the process of Synapse that pushes to "
                "appservices (notify_appservices_from_worker), or wait, if it was long without a bridge: it tries "
                "again after minutes"
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
    """Wait until the bridge is ready, and remove the configs of earlier containers. ScriptError at once if waiting
    cannot help, else when the time is up."""
    started, pause = time.monotonic(), arguments.pause
    watch, new_keys = Watch(arguments), arguments.new_keys
    container = _restart_unproven(watch)
    while True:
        failure = watch.find_failure(container)
        left = started + arguments.timeout - time.monotonic()
        if not failure and watch.ask_questions(min(QUESTION_TIMEOUT, max(left, LAST_TIMEOUT))) and watch.state:
            result = watch.prove_delivery(watch.state, started)
            _write_ready_mark(arguments, result.container_id)
            _remove_old_configs(arguments)
            return result
        if not failure and time.monotonic() + pause < started + arguments.timeout:
            time.sleep(pause)
            pause = min(pause * PAUSE_FACTOR, LONGEST_PAUSE)
            container = inspect_container(arguments.container_id)
        elif new_keys and watch.exit and watch.exit.code == KEYS_LOST:
            _renew_keys(arguments)
            watch, new_keys = Watch(arguments), False
            container = inspect_container(arguments.container_id)
        else:
            if not failure:
                watch.ask_questions(LAST_TIMEOUT, ask_all=True)
            raise ScriptError(watch.write_report(failure or f"is not ready after {arguments.timeout:g} s"))


def _restart_unproven(watch: Watch) -> Optional[Container]:
    """The container; restarted, if it kept ending before this wait: the reason may be gone, and Docker may wait for
    minutes before the next try. A running container that got ready once is left alone: it is only checked again,
    because another bridge was added."""
    container = inspect_container(watch.arguments.container_id)
    if container is None:
        return None
    is_unproven = container.running and container.restarts and watch.read_mark()[:1] != [container.id]
    if container.status == "restarting" or is_unproven:
        watch.state = container
        if not watch.ask_questions(LAST_TIMEOUT):
            say(f"{container.name}: has ended {container.restarts} times before: it is started anew")
            run_docker("restart", container.id, timeout=90)
        watch.state = None
        container = inspect_container(container.id)
    return container


def _renew_keys(arguments: ReadinessArguments) -> None:
    """Have the bridge make new cross-signing keys for its bot, and start it again (bridgev2/matrix/crypto.go)."""
    name, bot, database = arguments.bridge.container, arguments.bot, arguments.bridge.database
    say(f"{name}: Synapse has cross-signing keys of an earlier {bot}, and the database is new: new ones")
    run_sql(database.container, database.role, database.database, REQUEST_NEW_KEYS, timeout=30)
    run_docker("restart", arguments.container_id, timeout=60)


def _write_ready_mark(arguments: ReadinessArguments, container_id: str) -> None:
    """Note that the container got ready: later runs do not replace it."""
    text = f"{container_id} {arguments.attempt} {arguments.bridge.image}\n"
    safe_files.write_file(Path(arguments.mark), text.encode())


def _remove_old_configs(arguments: ReadinessArguments) -> None:
    def is_archived(key: str) -> bool:
        own = fingerprint_key(arguments.pickle_key)  # in the present config
        return key == own or archives.is_key_archived(arguments.archives, arguments.program, key)

    for folder in directory.list_configs(Path(arguments.bridge.directory)):
        if str(folder) != arguments.config:
            directory.remove_config(folder, arguments.stack, is_archived)
