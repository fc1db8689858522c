"""Pins the failure that costs most: a bridge that is started although its tokens do not work, or that is not, and
nobody can tell why. Every way a server can answer is played for real, and the script is run as the host runs it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from host_programs.messages import ScriptError
from host_programs.synapse import stop_and_check
from host_programs.wire import to_json
from tests import facts
from tests.host_programs import scripted_server as play
from tests.host_programs.container_json import inspected
from tests.host_programs.scripted_server import Answer, Call, Raw, ScriptedServer, closed_port, error, reply
from tests.host_programs.steps import run_step
from tests.host_programs.stub_docker import StubDocker, out
from verdicts.stop_and_check import Expected

AS_TOKEN = "as/Tk+0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
PUPPET_TOKEN = "dp_tk.9876543210zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFE"
BOT, ADMIN = "@signalbot:echo6.co", "@matt:echo6.co"
REGISTER = Call(
    "POST",
    "/_matrix/client/v3/register",
    AS_TOKEN,
    {"type": "m.login.application_service", "username": "signalbot", "inhibit_login": True},
)
WHOAMI = Call("GET", "/_matrix/client/v3/account/whoami?user_id=%40signalbot%3Aecho6.co", AS_TOKEN)
PING = Call("POST", "/_matrix/client/v1/appservice/signal/ping", AS_TOKEN, {})
ADMIN_WHOAMI = Call("GET", "/_matrix/client/v3/account/whoami?user_id=%40matt%3Aecho6.co", PUPPET_TOKEN)
PUPPET_PING = Call("POST", "/_matrix/client/v1/appservice/doublepuppet/ping", PUPPET_TOKEN, {})
CALLS: dict[str, tuple[Call, Answer]] = {
    "register": (REGISTER, reply(200, user_id=BOT)),
    "whoami": (WHOAMI, reply(200, user_id=BOT, is_guest=False)),
    "ping": (PING, error(502, "M_CONNECTION_FAILED", "ConnectionRefusedError")),
    "admin": (ADMIN_WHOAMI, reply(200, user_id=ADMIN, is_guest=False)),
    "puppet": (PUPPET_PING, error(400, "M_URL_NOT_SET", "The application service does not have a URL set")),
}
INACTIVE = error(401, "M_UNKNOWN_TOKEN", "Token is not active")
HTML = Answer(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html; charset=utf-8"})

Played = Answer | Raw | list[Answer | Raw]


INSPECT = "container inspect mautrix-signal"


class Check:
    """The script with a homeserver to talk to, a `docker` for the logs, and a folder for the evidence."""

    def __init__(self, folder: Path) -> None:
        self.evidence_dir = folder / "bridge"
        self.evidence_dir.mkdir()
        self.evidence = self.evidence_dir / "stop-and-check-failed.json"
        self.docker = StubDocker(folder / "bin")
        self.docker.on("logs --tail 50 matrix-synapse", out("synapse says hello\n", err=f"denied {AS_TOKEN}\n"))
        self.docker.on("logs --tail 50 matrix-mas", out("mas says hello\n"))
        self.docker.on(INSPECT, out("[]", err="Error: No such container: mautrix-signal", code=1))

    def arguments(self, url: str, mas_hosts: tuple[str, ...] = (), **more: Any) -> stop_and_check.StopAndCheckArguments:
        plan = facts.deployment()
        arguments = stop_and_check.StopAndCheckArguments(
            synapse=replace(plan.synapse, url=url),
            mas_container="matrix-mas",
            expected=Expected(
                bot=BOT,
                appservice_id="signal",
                admin=ADMIN,
                doublepuppet_id="doublepuppet",
                mas_hosts=mas_hosts or ("matrix-mas:8080", "matrix.echo6.co"),
                bridge_host=plan.place.container,
            ),
            as_token=AS_TOKEN,
            doublepuppet_as_token=PUPPET_TOKEN,
            bridge=replace(plan.place, directory=str(self.evidence_dir)),
            stack=facts.STACK,
            generation=2,
            fingerprint="ignored",
            request_timeout=5.0,
            deadline=15.0,
            retry_pause=0.05,
        )
        return replace(arguments, **more)

    def run(self, url: str, **more: Any) -> subprocess.CompletedProcess[str]:
        # A proxy in the environment must not see a token.
        environment = {**self.docker.environment, "http_proxy": closed_port(), "all_proxy": closed_port()}
        return run_step("synapse stop-and-check", self.arguments(url, **more), environment, timeout=30)

    def call(self, url: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`run` without a process of its own: for the many cases that differ in what the server says only."""
        before = os.environ["PATH"]
        os.environ["PATH"] = self.docker.environment["PATH"]
        try:
            result = stop_and_check.stop_and_check(self.arguments(url, **more))
            return subprocess.CompletedProcess([], 0, json.dumps(to_json(result)), "")
        except ScriptError as stop:
            return subprocess.CompletedProcess([], 1, "", str(stop))
        finally:
            os.environ["PATH"] = before

    @contextmanager
    def homeserver(self, instead: Mapping[str, Played] | None = None) -> Iterator[str]:
        """A good homeserver with some answers replaced, a list of them for as many requests; its URL."""
        with ScriptedServer() as server:
            self.teach(server, instead or {})
            yield server.url

    @staticmethod
    def teach(server: ScriptedServer, instead: Mapping[str, Played]) -> None:
        for name, (call, good) in CALLS.items():
            given = instead.get(name, good)
            server.on(call, *(given if isinstance(given, list) else [given]))


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path)


