"""A wrong setting that is only found on the host; a message that does not say which key, what value, what instead."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.bridge.kinds import KINDS
from documents.ssh import SshAddress
from settings.fields import BridgeSettings, Settings, key_of
from settings.reader import BadSettings, parse
from tests.facts import PLAN, PROJECT, config, defaults, deployment, whole


def lines(**changed: str | None) -> list[str]:
    with pytest.raises(BadSettings) as bad:
        parse({**defaults(), **changed})
    return str(bad.value).splitlines()


def test_the_project_file_describes_every_setting_and_no_other() -> None:
    assert list(PROJECT["config"]) == [key_of(field.name) for field in fields(Settings)]
    types = {"str": "string", "int": "integer", "bool": "boolean", "tuple[str, ...]": "array"}
    types["tuple[BridgeSettings, ...]"] = "array"
    for each in fields(Settings):
        described = PROJECT["config"][key_of(each.name)]
        assert described["description"] and described["type"] == types[str(each.type)], each.name


def test_every_default_is_a_good_value_and_one_person_s_domain_is_none() -> None:
    without = {key for key, value in PROJECT["config"].items() if "default" not in value}
    assert without == {"domain", "adminUser"}
    assert not [key for key, value in PROJECT["config"].items() if "echo6" in str(value.get("default"))]
    named = {"mautrix-signal:domain": "example.org", "mautrix-signal:adminUser": "@me:example.org"}
    assert parse(defaults(named)).domain == "example.org"
    assert {key.partition(":")[2] for key in PLAN} == {
        "domain", "adminUser", "masHosts", "backupDir", "proveBackupScript",
    }  # fmt: skip


def test_the_defaults_are_the_plan() -> None:
    plan = parse(defaults())
    (signal,) = plan.bridges
    assert (signal.key, signal.setting, signal.image) == (
        "signal", "bridges[0]", "dock.mau.dev/mautrix/signal:v0.2603.0",
    )  # fmt: skip
    assert (signal.port, signal.directory, plan.network) == (29328, "/opt/matrix/mautrix-signal", "matrix-net")
    assert deployment().synapse.homeserver_file == "/opt/matrix/synapse/homeserver.yaml"
    assert whole().registration_paths == (
        "/opt/matrix/synapse/registration.yaml",
        "/opt/matrix/synapse/doublepuppet.yaml",
    )
    assert deployment().dump_script == "/opt/matrix/mautrix-bridges/mautrix-backup.sh"
    assert (plan.backup_dir, plan.backup_days, plan.mas_hosts) == (
        "${BACKUP_DIR}", 14, ("matrix-mas:8080", "matrix.echo6.co"),
    )  # fmt: skip
    assert plan.isolated == ("synapse", "mas")
    assert plan.keep_image is False and plan.experimental_features is True


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("domain", "echo6 co", "domain: 'echo6 co' should be a server_name like example.org"),
        ("domain", "example.com", "domain: 'example.com' should be a server_name like example.org"),
        ("domain", "https://echo6.co", "domain: 'https://echo6.co' should be a server_name like example.org"),
        (
            "adminUser",
            "@matt:matrix.org",
            "adminUser: '@matt:matrix.org' should be a user of the domain 'echo6.co', like @name:echo6.co",
        ),
        ("adminUser", "matt", "adminUser: 'matt' should be a user id like @name:domain"),
        ("network", None, "network: not set; set it with `pulumi config set network …`"),
        ("network", "", "network: not set; set it with `pulumi config set network …`"),
        ("synapseDeadline", "soon", "synapseDeadline: 'soon' should be a whole number from 5 to 3600"),
        ("keepImage", "yes", "keepImage: 'yes' should be true or false"),
        ("isolatedDatabases", "synapse", "isolatedDatabases: 'synapse' should be a list: names of databases"),
        (
            "isolatedDatabases",
            '["synapse", "MAS"]',
            "isolatedDatabases: '[\"synapse\", \"MAS\"]' should be a list: names of databases; 'MAS' is not a Postgres "
            "name in lower case: a letter or '_', then letters, digits, '_', '-'; at most 63",
        ),
        (
            "synapseUrl",
            "127.0.0.1:8008",
            "synapseUrl: '127.0.0.1:8008' should be auto, or a URL like http://127.0.0.1:8008, "
            "without a path",
        ),
        ("synapseWorkers", '["a b"]', "synapseWorkers: '[\"a b\"]' should be a list: names of containers; 'a b' is not "
         "a name in Docker: letters, digits, '_', '.', '-'"),
        ("synapseWorkers", '["mautrix-signal"]',
         "bridges[0].container: 'mautrix-signal' is the stack's, too: should be one of its own"),
        *(
            ("backupTime", time,
             f"backupTime: {time!r} should be a time of the host's clock from 00:00 to 23:59, as 03:30")
            for time in ("3:30", "24:00", "03:60", "0330", "03:30:00", "12600", "03:30 ")
        ),
        ("backupScript", "none", "backupDir: '${BACKUP_DIR}' should be an absolute path, since backupScript is none"),
        ("backupScript", "pg_backup.sh", "backupScript: 'pg_backup.sh' should be none, or the absolute path of a "
         "script on the host, without '..', quotes, ':' or spaces"),
        ("backupDir", "$(pwd)", "backupDir: '$(pwd)' should be an absolute path, or a variable of the backup script "
         "like ${BACKUP_DIR}"),
        ("backupDir", "backups", "backupDir: 'backups' should be an absolute path, or a variable of the backup script "
         "like ${BACKUP_DIR}"),
        ("backupFilter", "age -r age1x", "backupFilter: should be set together with backupFilterSuffix, like `age "
         "-r …` and .age"),
        ("backupFilterSuffix", "age", "backupFilterSuffix: 'age' should be a suffix like .age"),
        ("host", "matrix.example.org", "host: 'matrix.example.org' should be local, or the host's SSH address like "
         "ssh://user@name or ssh://user@name:22"),
        ("sshKey", "id_ed25519", "sshKey: 'id_ed25519' should be the path of a private key on this machine, like "
         "~/.ssh/id_ed25519, or empty"),
        ("sharedDir", "mautrix", "sharedDir: 'mautrix' should be an absolute path on the host without a slash at its "
         "end, '..', quotes, ':' or spaces"),
        ("bridges", "signal", "bridges: should be a list of bridges, at least one, each a mapping like {kind: signal}"),
        ("bridges", "[]", "bridges: should be a list of bridges, at least one, each a mapping like {kind: signal}"),
        ("doublepuppetId", "signal", "bridges[0]: the id 'signal' is doublepuppetId's, too: give it another name"),
        ("doublepuppetFile", "registration.yaml",
         "bridges[0].registrationFile: 'registration.yaml' is the stack's, too: should be one of its own"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(key: str, value: str | None, line: str) -> None:
    assert lines(**{key: value}) == [line]


OWN = "should be one of its own"
CUSTOM = {
    "kind": "custom",
    "name": "irc",
    "network": "IRC",
    "image": "e.org/irc:v1",
    "port": 1,
    "binary": "/usr/bin/irc",
}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"kind": "irc"}, "bridges[0].kind: 'irc' should be one of signal, whatsapp, telegram, slack, "
         "messenger, instagram, gmessages, twitter, bluesky, linkedin, gvoice, custom"),
        ({"name": "Two"}, "bridges[0].name: 'Two' should be a name for ids, containers and databases: lower-case "
         "letters, digits, '-'"),
        ({**CUSTOM, "network": ""}, "bridges[0].network: not set, and kind custom needs it"),
        ({"containr": "x"}, "bridges[0].containr: no such key: should be one of kind, name, network, binary, "
         "login, image, port, container, directory, database, role, registrationFile, archiveDir, restore, "
         "goBackTo, bridgeConfig"),
        ({"port": "http"}, "bridges[0].port: 'http' should be a whole number from 1 to 65535"),
        ({"port": 70000}, "bridges[0].port: 70000 should be a whole number from 1 to 65535"),
        ({"image": "dock.mau.dev/mautrix/signal:latest"}, "bridges[0].image: 'dock.mau.dev/mautrix/signal:latest' "
         "should be an image with an exact tag, like dock.mau.dev/mautrix/signal:v0.2603.0"),
        ({"database": "synapse"}, "bridges[0].database: 'synapse' is the stack's, too: should be one of its own"),
        ({"role": "mas"}, "bridges[0].role: 'mas' is the stack's, too: should be one of its own"),
        ({"container": "my_bridge"}, "bridges[0].container: 'my_bridge' should be a container's name that is a host "
         "name too (it is the host of the registration's url): letters, digits, '.', '-'"),
        ({"container": "matrix-synapse"},
         "bridges[0].container: 'matrix-synapse' is the stack's, too: should be one of its own"),
        ({"restore": "yesterday"}, "bridges[0].restore: 'yesterday' should be none, latest or the absolute path of an "
         "archive (.tar.gz) or of a nightly dump (.sql.gz; undo what backupFilter did to it, into a directory that "
         "only root may enter)"),
        ({"goBackTo": "/a_20260131T235959Z.b.sql.gz.age"}, "bridges[0].goBackTo: '/a_20260131T235959Z.b.sql.gz.age' "
         "should be the absolute path of an archive (.tar.gz) or of a nightly dump (.sql.gz; undo what backupFilter "
         "did to it, into a directory that only root may enter)"),
        ({"directory": "mautrix"}, "bridges[0].directory: 'mautrix' should be an absolute path on the host without a "
         "slash at its end, '..', quotes, ':' or spaces"),
        ({"bridgeConfig": {"appservice": {"port": 1}}}, "bridges[0].bridgeConfig.appservice.port: is not to be set: "
         "this program sets it, and other parts of the deployment depend on it"),
        ({"bridgeConfig": "hunter2"}, "bridges[0].bridgeConfig: should be a mapping of sections, as the bridge's own "
         "config.yaml has them"),
        ({"bridgeConfig": {"network": "hunter2"}}, "bridges[0].bridgeConfig: should be a mapping of sections, as the "
         "bridge's own config.yaml has them"),
    ],
)  # fmt: skip
def test_a_bad_entry_is_one_line(entry: dict[str, Any], line: str) -> None:
    assert lines(bridges=json.dumps([entry])) == [line]


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        ([{}, {"kind": "signal"}],
         "bridges[1]: mautrix-signal is bridges[0], too: give one of the two a name of its own"),
        ([{}, {**CUSTOM, "name": "signal"}],
         "bridges[1]: mautrix-signal is bridges[0], too: give one of the two a name of its own"),
        ([{"kind": "messenger"}, {**CUSTOM, "name": "messenger"}],
         "bridges[1]: mautrix-messenger is bridges[0], too: give one of the two a name of its own"),
        ([{}, {"kind": "slack", "container": "mautrix-signal"}],
         f"bridges[1].container: 'mautrix-signal' is bridges[0]'s, too: {OWN}"),
        ([{}, {"kind": "slack", "database": "mautrix_signal"}],
         f"bridges[1].database: 'mautrix_signal' is bridges[0]'s, too: {OWN}"),
        ([{}, {"kind": "slack", "role": "mautrix_signal"}],
         f"bridges[1].role: 'mautrix_signal' is bridges[0]'s, too: {OWN}"),
        ([{}, {"kind": "slack", "registrationFile": "registration.yaml"}],
         f"bridges[1].registrationFile: 'registration.yaml' is bridges[0]'s, too: {OWN}"),
        ([{}, {"kind": "slack", "directory": "/opt/matrix/mautrix-signal/slack"}],
         "bridges[0].directory: '/opt/matrix/mautrix-signal' and bridges[1].directory "
         "'/opt/matrix/mautrix-signal/slack' should not be one inside the other: "
         "bridges[0].directory needs a place of its own"),
    ],
)  # fmt: skip
def test_two_bridges_in_one_place_are_refused(entries: list[dict[str, Any]], line: str) -> None:
    assert lines(bridges=json.dumps(entries)) == [line]


def test_one_archive_directory_is_enough_for_all() -> None:
    """What is in it is told apart by the bridge's name."""
    config(None, [{"kind": "slack", "archiveDir": "/var/backups/mautrix-signal"}])
    parse(config(None, [{"kind": "slack", "archiveDir": "/var/backups/mautrix-signal"}]))


