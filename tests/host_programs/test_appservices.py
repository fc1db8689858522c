"""A live homeserver left broken, restarted without need, or restarted with a file that it cannot load.

The step runs for real, from the program file, with a `docker` on PATH that executes its part for the container here
(stub_synapse.py) and a Synapse that is up or down with what the file holds.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from host_programs import host_lock
from host_programs.docker import run_docker
from host_programs.messages import ScriptError
from host_programs.synapse import appservices, restart
from host_programs.synapse.inside import homeserver_edit, loader
from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside.homeserver_edit import EditRequest
from tests.host_programs import programs
from tests.host_programs.synapse_host import BEFORE, MARK, SECRET, TOKEN, Host, host

__all__ = ["host"]

REGISTER, UNREGISTER = "register_appservices", "unregister_appservices"
NOTHING: dict[str, Any] = {"changed": False, "restarted": False, "removed": []}
CHECKOUT = Path(__file__).resolve().parents[2]


def unhealthy(host: Host) -> str:
    return f"{host.synapse.url}/_matrix/client/versions: 503 no content type, 0 bytes"


def test_in_and_out_with_one_restart_each(host: Host) -> None:
    host.file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(host.file, 991, 992)
    first = host.good(REGISTER)
    assert (first["changed"], first["restarted"], host.restarts) == (True, True, 1)
    assert host.text.startswith(f"{BEFORE}\r\napp_service_config_files:  {MARK}\r\n") and not host.text.endswith("\n")
    stat = host.file.stat()
    assert stat.st_mode & 0o7777 == 0o640
    assert os.geteuid() != 0 or (stat.st_uid, stat.st_gid) == (991, 992)
    time.sleep(0.02)
    assert host.good(REGISTER) == NOTHING
    last = host.good(UNREGISTER)
    assert (last["changed"], last["restarted"], host.restarts) == (True, True, 2)
    assert host.text == BEFORE
    assert host.good(UNREGISTER) == NOTHING
    assert host.restarts == 2
    assert host.registrations == []


def test_nothing_secret_is_an_argument_of_a_process(host: Host) -> None:
    host.good(REGISTER)
    calls = "\n".join(host.synapse.calls)
    assert "exec -i matrix-synapse python3 -c inside-synapse add" in calls
    assert SECRET not in calls and TOKEN not in calls and "server_name" not in calls


def test_a_new_registration_alone_restarts_once(host: Host) -> None:
    host.good(REGISTER)
    time.sleep(0.02)
    host.want("registration.yaml", f"{TOKEN}-new")
    assert host.good(REGISTER) == {**NOTHING, "restarted": True}
    assert host.good(REGISTER)["restarted"] is False
    assert host.restarts == 2


def test_a_change_of_the_file_that_synapse_has_not_read_restarts(host: Host) -> None:
    host.good(REGISTER)
    time.sleep(0.02)
    host.file.write_text(host.text)
    assert host.good(REGISTER)["restarted"] is True


def test_a_symlink_is_followed(host: Host) -> None:
    real = host.folder / "host/real.yaml"
    host.file.rename(real)
    host.file.symlink_to("real.yaml")
    host.good(REGISTER)
    assert host.file.is_symlink() and MARK in real.read_text()
    host.good(UNREGISTER)
    assert host.file.is_symlink() and real.read_bytes().decode() == BEFORE


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"status": "exited"}, "container matrix-synapse: is exited, nothing was touched: start Synapse"),
        ({"status": "restarting"}, "container matrix-synapse: is restarting, nothing was touched"),
        ({"status": "paused"}, "container matrix-synapse: is paused, nothing was touched"),
        ({"container": "other"}, "container matrix-synapse: is absent, nothing was touched"),
    ],
)
def test_a_synapse_that_is_down_before_is_left_alone(host: Host, state: dict[str, Any], words: str) -> None:
    host.synapse.set(**state)
    assert words in host.bad(REGISTER)
    assert (host.text, host.restarts) == (BEFORE, 0)


def test_a_synapse_that_runs_but_is_not_healthy_before_is_left_alone(host: Host) -> None:
    host.synapse.set(healthy=False)
    error = host.bad(REGISTER)
    assert error == (
        f"container matrix-synapse: Synapse is down (not healthy within 2 s: {unhealthy(host)}), "
        "nothing was touched: start Synapse, then run this again\n"
    )
    assert (host.text, host.restarts) == (BEFORE, 0)


def test_a_refusal_names_file_line_reason_and_fix(host: Host) -> None:
    host.file.write_text(f"{BEFORE}\nexperimental_features: 1\n")
    was = host.text
    assert host.bad(REGISTER) == (
        f"{host.file}:5: experimental_features has a value of the wrong type: it should be a mapping of flags\n"
    )
    assert (host.text, host.restarts) == (was, 0)


def test_a_file_that_is_not_utf8_is_refused(host: Host) -> None:
    host.file.write_bytes(b"a: 1\nb: \xe9\n")
    assert host.bad(REGISTER) == f"{host.file}:2: not UTF-8 text: Synapse cannot read it: save it as UTF-8\n"


def test_another_file_than_synapses_is_refused(host: Host) -> None:
    (host.folder / "other").mkdir()
    (host.folder / "other/homeserver.yaml").write_text("server_name: elsewhere\n")
    host.server = {"data_mount": str(host.folder / "other")}
    error = host.bad(REGISTER)
    assert f"{host.file}: nothing was touched: it is not what Synapse's container has as {host.folder}/other" in error
    assert "check the settings synapseDir, synapseDataMount and homeserverFile" in error
    assert (host.text, host.restarts) == (BEFORE, 0)


def test_what_the_loader_refuses_is_never_written(host: Host) -> None:
    """load_config takes a registration that is not there; load_appservices does not, and Synapse would loop."""
    data = host.folder / "data"  # Synapse has another directory there: homeserver.yaml alone is the same
    data.unlink()
    data.mkdir()
    (data / "homeserver.yaml").symlink_to(host.file)
    inode = host.file.stat().st_ino
    error = host.bad(REGISTER)
    assert error == (
        f"{host.file}: nothing was touched: Synapse's own loader refuses the new configuration:\n"
        f"FileNotFoundError: [Errno 2] No such file or directory: '{host.folder}/data/registration.yaml'\n"
    )
    assert host.registrations == [], "written for the loader alone"
    assert (host.text, host.restarts, host.file.stat().st_ino) == (BEFORE, 0, inode)


def test_the_loaders_words_are_masked(host: Host) -> None:
    host.want("doublepuppet.yaml", TOKEN)
    error = host.bad(REGISTER)  # `bad` looks for the token itself
    assert "ValueError: Cannot reuse as_token across application services: as_0…" in error


def test_a_file_that_synapse_would_refuse_without_us_is_not_written(host: Host) -> None:
    host.file.write_text(f"{BEFORE}\nmodules: broken\n")
    error = host.bad(REGISTER)
    assert "loader refuses the new configuration:\nmodules.<item 0>: no module named x maca…" in error
    assert host.restarts == 0


def test_a_failed_restart_brings_the_old_file_back(host: Host) -> None:
    host.synapse.set(poison=MARK, log=f"log of start {{restarts}}: {TOKEN} {SECRET} Bearer abcdefghijklmnop\n")
    was = host.file.stat()
    error = host.bad(REGISTER)
    lines = error.splitlines()
    assert lines[0] == f"{host.file}: the entries of mautrix-signal/contabo are in it"
    why = f"not healthy within 2 s: {unhealthy(host)}"
    assert f"matrix-synapse: Synapse did not come up after its restart: {why}" in lines
    assert f"{host.file}: is as it was before; Synapse is healthy again with it after" in error
    assert lines[-2:] == [
        "of the failed start, the last 50 log lines of matrix-synapse:",
        "log of start 1: as_0… maca… Bearer …",
    ]
    assert (host.text, host.restarts, host.synapse.state["healthy"]) == (BEFORE, 2, True)
    assert host.file.stat().st_mtime_ns == was.st_mtime_ns  # or the next run would restart for nothing
    host.synapse.set(poison=None)
    assert host.good(REGISTER)["changed"] is True


def test_a_bridge_that_leaves_is_stopped_before_synapse_forgets_it_and_goes_on_if_that_fails(host: Host) -> None:
    """Running, it would take messages from its network that Synapse no longer takes from it."""
    host.synapse.set(bridges=["mautrix-signal", "mautrix-slack"], poison=MARK)
    host.bad(REGISTER)
    assert host.synapse.state["bridges"] == ["mautrix-signal", "mautrix-slack"]
    host.synapse.set(poison=None)
    host.good(REGISTER)
    assert host.synapse.state["bridges"] == ["mautrix-signal"]
    stopped, restarted = (
        host.synapse.calls.index(each) for each in ("stop --time 30 mautrix-slack", "start mautrix-slack")
    )
    assert stopped < host.synapse.calls.index("restart matrix-synapse") < restarted
    calls = len(host.synapse.calls)
    host.good(REGISTER)
    assert not [call for call in host.synapse.calls[calls:] if call.startswith("ps")], "nothing to restart"


@pytest.mark.parametrize("whose", ["doublepuppet.yaml", "irc.yaml"])
def test_a_synapse_that_comes_up_without_a_registration_gets_the_old_file_back(host: Host, whose: str) -> None:
    """Healthy, but ours is not loaded, or another bridge's no longer is: a success would leave one of them dead."""
    host.place("irc.yaml", f"{TOKEN}-irc")
    listed = f"{BEFORE}\r\napp_service_config_files: [{host.folder}/data/irc.yaml]\r\n"
    host.file.write_bytes(listed.encode())
    host.old()
    texts = {**host.texts, "irc.yaml": host.path("irc.yaml").read_text()}
    host.synapse.set(forgets=texts[whose].split()[-1])
    error = host.bad(REGISTER)
    assert f"it runs, but does not know the as_token of {host.folder}/data/{whose}\n" in error
    assert (host.text, host.restarts) == (listed, 2)


