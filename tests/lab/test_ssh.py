"""What the README promises of a host behind SSH, through an sshd of the lab's own, as a user who is not root."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from host_programs.host_lock import hold_step_lock, list_running_steps
from lab.box import Lab
from lab.engine import run
from lab.place import port_is_free, write
from lab.ssh_server import SshServer
from settings.reader import parse
from tests.facts import defaults
from tests.lab.conftest import Shared, deployment_of
from tests.lab.test_program import ping, snapshot
from workstation.ssh_client import SSL_REQUEST

pytestmark = pytest.mark.e2e

UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview")


@pytest.fixture
def server(lab: Lab, shared: Shared) -> Iterator[SshServer]:
    """The lab's host is behind SSH; nothing is deployed."""
    shared.spoilt = True
    with SshServer(lab) as server:
        lab.write_config(**server.config())
        yield server
    lab.write_config()


def said(lab: Lab, *words: str) -> str:
    """What a run that fails says, in one line."""
    done = lab.pulumi(*words, check=False)
    assert done.returncode != 0, done.stdout
    return " ".join((done.stdout + done.stderr).split())


def here(lab: Lab) -> str:
    """The deployment among all on this machine."""
    return deployment_of(lab).deployment_id


def eventually(what: Callable[[], bool], seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def connected(server: SshServer) -> bool:
    """Whether the client still has its shared connection."""
    return bool(run(["pgrep", "-f", f"ssh: .*{re.escape('/.ssh/mautrix-')}"], check=False).stdout)


def test_up_rotation_and_destroy_over_ssh(lab: Lab, server: SshServer) -> None:
    before = snapshot(lab)

    def counted(*words: str) -> int:
        logins = server.logins()
        lab.pulumi(*words)
        return server.logins() - logins

    assert counted("preview") <= 3
    assert snapshot(lab) == before, "a preview touches nothing"
    assert counted("up", "--yes") <= 30
    assert ping(lab) == 200
    assert counted("preview", "--expect-no-changes") <= 3
    lab.pulumi(*UP, "--expect-no-changes")
    lab.pulumi("refresh", "--yes", "--skip-preview", "--run-program", "--expect-no-changes")

    lab.write_config(**server.config(), tokenGeneration=2)
    assert counted(*UP) <= 30
    assert ping(lab) == 200
    assert counted(*DESTROY) <= 30
    assert snapshot(lab) == before
    config = yaml.safe_load(lab.config_file.read_text())["config"]
    port = parse(defaults(config)).local_port(here(lab))
    assert eventually(lambda: port_is_free(port)), "the way to Postgres ends with the operation"
    assert eventually(lambda: not connected(server)), "and so does the connection"


def test_no_key_and_no_secret_is_in_the_state(lab: Lab, server: SshServer) -> None:
    lab.pulumi(*UP)
    key = "".join(server.key.read_text().splitlines()[1:-1])
    assert key[:40] not in lab.pulumi("stack", "export", "--show-secrets").stdout.replace("\\n", "")


def test_a_host_key_that_is_not_known_stops_it_before_anything_is_sent(lab: Lab, server: SshServer) -> None:
    before = snapshot(lab)
    write(server.known_hosts, "", 0o600)
    for words in (("preview",), UP):
        told = said(lab, *words)
        assert f"the host's key is not in {server.known_hosts}: nothing was sent to it" in told
        assert "shows the fingerprint that answers: compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed2" in told
    assert server.known_hosts.read_text() == "", "nothing is accepted by itself"
    assert server.logins() == 0 and snapshot(lab) == before


def test_a_host_key_that_has_changed_stops_it(lab: Lab, server: SshServer) -> None:
    lab.pulumi(*UP)
    before = snapshot(lab)
    other = server.folder / "other"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other])
    server.trust(other.with_suffix(".pub"))
    assert eventually(lambda: not connected(server))
    logins = server.logins()
    for words in (("preview",), UP):
        told = said(lab, *words)
        assert "the host has another key than" in told and "or another host answers: nothing was sent" in told
        assert f"`ssh-keygen -f {server.known_hosts} -R mxlab-host`" in told
    assert "Host key verification failed" in said(lab, *DESTROY), "it runs no program: these are OpenSSH's words"
    assert server.logins() == logins and snapshot(lab) == before
    server.trust(server.run_dir / "host_key.pub")
    lab.pulumi(*UP, "--expect-no-changes")


def test_a_key_that_the_host_does_not_accept_is_named(lab: Lab, server: SshServer) -> None:
    wrong = server.folder / "wrong"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong])
    lab.write_config(**{**server.config(), "sshKey": str(wrong)})
    told = said(lab, "preview")
    assert f"the host does not accept the key {wrong} (setting sshKey)" in told
    assert "Permission denied (publickey)" in told


@pytest.mark.parametrize("step", ["synapse-appservices", "backup-script"])
def test_an_up_that_is_cut_off_is_finished_by_the_next(lab: Lab, server: SshServer, step: str) -> None:
    before = snapshot(lab)

    def working() -> bool:
        return any(each.startswith(step) for each in list_running_steps(here(lab)))

    def cut() -> None:
        assert eventually(working)
        server.stop()

    cutter = threading.Thread(target=cut)
    cutter.start()
    told = said(lab, *UP)
    cutter.join()
    assert f"{step}: cut off from the host, where it may still be at work: the next run waits for it" in told
    server.start()
    assert eventually(lambda: not working(), 120), "the step goes on to its end on the host, and ends"
    lab.pulumi(*UP)
    assert ping(lab) == 200
    lab.pulumi(*UP, "--expect-no-changes")
    lab.pulumi(*DESTROY)
    assert snapshot(lab) == before


