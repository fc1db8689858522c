"""The bridge is up only when it says so itself, Synapse reaches it, and its bot is there. A running container proves
nothing: a bridge that cannot reach Synapse tries again for ever.

Verb `wait`: right after the container's start, until all three hold. If they do not, the error says why: the exit
code's meaning or what is missing, and the last lines of the log.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

from documents.masking import clean
from scripts.common import ScriptError, docker, logs, run, say, write_atomic
from scripts.container import last_exit, look, ready
from scripts.exchange import Request, address, ask
from verdicts.auth import Exchange, came, starting
from verdicts.exit_codes import NEEDS_A_CHANGE, ExitCode, explain
from verdicts.host_facts import Container

LINES = 50
KEYS_LOST = 34  # verdicts/exit_codes.py
OVERWRITE = """
INSERT INTO kv_store (bridge_id, key, value) VALUES ('', 'recovery_key', 'overwrite')
ON CONFLICT (bridge_id, key) DO UPDATE SET value = excluded.value;
"""
RESTARTS = 2  # so many in one wait, and it is a loop
LIMIT = 5.0  # seconds for one question
LAST_LIMIT = 2.0  # and for one of the last look's, after the time is up


class Watch:
    """One wait: what is known of the container, and what each of the three questions was answered last."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.name = arguments["container"]
        self.id = arguments.get("container_id") or self.name
        self.port = int(arguments["port"])
        self.url = arguments["synapse_url"]
        self.bot = f"@{arguments['bot_localpart']}:{arguments['domain']}"
        self.token = arguments["as_token"]
        self.mark = Path(arguments["mark"])
        self.secrets = [self.token, *arguments.get("hide", [])]
        appservice = quote(arguments["appservice_id"], safe="")
        self.requests = {
            "ping": Request("POST", f"/_matrix/client/v1/appservice/{appservice}/ping", self.token, {}),
            "profile": Request("GET", f"/_matrix/client/v3/profile/{quote(self.bot, safe='')}", self.token),
        }
        self.answers: dict[str, str] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.found: dict[str, dict[str, Any]] = {}  # of those that hold
        self.first: Optional[Container] = None
        self.state: Optional[Container] = None
        self.exit: Optional[ExitCode] = None

    def hopeless(self) -> str:
        """Look at the container: why waiting any longer is of no use, or nothing."""
        before, now = self.state, look(self.id)
        self.state = now
        if now is None:
            return "was removed" if before else "is not there"
        self.first = self.first or now
        grown = now.restarts - self.first.restarts
        if now.ended or now.restarts > (before or self.first).restarts:
            code = last_exit(now)
            self.exit = self.exit if code is None else explain(code)
        if now.status in ("exited", "dead", "paused", "removing"):
            return f"is {now.status}"
        if now.status == "created" and now.error:
            return "could not be started"
        if self.exit and (grown or now.status == "restarting") and self.exit.code in NEEDS_A_CHANGE:
            return "exited, and starting it again cannot help"
        if grown >= RESTARTS or (now.status == "restarting" and now.restarts >= RESTARTS):
            return "keeps exiting"
        return ""

    def was_ready(self) -> bool:
        """Whether this very container got ready once."""
        return self.first is not None and self.mark.is_file() and self.mark.read_text().split()[:1] == [self.first.id]

    def ask(self, seconds: float, all_of_them: bool = False) -> bool:
        """Whether the three hold; a question is asked only once the one before it is answered, or `all_of_them`."""
        runs = self.state is not None and self.state.status == "running"
        self.answers = {"ready": ready(self.id, self.port, seconds) if runs else "the container does not run"}
        self.found = {}
        good = self.answers["ready"] == "200"
        for name, request in self.requests.items():
            if not good and not all_of_them:
                return False
            exchange = self.exchanges[name] = ask(name, self.url, request, seconds, self.secrets)
            self.answers[name] = came(exchange)
            body = exchange.json()
            if (
                exchange.fault
                or exchange.status != 200
                or body is None
                or (name == "ping" and "duration_ms" not in body)
            ):
                good = False
            else:
                shown = {key: body[key] for key in ("duration_ms", "displayname") if key in body}
                self.found[name] = {"status": 200, **shown}
        return good

    def report(self, why: str) -> str:
        """The error's text."""
        state, exit_ = self.state, self.exit
        lines = [f"{self.name} {why}" + (f": exit code {exit_.code}: {exit_.meaning}" if exit_ else "")]
        if state:
            oom = ", killed for lack of memory" if state.oom_killed else ""
            lines.append(f"  container  {state.status}, restarted {state.restarts} times{oom}")
            lines += [f"  docker     {state.error}"] if state.error else []
        lines += [f"  {name:<9}  {answer}" for name, answer in self.answers.items()]
        anew = "" if self.was_ready() else ". The next `pulumi up` makes the container anew, since it never got ready"
        lines.append(f"What to do: {self._todo()}{anew}.")
        text = clean("\n".join(lines), self.secrets)
        if state:
            log = clean(logs(self.id, LINES), self.secrets).strip("\n")
            text += f"\n--- last {LINES} log lines of {self.name} ---\n{log or '(empty)'}"
        return text

    def _todo(self) -> str:
        if self.exit:
            return self.exit.fix
        if self.state is None:
            return "find out who removed it (docker events)"
        if self.state.error:
            return "fix what Docker says above"
        profile = self.exchanges.get("profile")
        if profile and (profile.fault or starting(profile)):
            return f"Synapse does not answer at {self.url}: start it, or fix it (docker logs)"
        if self.answers.get("ready") != "200":
            return "the bridge runs but does not get as far as it should: the log's last lines say what it waits for"
        if "ping" not in self.found:
            return "Synapse cannot reach the bridge: compare its registration's url with the container's name and port"
        return f"Synapse knows no profile of {self.bot}: look at the bot's registration in the log"


