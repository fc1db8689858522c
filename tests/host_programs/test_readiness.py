"""Pins the failure where `up` ends well and the bridge does not work: a container that runs but is not ready, one that
Docker starts again and again, one that Synapse does not reach; and that the error says which, without a token.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.places import Database
from documents.timestamps import now
from host_programs.bridge import readiness
from host_programs.messages import ScriptError
from host_programs.synapse import delivery
from host_programs.synapse.event_position import EventPosition
from tests import facts
from tests.host_programs.container_json import EVENTS, ID, inspected
from tests.host_programs.scripted_server import (
    Answer,
    Call,
    Raw,
    ScriptedServer,
    closed_port,
    error,
    hang_up,
    reply,
    silent,
)
from tests.host_programs.steps import run_step
from tests.host_programs.stub_docker import StubDocker, out

TOKEN = "as/Tk+0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
PING = Call("POST", "/_matrix/client/v1/appservice/signal/ping", TOKEN, {})
PROFILE = Call("GET", "/_matrix/client/v3/profile/%40signalbot%3Aecho6.co?user_id=%40signalbot%3Aecho6.co", TOKEN)
PONG, SHOWN = reply(200, duration_ms=2), reply(200, displayname="Signal bridge bot")
INSPECT, LOGS = f"container inspect {ID}", f"logs --tail 50 {ID}"
FILE = f'exec {ID} /bin/sh -c file=$(mktemp -t mautrix-bridges-XXXXXX) && echo written >"$file" && rm "$file"'
BOT = "%40signalbot%3Aecho6.co"
ROOM = "/_matrix/client/v3/rooms/%21r%3Aecho6.co"
PUPPET = "doublepuppet0123456789"
MAKE = Call(
    "POST", "/_matrix/client/v3/createRoom", PUPPET,
    {"preset": "private_chat", "creation_content": {"m.federate": False}},
)  # fmt: skip


def knows_the_bot(server: ScriptedServer, times: int = 1) -> None:
    """Ping and profile, as they are when all is well."""
    server.on(PING, *[PONG] * times)
    server.on(PROFILE, *[SHOWN] * times)


def delivers(server: ScriptedServer, *memberships: str) -> None:
    """The room of the proof: what the bot's membership is, look by look; both leave it whatever comes."""
    server.on(MAKE, reply(200, room_id="!r:echo6.co"))
    server.on(Call("POST", f"{ROOM}/invite", PUPPET, {"user_id": "@signalbot:echo6.co"}), reply(200))
    memberships = memberships or ("leave",)
    looks = [
        reply(200, chunk=[{"state_key": "@signalbot:echo6.co", "content": {"membership": each}}])
        for each in memberships
    ]
    server.on(Call("GET", f"{ROOM}/members", PUPPET), *looks)
    own = f"?user_id={BOT}"
    for step in (*([] if memberships[-1] == "leave" else [f"leave{own}"]), f"forget{own}"):
        server.on(Call("POST", f"{ROOM}/{step}", TOKEN, {}), reply(200))
    for step in ("leave", "forget"):
        server.on(Call("POST", f"{ROOM}/{step}", PUPPET, {}), reply(200))


def curl(seconds: str) -> str:
    return (
        f"exec {ID} curl -sS --noproxy * --max-time {seconds} -o /dev/null -w %{{http_code}} "
        "http://127.0.0.1:29328/_matrix/mau/ready"
    )


