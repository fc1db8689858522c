"""What the OpenSSH client's words mean, for a person."""

from __future__ import annotations

import re
from collections.abc import Mapping

from documents.ssh import SshAddress


def lost(address: SshAddress, said: str, client: Mapping[str, str]) -> str:
    """One line for a connection that did not come about or was lost. `said`: the client's stderr; `client`: its own
    settings for this host, as `ssh -G` has them (keys in lower case)."""
    found, port = client.get("hostname", address.name), client.get("port", "22")
    known_hosts = client.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0]
    scan, add = f"ssh-keyscan -p {port} {found}", "answer yes there"
    if any(client.get(key, "none") != "none" for key in ("proxyjump", "proxycommand", "hostkeyalias")):
        look = f"`{_try(address)}`"  # by hand: it asks, and knows the way and the name
    else:
        look, add = f"`{scan} 2>/dev/null | ssh-keygen -lf -`", f"`{scan} >> {known_hosts}`"
    look += (
        " shows the fingerprint that answers: compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on "
        "the host itself"
    )
    last = _last(said) or "it said nothing"
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
        return (
            f"{address.url}: the host has another key than {known_hosts} has, or another host answers: nothing was "
            f"sent to it. {look}; if it is the host's, take the old one away: `ssh-keygen -f {known_hosts} -R "
            f"{client.get('hostkeyalias') or _known(found, port)}`, then {add}"
        )
    if "Host key verification failed" in said or "host key is known" in said:
        return (
            f"{address.url}: the host's key is not in {known_hosts}: nothing was sent to it. {look}; if it is the "
            f"host's: {add}"
        )
    if "Permission denied" in said:
        keys = f"the key {address.key} (setting sshKey)" if address.key else "any key of the agent or of ~/.ssh"
        return (
            f"{address.url}: the host does not accept {keys}: {last}: add the public key to ~/.ssh/authorized_keys "
            "there, or set sshKey; a key with a passphrase has to be in the agent (ssh-add)"
        )
    return f"{address.url}: not reached: {last}: check the setting host, and that `{_try(address)}` works"


def refused(address: SshAddress, said: str, code: int) -> str:
    """One line for a command that could not be started on the host; "" if it was, or if that is not known."""
    last = _last(said)
    if address.become and re.search(r"^sudo: |not in the sudoers|may not run sudo", said, re.MULTILINE):
        return (
            f"become: sudo on {address.url} refuses: {last}: allow it without a password and a terminal, "
            "as with `USER ALL=(root) NOPASSWD: /usr/bin/python3` in /etc/sudoers.d"
        )
    if code in (126, 127) and ("python3" in said or "sudo" in said):
        return f"{address.url}: {last}: the host needs {'sudo and ' if address.become else ''}Python 3.9 or newer"
    return ""


def _known(found: str, port: str) -> str:
    return found if port == "22" else f"'[{found}]:{port}'"


def _try(address: SshAddress) -> str:
    port = f" -p {address.port}" if address.port else ""
    return f"ssh{port} {address.user}@{address.name} true" if address.user else f"ssh{port} {address.name} true"


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