def test_what_another_file_of_synapse_s_shuts_out_is_never_written(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synapse takes a key from the last file that has it: our list would go unheard, or unload another bridge."""
    monkeypatch.syspath_prepend(host.synapse.folder / "site")
    monkeypatch.setattr(loader, "become_synapse", lambda process: None)
    ours, other, irc = host.file, tmp_path / "bridges.yaml", host.path("irc.yaml")
    host.place("irc.yaml", f"{TOKEN}-irc")
    host.put()
    registration = str(host.path("registration.yaml"))

    def problem(*files: Path) -> str:
        options = [word for file in files for word in ("-c", str(file))]
        monkeypatch.setattr(synapse_process, "read_options", lambda *_: options)
        return homeserver_edit.add_entries(EditRequest(host.text, Entries("p/s", (registration,)), str(ours))).problem

    other.write_text(f"app_service_config_files: [{irc}]\n")
    assert problem(ours, other).startswith(f"Synapse would not load {registration} with it, since another file")
    assert problem(other, ours).startswith(f"Synapse would not load {irc} with it, since another file")
    other.write_text("b: 1\n")
    assert problem(other, ours) == ""


# ---- workers


@pytest.fixture
def with_a_worker(host: Host) -> Host:
    host.server = {"workers": ("synapse-worker",)}
    return host


def restarted(host: Host) -> list[str]:
    """Names of the containers, in the order of their restarts."""
    return [words.partition(" ")[2] for words in host.synapse.calls if words.startswith("restart ")]


def test_workers_are_restarted_after_the_main_process_in_and_out(with_a_worker: Host) -> None:
    """A worker that goes on with the registrations of before hands no event to the bridge."""
    host = with_a_worker
    host.good(REGISTER)
    assert host.good(REGISTER)["restarted"] is False
    assert restarted(host) == ["matrix-synapse", "synapse-worker"]
    assert host.good(UNREGISTER)["restarted"] is True
    assert restarted(host) == ["matrix-synapse", "synapse-worker"] * 2


def test_a_worker_alone_that_is_older_than_the_files_restarts_them(with_a_worker: Host) -> None:
    host = with_a_worker
    host.good(REGISTER)
    host.synapse.set_worker(started=1_000_000_000)
    assert host.good(REGISTER) == {**NOTHING, "restarted": True}
    assert restarted(host) == ["matrix-synapse", "synapse-worker"] * 2


def test_a_worker_that_does_not_come_up_brings_the_old_file_back(with_a_worker: Host) -> None:
    host = with_a_worker
    host.synapse.set_worker(poison=MARK)
    error = host.bad(REGISTER)
    why = "its worker synapse-worker: not healthy within 2 s: 127.0.0.1 8083: connection refused"
    assert f"matrix-synapse: Synapse did not come up after its restart: {why}\n" in error
    assert "is as it was before; Synapse is healthy again with it after" in error
    assert error.endswith("of the failed start, the last 50 log lines of synapse-worker:\nlog of the worker\n")
    assert (host.text, restarted(host)) == (BEFORE, ["matrix-synapse", "synapse-worker"] * 2)


def test_a_main_process_that_does_not_come_up_leaves_its_workers_alone(with_a_worker: Host) -> None:
    host = with_a_worker
    host.synapse.set(poison=MARK)
    host.bad(REGISTER)
    assert (host.text, restarted(host)) == (BEFORE, ["matrix-synapse"] * 2)


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ({"status": "exited"}, "container synapse-worker: is exited, nothing was touched"),
        ({"poison": "server_name"}, "container synapse-worker: its worker is down (not healthy within 2 s: 127.0.0.1"),
    ],
)
def test_with_a_worker_that_is_down_before_nothing_is_touched(
    with_a_worker: Host, worker: dict[str, Any], words: str
) -> None:
    host = with_a_worker
    host.synapse.set_worker(**worker)
    assert words in host.bad(REGISTER)
    assert (host.text, restarted(host)) == (BEFORE, [])


def test_with_all_processes_up_and_a_registration_lost_synapse_s_log_is_quoted(with_a_worker: Host) -> None:
    """Pins an error that ends in "of the failed start, " without a log."""
    with_a_worker.synapse.set(forgets=TOKEN)
    error = with_a_worker.bad(REGISTER)
    assert "it runs, but does not know the as_token" in error
    assert error.endswith("of the failed start, the last 50 log lines of matrix-synapse:\nlog of start 1\n")


def test_a_worker_that_somebody_stopped_stays_so_at_the_removal(with_a_worker: Host) -> None:
    host = with_a_worker
    host.good(REGISTER)
    host.synapse.set_worker(status="exited")
    assert host.good(UNREGISTER)["restarted"] is True
    assert restarted(host) == ["matrix-synapse", "synapse-worker", "matrix-synapse"]


def test_the_main_process_is_asked_for_its_health_and_not_the_worker_that_has_the_versions(host: Host) -> None:
    """Pins a main process that is down, and called healthy since a proxy hands the second question to a worker."""
    host.synapse.set(health="/health", healthy=False, routed=True)
    assert f"{host.synapse.url}/health: 503" in host.bad(REGISTER)
    assert (host.text, host.restarts) == (BEFORE, 0)
    host.synapse.set(healthy=True)
    assert host.good(REGISTER)["restarted"] is True


def test_crashes_of_before_do_not_count(host: Host) -> None:
    """Pins a Synapse that Docker restarted in the weeks before, and that gets no time to answer."""
    host.synapse.set(crashes=5, healthy=False)
    error = host.bad(REGISTER)
    assert f"(not healthy within 2 s: {unhealthy(host)})" in error and "it ended" not in error


def test_a_synapse_that_crashes_again_and_again_is_not_waited_for(host: Host) -> None:
    host.server = {"deadline": 60}
    host.synapse.set(poison=MARK, loops=True)
    begin = time.monotonic()
    error = host.bad(REGISTER)
    assert time.monotonic() - begin < 20
    assert "did not come up after its restart: it ended 3 times with exit code 1\n" in error
    assert (host.text, host.synapse.state["healthy"]) == (BEFORE, True)


def test_a_restart_that_docker_refuses_is_a_failed_start(host: Host) -> None:
    host.synapse.set(fails="port is already allocated")
    error = host.bad(REGISTER)
    assert (
        "did not come up after its restart: docker restart: Error response from daemon: port is already allocated"
        in error
    )
    assert "is as it was before; Synapse is still not healthy with it (docker restart: Error" in error
    assert host.text == BEFORE


def test_a_docker_that_does_not_answer_after_the_restart_does_not_keep_the_old_file_out(host: Host) -> None:
    """The question whether the container still runs would end the script, with Synapse down and the new file in."""
    host.synapse.set(poison=MARK, deaf=True)
    error = host.bad(REGISTER)
    assert f"did not come up after its restart: not healthy within 2 s: {unhealthy(host)}" in error
    assert f"{host.file}: is as it was before; Synapse is healthy again with it after" in error
    assert (host.text, host.restarts) == (BEFORE, 2)


def test_a_restart_that_docker_does_not_end_is_a_failed_start(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{host.synapse.folder}:{os.environ['PATH']}")
    hangs = iter([ScriptError("docker restart: no answer in 600 s")])

    def docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        for error in hangs:
            raise error
        return run_docker(*words, check=check)

    monkeypatch.setattr(restart, "run_docker", docker)
    with pytest.raises(ScriptError, match="restart: docker restart: no answer") as error:
        appservices.register_appservices(host.arguments)
    assert f"{host.file}: is as it was before; Synapse is healthy again with it after" in str(error.value)
    assert (host.text, host.restarts) == (BEFORE, 1)


def test_a_failed_restart_for_registrations_alone_says_that_nothing_was_put_back(host: Host) -> None:
    host.good(REGISTER)
    done = host.text
    time.sleep(0.02)
    host.want("registration.yaml", f"{TOKEN}-new")
    host.synapse.set(poison=MARK)
    said = host.bad(REGISTER)
    assert (
        f"{host.file}: was not changed by this run, so there is nothing to put back; the registrations are new" in said
    )
    assert host.text == done and host.restarts == 2


def test_an_edit_meanwhile_is_not_overwritten_by_the_old_file(host: Host) -> None:
    host.synapse.set(poison="server_name", log="{restarts}\n")
    host.server = {"deadline": 3}
    script = subprocess.Popen(
        programs.command_of(appservices.register_appservices),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": f"{host.synapse.folder}:{os.environ['PATH']}"},
        cwd=CHECKOUT,
    )
    assert script.stdin and script.stderr
    script.stdin.write(programs.order_of(host.arguments))
    script.stdin.close()
    while "restarting" not in script.stderr.readline():
        assert script.poll() is None
    edited = f"{host.text}\nadded: by_hand\n"
    host.file.write_text(edited)
    error = script.stderr.read()
    assert script.wait(60) == 1
    assert f"{host.file}: somebody changed it meanwhile, so it was not put back: Synapse is down" in error
    assert host.file.read_text() == edited.replace("\r\n", "\n")


def test_a_text_that_synapse_s_start_wrote_is_told_as_that_and_not_as_a_synapse_that_is_down(host: Host) -> None:
    """Pins a healthy Synapse that is called down, with a restart for advice, which writes the file anew once more."""
    host.synapse.set(renders=f"{BEFORE}\nrendered: true\n", forgets=TOKEN)
    error = host.bad(REGISTER)
    assert f"{host.file}: was written anew when matrix-synapse started, so our entries are gone: put them" in error
    assert "Synapse runs as before\n" in error and "is down" not in error and "did not come up" not in error
    assert host.restarts == 1


def test_a_full_disk_leaves_the_old_file_whole(host: Host) -> None:
    host.put()
    host.file.write_text(BEFORE + "\n" + "# a long file\n" * 400)
    host.old()
    was = host.text
    full = 2000  # bytes that a file of this process may have: a write beyond them fails as on a full disk
    error = host.bad(
        REGISTER,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY)),
    )
    assert f"{host.file}: not written, the old file stands: File too large" in error
    assert (host.text, host.restarts) == (was, 0)
    assert not [path for path in host.file.parent.iterdir() if path.name.startswith(".homeserver")]


def _bound_by_modes() -> None:
    """Root in the child obeys file modes: CAP_DAC_OVERRIDE is dropped (prctl(2), capabilities(7))."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_a_read_only_directory_leaves_the_old_file_whole(host: Host) -> None:
    host.put()
    host.file.parent.chmod(0o555)
    try:
        error = host.bad(REGISTER, preexec_fn=_bound_by_modes)
    finally:
        host.file.parent.chmod(0o755)
    assert f"{host.file}: not written, the old file stands: Permission denied\n" in error
    assert (host.text, host.restarts) == (BEFORE, 0)


# ---- removal


def in_place(host: Host) -> None:
    host.good(REGISTER)
    host.old()


def test_a_synapse_that_is_down_does_not_stop_the_removal(host: Host) -> None:
    in_place(host)
    host.synapse.set(status="exited", healthy=False)
    done = host.run(UNREGISTER)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        **NOTHING,
        "changed": True,
        "removed": [str(host.path(name)) for name in ("doublepuppet.yaml", "registration.yaml")],
    }
    assert done.stderr.splitlines()[-1] == (
        "warning: container matrix-synapse: is exited: the file is changed, the restart is left to you: "
        "docker restart matrix-synapse"
    )
    assert (host.text, host.restarts) == (BEFORE, 1)
    assert any(call.startswith("run --rm -i --network none --read-only --cap-drop ALL") for call in host.synapse.calls)


