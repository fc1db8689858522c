"""A host that is reached without its key being verified, with a question that nobody answers, or another one than was
set; a key or a path that leaks; a command that reads otherwise there than here."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.launcher import RUN_FROM_STDIN, stdin_of
from documents.ssh import SshAddress
from tests.documents.test_launcher import zipapp

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
    told = subprocess.run(address.words("-G"), capture_output=True, text=True, check=True).stdout
    assert {
        "stricthostkeychecking true", "batchmode yes", "user matt", "port 2222", "hostname host.example.org",
        "identityfile ~/.ssh/id", "identitiesonly yes", "controlmaster auto",
    } <= set(told.splitlines())  # fmt: skip
    assert "controlpath" in told and "/.ssh/mautrix-" in told


def test_the_words_for_docker_have_neither_user_nor_port_which_it_takes_from_the_address() -> None:
    assert ADDRESS.docker_url("unix:///var/run/docker.sock") == "ssh://matt@host.example.org:2222"
    assert ADDRESS.docker_url("unix:///run/user/1000/docker.sock") == (
        "ssh://matt@host.example.org:2222/run/user/1000/docker.sock"
    )
    assert not {"-l", "-p", "matt", "2222"} & set(ADDRESS.options)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_command_arrives_on_the_host_as_it_is_written(word: str) -> None:
    words = shlex.split(ADDRESS.shell_text(shlex.join(["python3", "-c", word])))
    assert words[:-1] == [*ADDRESS.words("-T")]
    assert shlex.split(words[-1]) == ["sudo", "-n", "python3", "-c", word]


def test_a_program_from_stdin_runs_through_the_client_a_login_shell_and_sudo(tmp_path: Path) -> None:
    """The client joins its words with spaces, and the host's shell reads them again: a lost quote is another program.
    With a client, a shell and a sudo that do no more than that."""
    stubs = {"ssh": 'for word; do :; done; exec sh -c "$word"', "sudo": '[ "$1" = -n ] && shift; exec "$@"'}
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    argument = "a 'b' \"c\" $d"
    command = shlex.join(["python3", "-I", "-c", RUN_FROM_STDIN, "verb", argument])
    program = zipapp("import json, sys; print(json.dumps([sys.argv[1:], sys.stdin.read()]))")
    done = subprocess.run(
        ["/bin/sh", "-c", ADDRESS.shell_text(command)],
        input=stdin_of(program, '{"key": "$(value)"}'),
        env={"PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == (b"", 0)
    assert json.loads(done.stdout) == [["verb", argument], '{"key": "$(value)"}']
