"""Pins the failure of a status that lies or that gets in the way: a look at the bridge has to be right about each
state of the container, must not fail a preview whatever is broken, and must be the same every time while all is well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from host_programs.bridge import bridge_status
from host_programs.docker import inspect_container
from host_programs.wire import to_json
from tests.host_programs.container_json import EVENTS, ID, STARTED, inspected
from tests.host_programs.scripted_server import Answer, Call, Raw, ScriptedServer, closed_port, drip, error, reply
from tests.host_programs.stub_docker import StubDocker, out

TOKEN = "as/Tk+0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
PING = Call("POST", "/_matrix/client/v1/appservice/signal/ping", TOKEN, {})
INSPECT, LOGS = "container inspect mautrix-signal", f"logs --tail 200 --since {STARTED} {ID}"
ALL_LOGS = f"logs --tail 200 {ID}"
READY = (
    f"exec {ID} curl -sS --noproxy * --max-time 5.0 -o /dev/null -w %{{http_code}} "
    "http://127.0.0.1:29328/_matrix/mau/ready"
)
WELL = {
    "container": "running",
    "ready": True,
    "ping": "200",
    "last_error": "",
    "restart_count": 0,
    "exit_code": None,
    "exit_meaning": "",
    "image": "dock.mau.dev/mautrix/signal:v0.2603.0",
    "problem": "",
}


def line(time: str, level: str, message: str) -> str:
    """A line of a bridge's log."""
    return json.dumps({"level": level, "time": f"2026-03-16T{time}Z", "message": message}) + "\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    stub = StubDocker(tmp_path / "bin")
    stub.on(INSPECT, out(inspected()))
    stub.on(READY, out("200"))
    stub.on(LOGS, out(line("10:00:00", "info", "Bridge started")))
    stub.on(ALL_LOGS, out(line("09:00:00", "fatal", "No database")))
    monkeypatch.setenv("PATH", stub.environment["PATH"])
    return stub


def look(url: str, as_token: str = TOKEN, timeout: float = 5, port: int = 29328) -> dict[str, Any]:
    address = bridge_status.BridgeAddress("matrix-net", port, url, "signal", as_token, timeout)
    return dict(to_json(bridge_status.read_bridge_status(address, inspect_container("mautrix-signal"))))


def test_well_and_the_same_every_time(docker: StubDocker) -> None:
    with ScriptedServer() as server:
        server.on(PING, reply(200, duration_ms=1), reply(200, duration_ms=7))
        assert [look(server.url), look(server.url)] == [WELL, WELL]
    assert docker.calls.count(INSPECT) == 2


def test_without_a_token_no_ping(docker: StubDocker) -> None:
    with ScriptedServer() as server:
        assert look(server.url, as_token="") == {**WELL, "ping": "not asked"}


def test_not_ready(docker: StubDocker) -> None:
    docker.on(READY, out("503"))
    docker.on(
        LOGS,
        out(
            line("10:00:00", "error", f"Failed to connect to homeserver with {TOKEN}")
            + line("10:00:01", "warn", "Retrying")
        ),
    )
    found = look(closed_port())
    assert found == {
        **WELL,
        "ready": False,
        "ping": "connection refused",
        "last_error": "2026-03-16T10:00:00Z ERROR Failed to connect to homeserver with as/T…",
    }


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_it_is_asked_at_its_own_address(docker: StubDocker, status: int, ready: bool) -> None:
    """Without a `docker exec`, of which twenty bridges would need twenty."""
    docker.on(INSPECT, out(inspected(address="127.0.0.1")))
    with ScriptedServer() as server:
        server.on(Call("GET", "/_matrix/mau/ready", ""), Answer(status))
        assert look("", port=urlsplit(server.url).port or 0) == {**WELL, "ready": ready, "ping": "not asked"}
    assert not [call for call in docker.calls if call.startswith("exec")]