@pytest.mark.parametrize("state", [{"container": "gone"}, {"status": "exited", "broken_image": True}])
def test_without_a_container_or_its_image_the_machines_own_python_does_it(host: Host, state: dict[str, Any]) -> None:
    in_place(host)
    host.synapse.set(**state)
    assert host.good(UNREGISTER)["changed"] is True
    assert host.text == BEFORE


def test_with_no_python_that_has_pyyaml_the_error_says_what_to_do(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place(host)
    host.synapse.set(container="gone")
    was = host.text
    monkeypatch.setenv("PATH", f"{host.synapse.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", "/nowhere/python3")
    with pytest.raises(ScriptError) as error:
        appservices.unregister_appservices(host.arguments)
    assert str(error.value) == (
        f"{host.file}: nowhere to run the edit (python3 here: [Errno 2] No such file or directory: "
        "'/nowhere/python3'): start matrix-synapse, or install PyYAML here (apt install python3-yaml)"
    )
    assert host.text == was


def test_a_file_that_is_gone_does_not_stop_the_removal(host: Host) -> None:
    host.file.unlink()
    done = host.run(UNREGISTER)
    assert (done.returncode, json.loads(done.stdout)["changed"]) == (0, False)
    assert done.stderr == f"warning: {host.file}: is gone, so there is nothing to take out\n"


def test_a_file_that_nobody_can_read_does_not_stop_the_removal_if_nothing_in_it_is_ours(host: Host) -> None:
    host.file.write_text("a: [")
    assert host.good(UNREGISTER) == NOTHING
    assert host.text == "a: ["


def test_a_synapse_that_is_not_healthy_is_not_restarted_by_the_removal(host: Host) -> None:
    in_place(host)
    host.synapse.set(healthy=False)
    done = host.run(UNREGISTER)
    assert done.returncode == 0
    assert "warning: container matrix-synapse: is not healthy (not healthy within 2 s" in done.stderr
    assert (host.text, host.restarts) == (BEFORE, 1)


def test_a_synapse_that_could_not_start_anyhow_is_left_running(host: Host) -> None:
    in_place(host)
    host.file.write_bytes(f"{host.text}\r\nmodules: broken".encode())
    done = host.run(UNREGISTER)
    assert done.returncode == 0
    assert "loader refuses the new configuration:\nmodules.<item 0>: no module named x maca…" in done.stderr
    assert (host.text, host.restarts) == (f"{BEFORE}\r\nmodules: broken", 1)


def test_a_removal_that_would_stop_synapse_s_next_start_writes_nothing(host: Host) -> None:
    """Pins a removal that writes what Synapse refuses, though it takes what is there: its next start would fail."""
    in_place(host)
    host.file.write_bytes(f"{host.text}\r\nmodules: bridged".encode())
    was, files = host.text, host.registrations
    assert host.bad(UNREGISTER) == (
        f"{host.file}: Synapse's own loader refuses it without our entries, nothing was changed:\n"
        "modules.<item 0>: no bridge for maca…\n"
    )
    assert (host.text, host.registrations, host.restarts) == (was, files, 1)


def test_a_synapse_that_does_not_come_up_after_the_removal_is_an_error_and_the_entries_stay_out(host: Host) -> None:
    in_place(host)
    host.synapse.set(poison="server_name", log="the log {restarts}\n")
    error = host.bad(UNREGISTER)
    assert f"{host.file}: our entries are out of it and stay out; with Synapse fixed, the same command goes on" in error
    assert error.endswith("the last 50 log lines of matrix-synapse:\nthe log 2\n")
    assert (host.text, host.restarts) == (BEFORE, 2)
    host.synapse.set(poison=None, healthy=True)
    assert host.good(UNREGISTER)["changed"] is False  # and `destroy` goes on


def test_a_file_of_ours_that_stays_listed_is_warned_of(host: Host) -> None:
    listed = f"app_service_config_files:\n- {host.arguments.listed[0]}\n- {host.folder}/data/irc.yaml\n"
    host.place("irc.yaml", "another-token")
    host.place("registration.yaml", TOKEN)  # or Synapse would not have started with this list
    host.path("registration.yaml").write_text(host.texts["registration.yaml"])
    host.file.write_text(f"{BEFORE}\n{listed}")
    host.old()
    in_place(host)
    done = host.run(UNREGISTER)
    path = host.path("registration.yaml")
    assert f"warning: {path} stays: {host.file} lists it, in a line that this stack did not write" in done.stderr
    assert host.registrations == ["irc.yaml", "registration.yaml"]
    assert (
        f"msc3202_transaction_extensions went with us; should {host.folder}/data/registration.yaml" not in done.stderr
    )
    assert f"msc3202_transaction_extensions went with us; should {host.folder}/data/irc.yaml need" in done.stderr


def test_two_stacks_on_one_homeserver(host: Host) -> None:
    host.good(REGISTER)
    signal, whatsapp = host.texts, "mautrix-whatsapp/contabo"
    host.texts, host.more = {}, {"stack": whatsapp}
    host.want("wa.yaml", "token-of-whatsapp", whatsapp)
    host.good(REGISTER)
    (host.texts, host.more), others = (signal, {}), (host.texts, host.more)
    host.good(UNREGISTER)
    assert host.registrations == ["wa.yaml"]
    flag = "  msc3202_transaction_extensions: true  # pulumi stack mautrix-whatsapp/contabo"
    assert flag in host.text and "registration.yaml" not in host.text
    host.texts, host.more = others
    host.good(UNREGISTER)
    assert host.text == BEFORE


# ---- the part inside


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["python", "-m", "synapse.app.homeserver", "--config-path", "/h.yaml"], ["--config-path", "/h.yaml"]),
        (["synapse_homeserver", "-c/a", "--config-path=/b", "--daemonize"], ["-c", "/a", "--config-path", "/b"]),
        (["x", "-c", "/a", "--keys-directory", "/k"], ["-c", "/a", "--keys-directory", "/k"]),
        (["/sbin/init"], ["-c", "/data/homeserver.yaml"]),
    ],
)  # fmt: skip
def test_the_loader_reads_what_synapse_reads(tmp_path: Path, command: list[str], options: list[str]) -> None:
    (tmp_path / "cmdline").write_bytes(b"\0".join(word.encode() for word in command) + b"\0")
    assert synapse_process.read_options(tmp_path, "/data/homeserver.yaml") == options