def test_names_follow_from_the_bridge_and_the_plan_s_signal_has_the_plan_s() -> None:
    plan = whole(None, [{"kind": "whatsapp"}, {"kind": "signal", "name": "two", "port": 4000, "directory": "/srv/two"}])
    signal, other, two = plan.bridges
    assert (signal.registration_file, plan.doublepuppet_id) == ("registration.yaml", "doublepuppet")
    assert (other.place.container, other.place.directory, other.place.port) == (
        "mautrix-whatsapp", "/opt/matrix/mautrix-whatsapp", 29318,
    )  # fmt: skip
    assert other.place.image == "dock.mau.dev/mautrix/whatsapp:v0.2608.0"
    assert (other.place.database.database, other.place.database.role) == ("mautrix_whatsapp", "mautrix_whatsapp")
    assert other.archive.directory == "/var/backups/mautrix-whatsapp"
    assert (other.bot, other.bridge.appservice_id) == ("@whatsappbot:echo6.co", "whatsapp")
    assert (two.key, two.bot, two.place.port, two.place.directory) == ("two", "@twobot:echo6.co", 4000, "/srv/two")
    assert [each.setting for each in plan.bridges] == ["bridges[0]", "bridges[1]", "bridges[2]"]


def test_an_entry_that_the_cli_begins_is_signal_s() -> None:
    """`pulumi config set --path 'bridges[0].image' …` on a stack that has no list."""
    (signal,) = parse({**defaults(), "bridges": '[{"image": "x/signal:v0.2608.0", "goBackTo": ""}]'}).bridges
    assert (signal.bridge.name, signal.image, signal.go_back_to) == ("mautrix-signal", "x/signal:v0.2608.0", "")


