"""Pins: a config that the bridge quietly reads in another way than we wrote it.

The bridge drops unknown keys without a word, ignores a value of a wrong type with one line, and rewrites the file
unless told not to. So the real program reads our text here and says what it made of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from documents.bridge.config import bridge_database_url, render_bridge_config
from documents.bridge.kinds import SIGNAL
from documents.credentials import DoublePuppet, Keys, Tokens
from documents.places import Postgres
from tests.bridge_core.conftest import Core
from tests.facts import deployment

# Port 1 of the loopback: refused at once, so the bridge ends with 15 right after it has accepted its config.
DEPLOYMENT = dataclasses.replace(deployment(), postgres=Postgres("127.0.0.1", 1, "synapse"))
TOKENS = Tokens(
    database_password="pa55",
    as_token="a" * 64,
    hs_token="h" * 64,
    provisioning_secret="s" * 64,
    public_media_key="m" * 64,
)
KEYS = Keys(pickle_key="k" * 64, sender_localpart="x" * 32)
PUPPET = DoublePuppet(as_token="d" * 64, hs_token="e" * 64)
CONFIG = render_bridge_config(DEPLOYMENT, bridge_database_url(DEPLOYMENT, TOKENS), TOKENS, KEYS, PUPPET)
# Maps whose keys are ours to choose; everything else must be a key of the example.
FREE = {("bridge", "permissions"), ("double_puppet", "servers"), ("double_puppet", "secrets"), ("logging",)}


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, dict) and path not in FREE:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def at(node: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


@pytest.fixture
def example(core: Core) -> dict[str, Any]:
    done = core.run("-e", "-c", "-")
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    assert isinstance(document, dict)
    return document


def test_the_version_is_that_of_the_release(core: Core) -> None:
    done = core.run("--version")
    assert (done.returncode, done.stdout.split(" (")[0]) == (0, "mautrix-signal v26.03")
    assert json.loads(core.run("--version-json").stdout)["Mautrix"]["Version"] == "v0.26.4"


def test_the_example_is_written_to_a_file_and_never_over_one(core: Core) -> None:
    assert core.run("-e", "-c", "new.yaml").returncode == 0
    written = core.directory / "new.yaml"
    assert written.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(written.read_text())["appservice"]["id"] == "signal"
    again = core.run("-e", "-c", "new.yaml")
    assert again.returncode == 1 and "already exists" in again.stderr


def test_the_record_holds_the_bridges_own_defaults(example: dict[str, Any]) -> None:
    appservice = example["appservice"]
    assert appservice["id"] == SIGNAL.appservice_id
    assert appservice["bot"]["username"] == SIGNAL.bot_localpart
    assert appservice["bot"]["displayname"] == f"{SIGNAL.network_name} bridge bot"
    assert appservice["port"] == SIGNAL.default_port
    assert appservice["username_template"] == SIGNAL.username_template
    assert example["bridge"]["command_prefix"] == SIGNAL.command_prefix


def test_every_key_of_ours_is_a_key_of_the_bridge(example: dict[str, Any]) -> None:
    ours = dict(leaves(yaml.safe_load(CONFIG)))
    assert len(ours) > 30
    for path, value in ours.items():
        assert type(at(example, path)) is type(value), path


def test_every_generated_value_is_set_or_its_feature_is_off(example: dict[str, Any]) -> None:
    generated = {path for path, value in leaves(example) if value == "generate"}
    assert ("encryption", "pickle_key") in generated
    ours = dict(leaves(yaml.safe_load(CONFIG)))
    assert generated - set(ours) == {("direct_media", "server_key")}
    assert ours["direct_media", "enabled"] is False


def test_with_n_it_accepts_the_config_and_leaves_the_read_only_file_alone(core: Core) -> None:
    text = CONFIG
    path = core.write("config.yaml", text, 0o400)
    core.give(core.directory, 0o500)
    before = path.stat()
    done = core.run("-c", str(path), "-n")
    assert done.returncode == 15, done.stdout + done.stderr
    assert done.stderr == ""  # "Ignoring ...", "Error updating config"
    assert path.read_text() == text
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [entry.name for entry in core.directory.iterdir()] == ["config.yaml"]


def test_without_n_it_does_rewrite_it(core: Core) -> None:
    path = core.write("config.yaml", CONFIG)
    assert core.run("-c", str(path)).returncode == 15
    assert len(path.read_text()) > 10_000


def test_json_logs_go_to_stdout_only(core: Core) -> None:
    path = core.write("config.yaml", CONFIG)
    lines = [json.loads(line) for line in core.run("-c", str(path), "-n").stdout.splitlines()]
    assert lines[0]["message"] == "Initializing bridge"
    assert lines[-1]["level"] == "fatal"
    assert not (core.directory / "logs").exists()


def test_the_password_is_not_in_the_log(core: Core) -> None:
    tokens = dataclasses.replace(TOKENS, database_password="correct horse")
    path = core.write(
        "config.yaml", render_bridge_config(DEPLOYMENT, bridge_database_url(DEPLOYMENT, tokens), tokens, KEYS, PUPPET)
    )
    done = core.run("-c", str(path), "-n")
    assert done.returncode == 15
    assert "correct horse" not in done.stdout and "correct%20horse" not in done.stdout


TRICKY = st.one_of(
    st.sampled_from(["1e3" * 6, "0o17" * 5, "12345678901234567890", "0x" + "1" * 20, "~" * 16, "y" * 16, " " * 16]),
    st.text(min_size=16).filter(lambda text: "\0" not in text),
)


@settings(
    max_examples=settings().max_examples // 5,  # a process each
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(as_token=TRICKY, pickle_key=TRICKY, secret=TRICKY, puppet=TRICKY, password=TRICKY)
def test_the_bridge_reads_every_value_as_we_wrote_it(
    core: Core, as_token: str, pickle_key: str, secret: str, puppet: str, password: str
) -> None:
    """Without -n the bridge writes out what it read, so its own YAML library is what is asked here."""
    tokens = dataclasses.replace(
        TOKENS,
        as_token=as_token,
        provisioning_secret=secret,
        database_password=password,
    )
    config = render_bridge_config(
        DEPLOYMENT,
        bridge_database_url(DEPLOYMENT, tokens),
        tokens,
        dataclasses.replace(KEYS, pickle_key=pickle_key),
        dataclasses.replace(PUPPET, as_token=puppet),
    )
    path = core.write("config.yaml", config)
    done = core.run("-c", str(path))
    assert done.returncode == 15, done.stdout + done.stderr
    read = yaml.safe_load(path.read_text())
    for key, value in leaves(yaml.safe_load(config)):
        assert at(read, key) == value, key
