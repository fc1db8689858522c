"""Pins: an exit code of the real bridge that we explain wrongly or not at all, and what it takes to get past 34.

The homeserver is a scripted one and the database a file, so that each cause can be made by itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents.bridge.kinds import READY_PATH
from lab.bridge_build import NEXT, PINNED, SOURCES, Release
from tests.bridge_core.conftest import Core
from tests.bridge_core.test_config import CONFIG, KEYS, PUPPET, TOKENS
from verdicts.exit_codes import EXIT_CODES

BOT = "@signalbot:echo6.co"
NOBODY = "http://127.0.0.1:1"
Answer = tuple[int, dict[str, Any]]
Answers = dict[str, Callable[[dict[str, Any]], Answer]]


@contextlib.contextmanager
def homeserver(answers: Answers) -> Iterator[str]:
    """A homeserver on the loopback that answers `METHOD /path` (without the client API's prefix) as told."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            path = re.sub(r"^/_matrix/client/(v\d+|unstable)?/?", "", self.path.split("?")[0])
            asked = f"{self.command} {path}"
            found = next((answers[key] for key in answers if asked.startswith(key)), None)
            status, document = found(body) if found else (404, {"errcode": "M_UNRECOGNIZED", "error": asked})
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def always(status: int, **document: Any) -> Callable[[dict[str, Any]], Answer]:
    return lambda _: (status, document)


# Enough to come to the encryption step: there is no v1.7 in it, hence no ping, which the lab's Synapse does.
HEALTHY: Answers = {
    "GET versions": always(200, versions=["v1.4", "v1.6"]),
    "POST register": always(400, errcode="M_USER_IN_USE", error="taken"),
    "GET account/whoami": always(200, user_id=BOT),
}


def config_file(core: Core, change: Callable[[dict[str, Any]], object], mode: int = 0o600) -> Path:
    """Our config with an SQLite file for a database and a change."""
    document = yaml.safe_load(CONFIG)
    document["database"] = {"type": "sqlite3-fk-wal", "uri": f"file:{core.directory}/bridge.db?_txlock=immediate"}
    document["appservice"] |= {"hostname": "127.0.0.1", "port": free_port()}
    change(document)
    return core.write("config.yaml", yaml.safe_dump(document), mode)


def free_port() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    try:
        return server.server_port
    finally:
        server.server_close()


def exits(core: Core, path: Path, *more: str) -> tuple[int, str]:
    done = core.run("-c", str(path), *(more or ("-n",)))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("release", "known"), [(PINNED, {10, 13, 15, 16, 34}), (NEXT, {13, 16, 31, 32, 34})])
def test_every_code_in_the_bridges_source_is_explained(release: Release, known: set[int]) -> None:
    module = subprocess.run(
        ["go", "list", f"-modfile={release.modules}", "-m", "-f", "{{.Dir}}", "maunium.net/go/mautrix"],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    codes = {
        int(code)
        for folder in ("bridgev2", "appservice")
        for source in Path(module, folder).rglob("*.go")
        for code in re.findall(r"\b(?:os\.Exit\(|ExitError\{)(\d+)[)}]", source.read_text())
    }
    assert codes >= known
    assert codes <= set(EXIT_CODES)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (10, lambda c: c["bridge"]["permissions"].update({"*": "king"})),
        (11, lambda c: c["homeserver"].update(domain="example.com")),
        (11, lambda c: c["homeserver"].update(software="dendrite")),
        (12, lambda c: c["logging"].update(writers=[{"type": "pigeon"}])),
        (14, lambda c: c["database"].update(type="mysql")),
        (15, lambda c: c["database"].update(type="postgres", uri="postgres://u:p@127.0.0.1:1/d?sslmode=disable")),
        (23, lambda c: c["appservice"].update(hostname="", port=0)),
    ],
)
def test_before_any_network(core: Core, code: int, change: Callable[[dict[str, Any]], object]) -> None:
    status, said = exits(core, config_file(core, change))
    assert status == code, said


def test_10_when_the_config_is_missing_or_no_yaml(core: Core) -> None:
    assert exits(core, core.directory / "nowhere.yaml")[0] == 10
    assert exits(core, core.write("config.yaml", "a: [b"))[0] == 10


def test_15_when_the_tables_are_anothers(core: Core) -> None:
    with contextlib.closing(sqlite3.connect(core.directory / "bridge.db")) as database:
        database.execute("CREATE TABLE state_groups_state (x)")
        database.commit()
    core.give(core.directory / "bridge.db", 0o600)
    status, said = exits(core, config_file(core, lambda _: None))
    assert status == 15 and "foreign-tables" in said


def test_codes_of_generating_a_registration(core: Core) -> None:
    path = config_file(core, lambda _: None)
    assert exits(core, path, "-g", "-n")[0] == 5
    assert exits(core, path, "-g", "-r", "missing/registration.yaml")[0] == 21
    path = config_file(core, lambda c: c["homeserver"].update(domain="example.com"))
    assert exits(core, path, "-g")[0] == 20


def test_22_when_the_config_cannot_be_written(core: Core) -> None:
    closed = core.directory / "closed"
    closed.mkdir()
    path = config_file(core, lambda _: None).rename(closed / "config.yaml")
    core.give(closed, 0o500)
    status, said = exits(core, path, "-g", "-r", str(core.directory / "registration.yaml"))
    core.give(closed, 0o700)
    assert status == 22, said


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (16, {"GET account/whoami": always(401, errcode="M_UNKNOWN_TOKEN", error="Token is not active")}),
        (17, {"GET account/whoami": always(200, user_id="@other:echo6.co")}),
        (18, {"GET versions": always(200, versions=["r0.6.0", "v1.1"])}),
        # MSC4190: the device is made with a PUT to the devices API; a registration without the flag is refused here.
        (1, {"PUT devices/": always(404, errcode="M_NOT_FOUND", error="No device")}),
    ],
)
def test_what_the_homeserver_refuses(core: Core, code: int, change: Answers) -> None:
    with homeserver(HEALTHY | change) as address:
        status, said = exits(core, config_file(core, lambda c: c["homeserver"].update(address=address)))
    assert status == code, said


