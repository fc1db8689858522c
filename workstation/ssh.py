"""The OpenSSH client of this machine: what it makes of an address, and a place for its shared connection."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from documents.ssh import CONTROL, SshAddress


def settings_for(address: SshAddress) -> dict[str, str]:
    """The client's own settings for this host, by key in lower case (`ssh -G`); empty if it does not say."""
    words = (*address.client, "-G", address.name)
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {key: value for key, _, value in pairs}


def make_control_directory() -> None:
    """Where the client keeps the socket of its shared connection; by the account's home, as the client does."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    Path(CONTROL.replace("~", home)).mkdir(mode=0o700, exist_ok=True)