def spellings(token: str) -> Iterator[str]:
    yield token
    yield quote(token, safe="")
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + token.encode()).decode().rstrip("=")
        yield coded[4:-2]
        yield coded[4:-2].replace("+", "-").replace("/", "_")


def assert_no_token(text: str) -> None:
    for token in (AS_TOKEN, PUPPET_TOKEN):
        for spelling in spellings(token):
            assert spelling not in text, f"a token is in it: {text}"


def assert_failed(check: Check, done: subprocess.CompletedProcess[str], step: str, rule: str) -> dict[str, Any]:
    """It failed by that rule, and said so in every place where it should; the evidence."""
    assert done.returncode == 1 and done.stdout == "", done
    first = done.stderr.partition("\n")[0]
    assert first.startswith(f"stop-and-check: FAIL: {step}: {rule}") and "What to do: " in first, done.stderr
    assert f"Evidence (everything sent and received, tokens masked): {check.evidence}" in done.stderr
    for line in ("the last 50 log lines of matrix-synapse:", "synapse says hello", "denied as/T…", "mas says hello"):
        assert line in done.stderr
    assert stat.S_IMODE(check.evidence.stat().st_mode) == 0o600
    assert_no_token(done.stderr + check.evidence.read_text())
    evidence: dict[str, Any] = json.loads(check.evidence.read_text())
    assert evidence["verdict"] == "FAIL"
    failed = next(found for found in evidence["steps"] if found["fix"])  # only a failed step has something to do
    assert failed["step"] == step and failed["rule"].startswith(rule)
    return evidence


def exchange(evidence: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in evidence["exchanges"] if one["step"] == step)
    return found