def wait(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Wait until the bridge is ready. Arguments:

    container (name), container_id (optional: the one meant), port, synapse_url, domain, bot_localpart, appservice_id,
    as_token, timeout (seconds from now), mark (a file's path; it will hold the id of the container that got ready, and
    the number attempt), attempt (1), hide (optional list: more secrets that a log could hold),
    pause (seconds between looks, 0.3), new_keys (optional: container, role and database of Postgres; the bot of an
    empty database gets new cross-signing keys where the homeserver still has those of an earlier one).

    Result: {"ready_seconds", "ping": {"status", "duration_ms"}, "profile": {"status", "displayname"}, "restart_count"}.
    Otherwise ScriptError: at once if waiting cannot help, else when the time is up.
    """
    for name in ("container", "synapse_url", "domain", "bot_localpart", "appservice_id", "as_token", "mark"):
        if not isinstance(arguments.get(name), str) or not arguments[name]:
            raise ScriptError(f"readiness: argument {name} is missing: it should be a text")
    address(arguments["synapse_url"])
    begun = time.monotonic()
    timeout, pause = float(arguments["timeout"]), float(arguments.get("pause", 0.3))
    watch, new_keys = Watch(arguments), arguments.get("new_keys")
    while True:
        why = watch.hopeless()
        left = begun + timeout - time.monotonic()
        if not why and watch.ask(min(LIMIT, max(left, LAST_LIMIT))) and watch.state:
            _mark(watch.mark, watch.state.id, int(arguments.get("attempt", 1)))
            return {
                "ready_seconds": round(time.monotonic() - begun, 1),
                "restart_count": watch.state.restarts,
                **watch.found,
            }
        if not why and time.monotonic() + pause < begun + timeout:
            time.sleep(pause)
            continue
        if new_keys and watch.exit and watch.exit.code == KEYS_LOST:
            _renew(new_keys, watch)
            watch, new_keys = Watch(arguments), None
            continue
        if not why:
            watch.ask(LAST_LIMIT, all_of_them=True)
        raise ScriptError(watch.report(why or f"is not ready after {timeout:g} s"))


def _renew(postgres: Mapping[str, Any], watch: Watch) -> None:
    """Have the bridge make new cross-signing keys for its bot, and start it again (bridgev2/matrix/crypto.go)."""
    say(f"{watch.name}: Synapse has cross-signing keys of an earlier {watch.bot}, and the database is new: new ones")
    docker(
        "exec", "-i", postgres["container"], "psql", "-XqAt", "-v", "ON_ERROR_STOP=1",
        "-U", postgres["role"], "-d", postgres["database"],
        stdin=OVERWRITE, timeout=30,
    )  # fmt: skip
    docker("restart", watch.id, timeout=60)


def _mark(path: Path, container_id: str, attempt: int) -> None:
    """The container got ready: later runs know it by this, and do not make it anew."""
    write_atomic(path, f"{container_id} {attempt}\n".encode(), mode=0o600, uid=os.geteuid(), gid=os.getegid())


VERBS = (wait,)

if __name__ == "__main__":
    run(*VERBS)