@pytest.mark.parametrize("entry", [{"kind": kind} for kind in KINDS] + [{"kind": "signal", "name": "signal-two"}])
def test_nothing_of_two_bridges_on_one_homeserver_is_the_same(entry: dict[str, str]) -> None:
    def names(entry: dict[str, str]) -> set[object]:
        needed = {"network": {"api_id": 1, "api_hash": "x"}}
        each = (
            parse({**defaults(), "bridges": json.dumps([{**entry, "bridgeConfig": needed}])})
            .deployment("p/s")
            .bridges[0]
        )
        return {
            each.place.container, each.place.directory, each.place.database.database, each.place.database.role,
            each.archive.directory, each.registration_file, each.bridge.appservice_id, each.bot,
            each.bridge.username_template,
        }  # fmt: skip

    for kind in KINDS:
        if entry != {"kind": kind}:
            assert not names(entry) & names({"kind": kind})


def test_a_bridge_that_does_not_start_without_a_value_is_refused_without_it() -> None:
    assert lines(bridges='[{"kind": "telegram"}]') == [
        f"bridges[0].bridgeConfig.network.{key}: not set, and Telegram's bridge does not start without it "
        "(https://github.com/mautrix/telegram/tree/v0.2608.0/pkg/connector)"
        for key in ("api_id", "api_hash")
    ]