class Bridge:
    """A container that plays its part, beside the homeserver that does."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / ".ready"
        self.docker = StubDocker(folder / "bin")
        self.docker.on(INSPECT, out(inspected()))
        self.ready(out("200"))
        self.media(out("200"))
        self.docker.on(FILE, out())
        self.docker.on(LOGS, out(f"\x1b[31mERR\x1b[0m no luck with {TOKEN}\n", err="postgres://u:hunter2pw@db/x\n"))
        self.docker.on(EVENTS, out())

    def ready(self, *answers: Any) -> None:
        # LIMIT, and what is used when less than LAST_LIMIT of the time is left
        for seconds in ("5.0", "2.0"):
            self.docker.on(curl(seconds), *answers)

    def media(self, *answers: Any) -> None:
        for seconds in ("5.0", "2.0"):
            self.docker.on(
                f"exec -i {ID} curl --config - -sS --noproxy * --max-time {seconds} -o /dev/null -w %{{http_code}} "
                "http://matrix-synapse:8008/_matrix/media/v3/config",
                *answers,
            )

    def arguments(self, url: str, **more: Any) -> readiness.ReadinessArguments:
        place = facts.deployment().place
        place = replace(place, database=Database("pg", "bridge_db", "bridge"))
        arguments = readiness.ReadinessArguments(
            bridge=place,
            container_id=ID,
            synapse=replace(facts.deployment().synapse, url=url),
            postgres=facts.deployment().postgres,
            bot="@signalbot:echo6.co",
            appservice_id="signal",
            as_token=TOKEN,
            doublepuppet_as_token=PUPPET,
            timeout=30.0,
            mark=str(self.mark),
            attempt=1,
            new_keys=False,
            stack=facts.STACK,
            config=f"{place.directory}/config-0123",
            archives=str(self.mark.parent / "archives"),
            archive_owner=f"{facts.STACK}@echo6.co",
            program="mautrix-signal",
            pickle_key="k" * 64,
            pause=0.01,
        )
        return replace(arguments, **more)

    def run(self, url: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return run_step("bridge wait", self.arguments(url, **more), self.docker.environment)


@pytest.fixture
def bridge(tmp_path: Path) -> Bridge:
    return Bridge(tmp_path)


def assert_failed(bridge: Bridge, done: subprocess.CompletedProcess[str], *lines: str) -> None:
    assert done.returncode == 1 and done.stdout == "", done
    for line in (*lines, "What to do: ", "--- last 50 log lines of mautrix-signal ---", "no luck with as/T…"):
        assert line in done.stderr, done.stderr
    assert TOKEN not in done.stderr and "hunter2pw" not in done.stderr and "\x1b" not in done.stderr
    assert not bridge.mark.exists()


def test_ready(bridge: Bridge) -> None:
    bridge.ready(out("000", err="curl: (7) Failed to connect\n", code=7), out("503"), out("200"))
    with ScriptedServer() as server:
        server.on(PING, error(502, "M_CONNECTION_FAILED"), PONG, PONG)
        server.on(PROFILE, error(404, "M_NOT_FOUND"), SHOWN)
        delivers(server)
        began = now()
        done = bridge.run(server.url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert 0 < result.pop("ready_seconds") < 30
    assert 0 <= result.pop("event_ms") < 30_000 and result.pop("at") > began
    assert result == {
        "container_id": ID,
        "ping_ms": 2,
        "displayname": "Signal bridge bot",
        "restart_count": 0,
    }
    assert bridge.mark.read_text() == f"{ID} 1 dock.mau.dev/mautrix/signal:v0.2603.0\n"


def test_a_bridge_that_synapse_pings_and_tells_nothing_is_not_ready(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with registrations of before pushes the events; the main process answers the ping."""
    for name, value in bridge.docker.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(delivery, "prove_delivery", lambda *arguments: None)
    with ScriptedServer() as server, pytest.raises(ScriptError) as failed:
        knows_the_bot(server)
        readiness.wait_until_ready(bridge.arguments(server.url))
    said = str(failed.value)
    assert said.startswith("mautrix-signal is not handed events within 30 s. What to do: ")
    assert "event      an invitation of the bot was not handed over\n" in said
    assert "restart the process of Synapse that pushes to appservices (notify_appservices_from_worker)" in said
    assert not bridge.mark.exists()


