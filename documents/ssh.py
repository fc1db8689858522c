"""How the host is reached over SSH: the address, the words of the OpenSSH client, the words for Docker.

Everything goes through the OpenSSH client that the operator has, so that his ~/.ssh/config, known_hosts, agent and jump
hosts count for all of it (options: ssh_config(5), OpenSSH 9.2).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

CONTROL = "~/.ssh"
LOST = 255
"""The OpenSSH client's own exit code: it could not connect, or lost the connection (ssh(1), EXIT STATUS)."""

_OPTIONS = (
    "BatchMode=yes",  # nobody is asked anything
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",  # a host that says nothing is gone after 40 s
    "ServerAliveCountMax=4",
    "LogLevel=ERROR",
    # One connection for all; the first command makes it, and it ends by itself.
    "ControlMaster=auto",
    f"ControlPath={CONTROL}/mautrix-%C",
    "ControlPersist=60",
)
_ADDRESS = r"(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?"


@dataclass(frozen=True)
class SshAddress:
    """A host behind SSH. `name` is a host name, an address or an alias of ~/.ssh/config; user "" and port 0 are that
    file's, or the client's own. `key`: path of a private key ("": the agent's and the client's own); `config`: of
    another file than ~/.ssh/config; `become`: whether commands run through sudo."""

    name: str
    user: str = ""
    port: int = 0
    key: str = ""
    config: str = ""
    become: bool = False

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """From "ssh://user@name[:port]". Raises ValueError with what it should be."""
        match = re.fullmatch(f"ssh://{_ADDRESS}", text)
        if match is None or int(match[3] or 22) not in range(1, 65536):
            raise ValueError("local, or the host's SSH address like ssh://user@name or ssh://user@name:22")
        return cls(match[2].strip("[]"), match[1] or "", int(match[3] or 0))

    @property
    def url(self) -> str:
        """As it is set."""
        user, name = f"{self.user}@" if self.user else "", f"[{self.name}]" if ":" in self.name else self.name
        return f"ssh://{user}{name}" + (f":{self.port}" if self.port else "")

    @property
    def options(self) -> tuple[str, ...]:
        """The client's options, but for user and port, which Docker's client takes from the URL itself."""
        given = [*_OPTIONS, *([f"IdentityFile={self.key}", "IdentitiesOnly=yes"] if self.key else [])]
        return (*(["-F", self.config] if self.config else []), *(word for each in given for word in ("-o", each)))

    @property
    def client(self) -> tuple[str, ...]:
        """The client's command line, up to further flags."""
        login = (*(["-l", self.user] if self.user else []), *(["-p", str(self.port)] if self.port else []))
        return ("ssh", *self.options, *login)

    def words(self, *flags: str) -> tuple[str, ...]:
        """The client's whole command line, up to the command."""
        return (*self.client, *flags, "--", self.name)

    def remote(self, command: str) -> str:
        """The same shell command there, with the rights that scripts need."""
        return f"sudo -n {command}" if self.become else command

    def shell(self, command: str, step: str) -> str:
        """The shell text that runs a shell command there. If the connection is lost, it says so of `step`, which may
        then still be at work."""
        told = f"{step}: cut off from the host, where it may still be at work: the next run waits for it"
        text = shlex.join((*self.words("-T"), self.remote(command)))
        return f"{text} || {{ c=$?; [ $c != {LOST} ] || echo {shlex.quote(told)} >&2; exit $c; }}"

    def docker(self, socket: str) -> str:
        """Docker's address over SSH, as Docker's own clients take it; `socket`: its address there
        (github.com/docker/cli, cli/connhelper: a path behind the host names another socket)."""
        path = urlsplit(socket).path
        return self.url + ("" if path in ("/var/run/docker.sock", "/run/docker.sock") else path)