def test_an_unreachable_homeserver_is_no_reason_to_exit_and_only_ready_tells(core: Core) -> None:
    """Facts 3: "container running" proves nothing."""
    port = free_port()
    path = config_file(core, lambda c: (c["homeserver"].update(address=NOBODY), c["appservice"].update(port=port)))
    with running(core, path) as bridge:
        wait_for(lambda: status_of(port, "/_matrix/mau/live") == 200, bridge)
        assert status_of(port, READY_PATH) == 500
        assert bridge.poll() is None


class Keys:
    """The part of a homeserver that keeps the bot's keys, with cross-signing keys from an earlier life of the bot."""

    def __init__(self) -> None:
        self.device: dict[str, Any] = {}
        self.cross_signing: dict[str, Any] = {
            f"{usage}_keys": {BOT: {"user_id": BOT, "usage": [usage], "keys": {f"ed25519:{key}": key}}}
            for usage, key in (("master", "A" * 43), ("self_signing", "B" * 43), ("user_signing", "C" * 43))
        }
        self.replaced = False

    def answers(self) -> Answers:
        return HEALTHY | {
            "PUT devices/": always(201),
            "POST keys/upload": self.upload,
            "POST keys/query": self.query,
            "POST keys/device_signing/upload": self.replace,
            "POST keys/signatures/upload": always(200, failures={}),
            "PUT user/": always(200),
            "PUT profile/": always(200),
            "GET sync": self.sync,
            "POST user/": always(200, filter_id="1"),
        }

    def upload(self, body: dict[str, Any]) -> Answer:
        if "device_keys" in body:
            self.device = body["device_keys"]
        return 200, {"one_time_key_counts": {"signed_curve25519": 50}}

    def query(self, _: dict[str, Any]) -> Answer:
        devices = {BOT: {self.device["device_id"]: self.device}} if self.device else {}
        return 200, {"failures": {}, "device_keys": devices, **self.cross_signing}

    def replace(self, body: dict[str, Any]) -> Answer:
        self.replaced = True
        for usage in ("master", "self_signing", "user_signing"):
            self.cross_signing[f"{usage}_keys"] = {BOT: body[f"{usage}_key"]}
        return 200, {}

    def sync(self, _: dict[str, Any]) -> Answer:
        time.sleep(0.2)
        return 200, {"next_batch": "1"}


def test_34_ends_when_recovery_key_is_set_to_overwrite_in_the_database(core: Core) -> None:
    """Design 10, `restore: none`: it is a row of kv_store, which exists only after a first start, and no config key."""
    keys, port = Keys(), free_port()
    with homeserver(keys.answers()) as address:
        path = config_file(core, lambda c: (c["homeserver"].update(address=address), c["appservice"].update(port=port)))
        for _ in range(2):
            status, said = exits(core, path)
            assert status == 34, said
            assert "set it to `overwrite`" in said
        assert recovery_key(core, "overwrite") == "overwrite"
        with running(core, path) as bridge:
            wait_for(lambda: status_of(port, READY_PATH) == 200, bridge)
        assert keys.replaced
        made = recovery_key(core)
        assert re.fullmatch(r"(\w{4} )+\w{1,4}", made)
        log = (core.directory / "bridge.log").read_text()
        assert "Generated new recovery key" in log
        for secret in (made, TOKENS.as_token, TOKENS.hs_token, KEYS.pickle_key, PUPPET.as_token):
            assert secret not in log


def recovery_key(core: Core, value: str | None = None) -> str:
    """The recovery key in the bridge's database, after setting it as an operator would (bridge_id is empty)."""
    with contextlib.closing(sqlite3.connect(core.directory / "bridge.db")) as database:
        if value is not None:
            database.execute(
                "INSERT INTO kv_store (bridge_id, key, value) VALUES ('', 'recovery_key', ?)"
                " ON CONFLICT (bridge_id, key) DO UPDATE SET value = excluded.value",
                (value,),
            )
            database.commit()
        found = database.execute("SELECT value FROM kv_store WHERE bridge_id = '' AND key = 'recovery_key'").fetchone()
    for file in core.directory.glob("bridge.db*"):
        core.give(file, 0o600)
    return str(found[0])


@contextlib.contextmanager
def running(core: Core, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The bridge, running; ended at the end, by us."""
    with open(core.directory / "bridge.log", "wb") as log:
        bridge = subprocess.Popen(
            core.command("-c", str(config), "-n"),
            cwd=core.directory,
            stdout=log,
            stderr=subprocess.STDOUT,
            **core.as_user(),  # type: ignore[call-overload]
        )
    try:
        yield bridge
    finally:
        bridge.terminate()
        try:
            bridge.wait(10)
        except subprocess.TimeoutExpired:
            bridge.kill()
            bridge.wait()


def wait_for(true: Callable[[], bool], bridge: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert bridge.poll() is None, f"the bridge exited with {bridge.returncode}"
        assert time.monotonic() < deadline, "still not true"
        time.sleep(0.05)


def status_of(port: int, path: str) -> int | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