def test_an_event_is_waited_for_as_long_as_synapse_goes_through_older_ones(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first bridge of a homeserver with 1.8 million events: `up` failed after 90 s."""
    positions = [EventPosition(at, 50_000) for at in (1000, 21_000, 41_000, 49_900, 49_950)]
    looks = iter(positions)
    monkeypatch.setattr(readiness, "read_position", lambda server, database: next(looks))
    now = 1000.0
    monkeypatch.setattr("host_programs.bridge.readiness.time.monotonic", lambda: now)
    patience = readiness.Patience(bridge.arguments("http://x"), now + 30)
    assert not patience.ends_before(now + 29) and patience.seen is None, "no look in the first seconds"
    ended = []
    for now in (1006.0, 1017.0, 1028.0, 1039.0, 1050.0, 1058.0):
        ended.append(patience.ends_before(now + 1))
    assert ended == [False, False, False, False, False, True], "30 s behind the last of many"
    assert capsys.readouterr().err.splitlines() == [
        "Synapse goes through old events first: 29000 left, about 14 s",
        "Synapse goes through old events first: 9000 left, about 4 s",
    ]


@pytest.mark.parametrize(
    "looks",
    [
        [EventPosition(1000, 50_000)] * 9,  # it stands still
        [EventPosition(49_000 + n, 49_900 + n) for n in range(9)],  # a busy one, which is not behind
    ],
)
def test_a_synapse_that_stands_still_or_is_just_busy_is_not_waited_for(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, looks: list[EventPosition]
) -> None:
    left = iter(looks)
    monkeypatch.setattr(readiness, "read_position", lambda server, database: next(left))
    now = 1000.0
    monkeypatch.setattr("host_programs.bridge.readiness.time.monotonic", lambda: now)
    patience = readiness.Patience(bridge.arguments("http://x"), now + 30)
    for now in (1006.0, 1017.0, 1028.0):
        assert not patience.ends_before(now + 1)
    now = 1030.0
    assert patience.ends_before(now)
    assert patience.behind == (49_000 if looks[0].position == 1000 else 0)


def proof(url: str) -> delivery.Delivery:
    return delivery.Delivery(url, PUPPET, "@signalbot:echo6.co", TOKEN)


def test_in_the_room_of_the_proof_nobody_stays() -> None:
    with ScriptedServer() as server:
        delivers(server, "invite")
        assert delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0) is None


@pytest.mark.parametrize(
    ("events", "arrived"),
    [
        ([], False),
        ([("m.room.member", "@signalbot:echo6.co"), ("m.room.message", "@_doublepuppet:echo6.co")], False),
        ([("m.room.message", "@signalbot:echo6.co")], True),
        ([("m.room.encrypted", "@signalbot:echo6.co")], True),
    ],
)
def test_a_bot_that_joins_has_to_say_hello(events: list[tuple[str, str]], arrived: bool) -> None:
    """With auto_accept_invites Synapse joins the bot: the events seemed to arrive with no bridge running."""
    with ScriptedServer() as server:
        delivers(server, "join")
        chunk = [{"type": kind, "sender": sender} for kind, sender in events]
        server.on(Call("GET", f"{ROOM}/messages?dir=b", PUPPET), reply(200, chunk=chunk))
        seconds = delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0)
    assert (seconds is not None) == arrived


def test_a_bot_that_synapse_does_not_show_yet_has_done_nothing_about_its_invitation() -> None:
    """A process of Synapse's that lags behind would make any bridge look as if events reached it."""
    with ScriptedServer() as server:
        delivers(server, "invite")
        server.on(Call("GET", f"{ROOM}/members", PUPPET), reply(200, chunk=[]))
        assert delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0) is None


@pytest.mark.parametrize(
    ("answer", "words"), [(error(403, "M_FORBIDDEN"), "403 M_FORBIDDEN"), (Raw(hang_up), "connection closed")]
)
def test_a_bot_that_may_not_be_invited_is_named_and_the_room_is_left(answer: Answer | Raw, words: str) -> None:
    with ScriptedServer() as server:
        server.on(MAKE, reply(200, room_id="!r:echo6.co"))
        server.on(Call("POST", f"{ROOM}/invite", PUPPET, {"user_id": "@signalbot:echo6.co"}), answer)
        for step in ("leave", "forget"):
            server.on(Call("POST", f"{ROOM}/{step}", PUPPET, {}), reply(200))
        with pytest.raises(ScriptError, match=f"could not be seen: POST .*/invite: {words}"):
            delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0)


def test_a_synapse_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LIMIT", 0.2)
    with ScriptedServer() as server:
        server.on(MAKE, Raw(silent))
        with pytest.raises(ScriptError, match=r"could not be seen: POST /_matrix/client/v3/createRoom: "):
            delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0)