@pytest.mark.parametrize(
    "instead",
    [
        {},
        {"register": error(400, "M_USER_IN_USE", "User ID already taken.")},
        {"ping": reply(200, duration_ms=3)},
        {"ping": error(502, "M_BAD_STATUS", "HTTP 401")},
        {"ping": error(504, "M_CONNECTION_TIMEOUT")},
        {"whoami": reply(200, user_id=BOT, appservice_id="signal")},
        {"admin": reply(200, user_id=ADMIN, appservice_id="doublepuppet")},
    ],
)
def test_pass(check: Check, instead: dict[str, Played]) -> None:
    with check.homeserver(instead) as url:
        done = check.run(url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["verdict"] == "PASS"
    head, *rows = result["table"].splitlines()
    assert head == "stop-and-check: PASS (5 of 5 steps)"
    assert [re.split("  +", row.strip())[:2] for row in rows] == [
        [step, "ok"] for step in ("register bot", "whoami as bot", "ping", "whoami as admin", "puppet ping")
    ]
    assert all(re.search("  ok +[^ ].*  <- .", row) for row in rows)
    assert done.stderr == result["table"] + "\n"  # `pulumi up` shows stderr, a person reads it there
    assert not list(check.evidence_dir.iterdir())
    assert check.docker.calls == [], "no log is read"
    assert_no_token(done.stdout + done.stderr)


MARK = "matrix-authentication-service"
SLOW = "no whole answer within the time limit"
FAILS: list[tuple[str, Answer | Raw, str, str]] = [
    # The plan's FAIL list
    ("register", INACTIVE, "register bot", "401 M_UNKNOWN_TOKEN: no appservice's token"),
    ("whoami", error(401, "M_MISSING_TOKEN"), "whoami as bot", "401 M_MISSING_TOKEN: the as_token was rejected"),
    ("whoami", error(403, "M_UNKNOWN_TOKEN"), "whoami as bot", "403 M_UNKNOWN_TOKEN"),
    ("whoami", error(403, "M_FORBIDDEN"), "whoami as bot", "403: MAS or Synapse refused the as_token"),
    (
        "whoami",
        error(403, "M_FORBIDDEN", "Application service has not registered this user (@signalbot:echo6.co)"),
        "whoami as bot",
        "403: Synapse has no such user",
    ),
    (
        "admin",
        error(403, "M_FORBIDDEN", "Application service cannot masquerade as this user (@matt:echo6.co)."),
        "whoami as admin",
        "403: the user is outside the namespace of doublepuppet",
    ),
    (
        "admin",
        error(503, "M_UNKNOWN", "Unable to introspect the access token"),
        "whoami as admin",
        "503: no appservice's token, and MAS, which Synapse then asked, is down",
    ),
    ("whoami", Answer(302, b"", {"Location": "http://matrix-mas:8080/login"}), "whoami as bot", "302 redirect to MAS"),
    ("admin", Answer(307, b"", {"Location": "https://matrix.echo6.co/auth"}), "whoami as admin", "307 redirect to MAS"),
    ("whoami", Answer(301, b"", {"Location": "https://example.org/"}), "whoami as bot", "301 redirect"),
    ("whoami", Answer(304, b"", {}), "whoami as bot", "304 redirect"),
    ("whoami", HTML, "whoami as bot", "an HTML page"),
    ("register", Answer(200, b" \n<html>", {}), "register bot", "an HTML page"),
    (
        "whoami",
        Answer(200, json.dumps({"user_id": BOT}).encode(), {"X-Powered-By": MARK.title()}),
        "whoami as bot",
        f"MAS answered: {MARK} in its headers",
    ),
    ("whoami", reply(200, user_id=BOT, by=MARK), "whoami as bot", f"MAS answered: {MARK} in its body"),
    ("whoami", reply(200, user_id="@signalbot:other.org"), "whoami as bot", "user_id is not @signalbot:echo6.co"),
    ("whoami", reply(200, user_id=BOT.upper()), "whoami as bot", "user_id is not @signalbot:echo6.co"),
    ("register", reply(200, user_id="@signalbot:other.org"), "register bot", "user_id is not @signalbot:echo6.co"),
    ("admin", reply(200, user_id=BOT), "whoami as admin", "user_id is not @matt:echo6.co"),
    ("whoami", reply(200, user_id=BOT, appservice_id="whatsapp"), "whoami as bot", "appservice_id is not signal"),
    ("admin", reply(200, user_id=ADMIN, appservice_id="signal"), "whoami as admin", "appservice_id is not doublepup"),
    # Ids and namespaces
    (
        "ping",
        error(403, "M_FORBIDDEN", "Mismatching application service ID in path"),
        "ping",
        "403: this as_token is not that of the registration signal",
    ),
    ("ping", error(400, "M_URL_NOT_SET"), "ping", "the loaded registration signal has no url"),
    ("puppet", error(502, "M_CONNECTION_FAILED"), "puppet ping", "the loaded registration doublepuppet has a url"),
    ("puppet", reply(200, duration_ms=1), "puppet ping", "the loaded registration doublepuppet has a url"),
    ("register", error(400, "M_EXCLUSIVE"), "register bot", "@signalbot:echo6.co is not in the namespace of signal"),
    # What is neither PASS nor on the list
    ("whoami", Answer(200), "whoami as bot", "200 and no JSON object in it"),
    ("ping", Answer(200), "ping", "200 and no JSON object in it"),
    ("whoami", Answer(200, b"{"), "whoami as bot", "200 and no JSON object in it"),
    ("whoami", Answer(200, b'["@signalbot:echo6.co"]'), "whoami as bot", "200 and no JSON object in it"),
    ("whoami", Answer(200, b'{"user_id": "\xff"}'), "whoami as bot", "200 and no JSON object in it"),
    ("whoami", Answer(200, b"[" * 60000), "whoami as bot", "200 and no JSON object in it"),
    ("whoami", reply(200, is_guest=False), "whoami as bot", "neither PASS nor known: 200"),
    ("ping", reply(200, duration_ms="1"), "ping", "neither PASS nor known: 200"),
    ("ping", error(502, "M_UNKNOWN"), "ping", "neither PASS nor known: 502 M_UNKNOWN"),
    ("whoami", error(429, "M_LIMIT_EXCEEDED"), "whoami as bot", "neither PASS nor known: 429 M_LIMIT_EXCEEDED"),
    ("register", error(500, "M_UNKNOWN"), "register bot", "neither PASS nor known: 500 M_UNKNOWN"),
    ("whoami", reply(201, user_id=BOT), "whoami as bot", "neither PASS nor known: 201"),
    ("whoami", error(404, "M_UNRECOGNIZED"), "whoami as bot", "neither PASS nor known: 404 M_UNRECOGNIZED"),
    # Connections
    ("whoami", Raw(play.hang_up), "whoami as bot", "connection closed before the answer was whole"),
    ("whoami", Answer(200, b'{"user_id"', length=40), "whoami as bot", "connection closed before the answer was whole"),
    ("whoami", Raw(play.silent), "whoami as bot", SLOW),
    ("whoami", Raw(play.drip), "whoami as bot", SLOW),
    ("whoami", Answer(after=play.drip, length=-1), "whoami as bot", SLOW),
    ("whoami", Answer(after=play.drip, length=9999), "whoami as bot", SLOW),
    ("whoami", Answer(after=play.endless, length=-1), "whoami as bot", "answer longer than the limit"),
    ("whoami", Answer(after=play.endless, length=10**12), "whoami as bot", "answer longer than the limit"),
    ("whoami", Raw(lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH\r\n")), "whoami as bot", "answer is not"),
]


@pytest.mark.parametrize(("name", "answer", "step", "rule"), FAILS, ids=[f"{row[0]}-{row[3][:40]}" for row in FAILS])
def test_fail(check: Check, name: str, answer: Answer | Raw, step: str, rule: str) -> None:
    with check.homeserver({name: answer}) as url:
        done = check.call(url, request_timeout=1 if rule == SLOW else 5)
    evidence = assert_failed(check, done, step, rule)
    # One step is wrong, the others are asked all the same: that tells one file from both.
    assert sum(bool(found["fix"]) for found in evidence["steps"]) == 1
    assert len(exchange(evidence, step)["body"]) <= 64 * 1024


def test_fail_as_the_host_runs_it(check: Check) -> None:
    with check.homeserver({"register": INACTIVE, "whoami": INACTIVE, "ping": INACTIVE}) as url:
        done = check.run(url)
    evidence = assert_failed(check, done, "register bot", "401 M_UNKNOWN_TOKEN")
    assert "stop-and-check: FAIL (2 of 5 steps)" in done.stderr  # the table says that doublepuppet is well
    whoami = exchange(evidence, "whoami as bot")
    assert whoami["url"] == f"{url}/_matrix/client/v3/account/whoami?user_id=%40signalbot%3Aecho6.co"
    assert (whoami["method"], whoami["sent_body"]) == ("GET", "")
    assert whoami["sent_headers"] == [
        ["Host", url[7:]], ["Authorization", "Bearer …"], ["Accept", "application/json"], ["Connection", "close"],
    ]  # fmt: skip
    assert whoami["status"] == 401 and ["Content-Type", "application/json"] in whoami["headers"]
    assert json.loads(whoami["body"]) == {"errcode": "M_UNKNOWN_TOKEN", "error": "Token is not active"}


def test_a_redirect_is_not_followed(check: Check) -> None:
    with ScriptedServer() as mas:  # expects nothing, so anything that comes is an error
        there = Answer(302, b"", {"Location": f"{mas.url}/authorize"})
        with check.homeserver({"whoami": there}) as url:
            done = check.call(url, mas_hosts=(mas.url[7:],))
        assert_failed(check, done, "whoami as bot", "302 redirect to MAS")
        assert mas.asked == []


def test_the_limit_for_all_holds(check: Check) -> None:
    with ScriptedServer() as server:  # and nothing is sent after it
        server.on(REGISTER, Answer(after=play.drip, length=-1))
        done = check.call(server.url, request_timeout=15, deadline=0.8)
    evidence = assert_failed(check, done, "register bot", SLOW)
    assert [found["fault"] for found in evidence["exchanges"]] == ["timeout"]
    assert exchange(evidence, "register bot")["body"].strip(" ") == ""
    not_sent = "not sent: the time limit for the whole check was reached"
    assert [found["rule"] for found in evidence["steps"][1:]] == [not_sent] * 4


NOT_YET: list[Answer | Raw] = [
    Answer(502, b"<html>bad gateway", {"Content-Type": "text/html"}),
    Answer(503),
    Answer(502, b"{}"),
]


def test_waits_while_synapse_starts(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with ScriptedServer(closed=True) as server:
        check.teach(server, {"register": [*NOT_YET, CALLS["register"][1]]})

        def say(line: str) -> None:
            if not said:
                server.open()
            said.append(line)

        monkeypatch.setattr(stop_and_check, "say", say)
        done = check.call(server.url)
    assert done.returncode == 0, done.stderr
    assert said[0] == "waiting for Synapse ([Errno 111] Connection refused) …"
    assert [line.split("\n")[0] for line in said[1:]] == ["stop-and-check: PASS (5 of 5 steps)"]


@pytest.mark.parametrize("comes", [True, False])
def test_a_bridge_that_was_just_ending_is_asked_once_more(check: Check, comes: bool) -> None:
    """One with old tokens ends and starts all the time; what Synapse waits for then says nothing of Synapse."""
    with ScriptedServer() as server:
        check.teach(server, {"ping": [Raw(play.silent), CALLS["ping"][1] if comes else Raw(play.silent)]})
        done = check.call(server.url, request_timeout=1)
    if comes:
        assert done.returncode == 0, done.stderr
    else:
        assert_failed(check, done, "ping", SLOW)


def test_a_synapse_that_never_starts(check: Check) -> None:
    done = check.call(closed_port(), deadline=0.3)
    evidence = assert_failed(check, done, "register bot", "Synapse is not there: connection refused until the time")
    assert [found["fault"] for found in evidence["exchanges"]] == ["refused"]
    assert [found["rule"].partition(":")[0] for found in evidence["steps"][1:]] == ["not sent"] * 4


def test_a_proxy_without_synapse(check: Check) -> None:
    with ScriptedServer() as server:
        server.on(REGISTER, NOT_YET[0])
        done = check.call(server.url, deadline=5, retry_pause=6)
    assert_failed(check, done, "register bot", "Synapse is not there: 502 without a body of Synapse's")


@pytest.mark.parametrize(
    "answer",
    [
        error(503, "M_UNKNOWN", "Unable to introspect the access token"),
        error(502, "M_UNKNOWN"),
        Answer(503, MARK.encode()),
        Raw(play.hang_up),
        Answer(500),
        Answer(504),
    ],
)
def test_no_second_try_for_what_is_no_start(check: Check, answer: Answer | Raw) -> None:
    with check.homeserver({"whoami": answer}) as url:  # answers once: a second request would be an error there
        assert check.call(url).returncode == 1


def test_tokens_that_come_back_are_masked(check: Check) -> None:
    basic = base64.b64encode(f"signal:{AS_TOKEN}".encode()).decode()
    answers: dict[str, Played] = {
        "register": Answer(302, b"", {"Location": f"https://a.example/?t={quote(AS_TOKEN, safe='')}&p={PUPPET_TOKEN}"}),
        "whoami": Answer(401, f"{AS_TOKEN} {PUPPET_TOKEN} {basic}".encode(), {"WWW-Authenticate": f"Basic {basic}"}),
        "ping": error(403, "M_FORBIDDEN", f"{'x' * 66}{AS_TOKEN}"),  # cut in a column of the table
        # The limit falls into the token: half of it would be left.
        "admin": Answer(200, b"-" * (64 * 1024 - 40) + PUPPET_TOKEN.encode() + b"-" * 100),
    }
    with check.homeserver(answers) as url:
        done = check.run(url)
    evidence = assert_failed(check, done, "register bot", "302 redirect")
    for text in (done.stderr, check.evidence.read_text()):
        for token in (AS_TOKEN, PUPPET_TOKEN):
            for start in range(0, len(token) - 12, 4):  # no large piece of it either
                assert token[start : start + 12] not in text
    assert exchange(evidence, "whoami as admin")["body"].endswith("---dp_t…")


def test_a_pass_takes_the_evidence_away(check: Check) -> None:
    with check.homeserver({"whoami": INACTIVE}) as url:
        assert check.run(url).returncode == 1
    assert check.evidence.exists()
    with check.homeserver() as url:
        assert check.run(url).returncode == 0
    assert not list(check.evidence_dir.iterdir())


def test_a_missing_folder_or_docker_hides_no_verdict(check: Check) -> None:
    check.docker.on("logs --tail 50 matrix-synapse", out(err="Error: No such container: matrix-synapse\n", code=1))
    with check.homeserver({"whoami": INACTIVE}) as url:
        absent = replace(check.arguments(url).bridge, directory=str(check.evidence_dir / "absent"))
        done = check.call(url, bridge=absent)
    assert done.returncode == 1
    assert "Evidence could not be kept: " in done.stderr and "absent/stop-and-check-failed.json" in done.stderr
    assert "FAIL: whoami as bot: 401 M_UNKNOWN_TOKEN" in done.stderr
    assert "Error: No such container: matrix-synapse" in done.stderr


# what a FAIL leaves -----------------------------------------------------------------------------------------


def _bridge(status: str = "running", stack: str = facts.STACK, tokens: str = "2") -> str:
    (found,) = json.loads(inspected(status))
    found["Config"]["Labels"] = {"mautrix-bridge.stack": stack, "mautrix-bridge.tokens": tokens}
    return json.dumps([found])


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (out("[]", err="Error: No such container: x", code=1), "No bridge is started, and none was running."),
        (out(_bridge(stack="other/x")), "No bridge is started, and none was running."),
        (out(_bridge("exited")), "No bridge is started; mautrix-signal is exited, and is left so."),
        (out(_bridge()), "The new container is not started; mautrix-signal runs on with the tokens that Synapse has."),
        (
            out(_bridge(tokens="1")),
            "mautrix-signal still runs, but with the tokens of generation 1, which Synapse no longer knows, and with "
            "the "
            "database password of then: it neither sends nor receives.",
        ),
    ],
)
def test_a_fail_says_in_what_state_the_bridge_is(check: Check, there: dict[str, Any], words: str) -> None:
    """After a rotation the old bridge is cut off; "it is left as it is" would be a lie."""
    check.docker.on(INSPECT, there)
    with check.homeserver({"puppet": error(401, "M_UNKNOWN_TOKEN")}) as url:
        said = check.call(url).stderr
    assert f". {words}" in said.partition("\n")[0]
    if "generation 1" in words:
        assert "run `pulumi up`: the bridge comes back with the new tokens" in said.splitlines()[0]


def test_a_pass_changes_nothing_of_the_bridge(check: Check) -> None:
    """What stands behind the check (the database, the container) comes only where the whole step went well."""
    check.docker.on(INSPECT, out(_bridge("exited")))
    with check.homeserver() as url:
        assert check.call(url).returncode == 0
    assert check.docker.calls == []
