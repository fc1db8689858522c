"""The address of a host behind SSH, and the command lines of the operator's own OpenSSH client for it (options:
ssh_config(5), OpenSSH 9.2)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

CONTROL_DIRECTORY = "~/.ssh"
CONNECTION_LOST = 255
"""The OpenSSH client's own exit code: it could not connect, or lost the connection (ssh(1), EXIT STATUS)."""

_OPTIONS = (
    "BatchMode=yes",  # the client asks nobody
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",  # a host that says nothing is gone after 40 s
    "ServerAliveCountMax=4",
    "LogLevel=ERROR",
    # All commands share one connection. The first command makes it; it ends by itself.
    "ControlMaster=auto",
    f"ControlPath={CONTROL_DIRECTORY}/mautrix-%C",
    "ControlPersist=60",
    "StreamLocalBindUnlink=yes",  # the way to Postgres is a socket, which a connection that was lost leaves behind
)
_ADDRESS = r"(?:([A-Za-z0-9_][A-Za-z0-9._-]*)@)?([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:]+\])(?::([0-9]{1,5}))?"


@dataclass(frozen=True)
class SshAddress:
    """A host behind SSH. `name`: a host name, an address or an alias of ~/.ssh/config. `user` "" and `port` 0: those of
    that file, else the client's own. `key`: path of a private key ("": those of the agent and of the client). `config`:
    path of the client's configuration ("": ~/.ssh/config). `become`: commands run through sudo."""

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
        """The address as the setting host has it."""
        user, name = f"{self.user}@" if self.user else "", f"[{self.name}]" if ":" in self.name else self.name
        return f"ssh://{user}{name}" + (f":{self.port}" if self.port else "")

    @property
    def options(self) -> tuple[str, ...]:
        """The client's options without user and port: Docker's client takes these two from the URL."""
        config = ("-F", self.config) if self.config else ()
        key = (f"IdentityFile={self.key}", "IdentitiesOnly=yes") if self.key else ()
        return (*config, *(word for option in (*_OPTIONS, *key) for word in ("-o", option)))

    def words(self, *flags: str) -> tuple[str, ...]:
        """The client's whole command line, up to the command."""
        user = ("-l", self.user) if self.user else ()
        port = ("-p", str(self.port)) if self.port else ()
        return ("ssh", *self.options, *user, *port, *flags, "--", self.name)

    def with_rights(self, command: str) -> str:
        """A shell command for the host, with the rights that our programs need."""
        return f"sudo -n {command}" if self.become else command

    def shell_text(self, command: str) -> str:
        """The shell text for this machine that runs a shell command on the host."""
        return shlex.join((*self.words("-T"), self.with_rights(command)))

    def docker_url(self, socket: str) -> str:
        """Docker's address over SSH for Docker's own clients. `socket`: the daemon's address on the host; a path behind
        the host's name is another socket than the usual (github.com/docker/cli, cli/connhelper)."""
        path = urlsplit(socket).path
        return self.url + ("" if path in ("/var/run/docker.sock", "/run/docker.sock") else path)
