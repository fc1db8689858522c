#!/usr/bin/env -S python3 -I -S
"""A `docker` with one container in it, and one of a worker's, for tests of scripts that edit a Synapse's files and
restart it.

Run as `docker` it plays: `exec` and `run` execute the given code here, with a small Synapse package whose loader reads
the files as the real one does; `restart` starts it again, which goes well unless homeserver.yaml holds the word that
the test calls poison; the worker's `exec` answers what the state says. Imported it gives `StubSynapse`, which sets all
this up and answers for its health meanwhile.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LOADER = {
    "synapse/__init__.py": "",
    "synapse/config/__init__.py": "",
    "synapse/config/_base.py": """
class ConfigError(Exception):
    def __init__(self, msg, path=None):
        self.msg, self.path = msg, path

def find_config_files(search_paths):
    return list(search_paths)
""",
    "synapse/config/homeserver.py": """
import argparse, types, yaml
from synapse.config._base import ConfigError

class HomeServerConfig:
    @classmethod
    def load_config(cls, description, argv):
        parser = argparse.ArgumentParser()
        parser.add_argument("-c", action="append")
        parser.add_argument("--keys-directory")
        found = {}
        for path in parser.parse_args(argv).c:
            with open(path) as file:
                found.update(yaml.safe_load(file))
        print("noise on stdout")
        if "server_name" not in found:
            raise ConfigError("Missing mandatory `server_name` config option.")
        if found.get("modules") == "broken":
            raise ConfigError("no module named x " + found["macaroon_secret_key"], ("modules", "<item 0>"))
        if found.get("modules") == "bridged" and "app_service_config_files" not in found:
            raise ConfigError("no bridge for " + found["macaroon_secret_key"], ("modules", "<item 0>"))
        config = cls()
        config.server = types.SimpleNamespace(server_name=found["server_name"])
        config.appservice = types.SimpleNamespace(app_service_config_files=found.get("app_service_config_files", []))
        return config
""",
    "synapse/config/appservice.py": """
import yaml
def load_appservices(hostname, files):
    seen = {}
    for path in files:
        with open(path) as file:
            info = yaml.safe_load(file)
        if info["as_token"] in seen:
            raise ValueError("Cannot reuse as_token across application services: " + info["as_token"])
        seen[info["as_token"]] = path
""",
}


# `poison`: as the container's; `unwell`: what it answers then.
WORKER = {"name": "synapse-worker", "status": "running", "started": time.time() - 60, "restarts": 0, "poison": None,
          "lists": "", "unwell": "127.0.0.1 8083: connection refused"}  # fmt: skip


class StubSynapse:
    """One container; `state` is what the stub knows, in a file that both sides read."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "docker").symlink_to(Path(__file__).resolve())
        for name, text in LOADER.items():
            (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "site" / name).write_text(text)
        stub = self

        class Health(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                state = stub.state
                well = state["healthy"] and self.path == state["health"]
                well |= state["routed"] and self.path == "/_matrix/client/versions"
                token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
                forgotten = state["restarts"] == 1 and token == state["forgets"]
                known = state["healthy"] and self.path.endswith("/whoami") and not forgotten
                self.send_response(200 if well or known else 404 if self.path != state["health"] else 503)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._state = {
            "container": "matrix-synapse", "status": "running", "started": time.time() - 60, "healthy": True,
            "crashes": 0, "restarts": 0, "poison": None, "watched": None, "image": "sha256:1",
            "python": python, "fails": None, "deaf": False, "broken_image": False, "loops": False, "forgets": None,
            "health": "/_matrix/client/versions", "worker": WORKER, "bridges": ["mautrix-signal"],
            "log": "log of start {restarts}\n", "renders": None, "routed": False, "command": [], "processes": [],
        }  # fmt: skip
        self.set()

    def set_worker(self, **changes: Any) -> None:
        self.set(worker={**self.state["worker"], **changes})

    def set(self, **changes: Any) -> None:
        self._state = {**self.state, **changes} if (self.folder / "state").exists() else {**self._state, **changes}
        _put(self.folder, self._state)

    @property
    def state(self) -> dict[str, Any]:
        return _get(self.folder)

    @property
    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _get(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "state").read_text()))


def _put(folder: Path, state: dict[str, Any]) -> None:
    new = folder / f"state.{os.getpid()}"
    new.write_text(json.dumps(state))
    os.replace(new, folder / "state")


def _iso(stamp: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp)) + f".{int(stamp % 1 * 1e9):09d}Z"


def _inspect(state: dict[str, Any]) -> str:
    inside = {"Status": state["status"], "Pid": 1, "StartedAt": _iso(state["started"]), "ExitCode": 1, "Error": "",
              "OOMKilled": False}  # fmt: skip
    whole = {"Id": "0123", "Name": f"/{state['container']}",
             "Created": _iso(0), "State": inside, "Image": state["image"],
             "Config": {"Image": "x:1", "Cmd": state["command"]},
             "RestartCount": state["crashes"], "NetworkSettings": {"Networks": {}}, "Mounts": []}  # fmt: skip
    return json.dumps([whole])