def test_a_step_that_is_still_at_work_is_told_and_waited_for(lab: Lab, server: SshServer) -> None:
    """As long as one of a run that was cut off would be."""
    before = snapshot(lab)
    step = "mautrix-signal-directory"
    with hold_step_lock(f"{here(lab)} {step}"):
        assert f"step {step} (pid {os.getpid()}): is still running on the host" in said(lab, "preview")
        assert snapshot(lab) == before
    lab.pulumi(*UP)
    with ThreadPoolExecutor() as pool, hold_step_lock(f"{here(lab)} {step}"):
        destroyed = pool.submit(lab.pulumi, *DESTROY)
        assert eventually(lambda: not (lab.host_dir / "synapse/registration.yaml").exists()), "all before it goes"
        assert not destroyed.done() and lab.psql("select 1 from pg_roles where rolname = 'mautrix_signal'")
    destroyed.result()
    assert snapshot(lab) == before


def test_missing_rights_are_told_at_preview(lab: Lab, server: SshServer) -> None:
    before = snapshot(lab)
    lab.write_config(**{**server.config(), "become": "none"})
    with hold_step_lock("another:/stack's step"):  # its lock is root's own
        assert "the programs on the host do not run as root" in said(lab, "preview")
    lab.write_config(**server.config())
    run(["gpasswd", "-d", server.user, "docker"])
    server.stop()
    server.start_listening()
    assert f"user {server.user}: may not use Docker on the host without sudo" in said(lab, "preview")
    server.sudoers.unlink()
    told = said(lab, "preview")
    assert f"become: sudo on ssh://{server.user}@127.0.0.1:{server.port} refuses: sudo: a password is required" in told
    assert snapshot(lab) == before


def test_postgres_is_out_of_reach_where_the_host_forbids_it(lab: Lab, server: SshServer) -> None:
    config = server.run_dir / "config"
    write(config, f"{config.read_text()}AllowTcpForwarding no\n", 0o600)
    server.stop()
    server.start_listening()
    told = said(lab, "preview")
    assert "open failed: administratively prohibited: open failed: sshd there forbids it: AllowTcpForwarding" in told


def test_an_alias_and_a_jump_host_of_the_client_s_configuration_count(lab: Lab, server: SshServer) -> None:
    own = server.client_config
    alias = f"Host the-bridge-host\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n"
    jump = f"  IdentityFile {server.key}\n  ProxyCommand ssh -F {own}.jump jump -W %h:%p\n"
    hop = f"Host jump\n  HostName 127.0.0.1\n  Port {server.port}\n  User {server.user}\n  IdentityFile {server.key}\n"
    write(own.with_name("config.jump"), hop + own.read_text(), 0o600)
    write(own, alias + jump + own.read_text(), 0o600)
    settings = {**server.config(), "host": "ssh://the-bridge-host", "sshKey": ""}
    lab.write_config(**settings)
    lab.pulumi(*UP)
    assert server.logins() == 2, "the jump, and the host behind it"
    assert ping(lab) == 200
    lab.pulumi(*DESTROY)


def test_the_port_for_postgres_is_always_the_same_and_told_when_it_is_taken(lab: Lab, server: SshServer) -> None:
    lab.pulumi("preview")
    lab.write_config(**server.config(), postgresLocalPort=lab.notes().synapse_port)
    told = said(lab, "preview")
    assert (
        f"127.0.0.1:{lab.notes().synapse_port}: Address already in use: Postgres behind SSH is to be reached" in told
        and "postgresLocalPort" in told
    )


def test_a_refresh_without_the_program_tells_the_password_to_nobody(lab: Lab, server: SshServer) -> None:
    """The state holds it, and a port of this machine, which by then may be another user's; or the way led on to an
    address that another container has now."""
    lab.pulumi(*UP)
    port = parse(defaults(yaml.safe_load(lab.config_file.read_text())["config"])).local_port(here(lab))
    heard: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                heard.append(client.recv(1024))
                client.sendall(b"N")  # "no TLS here"
                heard.append(client.recv(1024))

    refresh = ("refresh", "--yes", "--skip-preview")
    assert "error connecting to PostgreSQL" in said(lab, *refresh), "nobody listens"
    with socket.create_server(("127.0.0.1", port)) as stranger:
        threading.Thread(target=answer, args=(stranger,), daemon=True).start()
        assert "error connecting to PostgreSQL" in said(lab, *refresh)
        stranger.shutdown(socket.SHUT_RDWR)
    assert heard and {*heard} == {SSL_REQUEST, b""}
    lab.pulumi(*refresh, "--run-program", "--expect-no-changes")
    lab.pulumi(*DESTROY)


def test_a_destroy_without_the_program_needs_no_way_to_postgres(lab: Lab, server: SshServer) -> None:
    before = snapshot(lab)
    lab.pulumi(*UP)
    assert eventually(lambda: not connected(server))
    logins = server.logins()
    lab.pulumi("destroy", "--yes", "--skip-preview")
    assert server.logins() - logins <= 30
    assert snapshot(lab) == before