def test_a_room_that_cannot_be_left_is_told_and_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The event has arrived, which is what counts."""
    with ScriptedServer() as server:
        delivers(server)
        server.on(Call("POST", f"{ROOM}/leave", PUPPET, {}), error(500, "M_UNKNOWN"))
        assert delivery.prove_delivery(proof(server.url), lambda _: True, pause=0.0) is not None
    assert capsys.readouterr().err == f"note: the room of the proof, {ROOM}: leave: 500 M_UNKNOWN\n"


def test_once_it_is_ready_the_configs_of_earlier_containers_go(bridge: Bridge) -> None:
    """They hold its tokens; and one that never got ready leaves that of the container that runs."""
    place = replace(facts.deployment().place, directory=str(bridge.mark.parent))
    for version, text in (
        ("old", f'# x: written by the Pulumi stack {facts.STACK}.\nencryption:\n  pickle_key: "{"k" * 64}"\n'),
        ("other", "a: 1\n"),
        ("lost", f'# x: written by the Pulumi stack {facts.STACK}.\nencryption:\n  pickle_key: "of a lost state"\n'),
        ("new", ""),
    ):
        (bridge.mark.parent / f"config-{version}").mkdir()
        (bridge.mark.parent / f"config-{version}/config.yaml").write_text(text)
    more = {"bridge": place, "config": str(bridge.mark.parent / "config-new")}
    bridge.ready(out("503"))
    assert bridge.run(closed_port(), timeout=0.0, **more).returncode == 1
    assert (bridge.mark.parent / "config-old/config.yaml").exists()
    bridge.ready(out("200"))
    with ScriptedServer() as server:
        knows_the_bot(server)
        delivers(server)
        done = bridge.run(server.url, **more)
    assert done.returncode == 0
    left = sorted(path.name for path in bridge.mark.parent.glob("config-*"))
    assert left == ["config-lost", "config-new", "config-other"], "the last copy of a key stays"
    lost = bridge.mark.parent / "config-lost/config.yaml"
    assert f"warning: {lost} stays: no archive holds its pickle key" in done.stderr


@pytest.mark.parametrize("acts", ["join", "leave"])
def test_whatever_the_bridge_does_about_the_invitation_shows_that_it_came(bridge: Bridge, acts: str) -> None:
    with ScriptedServer() as server:
        knows_the_bot(server)
        delivers(server, "invite", "invite", acts)
        chunk = [{"type": "m.room.message", "sender": "@signalbot:echo6.co"}]
        server.on(Call("GET", f"{ROOM}/messages?dir=b", PUPPET), *[reply(200, chunk=chunk)] * (acts == "join"))
        done = bridge.run(server.url)
        assert done.returncode == 0 and "note:" not in done.stderr, done.stderr


def test_a_synapse_that_makes_no_room_is_named(bridge: Bridge) -> None:
    with ScriptedServer() as server:
        knows_the_bot(server)
        server.on(MAKE, error(403, "M_FORBIDDEN", "no rooms"))
        done = bridge.run(server.url)
    asked = "POST /_matrix/client/v3/createRoom: 403 M_FORBIDDEN no rooms"
    assert done.stderr == f"whether events arrive could not be seen: {asked}\n"


def test_one_exit_may_happen(bridge: Bridge) -> None:
    """A database that is just starting: exit 15 once, and then it is well."""
    restarting = inspected("restarting", 15, 1)
    bridge.docker.on(INSPECT, out(inspected()), out(restarting), out(inspected(restarts=1)))
    bridge.docker.on(EVENTS, out("die 15\n"))
    bridge.ready(out("503"), out("200"))
    with ScriptedServer() as server:
        knows_the_bot(server)
        delivers(server)
        done = bridge.run(server.url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["restart_count"] == 1


def test_a_code_that_no_restart_repairs_ends_it_at_once(bridge: Bridge) -> None:
    bridge.docker.on(INSPECT, out(inspected()), out(inspected()), out(inspected("restarting", 34, 1)))
    bridge.ready(out("503"))
    done = bridge.run(closed_port(), timeout=600.0)
    assert_failed(
        bridge,
        done,
        "mautrix-signal exited, and starting it again cannot help: exit code 34: the bot's device could not be",
        "restarting, restarted 1 times",
    )
    assert bridge.docker.calls.count(INSPECT) == 3


def test_a_code_that_docker_has_forgotten(bridge: Bridge) -> None:
    """Between two looks it exited and was started: inspect shows exit code 0, the events do not."""
    bridge.docker.on(INSPECT, out(inspected()), out(inspected()), out(inspected(restarts=1)))
    bridge.docker.on(EVENTS, out("die 16\n"))
    bridge.ready(out("503"))
    done = bridge.run(closed_port(), timeout=600.0)
    assert_failed(bridge, done, "exit code 16: Synapse refused the as_token", "running, restarted 1 times")


def test_a_loop_ends_it(bridge: Bridge) -> None:
    """15 may pass by itself, but not twice."""
    looks = [out(inspected("restarting", 15, restarts)) for restarts in (0, 1, 2)]
    bridge.docker.on(INSPECT, out(inspected()), *looks)
    done = bridge.run(closed_port(), timeout=600.0)
    assert_failed(bridge, done, "mautrix-signal keeps exiting: exit code 15: the database is unreachable")
    assert bridge.docker.calls.count(INSPECT) == 4


@pytest.mark.parametrize("before", [inspected("restarting", 16, 8), inspected("running", 0, 8)], ids=["waits", "runs"])
def test_what_it_did_before_does_not_count_and_it_is_started_anew(bridge: Bridge, before: str) -> None:
    """Somebody mended what it crashed of: its eight exits are the past, and Docker's back-off would take minutes."""
    bridge.docker.on(INSPECT, out(before), out(inspected()))
    bridge.docker.on(f"restart {ID}", out())
    bridge.ready(*([out("000", err="refused", code=7)] if "running" in before else []), out("200"))
    with ScriptedServer() as server:
        knows_the_bot(server)
        delivers(server)
        done = bridge.run(server.url)
    assert done.returncode == 0, done.stderr
    assert "mautrix-signal: has ended 8 times before: it is started anew" in done.stderr
    assert bridge.docker.calls.count(f"restart {ID}") == 1


