"""A host that is reached without its key being verified, with a question that nobody answers, or another one than was
set; a key or a path that leaks; a command that reads otherwise there than here."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.ssh import SshAddress

ADDRESS = SshAddress("host.example.org", "matt", 2222, key="~/.ssh/id", config="/home/matt/config", become=True)

GOOD = {
    "ssh://matt@host.example.org": SshAddress("host.example.org", "matt"),
    "ssh://matt@host.example.org:2222": SshAddress("host.example.org", "matt", 2222),
    "ssh://alias": SshAddress("alias"),
    "ssh://root@192.0.2.1:22": SshAddress("192.0.2.1", "root", 22),
    "ssh://root@[2001:db8::1]:22": SshAddress("2001:db8::1", "root", 22),
}
BAD = [
    "host.example.org", "matt@host", "ssh://", "ssh://@host", "ssh://matt@", "ssh://host:0", "ssh://host:65536",
    "ssh://host:", "ssh://host/path", "ssh://matt:password@host", "ssh://-oProxyCommand=id", "ssh://-l@host",
    "ssh://matt@-v", "ssh://host name", "ssh://host;id", "https://host", "ssh://[::1",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_what_it_says(text: str) -> None:
    assert SshAddress.parse(text) == GOOD[text]
    assert SshAddress.parse(text).url == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="local, or the host's SSH address like ssh://user@name"):
        SshAddress.parse(text)


@given(st.text(max_size=40))
def test_no_address_can_be_an_option_of_the_client(text: str) -> None:
    try:
        address = SshAddress.parse(f"ssh://{text}")
    except ValueError:
        return
    assert not address.name.startswith("-") and not address.user.startswith("-")
    assert not set(address.name + address.user) & set(" \t\n;'\"$`\\/")


def test_the_client_verifies_the_host_asks_nothing_and_shares_one_connection() -> None:
    """As the client itself reads its command line."""
    address = replace(ADDRESS, config="/dev/null")
    told = subprocess.run((*address.client, "-G", address.name), capture_output=True, text=True, check=True).stdout
    assert {
        "stricthostkeychecking true", "batchmode yes", "user matt", "port 2222", "hostname host.example.org",
        "identityfile ~/.ssh/id", "identitiesonly yes", "controlmaster auto",
    } <= set(told.splitlines())  # fmt: skip
    assert "controlpath" in told and "/.ssh/mautrix-" in told


def test_the_words_for_docker_have_neither_user_nor_port_which_it_takes_from_the_address() -> None:
    assert ADDRESS.docker("unix:///var/run/docker.sock") == "ssh://matt@host.example.org:2222"
    assert ADDRESS.docker("unix:///run/user/1000/docker.sock") == (
        "ssh://matt@host.example.org:2222/run/user/1000/docker.sock"
    )
    assert not {"-l", "-p", "matt", "2222"} & set(ADDRESS.options)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_command_reads_there_as_it_is_written(word: str) -> None:
    text, _, _ = ADDRESS.shell(shlex.join(["python3", "-c", word]), "step").rpartition(" || { c=$?")
    words = shlex.split(text)
    assert words[:-1] == [*ADDRESS.words("-T")]
    assert shlex.split(words[-1]) == ["sudo", "-n", "python3", "-c", word]


@pytest.mark.parametrize(("code", "told"), [(0, False), (1, False), (255, True)])
def test_a_lost_connection_is_told_and_every_exit_code_stays(code: int, told: bool, tmp_path: Path) -> None:
    """With a client that ends as the real one would."""
    client = tmp_path / "ssh"
    client.write_text(f"#!/bin/sh\nexit {code}\n")
    client.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{ADDRESS.shell('true', 'mautrix-signal-data')} # host_programs.files.files"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    line = "mautrix-signal-data: cut off from the host, where it may still be at work: the next run waits for it\n"
    assert done.stderr == (line if told else "")
