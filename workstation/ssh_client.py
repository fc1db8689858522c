"""The OpenSSH client of this machine: its own settings for a host, and the directory of its shared connection."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from documents.ssh import CONTROL_DIRECTORY, SshAddress


def read_client_settings(address: SshAddress) -> dict[str, str]:
    """The client's own settings for this host, by key in lower case (`ssh -G`); empty if the client does not say."""
    words = (*address.client_words, "-G", address.name)
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}


def control_directory() -> Path:
    """Where the client keeps the socket of its shared connection; in the account's home, as the client takes it."""
    return Path(CONTROL_DIRECTORY.replace("~", pwd.getpwuid(os.getuid()).pw_dir))


def make_control_directory() -> None:
    """The client does not make it."""
    control_directory().mkdir(mode=0o700, exist_ok=True)
