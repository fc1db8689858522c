"""A wrong setting that is only found on the host; a message that does not say which key, what value, what instead."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings import CHECKS, BadSettings, Settings, key_of, parse
from tests.facts import PROJECT, defaults


def lines(**changed: str | None) -> list[str]:
    with pytest.raises(BadSettings) as bad:
        parse({**defaults(), **changed})
    return str(bad.value).splitlines()


def test_the_project_file_describes_every_setting_and_no_other() -> None:
    assert list(PROJECT["config"]) == [key_of(field.name) for field in fields(Settings)]
    assert set(CHECKS) == {field.name for field in fields(Settings)}
    assert all(value["description"] and value["type"] for value in PROJECT["config"].values())


def test_the_defaults_are_the_plan() -> None:
    plan = parse(defaults())
    assert plan.image == "dock.mau.dev/mautrix/signal:v0.2603.0"
    assert (plan.bridge_port, plan.bridge_dir, plan.network) == (29328, "/opt/matrix/mautrix-signal", "matrix-net")
    assert plan.homeserver_file == "/opt/matrix/synapse/homeserver.yaml"
    assert plan.seen_by_synapse(plan.registration_file) == "/data/registration.yaml"
    assert plan.isolated_databases == ("synapse", "mas")
    assert plan.keep_image is False and plan.experimental_features is True


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("domain", "echo6 co", "domain: 'echo6 co' should be a server_name like example.org"),
        ("domain", "https://echo6.co", "domain: 'https://echo6.co' should be a server_name like example.org"),
        (
            "adminUser",
            "@matt:matrix.org",
            "adminUser: '@matt:matrix.org' should be a user of the domain 'echo6.co', like @name:echo6.co",
        ),
        ("adminUser", "matt", "adminUser: 'matt' should be a user id like @name:domain"),
        ("network", None, "network: not set; set it with `pulumi config set network …`"),
        ("network", "", "network: not set; set it with `pulumi config set network …`"),
        ("bridgePort", "http", "bridgePort: 'http' should be a whole number from 1 to 65535"),
        ("bridgePort", "70000", "bridgePort: '70000' should be a whole number from 1 to 65535"),
        ("keepImage", "yes", "keepImage: 'yes' should be true or false"),
        ("isolatedDatabases", "synapse", "isolatedDatabases: 'synapse' should be a list: names of databases"),
        (
            "isolatedDatabases",
            '["synapse", "MAS"]',
            "isolatedDatabases: '[\"synapse\", \"MAS\"]' should be a list: names of databases; 'MAS' is not a Postgres "
            "name in lower case: a letter or '_', then letters, digits, '_'; at most 63",
        ),
        (
            "image",
            "dock.mau.dev/mautrix/signal:latest",
            "image: 'dock.mau.dev/mautrix/signal:latest' should be an image with an exact tag, so that an upgrade is "
            "a decision",
        ),
        ("synapseUrl", "127.0.0.1:8008", "synapseUrl: '127.0.0.1:8008' should be a URL like http://127.0.0.1:8008, "
         "without a path"),
        ("bridgeDatabase", "synapse", "bridgeDatabase: 'synapse' should be a database of the bridge's own"),
        ("bridgeContainer", "matrix-synapse", "bridgeContainer: 'matrix-synapse' should be a name of the bridge's own"),
        ("restore", "yesterday", "restore: 'yesterday' should be none, latest or the absolute path of an archive "
         "(.tar.gz)"),
        ("bridgeDir", "mautrix", "bridgeDir: 'mautrix' should be an absolute path on the host without a slash at its "
         "end, '..', quotes, ':' or spaces"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(key: str, value: str | None, line: str) -> None:
    assert lines(**{key: value}) == [line]


def test_all_bad_values_are_told_together() -> None:
    assert len(lines(domain="a b", bridgePort="x", keepImage="maybe")) == 3


@given(st.sampled_from(sorted(key_of(field.name) for field in fields(Settings))), st.text(max_size=40))
def test_any_text_is_taken_or_refused_with_its_key(key: str, value: str) -> None:
    try:
        parse({**defaults(), key: value})
    except BadSettings as bad:
        assert all(line.partition(":")[0] in PROJECT["config"] for line in str(bad).split("\n"))


def test_the_password_is_never_in_a_message() -> None:
    told = lines(postgresPassword="hunter2-hunter2", domain="a b")
    assert not any("hunter2" in line for line in told)
