"""An SSH server for the lab's host: sshd on a port of its own of 127.0.0.1, with a host key of its own, for one user of
its own, who is not root and may use Docker and sudo. The client's side is in .lab/ssh/: nothing of ~/.ssh is read.

`with SshServer(lab) as server:` has one; LAB_HOST=ssh gives the lab one from `up` to `down`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.engine import LabError, last_lines, run
from lab.place import Place, free_port, port_is_free, write

PYTHON = "/usr/bin/python3"  # Debian's, which sudo finds
SSHD = "/usr/sbin/sshd"
PACKAGES = "apt-get install openssh-server openssh-client sudo"
ALIAS = "mxlab-host"  # what known_hosts calls it, whatever its port
SECONDS = 20


def host_over_ssh() -> bool:
    """Whether LAB_HOST asks for a lab whose host is behind SSH. Raises LabError for a value that is none."""
    value = os.environ.get("LAB_HOST") or "local"
    if value not in ("local", "ssh"):
        raise LabError(f"LAB_HOST is {value!r}: it should be local or ssh")
    return value == "ssh"


class SshServer:
    """One lab's server. `user` is its account's name."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.user = place.prefix
        self.folder = place.dir / "ssh"
        self.key, self.known_hosts = self.folder / "key", self.folder / "known_hosts"
        self.client_config, self.log = self.folder / "config", self.folder / "sshd.log"
        # The server's files: the user reads one of them, and a checkout may be in a directory that he may not enter.
        self.run_dir = Path("/run") / f"{place.prefix}-sshd"
        self.sudoers = Path("/etc/sudoers.d") / place.prefix

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()

    @property
    def port(self) -> int:
        """TCP, of 127.0.0.1; the same for as long as the lab is there."""
        notes = self.place.notes()
        if not notes.ssh_port or not (port_is_free(notes.ssh_port) or self.listener):
            self.place.note(ssh_port=free_port())
        return self.place.notes().ssh_port

    def config(self, port: int | None = None) -> dict[str, object]:
        """Settings of the stack. `port`: of something in between."""
        return {
            "host": f"ssh://{self.user}@127.0.0.1:{port or self.port}",
            "become": "sudo",
            "sshKey": str(self.key),
            "sshConfig": str(self.client_config),
        }

    def logins(self) -> int:
        """How many connections it has let in, as its log says."""
        return len(re.findall("^Accepted publickey for ", self.log.read_text(errors="replace"), re.MULTILINE))

    # its life

    def start(self) -> None:
        """It answers afterwards; keys and account are made if they are not there."""
        if not Path(SSHD).exists() or not shutil.which("sudo"):
            raise LabError(f"sshd or sudo is missing: {PACKAGES}")
        self._make_account()
        for folder, mode in ((self.run_dir, 0o755), (self.folder, 0o700), (Path("/run/sshd"), 0o755)):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        for key in (self.key, self.run_dir / "host_key"):
            if not key.exists():
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", ALIAS, "-f", key])
        write(self.run_dir / "authorized_keys", self.key.with_name("key.pub").read_text(), 0o644)
        self.trust(self.run_dir / "host_key.pub")
        write(self.client_config, _CLIENT.format(alias=ALIAS, known_hosts=self.known_hosts), 0o600)
        write(self.run_dir / "config", _SERVER.format(port=self.port, run=self.run_dir, user=self.user), 0o600)
        if not self.listener:
            self.start_listening()

    def trust(self, public_key: Path) -> None:
        """The client knows the host by this key alone."""
        write(self.known_hosts, f"{ALIAS} {public_key.read_text()}", 0o600)

    def stop(self) -> None:
        """No connection goes on, and none is let in; what it had started on the host goes on."""
        listener = self.listener
        if listener is None:
            return
        servers = [listener, *_sessions(listener)]
        for process in servers:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        end = time.monotonic() + SECONDS
        while any(map(_command_line, servers)) and time.monotonic() < end:
            time.sleep(0.02)

    def remove(self) -> None:
        """Stopped, and its account, its rights and its files are gone."""
        self.stop()
        self.sudoers.unlink(missing_ok=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        run(["userdel", self.user], check=False)

    # parts

    def _make_account(self) -> None:
        if run(["id", self.user], check=False).returncode:
            # A password that no password has: an account without one is locked, to sshd.
            nowhere = ["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh"]
            run(["useradd", "--system", *nowhere, "-p", "*", self.user])
        run(["usermod", "-aG", "docker", self.user])
        # Nothing but Python: what needs more of sudo fails in the tests.
        write(self.sudoers, f"{self.user} ALL=(root) NOPASSWD: {PYTHON}\n", 0o440)

    def start_listening(self) -> None:
        """With the configuration that is there; it listens afterwards."""
        process = subprocess.Popen(
            [SSHD, "-D", "-f", str(self.run_dir / "config"), "-E", str(self.log)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + SECONDS
        while port_is_free(self.port):
            if process.poll() is not None or time.monotonic() > end:
                raise LabError(f"sshd does not listen: {last_lines(self.log.read_text(errors='replace'), 5)}")
            time.sleep(0.02)

    @property
    def listener(self) -> int | None:
        """Its process id, by its command line: a pid file may name a stranger after a reboot."""
        mine = f"-D -f {self.run_dir}/config"
        return next((process for process in _processes() if mine in _command_line(process)), None)


def cut_sessions(listener: int) -> None:
    """End all connections that this sshd has."""
    for process in _sessions(listener):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _command_line(process: int) -> str:
    """Its words; "" if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _sessions(server: int) -> list[int]:
    """The sshd processes below this one: proc(5), the fields of /proc/PID/stat."""
    children: dict[int, list[tuple[int, str]]] = {}
    for process in _processes():
        try:
            stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
        except OSError:
            continue
        name, _, fields = stat.partition("(")[2].rpartition(")")
        children.setdefault(int(fields.split()[1]), []).append((process, name))
    found, waiting = [], [server]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += [process for process, _ in below]
        found += [process for process, name in below if name == "sshd"]
    return found


_CLIENT = """\
Host *
  HostKeyAlias {alias}
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
"""
_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {run}/host_key
PidFile none
AuthorizedKeysFile {run}/authorized_keys
AllowUsers {user}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM no
X11Forwarding no
LogLevel VERBOSE
StrictModes no
"""
