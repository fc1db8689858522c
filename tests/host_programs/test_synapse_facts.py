"""Pins a look into Synapse's container that ends in a traceback, or judges the host by another file than Synapse's:
whatever a registration or homeserver.yaml holds, the answer has its shape and says what is wrong."""

from __future__ import annotations

import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from host_programs.synapse.inside import process as synapse_process
from host_programs.synapse.inside import synapse_facts
from host_programs.synapse.inside.synapse_facts import SynapseRequest
from host_programs.synapse.inside.synapse_facts import _find_owner as owner
from verdicts.host_facts.synapse import Registration, SynapseFacts


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on this machine."""
    monkeypatch.setattr(synapse_facts, "_find_owner", lambda process, directory: (991, 992))
    monkeypatch.setattr(synapse_process, "PROC", Path("/nowhere"))
    monkeypatch.setattr(synapse_facts, "version", lambda package: "1.147.1")


def read(folder: Path, text: str) -> SynapseFacts:
    file = folder / "homeserver.yaml"
    file.write_text(text)
    return synapse_facts.read_synapse(SynapseRequest(homeserver=str(file), address="http://127.0.0.1:9"))


def test_what_a_homeserver_behind_mas_says(tmp_path: Path) -> None:
    bridge = tmp_path / "irc.yaml"
    bridge.write_text(
        "id: irc\nas_token: secret\n"
        "namespaces: {users: [{regex: '@irc_.*', exclusive: true}, {regex: '@x', exclusive: false}], aliases: []}\n"
    )
    text = "server_name: echo6.co\nmatrix_authentication_service: {enabled: true}\n"
    facts = read(tmp_path, f"{text}app_service_config_files: [{bridge}]\n")
    assert facts.media == "connection refused", "nobody answers at homeserverAddress, whoever has the media repository"
    assert replace(facts, media="") == SynapseFacts(
        "1.147.1", 991, 992, "echo6.co", True, (Registration(str(bridge), "irc", ("@irc_.*",)),),
        (str(tmp_path / "homeserver.yaml"),),
        {"app_service_config_files": str(tmp_path / "homeserver.yaml")},
        connections=5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "connections"), [("{cp_max: 20}", 20), ("{cp_max: many}", 5), ("", 5), ("{user: synapse}", 5)]
)
def test_the_connections_that_a_process_may_take(tmp_path: Path, args: str, connections: int) -> None:
    assert read(tmp_path, f"database: {{name: psycopg2, args: {args or '{}'}}}\n").connections == connections


def test_several_files_count_as_synapse_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synapse joins no lists: what the last file says is all that there is, and where we would write in vain."""
    (tmp_path / "1").mkdir()
    first, last = tmp_path / "homeserver.yaml", tmp_path / "bridges.yaml"
    words = ["python", "-m", "synapse.app.homeserver", "-c", str(first), "-c", str(last)]
    (tmp_path / "1/cmdline").write_bytes(b"\0".join(map(str.encode, words)))
    monkeypatch.setattr(synapse_process, "PROC", tmp_path)
    monkeypatch.setitem(sys.modules, "synapse.config._base", types.SimpleNamespace(find_config_files=list))
    last.write_text("app_service_config_files: [/data/irc.yaml]\nserver_name: last.example\n")
    facts = read(tmp_path, "server_name: first.example\napp_service_config_files: [/data/gone.yaml]\n"
                           "experimental_features: {}\n")  # fmt: skip
    assert (facts.server_name, [each.path for each in facts.registrations]) == ("last.example", ["/data/irc.yaml"])
    assert facts.files == (str(first), str(last))
    assert facts.decided_in == {"app_service_config_files": str(last), "experimental_features": str(first)}


def test_mas_by_its_old_name(tmp_path: Path) -> None:
    assert read(tmp_path, "experimental_features: {msc3861: {enabled: true}}\n").mas
    assert not read(tmp_path, "experimental_features: {msc3861: {enabled: false}}\n").mas


@pytest.mark.parametrize("text", ["server_name:\n", "a: 1\n", "app_service_config_files:\nexperimental_features:\n"])
def test_what_is_empty_or_not_there_is_empty(tmp_path: Path, text: str) -> None:
    facts = read(tmp_path, text)
    assert (facts.server_name, facts.mas, facts.registrations, facts.error) == ("", False, (), "")


@pytest.mark.parametrize("text", ["app_service_config_files: /data/irc.yaml\n", "app_service_config_files: 1\n"])
def test_a_value_of_another_type_is_not_read_letter_by_letter(tmp_path: Path, text: str) -> None:
    """The edit of the file says in one line what it should be."""
    assert (read(tmp_path, text).registrations, read(tmp_path, text).error) == ((), "")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "a: \0\n", "a: 2024-13-45\n"])
def test_a_file_that_cannot_be_judged_is_an_error(tmp_path: Path, text: str) -> None:
    facts = read(tmp_path, text)
    assert facts.error and "\n" not in facts.error
    assert (facts.version, facts.uid, facts.gid, facts.registrations) == ("1.147.1", 991, 992, ())


def test_no_file_is_an_error(tmp_path: Path) -> None:
    assert synapse_facts.read_synapse(SynapseRequest(str(tmp_path / "none.yaml"), "")).error.startswith(
        f"{tmp_path}/none.yaml: FileNotFoundError: "
    )


@pytest.mark.parametrize("text", [None, "", "- a\n", "a: [\n", "namespaces: 1\n", "namespaces: {users: 5}\n"])
def test_one_bad_registration_does_not_hide_the_others(tmp_path: Path, text: str | None) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    if text is not None:
        bad.write_text(text)
    good.write_text("id: good\n")
    facts = read(tmp_path, f"app_service_config_files: [{bad}, {good}]\n")
    assert facts.error == ""
    assert facts.registrations[0].error and facts.registrations[1:] == (Registration(str(good), "good"),)


def test_the_user_is_that_of_synapses_process_and_else_the_directorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synapse_process, "PROC", tmp_path)
    mine = (os.geteuid(), os.getegid())
    for number, words in (("1", b"/sbin/init\0"), ("23", b"python\0-m\0synapse.app.homeserver\0")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_bytes(words)
    if os.geteuid() == 0:
        os.chown(tmp_path / "23", 991, 992)
        mine = (991, 992)
    assert owner(synapse_process.find_main(), Path("/")) == mine
    (tmp_path / "23/cmdline").unlink()
    assert owner(synapse_process.find_main(), Path("/")) == (0, 0)