def test_settings_for_ssh_count_for_a_host_behind_ssh() -> None:
    assert parse(defaults()).ssh is None
    there = parse({**defaults(), "host": "ssh://matt@host", "become": "sudo", "sshKey": "~/.ssh/id"})
    assert there.ssh == SshAddress("host", "matt", key="~/.ssh/id", become=True)
    assert lines(host="ssh://matt@host", dockerHost="tcp://127.0.0.1:2375") == [
        "dockerHost: 'tcp://127.0.0.1:2375' should be auto or a socket: Docker is reached over SSH"
    ]


@given(st.text(min_size=1))
def test_the_port_for_postgres_is_a_stack_s_own_and_no_outgoing_connection_s(stack: str) -> None:
    settings = parse(defaults())
    assert 20000 <= settings.local_port(stack) == settings.local_port(stack) < 30000
    assert parse({**defaults(), "host": "ssh://h", "postgresLocalPort": "1234"}).local_port(stack) == 1234


@pytest.mark.parametrize(
    ("key", "near"),
    [("backupdir", "did you mean backupDir? "), ("doublePuppetId", "did you mean doublepuppetId? "), ("xyzzy", "")],
)
def test_a_key_that_is_no_setting_is_refused_beside_the_rest(key: str, near: str) -> None:
    """A misspelt one was taken, and did nothing."""
    with pytest.raises(BadSettings) as bad:
        parse({**defaults(), key: "hunter2", "backupDays": "none"})
    line = f"{key}: no such setting: {near}`pulumi config rm {key}`; docs/settings.md has all of them"
    assert line in str(bad.value).split("\n") and "backupDays: " in str(bad.value) and "hunter2" not in str(bad.value)


