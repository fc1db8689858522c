"""How a host behind SSH is reached: its address, the OpenSSH client's command line, Docker's address.

Every connection uses the operator's OpenSSH client, so that his ~/.ssh/config, known_hosts, agent and jump hosts count
(options: ssh_config(5), OpenSSH 9.2).
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
    "BatchMode=yes",  # never ask a person
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",  # a silent host counts as lost after 40 s
    "ServerAliveCountMax=4",
    "LogLevel=ERROR",
    # All commands share one connection. The first one opens it; it closes by itself.
    "ControlMaster=auto",
    f"ControlPath={CONTROL}/mautrix-%C",
    "ControlPersist=60",
)
_ADDRESS = r"(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?"


@dataclass(frozen=True)
class SshAddress:
    """A host behind SSH.

    `name` is a host name, an address or an alias of ~/.ssh/config; user "" and port 0 mean that file's, or the client's
    default; `key` is the path of a private key ("": the agent's, or the client's default); `config` is the path of
    another file than ~/.ssh/config; `become`: whether commands run through sudo.
    """

    name: str
    user: str = ""
    port: int = 0
    key: str = ""
    config: str = ""
    become: bool = False

    @classmethod
    def parse(cls, text: str) -> SshAddress:
        """From "ssh://user@name[:port]". Raises ValueError, which says what the text should be."""
        match = re.fullmatch(f"ssh://{_ADDRESS}", text)
        if match is None or int(match[3] or 22) not in range(1, 65536):
            raise ValueError("local, or the host's SSH address like ssh://user@name or ssh://user@name:22")
        return cls(match[2].strip("[]"), match[1] or "", int(match[3] or 0))

    @property
    def url(self) -> str:
        """The address as in the setting host."""
        user, name = f"{self.user}@" if self.user else "", f"[{self.name}]" if ":" in self.name else self.name
        return f"ssh://{user}{name}" + (f":{self.port}" if self.port else "")

    @property
    def options(self) -> tuple[str, ...]:
        """The client's options, except user and port: Docker's client takes those from the URL."""
        settings = [*_OPTIONS, *([f"IdentityFile={self.key}", "IdentitiesOnly=yes"] if self.key else [])]
        return (
            *(["-F", self.config] if self.config else []),
            *(word for option in settings for word in ("-o", option)),
        )

    @property
    def client(self) -> tuple[str, ...]:
        """The client's command line, without further flags and the host."""
        login = (*(["-l", self.user] if self.user else []), *(["-p", str(self.port)] if self.port else []))
        return ("ssh", *self.options, *login)

    def words(self, *flags: str) -> tuple[str, ...]:
        """The client's command line with these flags, without the command."""
        return (*self.client, *flags, "--", self.name)

    def remote(self, command: str) -> str:
        """The shell command for the host, with the rights that the host programs need."""
        return f"sudo -n {command}" if self.become else command

    def shell(self, command: str, step: str) -> str:
        """The shell text that runs a shell command on the host.

        If the connection is lost, it prints that `step` may still be running there.
        """
        message = f"{step}: cut off from the host, where it may still be at work: the next run waits for it"
        text = shlex.join((*self.words("-T"), self.remote(command)))
        return f"{text} || {{ c=$?; [ $c != {LOST} ] || echo {shlex.quote(message)} >&2; exit $c; }}"

    def docker(self, socket: str) -> str:
        """Docker's address over SSH, as Docker's own clients take it. `socket` is its address on the host.

        A path behind the host names another socket than the usual one (github.com/docker/cli, cli/connhelper).
        """
        path = urlsplit(socket).path
        return self.url + ("" if path in ("/var/run/docker.sock", "/run/docker.sock") else path)