def test_one_that_was_ready_and_runs_is_not_started_anew_however_slow_it_answers(bridge: Bridge) -> None:
    """It is looked at because another bridge came, for which Synapse was restarted."""
    bridge.mark.write_text(f"{ID} 1\n")
    bridge.docker.on(INSPECT, out(inspected("running", 0, 1)))
    bridge.docker.on(EVENTS, out("die 15\n"))
    bridge.ready(out("503"), out("503"), out("200"))
    with ScriptedServer() as server:
        knows_the_bot(server)
        delivers(server)
        assert bridge.run(server.url).returncode == 0
    assert f"restart {ID}" not in bridge.docker.calls


def test_one_that_ended_once_and_works_is_left_running(bridge: Bridge) -> None:
    bridge.docker.on(INSPECT, out(inspected("running", 0, 1)))
    bridge.docker.on(EVENTS, out("die 15\n"))
    with ScriptedServer() as server:
        knows_the_bot(server, times=2)
        delivers(server)
        assert bridge.run(server.url).returncode == 0
    assert f"restart {ID}" not in bridge.docker.calls


@pytest.mark.parametrize(
    ("state", "lines"),
    [
        (inspected("exited", 23), ["mautrix-signal is exited: exit code 23: no address to listen on"]),
        (inspected("exited", 137, oom=True), ["exit code 137", "killed for lack of memory"]),
        (inspected("dead", 1), ["mautrix-signal is dead: exit code 1"]),
        (inspected("paused"), ["mautrix-signal is paused"]),
        (
            inspected("created", 127, error="OCI runtime create failed"),
            ["mautrix-signal could not be started", "OCI runtime create failed", "fix what Docker says above"],
        ),
    ],
)
def test_a_container_that_does_not_run(bridge: Bridge, state: str, lines: list[str]) -> None:
    bridge.docker.on(INSPECT, out(state))
    assert_failed(bridge, bridge.run(closed_port(), timeout=600.0), *lines)


def test_a_container_that_is_gone(bridge: Bridge) -> None:
    gone = out("[]\n", err="Error: No such container: x\n", code=1)
    bridge.docker.on(INSPECT, gone)
    assert bridge.run(closed_port()).stderr.startswith("mautrix-signal is not there")
    bridge.docker.on(INSPECT, out(inspected()), out(inspected()), gone)
    (bridge.docker.folder / "calls").unlink()
    bridge.ready(out("503"))
    done = bridge.run(closed_port())
    assert done.returncode == 1 and done.stderr.startswith("mautrix-signal was removed. What to do: ")


def test_never_ready_since_the_homeserver_is_stopped(bridge: Bridge) -> None:
    bridge.ready(out("503"))
    done = bridge.run(closed_port(), timeout=0.05)
    assert_failed(
        bridge,
        done,
        "mautrix-signal is not ready after 0.05 s. ",
        "\n  container  running, restarted 0 times\n  ready      503\n"
        "  ping       connection refused\n  profile    connection refused\n",
        "What to do: Synapse does not answer at http://127.0.0.1:",
    )


