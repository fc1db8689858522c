"""A wrong setting that is only found on the host; a message that does not say which key, what value, what instead."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.bridges import KINDS
from documents.ssh import SshAddress
from settings import BadSettings, Settings, key_of, parse
from tests.facts import PLAN, PROJECT, defaults, deployment


def lines(**changed: str | None) -> list[str]:
    with pytest.raises(BadSettings) as bad:
        parse({**defaults(), **changed})
    return str(bad.value).splitlines()


def test_the_project_file_describes_every_setting_and_no_other() -> None:
    assert list(PROJECT["config"]) == [key_of(field.name) for field in fields(Settings)]
    types = {"str": "string", "int": "integer", "bool": "boolean", "tuple[str, ...]": "array"}
    types["Mapping[str, Any]"] = "object"
    for each in fields(Settings):
        described = PROJECT["config"][key_of(each.name)]
        assert described["description"] and described["type"] == types[str(each.type)], each.name


def test_every_default_is_a_good_value_and_one_person_s_domain_is_none() -> None:
    without = {key for key, value in PROJECT["config"].items() if "default" not in value}
    assert without == {"domain", "adminUser"}
    assert not [key for key, value in PROJECT["config"].items() if "echo6" in str(value.get("default"))]
    named = {"mautrix-signal:domain": "example.org", "mautrix-signal:adminUser": "@me:example.org"}
    assert parse(defaults(named)).domain == "example.org"
    assert {key.partition(":")[2] for key in PLAN} == {"domain", "adminUser", "masHosts"}


def test_the_defaults_are_the_plan() -> None:
    plan = parse(defaults())
    assert plan.image == "dock.mau.dev/mautrix/signal:v0.2603.0"
    assert (plan.bridge_port, plan.bridge_dir, plan.network) == (29328, "/opt/matrix/mautrix-signal", "matrix-net")
    assert deployment().synapse.homeserver_file == "/opt/matrix/synapse/homeserver.yaml"
    assert deployment().synapse.inside(plan.registration_file) == "/data/registration.yaml"
    assert deployment().dump_script == "/opt/matrix/scripts/mautrix-signal_backup.sh"
    assert (plan.backup_dir, plan.backup_days, plan.mas_hosts) == (
        "${BACKUP_DIR}", 14, ("matrix-mas:8080", "matrix.echo6.co"),
    )  # fmt: skip
    assert plan.isolated == ("synapse", "mas")
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
        ("bridgePort", "http", "bridgePort: 'http' should be a whole number from 0 to 65535"),
        ("bridgePort", "70000", "bridgePort: '70000' should be a whole number from 0 to 65535"),
        ("keepImage", "yes", "keepImage: 'yes' should be true or false"),
        ("isolatedDatabases", "synapse", "isolatedDatabases: 'synapse' should be a list: names of databases"),
        (
            "isolatedDatabases",
            '["synapse", "MAS"]',
            "isolatedDatabases: '[\"synapse\", \"MAS\"]' should be a list: names of databases; 'MAS' is not a Postgres "
            "name in lower case: a letter or '_', then letters, digits, '_', '-'; at most 63",
        ),
        (
            "image",
            "dock.mau.dev/mautrix/signal:latest",
            "image: 'dock.mau.dev/mautrix/signal:latest' should be an image with an exact tag, so that an upgrade is "
            "a decision",
        ),
        (
            "synapseUrl",
            "127.0.0.1:8008",
            "synapseUrl: '127.0.0.1:8008' should be auto, or a URL like http://127.0.0.1:8008, "
            "without a path",
        ),
        ("bridgeDatabase", "synapse", "bridgeDatabase: 'synapse' should be a database of the bridge's own"),
        ("bridgeContainer", "my_bridge", "bridgeContainer: 'my_bridge' should be a container's name that is a host "
         "name too (it is the host of the registration's url): letters, digits, '.', '-'"),
        ("synapseWorkers", '["a b"]', "synapseWorkers: '[\"a b\"]' should be a list: names of containers; 'a b' is not "
         "a container's name: letters, digits, '_', '.', '-'"),
        ("synapseWorkers", '["matrix-mas"]', "synapseWorkers: 'matrix-mas' should be a container of Synapse's other "
         "processes"),
        ("synapseWorkers", '["mautrix-signal"]',
         "bridgeContainer: 'mautrix-signal' should be a name of the bridge's own"),
        ("bridgeContainer", "matrix-synapse", "bridgeContainer: 'matrix-synapse' should be a name of the bridge's own"),
        ("restore", "yesterday", "restore: 'yesterday' should be none, latest or the absolute path of an archive "
         "(.tar.gz)"),
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
        ("become", "sudo", "become: 'sudo' counts for a host behind SSH: set host to its address, or take this away"),
        ("sshKey", "~/.ssh/id", "sshKey: '~/.ssh/id' counts for a host behind SSH: set host to its address, or take "
         "this away"),
        ("sshKey", "id_ed25519", "sshKey: 'id_ed25519' should be the path of a private key on this machine, like "
         "~/.ssh/id_ed25519, or empty"),
        ("bridge", '{"kind": "irc"}', "bridge: '{\"kind\": \"irc\"}' should be a mapping with kind: one of signal, "
         "whatsapp, telegram, slack, messenger, instagram, gmessages, twitter, bluesky, linkedin, gvoice, custom"),
        ("bridge", "signal", "bridge: 'signal' should be a mapping, like {kind: signal}"),
        ("bridge", '{"kind": "discord"}', "bridge: '{\"kind\": \"discord\"}' should be of another kind: discord is "
         "no bridge on bridgev2: v0.7.7 is built on the older bridge module of mautrix-go"),
        ("bridge", '{"kind": "signal", "name": "Two"}', "bridge: '{\"kind\": \"signal\", \"name\": \"Two\"}' should be "
         "a mapping in which name is a name for ids, containers and databases: lower-case letters, digits, '-'"),
        ("bridge", '{"kind": "slack", "port": 1}', "bridge: '{\"kind\": \"slack\", \"port\": 1}' should be a mapping "
         "of kind, name; port is none of these"),
        ("bridge", '{"kind": "custom", "name": "two"}', "bridge: '{\"kind\": \"custom\", \"name\": \"two\"}' should be "
         "a mapping with network: the network's name for people"),
        ("bridgeDir", "mautrix", "bridgeDir: 'mautrix' should be an absolute path on the host without a slash at its "
         "end, '..', quotes, ':' or spaces"),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line(key: str, value: str | None, line: str) -> None:
    assert lines(**{key: value}) == [line]


def test_names_follow_from_the_bridge_and_the_plan_s_signal_has_the_plan_s() -> None:
    plan = parse(defaults()).deployment("p/s")
    assert (plan.registration_files, plan.doublepuppet_id) == (
        ("registration.yaml", "doublepuppet.yaml"),
        "doublepuppet",
    )
    other = parse({**defaults(), "bridge": '{"kind": "whatsapp"}'}).deployment("p/s")
    assert (other.place.container, other.place.directory, other.place.port) == (
        "mautrix-whatsapp", "/opt/matrix/mautrix-whatsapp", 29318,
    )  # fmt: skip
    assert other.place.image == "dock.mau.dev/mautrix/whatsapp:v0.2608.0"
    assert (other.place.database.database, other.place.database.role) == ("mautrix_whatsapp", "mautrix_whatsapp")
    assert other.archive.directory == "/var/backups/mautrix-whatsapp"
    assert (other.bot, other.bridge.appservice_id) == ("@whatsappbot:echo6.co", "whatsapp")
    set_by_hand = {"bridge": '{"kind": "whatsapp"}', "bridgePort": "4000", "bridgeDir": "/srv/wa"}
    assert parse({**defaults(), **set_by_hand}).deployment("p/s").place.directory == "/srv/wa"


@pytest.mark.parametrize("entry", [{"kind": kind} for kind in KINDS] + [{"kind": "signal", "name": "signal-two"}])
def test_nothing_of_two_bridges_on_one_homeserver_is_the_same(entry: dict[str, str]) -> None:
    def names(entry: dict[str, str]) -> set[object]:
        needed = '{"network": {"api_id": 1, "api_hash": "x"}}'
        each = parse({**defaults(), "bridge": json.dumps(entry), "bridgeConfig": needed}).deployment("p/s")
        return {
            each.place.container, each.place.directory, each.place.database.database, each.place.database.role,
            each.archive.directory, *each.registration_files, each.doublepuppet_id, each.bridge.appservice_id, each.bot,
            each.bridge.username_template,
        }  # fmt: skip

    for kind in KINDS:
        if entry != {"kind": kind}:
            assert not names(entry) & names({"kind": kind})


def test_a_bridge_that_does_not_start_without_a_value_is_refused_without_it() -> None:
    assert lines(bridge='{"kind": "telegram"}') == [
        f"bridgeConfig.network.{key}: not set, and Telegram's bridge does not start without it "
        "(https://github.com/mautrix/telegram/tree/v0.2608.0/pkg/connector)"
        for key in ("api_id", "api_hash")
    ]


def test_a_host_behind_ssh() -> None:
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


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({"archiveDir": "/opt/matrix/mautrix-signal/archives"}, "bridgeDir"),  # it would go with the bridge
        ({"bridgeDir": "/var/backups/mautrix-signal/bridge"}, "bridgeDir"),
        ({"archiveDir": "/opt/matrix/mautrix-signal"}, "bridgeDir"),
        ({"bridgeDir": "/opt/matrix/synapse/bridge"}, "bridgeDir"),  # Synapse's user could put another in its place
        ({"bridgeDir": "/opt/matrix/synapse"}, "bridgeDir"),
        ({"archiveDir": "/opt/matrix/synapse/archives"}, "archiveDir"),
        ({"archiveDir": "/opt/matrix"}, "bridgeDir"),
        ({"backupDir": "/opt/matrix/mautrix-signal/dumps"}, "backupDir"),
        ({"backupScript": "/opt/matrix/mautrix-signal/backup.sh"}, "backupScript"),
    ],
)
def test_directories_that_would_go_or_be_read_with_one_another_are_refused(keys: dict[str, str], first: str) -> None:
    told = lines(**keys)
    assert told and all(" should not be one inside the other: " in line for line in told)
    assert told[0].startswith(f"{first}: ")


def test_directories_beside_each_other_are_fine() -> None:
    parse({**defaults(), "archiveDir": "/opt/matrix/mautrix-signal-archives", "backupDir": "/opt/matrix/synapse/dumps"})


@pytest.mark.parametrize("value", ["auto", "unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375"])
def test_docker_s_address(value: str) -> None:
    parse({**defaults(), "dockerHost": value})
    assert lines(dockerHost=f"{value} x")[0].startswith("dockerHost: ")