def _play_worker(folder: Path, state: dict[str, Any], words: list[str]) -> int:
    worker = state["worker"]
    if words[:2] == ["container", "inspect"]:
        print(_inspect({**state, **worker, "container": worker["name"], "crashes": 0}))
    elif words[0] == "exec" and words[-1] == "find-listed":
        print(json.dumps({"files": {worker["lists"]: "/w.yaml"} if worker["lists"] else {}, "error": ""}))
    elif words[0] == "exec" and worker["status"] == "running":
        assert words[1:4] == ["-i", worker["name"], "python3"] and words[-2:] == ["inside-synapse", "read-worker"]
        poisoned = bool(worker["poison"]) and worker["poison"] in Path(state["watched"]).read_text()
        said: dict[str, Any] = {
            "files": [],
            "decided_in": "",
            "unwell": worker["unwell"] if poisoned else "",
            "error": "",
        }
        print(json.dumps(said))
    elif words[0] == "restart":
        restarted = {"started": time.time(), "status": "running", "restarts": worker["restarts"] + 1}
        _put(folder, {**state, "worker": {**worker, **restarted}})
    elif words[0] == "logs":
        print("log of the worker")
    else:
        print(f"stub docker: not of a worker: {words[:4]}", file=sys.stderr)
        return 64
    return 0


def _restart(folder: Path, state: dict[str, Any]) -> int:
    if state["fails"]:
        print(f"Error response from daemon: {state['fails']}", file=sys.stderr)
        _put(folder, {**state, "status": "exited", "healthy": False, "restarts": state["restarts"] + 1})
        return 1
    poisoned = bool(state["poison"]) and state["poison"] in Path(state["watched"]).read_text()
    crashes = 5 if poisoned and state["loops"] else 0
    now = {"started": time.time(), "healthy": not poisoned, "restarts": state["restarts"] + 1, "crashes": 0}
    if state["renders"]:
        Path(state["watched"]).write_text(state["renders"])
    beside = sorted(path.name for path in Path(state["watched"]).parent.iterdir())
    _put(folder, {**state, **now, "status": "running", "beside": beside})
    if crashes:  # Docker's restart policy: it ends and comes back, while somebody waits for it
        subprocess.Popen([sys.executable, "-I", "-S", __file__, "crash", str(folder), str(crashes)], close_fds=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    return 0


def _code(folder: Path, state: dict[str, Any], words: list[str], processes: list[list[str]]) -> int:
    """As in a container: with processes of its own alone, so that no other Synapse on the machine is taken for it.
    `processes`: the words of others in it."""
    # The first process must not look as if it named a configuration (-c): so a file, and the rest by variable.
    init = folder / "init"
    init.write_text('eval "$BESIDE"\neval "$RUN"\nexit $?\n')
    idle = folder / "idle"
    idle.write_text("sleep 60\n")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(folder / "site"),
        "RUN": shlex.join([state["python"], *words]),
        "BESIDE": "".join(f"sh {shlex.join([str(idle), *process])} >/dev/null 2>&1 & " for process in processes),
    }
    alone = ["unshare", "--pid", "--fork", "--mount-proc", *(["--map-root-user"] if os.geteuid() else [])]
    return subprocess.run([*alone, "sh", str(init)], env=environment, check=False).returncode


def play(folder: Path, words: list[str]) -> int:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    state = _get(folder)
    with (folder / "calls").open("a") as log:
        log.write(" ".join(word for word in words if "runpy" not in word) + "\n")
    if words[:2] == ["container", "inspect"] and state["deaf"] and state["restarts"]:
        print("Cannot connect to the Docker daemon. Is the docker daemon running?", file=sys.stderr)
        return 1
    if state["worker"]["name"] in words:
        return _play_worker(folder, state, words)
    if words[:2] == ["container", "inspect"]:
        if words[2:] != [state["container"]]:
            print("[]")
            print(f"Error response from daemon: No such container: {words[2]}", file=sys.stderr)
            return 1
        print(_inspect(state))
        return 0
    if words[0] == "exec" and words[1:4] == ["-i", state["container"], "python3"] and state["status"] == "running":
        return _code(folder, state, words[4:], state["processes"])
    if words[0] == "run" and "--rm" in words and words[words.index("--network") + 1] == "none":
        if state["broken_image"]:
            print(f"docker: Error response from daemon: No such image: {state['image']}.", file=sys.stderr)
            return 125
        return _code(folder, state, words[words.index(state["image"]) + 1 :], [])
    if words == ["restart", state["container"]]:
        return _restart(folder, state)
    if words == ["logs", "--tail", "50", state["container"]]:
        print(state["log"].format(**state), end="")
        return 0
    if words[0] == "ps":
        label = "label=mautrix-bridge.stack="
        assert words[1] == "--filter" and words[2].startswith(label), words
        assert words[3:] == ["--filter", "network=matrix-net", "--format", "{{.Names}}"], words
        print("\n".join(state["bridges"] if words[2] == f"{label}mautrix-signal/contabo" else []))
        return 0
    if words[:3] == ["stop", "--time", "30"] and words[3] in state["bridges"]:
        _put(folder, {**state, "bridges": [each for each in state["bridges"] if each != words[3]]})
        return 0
    if words[0] == "start":
        _put(folder, {**state, "bridges": [*state["bridges"], words[1]]})
        return 0
    print(f"stub docker: not known: {words[:4]}", file=sys.stderr)
    return 64


def crash(folder: Path, crashes: int) -> int:
    """In one write: whoever waits may restart the container as soon as it sees the third."""
    time.sleep(0.1)
    _put(folder, {**_get(folder), "crashes": crashes})
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["crash"]:
        sys.exit(crash(Path(sys.argv[2]), int(sys.argv[3])))
    if shutil.which("docker") is None:
        sys.exit("stub docker: not on PATH")
    sys.exit(play(Path(sys.argv[0]).parent, sys.argv[1:]))
