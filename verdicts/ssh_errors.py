"""What the OpenSSH client's messages mean, for a person."""

from __future__ import annotations

import re
from collections.abc import Mapping

from documents.ssh import SshAddress


def explain_lost_connection(address: SshAddress, stderr: str, client: Mapping[str, str]) -> str:
    """One line for a connection that the client could not make, or lost. `stderr`: the client's; `client`: its own
    settings for this host, as `ssh -G` has them (keys in lower case)."""
    known_hosts = client.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0]
    by_hand, reason = f"`{_command_by_hand(address)}`", _last_line(stderr) or "it said nothing"
    compare = (
        f"nothing was sent to it. {by_hand} shows the fingerprint that answers: compare it with `ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub` on the host itself"
    )
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in stderr:
        return (
            f"{address.url}: the host has another key than {known_hosts} has, or another host answers: {compare}; if "
            f"it is the host's, take the old one away: `ssh-keygen -f {known_hosts} -R "
            f"{_name_in_known_hosts(address, client)}`, then answer {by_hand} with yes"
        )
    if "Host key verification failed" in stderr or "host key is known" in stderr:
        return (
            f"{address.url}: the host's key is not in {known_hosts}: {compare}; if it is the host's, answer {by_hand} "
            "with yes"
        )
    if "Permission denied" in stderr:
        keys = f"the key {address.key} (setting sshKey)" if address.key else "any key of the agent or of ~/.ssh"
        return (
            f"{address.url}: the host does not accept {keys}: {reason}: add the public key to ~/.ssh/authorized_keys "
            "there, or set sshKey; a key with a passphrase has to be in the agent (ssh-add)"
        )
    return f"{address.url}: not reached: {reason}: check the setting host, and that {by_hand} works"


def explain_refused_command(address: SshAddress, stderr: str, code: int) -> str:
    """One line for a command that the host could not start; "" if the command started, or if that is not known."""
    reason = _last_line(stderr)
    if address.become and re.search(r"^sudo: |not in the sudoers|may not run sudo", stderr, re.MULTILINE):
        return (
            f"become: sudo on {address.url} refuses: {reason}: allow it without a password and a terminal, "
            "as with `USER ALL=(root) NOPASSWD: /usr/bin/python3` in /etc/sudoers.d"
        )
    if code in (126, 127) and ("python3" in stderr or "sudo" in stderr):
        return f"{address.url}: {reason}: the host needs {'sudo and ' if address.become else ''}Python 3.9 or newer"
    return ""


def _name_in_known_hosts(address: SshAddress, client: Mapping[str, str]) -> str:
    hostname, port = client.get("hostname", address.name), client.get("port", "22")
    return client.get("hostkeyalias") or (hostname if port == "22" else f"'[{hostname}]:{port}'")


def _command_by_hand(address: SshAddress) -> str:
    port = f" -p {address.port}" if address.port else ""
    return f"ssh{port} {address.user}@{address.name} true" if address.user else f"ssh{port} {address.name} true"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