@pytest.mark.parametrize(
    ("ready", "ping", "profile", "todo"),
    [
        (out("503"), error(502, "M_CONNECTION_FAILED"), error(404, "M_NOT_FOUND"), "the bridge runs but does not get"),
        (out(err="no curl", code=126), PONG, SHOWN, "the bridge runs but does not get"),
        (out("200"), error(502, "M_CONNECTION_FAILED"), SHOWN, "Synapse cannot reach the bridge"),
        (out("200"), Answer(200), SHOWN, "Synapse cannot reach the bridge"),
        (out("200"), reply(200), SHOWN, "Synapse cannot reach the bridge"),
        (out("200"), Raw(hang_up), SHOWN, "Synapse cannot reach the bridge"),
        (out("200"), PONG, error(404, "M_NOT_FOUND"), "Synapse knows no profile of @signalbot:echo6.co"),
        (out("200"), PONG, Answer(200, b"<html>"), "Synapse knows no profile of @signalbot:echo6.co"),
    ],
)
def test_what_is_missing_is_named(
    bridge: Bridge, ready: Any, ping: Answer | Raw, profile: Answer | Raw, todo: str
) -> None:
    """The one look that a timeout of 0 leaves, and the last one, which asks everything."""
    bridge.ready(ready)
    well = ready["out"] == "200"
    with ScriptedServer() as server:
        server.on(PING, *[ping] * (2 if well else 1))
        server.on(PROFILE, *[profile] * (2 if well and ping is PONG else 1))
        done = bridge.run(server.url, timeout=0.0)
    assert_failed(bridge, done, f"What to do: {todo}")


def test_a_media_repository_that_the_bridge_does_not_reach_is_named(bridge: Bridge) -> None:
    """The main process may leave it to a worker; the first login, which uploads, would fail."""
    bridge.media(out("404"))
    with ScriptedServer() as server:
        knows_the_bot(server, times=2)
        done = bridge.run(server.url, timeout=0.0)
    assert_failed(bridge, done, "What to do: the bridge finds no media repository at http://matrix-synapse:8008")
    assert not [call for call in bridge.docker.calls if TOKEN in call]


def test_a_bridge_that_cannot_write_what_people_send_is_not_ready(bridge: Bridge) -> None:
    """It is ready, pinged and reached, and loses every file above 5 MiB."""
    bridge.docker.on(FILE, out(code=1, err="mktemp: (null): Read-only file system\n"))
    with ScriptedServer() as server:
        knows_the_bot(server)
        done = bridge.run(server.url)
    assert_failed(
        bridge, done, "mautrix-signal cannot write temporary files. What to do: have the directory in TMPDIR",
        "  files      mktemp: (null): Read-only file system",
    )  # fmt: skip


def test_docker_hangs(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exec that does not return is one answer among others."""
    monkeypatch.setenv("PATH", bridge.docker.environment["PATH"])
    monkeypatch.setattr(readiness, "LAST_TIMEOUT", 0.1)
    bridge.docker.on(curl("0.1"), out(sleep=4))
    with pytest.raises(ScriptError, match=r"ready      docker exec: no answer in 2 s"):
        readiness.wait_until_ready(bridge.arguments(closed_port(), timeout=0.0))


def test_the_mark_of_an_older_container_stays_until_this_one_is_ready(bridge: Bridge) -> None:
    bridge.mark.write_text("older\n")
    bridge.docker.on(INSPECT, out(inspected("exited", 15)))
    done = bridge.run(closed_port())
    assert done.returncode == 1 and "makes the container anew, since it never got ready." in done.stderr
    assert bridge.mark.read_text() == "older\n"  # it names another container: this one never got ready


def test_a_container_that_was_ready_once_is_not_made_anew(bridge: Bridge) -> None:
    bridge.mark.write_text(f"{ID} 1\n")
    bridge.docker.on(INSPECT, out(inspected("exited", 15)))
    done = bridge.run(closed_port())
    assert done.returncode == 1 and "What to do: " in done.stderr and "anew" not in done.stderr


def test_keys_of_an_earlier_database_are_replaced_once_where_that_is_allowed(bridge: Bridge) -> None:
    psql = "exec -i pg psql -X -q -w -v ON_ERROR_STOP=1 -A -t -U bridge -d bridge_db"
    bridge.docker.on(INSPECT, out(inspected("restarting", 34, restarts=1)))
    bridge.docker.on(psql, out())
    bridge.docker.on(f"restart {ID}", out())
    done = bridge.run(closed_port(), new_keys=True)
    assert done.returncode == 1, "it goes on exiting: once is enough"
    assert bridge.docker.calls.count(psql) == 1
    assert "and the database is new: new ones" in done.stderr


def test_keys_are_not_replaced_where_the_database_was_restored(bridge: Bridge) -> None:
    bridge.docker.on(INSPECT, out(inspected()), out(inspected("restarting", 34, restarts=1)))
    done = bridge.run(closed_port(), new_keys=False)
    assert done.returncode == 1 and "exit code 34" in done.stderr
    assert not [call for call in bridge.docker.calls if "psql" in call]