def test_where_the_host_does_not_reach_its_address_it_is_asked_from_inside(
    docker: StubDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rootless Docker: packets to a container's address are lost."""
    docker.on(INSPECT, out(inspected(address="127.0.0.1")))
    monkeypatch.setattr(bridge_status, "DIRECT_TIMEOUT", 0.1)
    with ScriptedServer() as server:
        port = urlsplit(server.url).port or 0
        docker.on(READY.replace("29328", str(port)), out("200"))
        server.on(Call("GET", "/_matrix/mau/ready", ""), Raw(drip))
        assert look("", port=port) == {**WELL, "ping": "not asked"}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (error(502, "M_CONNECTION_FAILED", "refused"), "502 M_CONNECTION_FAILED refused"),
        (error(401, "M_UNKNOWN_TOKEN"), "401 M_UNKNOWN_TOKEN"),
        (Answer(200), "200 application/json, 0 bytes"),
        (Raw(drip), "no whole answer within the time limit"),
    ],
)
def test_ping(docker: StubDocker, answer: Answer | Raw, shown: str) -> None:
    docker.on(READY.replace("5.0", "1.0"), out("200"))
    with ScriptedServer() as server:
        server.on(PING, answer)
        assert look(server.url, timeout=1)["ping"] == shown


@pytest.mark.parametrize(
    ("state", "events", "status", "code"),
    [
        (inspected("restarting", 15, 4), None, "restarting", 15),
        (inspected("exited", 34), None, "exited", 34),
        (inspected("exited", 0), None, "exited", 0),
        (inspected("running", 0, 3), out("die 15\ndie 15\ndie 16\n"), "running", 16),
        # somebody restarted it, and it has not ended since
        (inspected("running", 0, 3), out("die 16\ndie 0\nstop \n"), "running", None),
        (inspected("running", 0, 3), out("die 0\nstop \ndie 16\n"), "running", 16),
        (inspected("running", 0, 3), out(), "running", None),
        (inspected("running", 0, 3), out(err="too old", code=1), "running", None),
    ],
)
def test_exits(docker: StubDocker, state: str, events: Any, status: str, code: int | None) -> None:
    docker.on(INSPECT, out(state))
    if events:
        docker.on(EVENTS, events)
    found = look(closed_port())
    assert (found["container"], found["exit_code"]) == (status, code)
    assert found["exit_meaning"].startswith(f"exit code {code}: ") if code is not None else not found["exit_meaning"]
    assert found["restart_count"] == json.loads(state)[0]["RestartCount"]
    assert found["last_error"] == "2026-03-16T09:00:00Z FATAL No database" and not found["problem"]
    assert found["ping"] == ("connection refused" if status == "running" else "not asked")


def test_a_crash(docker: StubDocker) -> None:
    docker.on(INSPECT, out(inspected("restarting", 2, 1)))
    docker.on(ALL_LOGS, out(line("09:00:00", "error", "Something"), err="panic: nil map\n\ngoroutine 1:\n"))
    assert look(closed_port())["last_error"] == "panic: nil map"


def test_absent(docker: StubDocker) -> None:
    docker.on(INSPECT, out("[]\n", err="Error: No such container: mautrix-signal\n", code=1))
    assert look(closed_port()) == {
        **WELL, "container": "absent", "ready": False, "ping": "not asked", "image": "",
    }  # fmt: skip


def test_one_part_that_fails_hides_no_other(docker: StubDocker) -> None:
    docker.on(READY, out(err='OCI runtime exec failed: exec: "curl": executable file not found\n', code=126))
    with ScriptedServer() as server:
        server.on(PING, reply(200, duration_ms=1))
        found = look(server.url, as_token=TOKEN)
        assert found == {**WELL, "ready": False, "problem": found["problem"]}
        assert "executable file not found" in found["problem"]
        found = look("http://[::1", as_token=TOKEN)
        assert found["ping"] == "not asked" and found["container"] == "running" and found["problem"]
