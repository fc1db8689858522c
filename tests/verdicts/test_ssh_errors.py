"""An operator who is told `exit status 255`, or to switch off the check that protects him."""

from __future__ import annotations

import pytest

from documents.ssh import SshAddress
from verdicts.ssh_errors import explain_lost_connection, explain_refused_command

ADDRESS = SshAddress("alias", "matt", 2222)
CLIENT = {"hostname": "host.example.org", "port": "2222"}

# As OpenSSH 9.2 says it.
UNKNOWN = """No ED25519 host key is known for [host.example.org]:2222 and you have requested strict checking.
Host key verification failed.
"""
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key verification failed.
"""


BY_HAND = "`ssh -p 2222 matt@alias true`"


def test_an_unknown_key_comes_with_the_command_that_shows_it() -> None:
    assert explain_lost_connection(ADDRESS, UNKNOWN, CLIENT) == (
        "ssh://matt@alias:2222: the host's key is not in ~/.ssh/known_hosts: nothing was sent to it. "
        f"{BY_HAND} shows the fingerprint that answers: compare it with `ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub` on the host itself; if it is the host's, answer "
        f"{BY_HAND} with yes"
    )


def test_a_changed_key_is_another_matter() -> None:
    said = explain_lost_connection(ADDRESS, CHANGED, CLIENT)
    assert "another key than ~/.ssh/known_hosts has, or another host answers: nothing was sent to it" in said
    assert f"`ssh-keygen -f ~/.ssh/known_hosts -R '[host.example.org]:2222'`, then answer {BY_HAND} with yes" in said
    assert "-R host.example.org`" in explain_lost_connection(ADDRESS, CHANGED, {**CLIENT, "port": "22"})
    assert "-R the-alias`" in explain_lost_connection(ADDRESS, CHANGED, {**CLIENT, "hostkeyalias": "the-alias"})
    files = {**CLIENT, "userknownhostsfile": "/k/known /k/known2"}
    assert "-f /k/known -R " in explain_lost_connection(ADDRESS, CHANGED, files)


@pytest.mark.parametrize("said", [UNKNOWN, CHANGED])
def test_no_advice_switches_the_check_off(said: str) -> None:
    for client in (CLIENT, {}, {**CLIENT, "proxycommand": "nc"}):
        told = explain_lost_connection(ADDRESS, said, client)
        assert "\n" not in told and "StrictHostKeyChecking" not in told


def test_a_key_that_is_not_accepted_is_named() -> None:
    said = "matt@host.example.org: Permission denied (publickey).\n"
    assert explain_lost_connection(ADDRESS, said, CLIENT) == (
        "ssh://matt@alias:2222: the host does not accept any key of the agent or of ~/.ssh: "
        "matt@host.example.org: Permission denied (publickey).: add the public key to ~/.ssh/authorized_keys there, or "
        "set sshKey; a key with a passphrase has to be in the agent (ssh-add)"
    )
    with_key = SshAddress("a", key="~/.ssh/id")
    assert "the key ~/.ssh/id (setting sshKey)" in explain_lost_connection(with_key, said, CLIENT)


def test_whatever_else_the_client_says_is_told() -> None:
    said = "ssh: connect to host host.example.org port 2222: Connection refused\n"
    assert explain_lost_connection(ADDRESS, said, CLIENT) == (
        "ssh://matt@alias:2222: not reached: ssh: connect to host host.example.org port 2222: Connection refused: "
        "check the setting host, and that `ssh -p 2222 matt@alias true` works"
    )
    assert "it said nothing" in explain_lost_connection(ADDRESS, "", {})


SUDO = SshAddress("host", "matt", become=True)


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("sudo: a password is required\n", 1, "become: sudo on ssh://matt@host refuses: sudo: a password is required"),
        ("matt is not in the sudoers file.\n", 1, "refuses: matt is not in the sudoers file.: allow it without a"),
        ("sh: 1: sudo: not found\n", 127, "sh: 1: sudo: not found: the host needs sudo and Python 3.9 or newer"),
        ("bash: python3: command not found\n", 127, "python3: command not found: the host needs sudo and Python 3.9"),
    ],
)
def test_a_command_that_was_not_started_says_what_is_missing(said: str, code: int, words: str) -> None:
    assert words in explain_refused_command(SUDO, said, code)


def test_a_script_s_own_end_is_not_taken_for_that() -> None:
    assert explain_refused_command(SUDO, "Docker does not answer on the host: start it\n", 1) == ""
    assert explain_refused_command(SshAddress("host"), "sudo: a word of a script\n", 1) == ""