def test_another_synapse_on_the_machine_is_not_asked(host: Host, tmp_path: Path) -> None:
    """Its configuration would be judged in the place of the container's."""
    idle = "import sys, time; print(flush=True); time.sleep(60)"
    words = [sys.executable, "-c", idle, "synapse.app.homeserver", "-c", str(tmp_path / "nowhere.yaml")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        try:
            assert host.good(REGISTER)["restarted"] is True
        finally:
            other.kill()


def test_the_documents_mark_is_the_one_these_tests_look_for() -> None:
    assert MARK in add_entries("a: 1\n", Entries("mautrix-signal/contabo", ("/a",)))


# ---- a run that is killed


Killing = Callable[[str, int], None]


class Killed(BaseException):
    """As SIGKILL: nothing of ours runs after it."""


@pytest.fixture
def killed(host: Host, monkeypatch: pytest.MonkeyPatch) -> Killing:
    """Run a verb that dies before its restart number `at` (from 1); the journal has a place."""
    (host.folder / "bridge").mkdir()
    monkeypatch.setenv("PATH", f"{host.synapse.folder}:{os.environ['PATH']}")
    restart_synapse = restart.restart_synapse

    def run(verb: str, at: int) -> None:
        left = [at]

        def die(server: Any, workers: Any) -> restart.Restart:
            left[0] -= 1
            if not left[0]:
                raise Killed
            return restart_synapse(server, workers)

        monkeypatch.setattr(restart, "restart_synapse", die)
        with pytest.raises(Killed):
            getattr(appservices, verb)(host.arguments)
        monkeypatch.setattr(restart, "restart_synapse", restart_synapse)
        assert (host.folder / "bridge/.homeserver.json").stat().st_mode & 0o777 == 0o600

    return run


def journal(host: Host) -> bool:
    return (host.folder / "bridge/.homeserver.json").exists()


def test_killed_before_the_restart_the_next_run_takes_it_back_and_is_done(host: Host, killed: Killing) -> None:
    killed(REGISTER, 1)
    assert MARK in host.text and host.restarts == 0
    done = host.run(REGISTER)
    assert done.returncode == 0, done.stderr
    assert f"{host.file}: an earlier run was ended before matrix-synapse was healthy with what it wrote" in done.stderr
    assert (MARK in host.text, host.restarts, journal(host)) == (True, 2, False)
    assert host.good(REGISTER)["restarted"] is False


def test_killed_while_synapse_did_not_come_up_the_next_run_takes_it_back(host: Host, killed: Killing) -> None:
    """Synapse is down with our file: "Synapse is down, nothing was touched" would leave it so for ever."""
    killed(REGISTER, 1)
    host.synapse.set(poison=MARK, healthy=False, status="exited")
    error = host.bad(REGISTER)
    assert "Synapse did not come up after its restart" in error
    assert f"{host.file}: is as it was before; Synapse is healthy again with it after" in error
    assert (host.text, host.synapse.state["healthy"], journal(host)) == (BEFORE, True, False)
    host.synapse.set(poison=None)
    assert host.good(REGISTER)["changed"] is True


def test_killed_after_the_old_file_was_back_the_next_run_starts_synapse_and_goes_on(
    host: Host, killed: Killing
) -> None:
    host.synapse.set(poison=MARK)
    killed(REGISTER, 2)
    assert (host.text, host.synapse.state["healthy"]) == (BEFORE, False)
    host.synapse.set(poison=None)
    assert host.good(REGISTER)["changed"] is True
    assert (MARK in host.text, host.synapse.state["healthy"], journal(host)) == (True, True, False)


def test_killed_and_edited_by_hand_it_is_taken_as_it_is(host: Host, killed: Killing) -> None:
    killed(REGISTER, 1)
    host.file.write_text(host.text.replace(MARK, "# mine"))
    done = host.run(REGISTER)
    assert done.returncode == 0 and "somebody changed it after an earlier run was ended" in done.stderr
    assert "# mine" in host.text and not journal(host)


def test_killed_before_its_worker_was_restarted_the_next_run_does_it(with_a_worker: Host, killed: Killing) -> None:
    host = with_a_worker
    killed(REGISTER, 1)
    host.synapse.set(started=time.time())  # as if main had come so far
    host.good(REGISTER)
    assert restarted(host) == ["matrix-synapse", "synapse-worker"] * 2


def test_killed_in_a_removal_after_the_restart_the_next_registration_restarts(host: Host, killed: Killing) -> None:
    """Synapse runs without our registrations, and the old file that comes back is older than its start."""
    host.good(REGISTER)
    host.old()
    killed(UNREGISTER, 1)
    host.synapse.set(started=time.time())  # as if the restart had been
    host.good(REGISTER)
    assert (MARK in host.text, host.restarts) == (True, 2)


def test_a_removal_that_was_killed_is_finished_by_the_next_one(host: Host, killed: Killing) -> None:
    host.good(REGISTER)
    killed(UNREGISTER, 1)
    assert host.text == BEFORE
    host.synapse.set(healthy=False, status="exited")
    assert host.good(UNREGISTER)["restarted"] is True
    assert (host.synapse.state["healthy"], journal(host)) == (True, False)
    assert host.good(UNREGISTER)["restarted"] is False


def test_a_journal_that_cannot_be_read_is_said(host: Host) -> None:
    (host.folder / "bridge").mkdir()
    (host.folder / "bridge/.homeserver.json").write_text("{")
    assert "bridge/.homeserver.json: cannot be read" in host.bad(REGISTER)


# ---- others on the same host


def test_two_runs_do_not_change_it_at_once_and_the_one_that_waits_names_the_other(host: Host) -> None:
    with host_lock.hold_lock(str(host.file), "other/stack"):
        words = rf"other/stack \(pid {os.getpid()}\) has been changing {host.file} for over"
        with pytest.raises(ScriptError, match=words), host_lock.hold_lock(str(host.file), "me", deadline=0.3):
            raise AssertionError("both hold it")
    with host_lock.hold_lock(str(host.file), "me", deadline=0.3):
        pass


def test_a_link_that_synapse_made_to_where_it_could_not_write_is_not_followed(host: Host) -> None:
    """A Synapse in somebody's hands would have root change, and show, any file of the host."""
    victim = host.folder / "victim.yaml"
    host.file.rename(victim)
    host.file.symlink_to(victim)
    os.chown(host.file, 991, 991, follow_symlinks=False)
    os.chown(host.file.parent, 991, 991)
    error = host.bad(REGISTER)
    assert f"{host.file}: homeserver.yaml is a link that uid 991 made: it is not followed" in error
    assert f"set the path that it leads to, {victim}" in error
    assert victim.read_bytes().decode() == BEFORE