def test_all_bad_values_are_reported_together() -> None:
    assert len(lines(domain="a b", bridges='[{"port": "x"}, {"kind": "y"}]', keepImage="maybe")) == 4


@given(st.sampled_from(sorted(key_of(field.name) for field in fields(Settings))), st.text(max_size=40))
def test_any_text_is_taken_or_refused_with_its_key(key: str, value: str) -> None:
    try:
        parse({**defaults(), key: value})
    except BadSettings as bad:
        assert all(re.split(r"[:\[]", line)[0] in PROJECT["config"] for line in str(bad).split("\n"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)
KEYS = [key_of(each.name) for each in fields(BridgeSettings) if "check" in each.metadata]


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), JSON), max_size=3))
def test_any_list_of_bridges_is_taken_or_refused_with_the_place(entries: list[dict[str, Any]]) -> None:
    try:
        parse({**defaults(), "bridges": json.dumps(entries)})
    except BadSettings as bad:
        assert all(line.startswith("bridges") for line in str(bad).split("\n"))


@pytest.mark.parametrize("text", [None, "no list", '[{"kind": "hunter2", "port": "hunter2"}]'])
def test_a_value_that_was_set_as_a_secret_is_in_no_message(text: str | None) -> None:
    """A backupFilter with a passphrase in it, and a line break at its end."""
    every = dict.fromkeys(PROJECT["config"], "hunter2\n\tno value")
    texts: dict[str, str | None] = {**defaults(), **every, "bridges": text or "hunter2"}
    with pytest.raises(BadSettings) as bad:
        parse(texts, every)
    assert "backupFilter: should be" in str(bad.value) and "hunter2" not in str(bad.value)


def test_the_password_is_never_in_a_message() -> None:
    told = lines(postgresPassword="hunter2-hunter2", domain="a b")
    assert not any("hunter2" in line for line in told)


@pytest.mark.parametrize(
    ("own", "keys", "first"),
    [
        ({"archiveDir": "/opt/matrix/mautrix-signal/archives"}, {}, "bridges[0].archiveDir"),  # it would go with it
        ({"directory": "/var/backups/mautrix-signal/bridge"}, {}, "bridges[0].archiveDir"),
        ({"archiveDir": "/opt/matrix/mautrix-signal"}, {}, "bridges[0].archiveDir"),
        ({"directory": "/opt/matrix/synapse/bridge"}, {}, "bridges[0].directory"),  # Synapse's user could swap it
        ({"directory": "/opt/matrix/synapse"}, {}, "bridges[0].directory"),
        ({"archiveDir": "/opt/matrix/synapse/archives"}, {}, "bridges[0].archiveDir"),
        ({"archiveDir": "/opt/matrix"}, {}, "bridges[0].archiveDir"),
        ({"directory": "/opt/matrix/mautrix-bridges/signal"}, {}, "bridges[0].directory"),
        ({}, {"sharedDir": "/opt/matrix/synapse/bridges"}, "sharedDir"),
        ({}, {"backupDir": "/opt/matrix/mautrix-signal/dumps"}, "backupDir"),
        ({}, {"backupScript": "/opt/matrix/mautrix-signal/backup.sh"}, "backupScript"),
        ({}, {"backupScript": "/opt/matrix/mautrix-bridges/backup.sh"}, "backupScript"),
    ],
)
def test_directories_that_would_go_or_be_read_with_one_another_are_refused(
    own: dict[str, str], keys: dict[str, str], first: str
) -> None:
    told = lines(**config(own, **keys))
    assert told and all(" should not be one inside the other: " in line for line in told)
    assert told[0].startswith(f"{first}: ")


def test_directories_beside_each_other_are_fine() -> None:
    parse(config({"archiveDir": "/opt/matrix/mautrix-signal-archives"}, backupDir="/opt/matrix/synapse/dumps"))


@pytest.mark.parametrize("value", ["auto", "unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375"])
def test_docker_s_address_is_auto_a_socket_or_tcp(value: str) -> None:
    parse({**defaults(), "dockerHost": value})
    assert lines(dockerHost=f"{value} x")[0].startswith("dockerHost: ")
