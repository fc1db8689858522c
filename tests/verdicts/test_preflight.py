"""A host that the deployment would break and that is let through; a refusal without a fix; a warning without use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from documents.backup import backup_script
from documents.bridge.pickle_key import fingerprint_key
from documents.marks import owner_comment
from documents.timestamps import rfc3339_seconds
from tests.facts import (
    BACKUP_SCRIPT,
    HOMESERVER,
    KEY,
    LABELS,
    STACK,
    container,
    deployed,
    healthy,
    pickled,
    settings,
    whole,
)
from tests.facts import changed as but
from verdicts.host_facts.archive import Manifest, SourceFacts
from verdicts.host_facts.host import HostFacts, OwnFile, PostgresFacts, ScheduleFacts
from verdicts.host_facts.synapse import Registration, SynapseFacts, Worker, WorkerFacts
from verdicts.preflight.findings import BridgeFindings, Findings, preflight
from verdicts.preflight.keys import LivingKey, check_key, check_missing_key, describe_taken_key

Change = Callable[[HostFacts], HostFacts]


def verdict(facts: HostFacts, own: Mapping[str, Any] | None = None, /, **changed: str) -> Findings:
    """`own`: of Signal's entry."""
    return preflight(facts, settings(own, **changed), whole(own, **changed))


def test_the_plan_s_host_has_no_problems() -> None:
    assert verdict(healthy()).problems == ()


def test_the_changes_are_what_up_will_write() -> None:
    homeserver, script, new, database = verdict(healthy()).changes
    assert database == "a new database, mautrix_signal: begins empty"
    assert new == "a new file, /opt/matrix/mautrix-bridges/mautrix-backup.sh (0700): makes the dumps, in ${BACKUP_DIR}"
    assert "+++ " in homeserver and "/opt/matrix/synapse/homeserver.yaml" in homeserver
    assert any(line.startswith("+") and "- /data/registration.yaml" in line for line in homeserver.splitlines())
    assert not [line for line in homeserver.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert "/opt/matrix/scripts/pg_backup.sh" in script and "mautrix-backup.sh" in script


def test_a_deployed_host_has_nothing_to_change() -> None:
    found = verdict(deployed())
    source = "/opt/matrix/mautrix-signal/config-0123456789ab/config.yaml"
    key = LivingKey("mautrix_signal", KEY, source, "/opt/matrix/mautrix-signal", "secrets-permanent-seed", exists=True)
    there = BridgeFindings(1, "none", role_exists=True, database_exists=True, container_exists=True, key=key)
    assert found == Findings((), found.warnings, (), (there,))
    assert not [warning for warning in found.warnings if "somebody removed it" in warning]


def attempt(facts: HostFacts) -> int:
    return verdict(facts).bridges[0].attempt


LATEST = {"restore": "latest"}


def _set(path: str, value: Any) -> Change:
    """Facts with another value at `path`, as "synapse.version"; "bridge" is the first of the bridges."""

    def change(facts: Any, names: list[str]) -> Any:
        name, *rest = names
        if name == "bridge":
            return replace(facts, bridges=(change(facts.bridges[0], rest), *facts.bridges[1:]))
        return replace(facts, **{name: change(getattr(facts, name), rest) if rest else value})

    return lambda facts: change(facts, path.split("."))


def _drop(path: str, name: str) -> Change:
    """Facts without one entry of the mapping at `path`."""

    def change(facts: HostFacts) -> HostFacts:
        there: Any = facts
        for part in path.split("."):
            there = getattr(there, part)
        return _set(path, {key: value for key, value in there.items() if key != name})(facts)

    return change


def _add(path: str, more: dict[str, Any]) -> Change:
    """Facts with more in the mapping at `path`."""

    def change(facts: HostFacts) -> HostFacts:
        there: Any = facts
        for name in path.split("."):
            there = getattr(there, name)
        return _set(path, {**there, **more})(facts)

    return change


def _other(**registration: Any) -> Change:
    other = replace(Registration("/data/irc.yaml", "irc"), **registration)
    return _set("synapse.registrations", (other,))


READS = WorkerFacts(("/data/homeserver.yaml", "/data/w.yaml"))
WORKER = Worker(container("w"), "/data/homeserver.yaml", READS)


def _worker(**changed: Any) -> Change:
    return _set("workers", {"w": replace(WORKER, **changed)})


def _several(*files: str, **decided_in: str) -> Change:
    """A configuration of several files."""
    here = {each: each.replace("/data", "/opt/matrix/synapse") for each in files if each.startswith("/data")}
    seen = (_set("synapse.files", files), _set("host_paths", here), _set("synapse.decided_in", decided_in))
    return lambda facts: seen[0](seen[1](seen[2](facts)))


ADOPTION_ADVICE = (
    "; if a Signal bridge was set up by hand, this program can take it over with its account: on its "
    "host, `.venv/bin/python -m host_programs.bridge.adopt --config ITS/config.yaml` says how"
)
REFUSALS: list[tuple[Change, str]] = [
    (_set("docker", "19.03.15"), "Docker 19.03.15: too old: this needs 20.10 or newer"),
    (
        _set("root", False),
        "the programs on the host do not run as root: be root there, or `pulumi config set become sudo`",
    ),
    (
        _set("user_without_docker", "matt"),
        "user matt: may not use Docker on the host without sudo, as Docker's provider has to: "
        "`sudo usermod -aG docker matt` (which gives the user root's rights)",
    ),
    (
        _set("running_steps", ("mautrix-signal-data (pid 7)",)),
        "step mautrix-signal-data (pid 7): is still running on the host: wait until it has ended, then run this again",
    ),
    (_set("bash", False), "bash: missing: the nightly dumps are made with it: install it"),
    (
        _set("mas_container", None),
        "container matrix-mas: does not exist: start the stack, or correct the setting masContainer",
    ),
    (
        _set("synapse_container.status", "exited"),
        "container matrix-synapse: is exited, not running: start it (docker start matrix-synapse)",
    ),
    (
        _set("postgres_container.networks", {"bridge": "172.17.0.2"}),
        "container matrix-postgres: is not in the network matrix-net: correct the setting network",
    ),
    (_set("network", False), "network matrix-net: does not exist: correct the setting network (docker network ls)"),
    (
        _set("worker_containers", ("synapse-worker-1", "synapse-worker-2")),
        "container synapse-worker-1, synapse-worker-2: runs a worker of matrix-synapse: have it restarted, too: "
        "`pulumi config set --path 'synapseWorkers[0]' synapse-worker-1 && pulumi config set --path "
        "'synapseWorkers[1]' synapse-worker-2`",
    ),
    (_worker(container=None), "container w: does not exist: start the stack, or correct the setting synapseWorkers"),
    (
        _worker(container=container("w", status="exited"), facts=None),
        "container w: is exited, not running: start it (docker start w)",
    ),
    (
        _worker(facts=WorkerFacts(error="runs no worker of Synapse")),
        "container w: runs no worker of Synapse: correct the setting synapseWorkers",
    ),
    (
        _worker(facts=WorkerFacts(("/data/homeserver.yaml", "/data/w.yaml"), "/data/w.yaml")),
        "container w: takes its list of registrations from /data/w.yaml (in the container), and not from "
        "/opt/matrix/synapse/homeserver.yaml: have it read that file, and keep app_service_config_files there",
    ),
    (
        _worker(facts=WorkerFacts(("/conf/own.yaml", "/data/w.yaml"), "")),
        "container w: takes its list of registrations from /conf/own.yaml, /data/w.yaml (in the container), and not "
        "from /opt/matrix/synapse/homeserver.yaml: have it read that file, and keep app_service_config_files there",
    ),
    (
        _set("synapse.pusher", "appservices"),
        "/opt/matrix/synapse/homeserver.yaml: notify_appservices_from_worker is appservices, and no worker was found "
        "on this host: set synapseWorkers to the name of its container",
    ),
    (
        _set("synapse.media", "404 M_UNRECOGNIZED"),
        "homeserverAddress: http://matrix-synapse:8008 does not serve the client API with the media repository inside "
        "the network matrix-net (404 M_UNRECOGNIZED): set it to http://matrix-synapse:8008, or, if a worker has "
        "that, to a proxy in the network that serves the whole client API",
    ),
    (
        _set("synapse_silent", "connection refused"),
        "synapseUrl: http://172.20.0.3:8008 does not answer as Synapse's client API (connection refused): publish the "
        "port of matrix-synapse on 127.0.0.1, or set synapseUrl",
    ),
    (
        _set("container_paths", {"/opt/matrix/synapse/homeserver.yaml": "/data/homeserver.yaml"}),
        "synapseDir: container matrix-synapse does not have /opt/matrix/synapse; it has /opt/matrix/synapse as /data: "
        "set synapseDir and synapseDataMount to the two names of one directory. If there is none, mount one for the "
        "registrations (`- ./bridges:/bridges` at its service): synapseDir …/bridges, synapseDataMount /bridges",
    ),
    (
        _add("container_paths", {"/opt/matrix/synapse": "/var/lib/synapse"}),
        "synapseDataMount: '/data' should be '/var/lib/synapse': there matrix-synapse has /opt/matrix/synapse",
    ),
    (
        _several("/data/conf.d/a.yaml"),
        "/opt/matrix/synapse/homeserver.yaml: Synapse does not read it; its configuration is "
        "/opt/matrix/synapse/conf.d/a.yaml: set homeserverFile to the one that lists the registrations",
    ),
    (
        _several("/data/homeserver.yaml", "/data/conf.d/a.yaml", app_service_config_files="/data/conf.d/a.yaml"),
        "/opt/matrix/synapse/homeserver.yaml: /opt/matrix/synapse/conf.d/a.yaml sets app_service_config_files, and "
        "Synapse takes all of it from the last file that has it (/opt/matrix/synapse/homeserver.yaml, "
        "/opt/matrix/synapse/conf.d/a.yaml): one of the two would not count: "
        "set homeserverFile to /opt/matrix/synapse/conf.d/a.yaml",
    ),
    (
        _several("/data/homeserver.yaml", "/conf/made.yaml", app_service_config_files="/conf/made.yaml"),
        "/opt/matrix/synapse/homeserver.yaml: /conf/made.yaml (in the container alone) sets app_service_config_files, "
        "and Synapse takes all of it from the last file that has it (/opt/matrix/synapse/homeserver.yaml, "
        "/conf/made.yaml (in the container alone)): one of the two would not count: "
        "set homeserverFile to a file on the host, and move the key there",
    ),
    (_set("synapse.server_name", "echo7.co"), "domain: 'echo6.co' should be Synapse's server_name, 'echo7.co'"),
    (
        _set("synapse.mas", False),
        "masContainer: set, but Synapse has its own logins (no matrix_authentication_service): set it to none",
    ),
    (_set("synapse.version", ""), "container matrix-synapse: holds no Synapse: correct the setting synapseContainer"),
    (
        _set("synapse.version", "1.120.2"),
        "Synapse 1.120.2: too old for MSC4190: update it to 1.121 or newer",
    ),
    (
        _set("synapse", SynapseFacts(error="ScannerError: line 3")),
        "container matrix-synapse: its homeserver.yaml cannot be checked: ScannerError: line 3",
    ),
    (
        _set("postgres.version", 130020),
        "Postgres 13: too old: this and Synapse need 14 or newer: dump, a new container, restore: docs/operations.md, "
        "`A newer Postgres`",
    ),
    (_set("postgres.superuser", False), "postgresSuperuser: 'synapse' should be a superuser of Postgres"),
    (
        _set("postgres", PostgresFacts(error='FATAL:  role "synapse" does not exist')),
        'container matrix-postgres: psql as synapse: FATAL:  role "synapse" does not exist',
    ),
    (
        _set("postgres.superuser_password", ""),
        "postgresPassword: not set, and container matrix-postgres has no POSTGRES_PASSWORD (or _FILE): "
        "`pulumi config set --secret postgresPassword`",
    ),
    (
        _set("postgres.login_refused", 'psql: error: connection to server failed: FATAL:  no\nFATAL:  password wrong'),
        "postgresPassword: not set, and POSTGRES_PASSWORD (or _FILE) is not synapse's password over the network: "
        "FATAL:  password wrong: `pulumi config set --secret postgresPassword`",
    ),
    (
        _set("postgres.admin_exists", False),
        "adminUser: Synapse has no user '@matt:echo6.co': correct it, or let that user log in once",
    ),
    (
        _add("postgres.roles", {"mautrix_signal": ""}),
        "role mautrix_signal: exists and was not made by this stack: set another bridges[0].role",
    ),
    (
        _add("postgres.databases", {"mautrix_signal": ""}),
        "database mautrix_signal: exists and was not made by this stack: set another bridges[0].database",
    ),
    (
        _add("postgres.roles", {"mautrix_signal": owner_comment("other/x")}),
        "role mautrix_signal: exists and belongs to the stack other/x: set another bridges[0].role",
    ),
    (
        _add("postgres.databases", {"mautrix_signal": owner_comment("other/x", began="none")}),
        "database mautrix_signal: exists and belongs to the stack other/x: set another bridges[0].database",
    ),
    (
        _set("postgres.locked_out", {"synapse": ("grafana", "mas")}),
        "isolatedDatabases: grafana would no longer get into the database synapse: grant it CONNECT there, or "
        "`pulumi config set --path 'acceptLockedOut[0]' grafana`",
    ),
    (
        _set("bridge.container", container("x", labels={"mautrix-bridge.stack": "other/x"})),
        "container mautrix-signal: exists and belongs to the stack other/x: set another bridges[0].container; "
        "or take that bridge over with its account: docs/operations.md#a-bridge-that-was-set-up-by-hand",
    ),
    (
        _set("bridge.container", container("x")),
        "container mautrix-signal: exists and was not made by this stack: set another bridges[0].container; "
        "or take that bridge over with its account: docs/operations.md#a-bridge-that-was-set-up-by-hand",
    ),
    (
        _set("bridge.directory.stack", "other/x"),
        "/opt/matrix/mautrix-signal: exists and belongs to the stack other/x: set another bridges[0].directory",
    ),
    (
        _set("bridge.directory.entries", ("signal.db",)),
        "/opt/matrix/mautrix-signal: holds files that this stack did not make: set another bridges[0].directory",
    ),
    (
        _set("bridge.registration", OwnFile("", 991, 991)),
        "/opt/matrix/synapse/registration.yaml: exists and was not made by this stack: set another "
        "bridges[0].registrationFile",
    ),
    (
        _set("doublepuppet", OwnFile("other/x", 991, 991)),
        "/opt/matrix/synapse/doublepuppet.yaml: exists and belongs to the stack other/x: set another doublepuppetFile",
    ),
    (
        _other(id="signal"),
        "registration /data/irc.yaml: has the id signal too: Synapse would not start: remove one of the two"
        f"{ADOPTION_ADVICE}",
    ),
    (
        _other(id="doublepuppet"),
        "registration /data/irc.yaml: has the id doublepuppet too: set another doublepuppetId",
    ),
    (
        _other(exclusive=(r"@signal_[0-9]+:echo6\.co",)),  # the relay of another bridge
        r"registration /data/irc.yaml: its exclusive namespace @signal_[0-9]+:echo6\.co covers "
        "@signal_4915112345678:echo6.co: narrow it or remove it"
        f"{ADOPTION_ADVICE}",
    ),
    (
        _other(exclusive=(r"@signal_pni__.*:echo6\.co",)),  # ghosts of phone-number identities
        r"registration /data/irc.yaml: its exclusive namespace @signal_pni__.*:echo6\.co covers "
        "@signal_pni__0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94:echo6.co: narrow it or remove it"
        f"{ADOPTION_ADVICE}",
    ),
    (
        _other(exclusive=(r"@signal_.*:echo6\.co",)),
        r"registration /data/irc.yaml: its exclusive namespace @signal_.*:echo6\.co covers "
        "@signal_0f8d4c1e-3b52-4f7a-9c60-2d1e7a5b8c94:echo6.co: narrow "
        f"it or remove it{ADOPTION_ADVICE}",
    ),
    (
        _other(error="FileNotFoundError: no such file"),
        "registration /data/irc.yaml: cannot be read: FileNotFoundError: no such file: fix it, or Synapse will not "
        "start again",
    ),
    (
        _set("directory.stack", "other/x"),
        "/opt/matrix/mautrix-bridges: exists and belongs to the stack other/x: set another sharedDir",
    ),
    (
        _set("directory.entries", ("notes",)),
        "/opt/matrix/mautrix-bridges: holds files that this stack did not make: set another sharedDir",
    ),
    (
        _set("bridge.config_refused", ("bridgeConfig.network.x: is no setting of this bridge's",)),
        "bridges[0].bridgeConfig.network.x: is no setting of this bridge's",
    ),
    (
        _set("synapse_dir.writable", False),
        "/opt/matrix/synapse: is read-only: make it writable for the user who runs this",
    ),
    (
        _set("directory.fault", "/opt/matrix: belongs to uid 1000, who could change it: chown root /opt/matrix"),
        "/opt/matrix: belongs to uid 1000, who could change it: chown root /opt/matrix (setting sharedDir)",
    ),
    (
        _set("bridge.directory.fault", "/opt/no: no such directory: make it"),
        "/opt/no: no such directory: make it (setting bridges[0].directory)",
    ),
    (
        _set("bridge.archive_dir.fault", "/var/a: others may write into it: chmod go-w /var/a"),
        "/var/a: others may write into it: chmod go-w /var/a (setting bridges[0].archiveDir)",
    ),
    (
        _set("backup_dir.fault", "/opt/matrix/backups: is no directory: move it away"),
        "/opt/matrix/backups: is no directory: move it away (setting backupDir)",
    ),
    (
        _set("docker_free", 50 * 2**20),
        "disk: 50 MiB free for Docker: the bridges' images and temporary files may need 2648: make room",
    ),
    (
        _set("backup_dir.free", 30 * 2**20),
        "disk: 30 MiB free beside /opt/matrix/scripts/pg_backup.sh: the dumps may need 638: make room",
    ),
    (
        _set("homeserver", None),
        "/opt/matrix/synapse/homeserver.yaml: no such file on the host: check the setting synapseDir",
    ),
    (_set("homeserver.text", None), "/opt/matrix/synapse/homeserver.yaml: is not UTF-8 text: convert it"),
    (
        _set("backup_script.foreign", "/opt/matrix/scripts: belongs to uid 1000, …: `chown root /opt/matrix/scripts`"),
        "/opt/matrix/scripts: belongs to uid 1000, …: `chown root /opt/matrix/scripts`; or `pulumi config set "
        "backupScript none`, and the host runs our dump script by itself",
    ),
    (
        _set("backup_script.writable", False),
        "/opt/matrix/scripts/pg_backup.sh: it or its directory is read-only: make it writable for the user who runs "
        "this",
    ),
    (
        _set("backup_syntax", "4: unexpected end of file: close it"),
        "/opt/matrix/scripts/pg_backup.sh:4: unexpected end of file: close it",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "line"), REFUSALS, ids=[line[:50] for _, line in REFUSALS])
def test_each_refusal_is_one_line_with_its_fix(change: Change, line: str) -> None:
    assert verdict(change(healthy())).problems == (line,)


def _with_homeserver(facts: HostFacts, text: str) -> HostFacts:
    return _set("homeserver.text", text)(facts)


@pytest.mark.parametrize(
    "change",
    [
        _worker(),
        _worker(facts=replace(READS, decided_in="/data/homeserver.yaml")),
        _set("synapse", replace(healthy().synapse, workers=2, pusher="a")),
        _set("synapse.pusher", "main"),
    ],
)
def test_workers_that_are_restarted_with_the_main_process_are_fine(change: Change) -> None:
    """Those of the setting, and those in Synapse's own container."""
    assert verdict(change(healthy())).problems == ()


def test_a_homeserver_yaml_that_cannot_be_edited_is_refused_with_its_line() -> None:
    text = HOMESERVER + "experimental_features:\n  msc3202_transaction_extensions: false\n"
    (problem,) = verdict(_with_homeserver(healthy(), text)).problems
    assert problem.startswith("/opt/matrix/synapse/homeserver.yaml:6: ")


def test_every_problem_of_a_backup_script_is_reported_with_its_line() -> None:
    text = "#!/bin/bash\nOUT=/srv\npg_dump synapse | gpg -e -r me > $OUT/synapse.gpg\n"
    problems = verdict(_set("backup_script.text", text)(healthy())).problems
    assert len(problems) == 2, problems
    assert all(problem.startswith("/opt/matrix/scripts/pg_backup.sh:") for problem in problems)
    assert [word for word in ("backupDir", "backupFilter") if word in " ".join(problems)] == [
        "backupDir",
        "backupFilter",
    ]


def test_an_upload_in_the_backup_script_is_a_warning_with_its_line() -> None:
    facts = healthy()
    assert facts.backup_script is not None and facts.backup_script.text is not None
    text = facts.backup_script.text + 'rclone copy "$BACKUP_DIR" remote:matrix\n'
    found = verdict(_set("backup_script.text", text)(facts))
    assert found.problems == ()
    line = len(text.splitlines())
    assert [told for told in found.warnings if told.startswith(f"/opt/matrix/scripts/pg_backup.sh:{line}: ")]


CRON_FILE = "/etc/cron.d/mautrix-bridges_backup"
TIMER, SERVICE = (f"/etc/systemd/system/mautrix-bridges_backup.{kind}" for kind in ("timer", "service"))
OURS = OwnFile(STACK, 0, 0)


def without_script(
    facts: HostFacts, scheduler: str, files: Mapping[str, OwnFile] | None = None, **more: Any
) -> Findings:
    """The verdict on a host without a script of the operator's, with what may run ours there."""
    schedule = ScheduleFacts(scheduler, dict(files or {}), **more)
    facts = replace(facts, backup_script=None, backup_edited="", schedule=schedule)
    return verdict(facts, backupScript="none", backupDir="/srv/dumps")


@pytest.mark.parametrize(("scheduler", "path"), [("cron", CRON_FILE), ("systemd", TIMER)])
def test_without_a_backup_script_a_new_file_has_the_host_make_the_dumps(scheduler: str, path: str) -> None:
    found = without_script(healthy(), scheduler)
    assert found.problems == ()
    homeserver, dump_script, schedule, _ = found.changes
    assert "homeserver.yaml" in homeserver
    assert "/opt/matrix/mautrix-bridges/mautrix-backup.sh" in dump_script
    assert schedule == f"a new file, {path}: the host makes the dumps each night at 03:30"
    assert not [line for line in found.warnings if "dumps at night" in line]


def test_without_anything_that_runs_them_the_line_is_told() -> None:
    """`up` said success, and no dump was ever made again."""
    found = without_script(healthy(), "")
    assert found.problems == () and len(found.changes) == 3
    (told,) = [line for line in found.warnings if line.startswith("backupScript: none, and neither a cron that reads")]
    line = "30 3 * * * root /opt/matrix/mautrix-bridges/mautrix-backup.sh /srv/dumps >/dev/null"
    assert told.endswith(f"nothing makes the dumps at night: have something there run what this line does: {line}")


@pytest.mark.parametrize("path", [CRON_FILE, TIMER, SERVICE])
@pytest.mark.parametrize("stack", ["", "other/x"])
def test_a_file_of_somebody_else_s_in_the_place_of_the_schedule_is_refused(path: str, stack: str) -> None:
    """Two stacks whose sharedDir have one name: the second would take the first one's nights."""
    scheduler = "cron" if path == CRON_FILE else "systemd"
    (told,) = without_script(healthy(), scheduler, {path: OwnFile(stack, 0, 0)}).problems
    assert told.startswith(f"{path}: exists and ") and told.endswith("set another sharedDir, whose name it has")
    assert without_script(healthy(), "", {path: OwnFile(stack, 0, 0)}).problems == ()


@pytest.mark.parametrize(
    ("scheduler", "files", "stopped", "text"),
    [
        ("cron", {CRON_FILE: OURS}, "", ""),
        ("systemd", {TIMER: OURS, SERVICE: OURS}, "", ""),
        ("cron", {}, "", f"{CRON_FILE}: is missing: if somebody removed it, `pulumi config set reapply 1`"),
        ("cron", {CRON_FILE: replace(OURS, changed=True)}, "", f"{CRON_FILE}: was changed since `up` wrote it: `pul"),
        ("systemd", {TIMER: OURS}, "", f"{SERVICE}: is missing: if somebody removed it, "),
        (
            "systemd", {TIMER: OURS, SERVICE: OURS}, "inactive, disabled",
            f"{TIMER}: systemd has it as inactive, disabled, so the dumps are not made at night: `pul",
        ),
        ("", {CRON_FILE: OURS}, "", f"{CRON_FILE}: nothing on the host reads it, so the dumps are not made at"),
    ],
)  # fmt: skip
def test_a_schedule_that_is_no_longer_as_up_left_it_is_told(
    scheduler: str, files: dict[str, OwnFile], stopped: str, text: str
) -> None:
    told = without_script(deployed(), scheduler, files, stopped=stopped).warnings
    found = [line for line in told if line.startswith(("/etc/cron.d", "/etc/systemd"))]
    assert len(found) == bool(text) and all(line.startswith(text) for line in found)


def test_all_problems_are_reported_together() -> None:
    facts = healthy()
    for change, _ in (REFUSALS[0], REFUSALS[3], REFUSALS[6]):
        facts = change(facts)
    assert len(verdict(facts).problems) == 3


def test_without_mas_nothing_of_it_is_asked_for() -> None:
    host = _set("synapse.mas", False)(healthy())
    host = replace(host, mas_container=None, synapse=replace(host.synapse, version="1.90.0"))
    databases = {name: text for name, text in host.postgres.databases.items() if name != "mas"}
    host = replace(host, postgres=replace(host.postgres, roles={"synapse": ""}, databases=databases, locked_out={}))
    assert verdict(host, masContainer="none").problems == ()
    assert verdict(healthy(), masContainer="none").problems[0] == (
        "masContainer: Synapse has matrix_authentication_service: set it to the name of MAS' container"
    )


@pytest.mark.parametrize(
    "head",
    [
        "# WARNING: This file is autogenerated by element-quick-start from templates\n",
        "\n# {{ ansible_managed }}: Ansible managed\n",
        "# Generated by nix\n",
        "#\n# DO NOT EDIT: changes are lost\n",
        "# homeserver.yaml - rendered from template by scripts/bootstrap.sh\n",
        "# This file is a template - run scripts/setup.sh to generate homeserver.yaml\n",
        "# Values replaced from .env using envsubst\n",
        "# This file is managed by the role matrix_synapse\n",
        "#### Don't touch: every run of setup.sh writes it anew ####\n",
        "# Manual changes will be overwritten\n",
        "# created by deploy/install.sh\n",
    ],
)
def test_a_file_that_a_program_rewrites_is_edited_only_with_consent(head: str) -> None:
    """At its next rendering our lines are gone, and Synapse rejects the bridge."""
    text = f"{head}{HOMESERVER}"
    host = _set("homeserver.text", text)(healthy())
    (problem,) = verdict(host).problems
    number = next(n for n, line in enumerate(text.splitlines(), start=1) if len(line) > 2)
    assert problem.startswith(f"/opt/matrix/synapse/homeserver.yaml:{number}: a program rewrites this file (")
    assert "put them into its template: app_service_config_files: /data/registration.yaml, " in problem
    assert problem.endswith("; or `pulumi config set acceptGenerated true`")
    agreed = verdict(host, acceptGenerated="true")
    assert agreed.problems == () and problem.partition("; or")[0] in agreed.warnings


@pytest.mark.parametrize(
    ("seconds", "refused"), [(-1, False), (0, True), (1.6, True), (2, True), (2.1, False), (30, False)]
)
def test_a_file_that_is_as_old_as_the_start_of_its_container_is_edited_only_with_consent(
    seconds: float, refused: bool
) -> None:
    """An image's entrypoint wrote it anew: each `up` restarted a live Synapse, which dropped our entries."""
    container = healthy().synapse_container
    started = rfc3339_seconds(container.started) if container else None
    assert started
    host = _set("homeserver.changed_at", started + seconds)(healthy())
    problems = verdict(host).problems
    assert [f"was written {seconds:.0f} s after container matrix-synapse started" in line for line in problems] == (
        [True] * refused
    )
    assert verdict(host, acceptGenerated="true").problems == ()
    assert verdict(_set("homeserver.changed_at", started + seconds)(deployed())).problems == (), "no edit, no question"


def test_a_template_beside_the_file_is_told() -> None:
    found = verdict(_set("homeserver.template", "/opt/matrix/synapse/homeserver.yaml.j2")(healthy()))
    assert found.problems == ()
    assert [line for line in found.warnings if "homeserver.yaml.j2 lies beside it: if it is made from that" in line]


def test_connections_that_are_fewer_than_all_may_take_are_told_with_the_number() -> None:
    facts = _set("postgres.connections", 97)(_set("synapse.connections", 10)(_set("synapse.workers", 2)(healthy())))
    assert not [line for line in verdict(facts).warnings if "max_connections" in line]
    others = [{"kind": "whatsapp"}, *({"kind": "signal", "name": f"s{n}"} for n in range(11))]
    many = replace(facts, bridges=facts.bridges * 13)
    found = preflight(many, settings(None, others), whole(None, others))
    (line,) = [line for line in found.warnings if "max_connections" in line]
    assert line == (
        "Postgres: has 97 connections (max_connections, without those for superusers); Synapse may take 30, MAS 10, "
        "the bridges 65, and whoever comes last finds none: raise max_connections by 8, and restart Postgres"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {},
            "old events for its application services before a bridge gets a new one (about 25 min, at 1200 a second), ",
        ),
        (
            {"appserviceCatchUp": "skip"},
            "appserviceCatchUp: skip: 1834220 old events go to no bridge: `up` has Synapse",
        ),
    ],
)
def test_the_first_bridge_of_a_grown_homeserver_is_told_what_it_waits_for(changed: dict[str, str], words: str) -> None:
    """`up` did everything, failed after 90 s, and blamed a back-off."""
    behind = _set("postgres.events_behind", 1_834_220)(healthy())
    facts = _set("postgres.first_appservice", True)(behind)
    assert [words in line for line in verdict(facts, **changed).warnings if "old events" in line] == [True]
    # One was served before, whether its registration is still there or not: nothing is skipped then.
    (line,) = [line for line in verdict(behind, **changed).warnings if "old events" in line]
    assert line.endswith("`up` waits as long as it goes on") and "skip" not in line
    assert not [line for line in verdict(_set("postgres.events_behind", 900)(healthy())).warnings if "old ev" in line]


@pytest.mark.parametrize("network", ["host", "bridge", "none"])
def test_a_network_without_names_is_refused_with_the_commands_that_make_one(network: str) -> None:
    """The container failed at `up`, after the database, the registrations and Synapse's restart."""
    facts = healthy()
    for part in ("synapse", "mas", "postgres"):
        facts = _set(f"{part}_container.networks", {network: ""})(facts)
    (problem,) = verdict(facts, network=network).problems
    assert problem.startswith(f"network: '{network}' has no names") and "docker network connect" in problem


def test_a_registration_of_ours_that_is_gone_and_keeps_synapse_down_is_named() -> None:
    """Pins a problem that only says to start Synapse, which cannot start."""
    down = _set("synapse_container.status", "restarting")(deployed())
    assert len(verdict(down).problems) == 1, "its files are there"
    gone = _set("bridge.registration", None)
    homeserver = deployed().homeserver
    lines = ((homeserver and homeserver.text) or "").splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "/registration.yaml" in line)
    assert verdict(gone(down)).problems[1] == (
        f"/opt/matrix/synapse/homeserver.yaml:{number}: lists /opt/matrix/synapse/registration.yaml, which is gone, "
        "and Synapse does not start without it: take this line out (and its key, if that is then empty) and start "
        "matrix-synapse: `up` writes both again"
    )
    for fine in (deployed(), _set("interrupted", True)(down)):
        assert verdict(gone(fine)).problems == (), "`up` writes it again"


def test_a_container_that_rewrites_the_file_needs_consent_too() -> None:
    """Pins an edit that the next `docker compose up` drops, since nothing in the file's head tells of the writer."""
    facts = _set("renderers", ("matrix-init",))(healthy())
    (problem,) = verdict(facts).problems
    words = "homeserver.yaml: container matrix-init rewrites it at each start, by its command, and drops our entries"
    assert words in problem and "/data/registration.yaml" in problem and "acceptGenerated true" in problem
    found = verdict(facts, acceptGenerated="true")
    assert found.problems == () and [line for line in found.warnings if words in line]


@pytest.mark.parametrize(
    "text",
    [
        f"# configuration generated by Synapse\n{HOMESERVER}",
        f"{HOMESERVER}# generated by hand, do not edit\n",
        "# Ansible managed\n" + HOMESERVER + "app_service_config_files: [/data/registration.yaml, "
        "/data/doublepuppet.yaml]\n",
    ],
    ids=["Synapse's own head", "not in the head", "the template has our entries"],
)
def test_a_file_that_nobody_rewrites_needs_no_consent(text: str) -> None:
    changed = {"experimentalFeatures": "false"}
    assert verdict(_set("homeserver.text", text)(healthy()), **changed).problems == ()


def test_one_name_instead_of_a_list_is_one_line() -> None:
    text = f"{HOMESERVER}app_service_config_files: /data/irc.yaml\n"
    assert verdict(_set("homeserver.text", text)(healthy())).problems == (
        "/opt/matrix/synapse/homeserver.yaml:5: app_service_config_files has a value of the wrong type: "
        "it should be a list of file names",
    )


def test_locked_out_roles_are_let_go_when_accepted() -> None:
    facts = _set("postgres.locked_out", {"synapse": ("grafana",)})(healthy())
    assert verdict(facts, acceptLockedOut='["grafana"]').problems == ()


def test_a_second_run_after_a_failed_one_is_not_refused_for_what_the_first_made() -> None:
    assert verdict(but(deployed(), {"container": None})).problems == ()  # it stopped at the check


def test_a_removed_entry_is_reported_with_the_command_that_puts_it_back() -> None:
    (told,) = [each for each in verdict(_with_homeserver(deployed(), HOMESERVER)).warnings if "no longer holds" in each]
    assert "/data/registration.yaml" in told
    assert told.endswith("`pulumi config set reapply 1` and `pulumi up` put it back")


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda host: _with_homeserver(host, HOMESERVER), "homeserver.yaml: no longer holds"),
        (lambda host: _set("backup_script.text", BACKUP_SCRIPT)(host), "pg_backup.sh: no longer holds the call"),
    ],
    ids=["homeserver.yaml", "the backup script"],
)
def test_what_up_will_not_put_back_by_itself_is_drift_and_no_change(change: Change, lost: str) -> None:
    """Preview announced the edit, and `up` said 28 unchanged; with reapply set, it advised the next number."""
    edited = backup_script.add_call(BACKUP_SCRIPT, backup_script.dump_call_of(whole()))
    host = change(replace(deployed(), backup_edited=edited))
    found = verdict(host)
    assert found.changes == () and [line for line in found.warnings if lost in line and "reapply 1" in line]
    found = verdict(host, reapply="1")
    (told,) = [line for line in found.warnings if lost in line]
    assert len(found.changes) == 1 and told.endswith("if somebody removed it, this `pulumi up` writes it")


@pytest.mark.parametrize("changed", [{"backupDir": "/var/backups/other"}, {"doublepuppetFile": "other.yaml"}])
def test_a_setting_that_changed_is_no_drift(changed: dict[str, str]) -> None:
    edited = backup_script.add_call(BACKUP_SCRIPT, backup_script.dump_call_of(whole(**changed)))
    found = verdict(replace(deployed(), backup_edited=edited), **changed)
    assert not [line for line in found.warnings if "no longer holds" in line] and found.changes


@pytest.mark.parametrize(("comment", "told"), [("", 1), (owner_comment("p/other"), 1), (owner_comment(STACK), 0)])
def test_somebody_else_s_database_under_the_name_for_the_proof_is_refused(comment: str, told: int) -> None:
    """It was found in the step, with the bridge stopped for its archive."""
    problems = verdict(_add("postgres.databases", {"mautrix_signal_restore_check": comment})(deployed())).problems
    assert len([line for line in problems if "mautrix_signal_restore_check: is not this stack's" in line]) == told


def test_a_database_of_ours_that_no_bridge_has_is_told() -> None:
    orphan = {"mautrix_slack": owner_comment(STACK, began="none"), "x": owner_comment("p/other"), "y": ""}
    found = verdict(_add("postgres.databases", orphan)(deployed()))
    (told,) = [line for line in found.warnings if "no bridge of the settings has it" in line]
    assert told.startswith("database mautrix_slack: ") and found.problems == ()


def test_what_a_new_database_begins_with_is_told_before_it_is_made() -> None:
    """A destroyed bridge came back empty, beside its archive, and its user linked a new account."""
    left = {"signal:v1": SourceFacts(PATH, MANIFEST)}
    for restoring, words in (
        (SourceFacts(PATH, MANIFEST), f"with the content of {PATH}"),
        (None, "empty, and not with"),
    ):
        host = but(healthy(), {"restoring": restoring, "archives": left})
        told = preflight(host, settings(LATEST), whole(LATEST)).changes[-1]
        assert told.startswith(f"a new database, mautrix_signal: begins {words}")


def test_a_backup_script_that_only_a_shell_can_run_is_told() -> None:
    """Our proof ran it through its shell, and cron could not."""
    host = _set("backup_script", replace(healthy().backup_script, executable=False))(healthy())  # type: ignore[type-var]
    (told,) = [line for line in verdict(host).warnings if "is not executable" in line]
    assert "`chmod u+x /opt/matrix/scripts/pg_backup.sh`" in told


@pytest.mark.parametrize("key", ["database", "role", "container"])
def test_a_bridge_that_lives_keeps_its_names(key: str) -> None:
    """The old one would be dropped, or left behind, while the new one begins empty."""
    (told,) = verdict(deployed(), {key: "another"}).problems
    assert told.startswith(f"bridges[0].{key}: is mautrix") and "set it back" in told


def test_a_bridge_that_takes_the_names_of_one_that_leaves_in_the_same_run_is_refused() -> None:
    """The one that leaves is archived and dropped, and with it what the new one has just begun."""
    own = {"name": "signal2", "container": "mautrix-signal", "database": "mautrix_signal", "role": "mautrix_signal"}
    problems = verdict(deployed(), own).problems
    assert [line for line in problems if "takes container mautrix-signal, database mautrix_signal" in line]


# what somebody changed since --------------------------------------------------------------------------------------

BACK = "`pulumi config set reapply 1` and `pulumi up` put it back"
WRITTEN = OwnFile(STACK, 991, 991)
GONE, CHANGED = f"is missing: if somebody removed it, {BACK}", f"was changed since `up` wrote it: {BACK}"
WITHOUT_ENTRIES = _set("homeserver.text", HOMESERVER)
UNREADY = container("mautrix-signal", id="another", labels=LABELS)
DRIFTS: list[tuple[Change, str, set[str]]] = [
    (_drop("postgres.roles", "mautrix_signal"), f"role mautrix_signal: {GONE}", {"isolation", "ready"}),
    (_drop("postgres.databases", "mautrix_signal"), f"database mautrix_signal: {GONE}, empty", {"isolation", "ready"}),
    (
        _set("postgres.foreign", {"mautrix_signal": 3}),
        "database mautrix_signal: 3 objects in it are not mautrix_signal's, which can neither use nor archive what is",
        {"ready"},
    ),
    (_set("bridge.registration", None), f"/opt/matrix/synapse/registration.yaml: {GONE}", {"verdict", "ready"}),
    (
        _set("bridge.registration", replace(WRITTEN, uid=0, mode=0o640)),
        "/opt/matrix/synapse/registration.yaml: has another owner or mode (0:991, 0640) "
        "than `up` gave it (991:991, 0600)",
        {"verdict", "ready"},
    ),
    (
        _set("bridge.config", replace(WRITTEN, uid=0, gid=0)),
        "/opt/matrix/mautrix-signal: config.yaml: has another owner or mode (0:0, 0600) than `up` gave it (1337:1337",
        {"ready"},
    ),
    (
        _set("dump_script", OwnFile(STACK, 0, 0, mode=0o755)),
        "/opt/matrix/mautrix-bridges/mautrix-backup.sh: has another owner or mode (0:0, 0755) "
        "than `up` gave it (0:0, 0700)",
        set(),
    ),
    (
        _set("bridge.registration", replace(WRITTEN, changed=True)),
        f"/opt/matrix/synapse/registration.yaml: {CHANGED}",
        {"verdict", "ready"},
    ),
    (_set("doublepuppet", None), f"/opt/matrix/synapse/doublepuppet.yaml: {GONE}", {"verdict", "ready"}),
    (
        _set("doublepuppet", replace(WRITTEN, changed=True)),
        f"/opt/matrix/synapse/doublepuppet.yaml: {CHANGED}",
        {"verdict", "ready"},
    ),
    (
        WITHOUT_ENTRIES,
        "/opt/matrix/synapse/homeserver.yaml: no longer holds app_service_config_files: /data/registration.yaml",
        {"verdict", "ready"},
    ),
    (_set("bridge.config", None), f"/opt/matrix/mautrix-signal: config.yaml: {GONE}", {"ready"}),
    (
        _set("bridge.config", replace(WRITTEN, changed=True)),
        f"/opt/matrix/mautrix-signal: config.yaml: {CHANGED}",
        {"ready"},
    ),
    (
        _set("bridge.directory", replace(healthy().bridges[0].directory, stack=None)),
        f"/opt/matrix/mautrix-signal: is empty or missing: if somebody removed it, {BACK}",
        {"ready"},
    ),
    (_set("bridge.container", None), "container mautrix-signal: is gone: `up` replaces it", {"ready"}),
    (_set("bridge.container.status", "exited"), "container mautrix-signal: is exited: `up` replaces it", {"ready"}),
    (
        _set("bridge.container", UNREADY),
        "container mautrix-signal: is not the one that got ready last: `up` replaces it",
        {"ready"},
    ),
    (
        _set("bridge.container.networks", {}),
        "container mautrix-signal: is not in the network matrix-net: `up` replaces it",
        {"ready"},
    ),
    (_set("dump_script", None), f"/opt/matrix/mautrix-bridges/mautrix-backup.sh: {GONE}", set()),
    (
        _set("dump_script", OwnFile(STACK, 0, 0, changed=True, mode=0o700)),
        f"/opt/matrix/mautrix-bridges/mautrix-backup.sh: {CHANGED}",
        set(),
    ),
    (
        _set("backup_script.text", BACKUP_SCRIPT),
        "/opt/matrix/scripts/pg_backup.sh: no longer holds the call of our dump script: if somebody removed it",
        set(),
    ),
    (
        _set("directory.entries", (".proven.json", ".stack")),
        "/opt/matrix/mautrix-bridges/deployed.json: is missing, and `status` knows nothing without it",
        set(),
    ),
    (
        _set("directory.entries", (".stack", "deployed.json")),
        "/opt/matrix/mautrix-bridges/.proven.json: is missing, and a destroy does not know the dumps of the proof",
        set(),
    ),
]


@pytest.mark.parametrize(("change", "text", "doubts"), DRIFTS, ids=[text[:60] for _, text, _ in DRIFTS])
def test_what_is_no_longer_as_up_left_it_is_one_line_and_its_proofs_do_not_stand(
    change: Change, text: str, doubts: set[str]
) -> None:
    """A bridge was in a restart loop without its role, or with another token, and all was `unchanged`, `verdict
    PASS`."""
    before, found = verdict(deployed()), verdict(change(deployed()))
    assert (before.bridges[0].doubts, found.problems) == ({}, ())
    (told,) = {*found.warnings} - {*before.warnings}
    assert told.startswith(text)
    assert found.bridges[0].doubts == dict.fromkeys(doubts, told)


def test_of_a_bridge_that_is_still_to_be_made_nothing_is_missing() -> None:
    """Neither of the first, nor of one beside a deployed one."""
    assert not [line for line in verdict(healthy()).warnings if "missing" in line or "gone" in line]
    facts, others = deployed(), [{"kind": "whatsapp"}]
    facts = replace(facts, bridges=(*facts.bridges, *healthy().bridges))
    found = preflight(facts, settings(None, others), whole(None, others))
    assert not [line for line in found.warnings if "missing" in line or "no longer holds" in line]
    assert [bridge.doubts for bridge in found.bridges] == [{}, {}]


def test_a_bridge_of_which_only_the_database_is_left_was_deployed() -> None:
    facts = replace(deployed(), bridges=healthy().bridges)
    told = " ".join(verdict(facts).warnings)
    assert "registration.yaml: is missing" in told and "container mautrix-signal: is gone" in told


def test_a_container_that_never_got_ready_is_replaced_and_one_that_was_ready_is_not() -> None:
    facts = deployed()
    assert attempt(facts) == 1
    facts = but(facts, {"ready_mark": ""})
    assert attempt(facts) == 2
    container = facts.bridges[0].container
    assert container is not None
    again = replace(container, labels={**container.labels, "mautrix-bridge.attempt": "2"})
    assert attempt(but(facts, {"container": again, "ready_mark": f"{again.id} 2"})) == 2


@pytest.mark.parametrize("status", ["created", "exited", "dead"])
def test_a_container_that_somebody_stopped_is_replaced_with_a_warning(status: str) -> None:
    """`up` would say that nothing has changed, and the bridge would stay dead."""
    found = verdict(_set("bridge.container.status", status)(deployed()))
    assert found.bridges[0].attempt == 2 and found.problems == ()
    assert f"container mautrix-signal: is {status}: `up` replaces it" in found.warnings
    assert attempt(_set("bridge.container.status", "restarting")(deployed())) == 1


def test_a_container_that_somebody_removed_is_replaced_though_the_state_has_it() -> None:
    """An `up` that never got it ready left no mark, so nothing on the host tells the number that the state has."""
    later = replace(deployed(), began="2026-11-24T14:12:36.500000+00:00")
    gone = [attempt(but(host, {"container": None})) for host in (deployed(), later)]
    assert gone == [1795529555, 1795529556]
    container = later.bridges[0].container
    assert container is not None
    kept = replace(container, labels={**LABELS, "mautrix-bridge.attempt": str(gone[0])})
    assert attempt(but(later, {"container": kept, "ready_mark": f"{kept.id} {gone[0]}"})) == gone[0]


MANIFEST = Manifest(
    version=4, created="20261124T120000Z", reason="destroy", stack=STACK, domain="echo6.co", bridge="mautrix-signal",
    image="signal:v1", schema={}, database="mautrix_signal", key="0123456789abcdef", members=(), missing=(),
)  # fmt: skip
PATH = "/var/backups/mautrix-signal/mautrix-signal-20261124T120000Z.tar.gz"


def _archived(**changed: Any) -> HostFacts:
    return but(healthy(), {"restoring": SourceFacts(PATH, replace(MANIFEST, **changed))})


def test_a_new_deployment_begins_with_the_archive_that_the_setting_means() -> None:
    found = verdict(_archived(), LATEST)
    assert (found.problems, found.bridges[0].restore) == ((), PATH)
    assert verdict(healthy()).bridges[0].restore == "none"


def test_a_restore_without_effect_is_reported() -> None:
    """Who sets it on a running deployment believes that he gets the archive's data, and would get nothing; the key
    alone would be another one, and read nothing."""
    found = verdict(but(deployed(), {"restoring": SourceFacts(PATH, MANIFEST)}), LATEST)
    assert found.bridges[0].restore == "none"
    told = "bridges[0].restore: 'latest' counts only where the database is new: to put it in place of the "
    assert [line for line in found.warnings if line.startswith(told)]
    assert not [line for line in verdict(_archived(), LATEST).warnings if ".restore:" in line]


def test_what_it_began_with_counts_also_when_the_archive_is_gone() -> None:
    facts = _add("postgres.databases", {"mautrix_signal": owner_comment(STACK, began=PATH, key=KEY)})(deployed())
    facts = but(facts, {"restoring": SourceFacts(error=f"{PATH}: no such file")})
    found = verdict(facts, {"restore": PATH})
    assert (found.problems, found.bridges[0].restore) == ((), PATH)
    assert verdict(but(facts, {"restoring": None})).bridges[0].restore == PATH


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stack": "mautrix-signal/prod"}, "is of mautrix-signal/prod@echo6.co, and this is mautrix-signal/contabo@"),
        ({"domain": "example.org"}, "is of mautrix-signal/contabo@example.org, and this is "),
    ],
)
def test_another_deployment_s_archive_needs_consent_by_name(changed: dict[str, str], words: str) -> None:
    """Staging would start production's Signal session, and both would be thrown out."""
    facts = _archived(**changed)
    own, archive = {"restore": PATH}, facts.bridges[0].restoring
    (problem,) = verdict(facts, own).problems
    assert words in problem
    assert archive is not None and archive.manifest is not None
    whose = archive.manifest.archive_owner
    assert problem.endswith(f"if that one is gone for good, `pulumi config set acceptArchiveOf {whose}`")
    assert verdict(facts, own, acceptArchiveOf=whose).problems == ()
    assert verdict(facts, own, acceptArchiveOf="mautrix-signal/other@echo6.co").problems == (problem,)


def test_another_bridge_s_archive_is_refused() -> None:
    (problem,) = verdict(_archived(bridge="mautrix-whatsapp"), {"restore": PATH}).problems
    assert (
        problem
        == f"bridges[0].restore: {PATH} is of the bridge mautrix-whatsapp, and this is mautrix-signal: name one of "
        + ("mautrix-signal")
    )


def test_latest_without_one_of_ours_is_refused() -> None:
    archive = SourceFacts(error="/a: holds no archive of us")
    assert verdict(but(healthy(), {"restoring": archive}), LATEST).problems == (
        "bridges[0].restore: /a: holds no archive of us: set it to none, or to the path of an archive or a "
        "nightly dump",
    )


DUMP = "/var/backups/mautrix-bridges/mautrix_signal_20261124T120000Z.mautrix-bridges.sql.gz"
PICKLES = (pickled("the bridge's").hex(),)


def _dumped(host: HostFacts, **changed: Any) -> HostFacts:
    source = SourceFacts(DUMP, **{"accounts": PICKLES, **changed})
    return but(host, {"restoring": source, "going_back": source})


def test_a_nightly_dump_is_what_a_lost_database_begins_with() -> None:
    """It says nothing of whose it is: its key does."""
    found = verdict(_dumped(healthy()), {"restore": DUMP})
    assert (found.problems, found.bridges[0].restore) == ((), DUMP)
    lost = but(deployed(), postgres=healthy().postgres)
    told = [line for line in verdict(_dumped(lost), {"restore": DUMP}).warnings if "is missing" in line]
    assert told[-1].startswith("database mautrix_signal: ") and told[-1].endswith(f", with the content of {DUMP}")
    problems = verdict(_dumped(lost, error=f"{DUMP}: damaged"), {"restore": DUMP}).problems
    assert problems == (
        f"bridges[0].restore: {DUMP}: damaged: set it to none, or to the path of an archive or a nightly dump",
    )


def test_a_nightly_dump_in_the_place_of_the_content_that_is_there_is_told_and_wanted_once() -> None:
    text = owner_comment(STACK, began="none", key=KEY, image=settings().bridges[0].image)
    host = _dumped(_add("postgres.databases", {"mautrix_signal": text})(deployed()))
    found = verdict(host, {"goBackTo": DUMP})
    (change,) = found.changes
    assert found.problems == () and f"replaced by {DUMP}, then" in change and "->" not in change
    assert found.bridges[0].attempt == 2, "the container is replaced"
    done = owner_comment(STACK, began="none", key=KEY, image=settings().bridges[0].image, back=DUMP)
    assert verdict(_add("postgres.databases", {"mautrix_signal": done})(host), {"goBackTo": DUMP}).changes == ()
    error = _dumped(host, error=f"{DUMP}: cannot be read")
    (problem,) = verdict(error, {"goBackTo": DUMP}).problems
    assert problem.startswith(f"bridges[0].goBackTo: {DUMP}: cannot be read: name an archive or a dump of this bridge")


def test_the_key_of_a_dump_is_in_a_config_on_the_host_or_in_the_state_or_it_is_refused() -> None:
    """Beside another key nothing in it could be read; the dump itself has none."""
    directory = "/opt/matrix/mautrix-signal"

    def key(host: HostFacts, setting: str = "restore") -> LivingKey:
        return verdict(host, {setting: DUMP}).bridges[0].key

    of_state = key(_dumped(healthy()))
    refused = (
        f"{DUMP}: its pickle key is neither in this state nor in a config.yaml in {directory}: nothing was changed; if "
        "it is this bridge's, put the bridge's config.yaml, which each of its archives holds, into "
        f"{directory}/config-old, and run this again"
    )
    assert of_state.is_of_state
    assert (check_key(of_state, "the bridge's"), check_key(of_state, "another")) == ("", refused)
    assert check_missing_key(of_state) == refused and describe_taken_key(of_state) == ""
    nothing_encrypted = key(_dumped(healthy(), accounts=()))
    assert check_key(nothing_encrypted, "another") == check_missing_key(nothing_encrypted) == ""

    fingerprint = fingerprint_key("the bridge's")
    config = f"{directory}/config-old/config.yaml"
    of_host = key(but(_dumped(healthy(), key=fingerprint), {"keys": {fingerprint: config}}))
    assert (of_host.fingerprint, of_host.source, of_host.is_of_state) == (fingerprint, config, False)
    assert check_missing_key(of_host) == describe_taken_key(of_host) == check_key(of_host, "the bridge's") == ""

    text = owner_comment(STACK, began="none", key=fingerprint)
    back = key(_add("postgres.databases", {"mautrix_signal": text})(_dumped(deployed())), "goBackTo")
    assert (back.dump, back.is_of_state, check_key(back, "the bridge's")) == (DUMP, False, "")
    other = replace(back, accounts=(pickled("another").hex(),))
    assert check_key(other, "the bridge's") == (
        f"{DUMP}: its keys are encrypted with another pickle key than the database mautrix_signal: name another dump, "
        "or an archive, of this bridge"
    )


def test_what_began_with_a_dump_has_its_key_in_a_config() -> None:
    """The dump was named as the place of the key."""
    text = owner_comment(STACK, began=DUMP, key=KEY)
    host = _add("postgres.databases", {"mautrix_signal": text})(deployed())
    living = verdict(but(host, {"keys": {}})).bridges[0].key
    assert (living.source, living.resource) == ("", "mautrix-signal-restored-key")
    assert "/config-old, and run this again" in check_missing_key(living)


# what is ours, whatever is lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [(), ("config-0123456789ab",)])
def test_without_its_mark_or_its_directory_the_deployment_is_still_ours(entries: tuple[str, ...]) -> None:
    """Told to drop his own live database and to move away a registration that Synapse needs, he would have done so."""
    directory = replace(deployed().bridges[0].directory, stack=None, entries=entries)
    facts = but(deployed(), {"directory": directory, "directory_writers": (STACK,) if entries else ()})
    found = verdict(facts)
    assert found.problems == ()
    told = " ".join(found.warnings)
    assert "drop" not in told
    if entries:
        assert "/opt/matrix/mautrix-signal: its mark, the file .stack, is missing: if somebody removed it" in told
    else:
        assert "/opt/matrix/mautrix-signal: is empty or missing: if somebody removed it, `pulumi config set" in told


ANEW = "set it back; or `pulumi destroy` and then `pulumi up` with restore latest, which begin anew in the other one"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            _set("bridge.earlier_directory", "/srv/old"),
            f"bridges[0].directory: is /srv/old since the bridge's first `up`, and cannot be moved: {ANEW}",
        ),
        (
            _set("bridge.directory.shared", "/srv/shared"),
            f"sharedDir: is /srv/shared since the first `up` of this stack, and cannot be moved: {ANEW}",
        ),
    ],
)
def test_a_directory_of_a_stack_that_lives_is_not_moved(change: Change, line: str) -> None:
    """Pins an old directory that stays with its secrets, after the move and after a destroy."""
    assert verdict(change(deployed())).problems == (line,)


def test_archives_that_stay_behind_are_told_of() -> None:
    found = verdict(_set("bridge.earlier_archive_dir", "/srv/archives")(deployed()))
    line = (
        "bridges[0].archiveDir: the archives so far, and the keys in them, stay in /srv/archives, where nothing looks "
        "for them any more: move them to /var/backups/mautrix-signal"
    )
    assert found.problems == () and line in found.warnings


def test_another_directory_with_files_in_it_is_refused() -> None:
    directory = replace(deployed().bridges[0].directory, stack=None, entries=("notes",))
    assert verdict(but(deployed(), {"directory": directory, "directory_writers": ()})).problems == (
        "/opt/matrix/mautrix-signal: holds files that this stack did not make: set another bridges[0].directory",
    )


@pytest.mark.parametrize("there", ["role", "database"])
def test_what_a_killed_run_made_is_taken_over_and_what_somebody_else_made_is_not(there: str) -> None:
    made = _set("postgres.objects", {"mautrix_signal": 0})(
        _add(f"postgres.{there}s", {"mautrix_signal": ""})(healthy())
    )
    claimed = but(made, {"claimed": (f"{there} mautrix_signal",)})
    found = verdict(claimed)
    of = found.bridges[0]
    assert (found.problems, of.role_exists, of.database_exists) == ((), there == "role", there == "database")
    other = but(made, {"claimed": (f"{there} another",)})
    for host in (made, other, but(other, {"directory": deployed().bridges[0].directory})):
        found = verdict(host)
        line = f"{there} mautrix_signal: exists and was not made by this stack: set another bridges[0].{there}"
        assert found.problems == (line,)
        assert not (found.bridges[0].role_exists or found.bridges[0].database_exists), "nor is it imported"


@pytest.mark.parametrize("kind", ["role", "database"])
def test_another_name_on_a_deployed_stack_takes_over_nothing_of_somebody_else_s(kind: str) -> None:
    """All that an earlier `up` had made was taken for a mark of whatever the settings named next."""
    found = verdict(_add(f"postgres.{kind}s", {"grafana": ""})(deployed()), {kind: "grafana"})
    told = f"{kind} grafana: exists and was not made by this stack: set another bridges[0].{kind}"
    assert found.problems[0] == told and found.problems[1].startswith(f"bridges[0].{kind}: is mautrix_signal since")
    assert not (found.bridges[0].role_exists if kind == "role" else found.bridges[0].database_exists)


@pytest.mark.parametrize("comment", ["", owner_comment(STACK), owner_comment(STACK, image="x")])
@pytest.mark.parametrize("objects", [{"mautrix_signal": 40}, {}])
def test_a_database_with_content_whose_comment_is_lost_is_unknown_and_not_new(
    comment: str, objects: dict[str, int]
) -> None:
    """Another image went in without an archive, and another pickle key was accepted."""
    host = _set("postgres.objects", objects)(_add("postgres.databases", {"mautrix_signal": comment})(deployed()))
    (problem,) = verdict(host).problems
    lost = (
        "database mautrix_signal: has content, and no comment that tells which pickle key and which image it needs (a "
        "dump that was restored without it?): "
    )
    note = owner_comment(STACK, began="none", key=KEY, image="example/mautrix-signal:1")
    assert problem == (
        f"{lost}if it is what /opt/matrix/mautrix-signal/config-0123456789ab/config.yaml was made for and "
        "example/mautrix-signal:1 used last, tell so: `docker exec matrix-postgres psql -U synapse -d postgres -c "
        f"'comment on database \"mautrix_signal\" is $${note}$$'`; else set another bridges[0].database"
    )
    unknowns: list[dict[str, Any]] = [{"keys": {}}, {"keys": {KEY: "/a", "another": "/b"}}, {"ready_mark": ""}]
    for unknown in unknowns:
        fix = "set another bridges[0].database; begin that with an archive, if there is one"
        assert verdict(but(host, unknown)).problems == (lost + fix,)
    empty = _set("postgres.objects", {"mautrix_signal": 0})(host)
    assert verdict(empty).problems == (), "a run was killed before it could say with what the database begins"


def test_no_advice_ever_destroys() -> None:
    told = [line for change, _ in REFUSALS for line in verdict(change(healthy())).problems]
    told += [line for change, _ in REFUSALS for line in verdict(change(deployed())).problems]
    assert not [line for line in told if re.search(r"\b(drop|delete|erase)\b", line)]


# killed between the write and the healthy restart ------------------------------------------------------------------


def test_a_synapse_that_an_ended_run_left_down_does_not_stop_the_run_that_mends_it() -> None:
    facts = replace(deployed(), interrupted=True, synapse=SynapseFacts(error="no such process"))
    facts = _set("synapse_container.status", "exited")(facts)
    found = verdict(facts)
    assert found.problems == ()
    assert [told for told in found.warnings if "`up` takes that back first" in told]
    assert verdict(replace(facts, interrupted=False)).problems != ()


# room --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            _set("docker_free", 500 * 2**20),
            "disk: 500 MiB free for Docker: the bridges' images and temporary files may need 2648",
        ),
        (
            _set("backup_dir.free", 300 * 2**20),
            "disk: 300 MiB free beside /opt/matrix/scripts/pg_backup.sh: the dumps may need 638",
        ),
    ],
)
def test_a_disk_that_may_be_too_small_is_reported_with_numbers(change: Change, line: str) -> None:
    found = verdict(change(healthy()))
    assert found.problems == () and line in found.warnings


def test_the_archive_s_disk_is_looked_at_where_the_archive_goes() -> None:
    facts = _add("postgres.bytes", {"mautrix_signal": 400 * 2**20})(deployed())
    told = "disk: 500 MiB free in /var/backups/mautrix-signal: an archive may need 600"
    assert told in verdict(_set("bridge.archive_dir.free", 500 * 2**20)(facts)).warnings
    assert "disk:" not in " ".join(verdict(facts).warnings)


def test_the_disk_of_a_directory_of_their_own_is_measured_and_said() -> None:
    found = verdict(_set("backup_dir.free", 150 * 2**20)(healthy()), backupDir="/var/backups/mautrix-bridges")
    assert "disk: 150 MiB free in /var/backups/mautrix-bridges: the dumps may need 209" in found.warnings


@pytest.mark.parametrize("name", ["synapse_20260101_030000.sql.gz", "notes.txt"])
def test_a_directory_for_our_dumps_that_holds_other_files_is_refused(name: str) -> None:
    """Its owner's clean-up would count ours with his, and delete his."""
    own = "mas_20260101T030000Z.mautrix-bridges.sql.gz"
    dashed = "mautrix-signal_20260101T030000Z.mautrix-bridges.sql.gz.age"
    facts = _set("backup_dir.entries", (own, dashed, ".mautrix-bridges.a1B2c3D4", "lost+found"))(healthy())
    assert verdict(facts, backupDir="/srv/dumps").problems == ()
    facts = _set("backup_dir.entries", (own, name))(healthy())
    (problem,) = verdict(facts, backupDir="/srv/dumps").problems
    assert problem.startswith(f"backupDir: /srv/dumps holds files that are no dumps of ours ({name}): set one that is")
    assert verdict(facts).problems == (), "beside the script's own dumps, others are what is there"


# several bridges -------------------------------------------------------------------------------------------------


def test_a_removed_bridge_is_reported_and_an_added_one_is_checked() -> None:
    others = [{"kind": "whatsapp"}]
    host = replace(
        deployed(), bridges=(*deployed().bridges, healthy().bridges[0]), leaving_containers=("mautrix-slack",)
    )
    known = Registration("/data/wa.yaml", "whatsapp", (r"@whatsapp_.*:echo6\.co",))
    found = preflight(_set("synapse.registrations", (known,))(host), settings(None, others), whole(None, others))
    assert [line.partition(": ")[2].partition(":")[0] for line in found.problems] == ["has the id whatsapp too"]
    assert not [line for line in found.warnings if "no longer holds" in line], "nobody removed what is to come"
    assert found.changes[-1] == (
        "container mautrix-slack: is no longer among the bridges: it stops, its database is archived, and all of it "
        "is removed"
    )
    assert found.bridges[0].attempt == 1


def test_a_bridge_that_leaves_can_be_archived_or_nothing_stops() -> None:
    """It was stopped first, and `up` failed then."""
    others = [{"kind": "slack"}]
    folder = replace(healthy().bridges[0].archive_dir, free=2**20)
    host = replace(deployed(), recorded=whole(None, others), leaving_archives={"slack": folder})
    big = _add("postgres.bytes", {"mautrix_slack": 2**30})(host)
    assert [line for line in verdict(big).problems if "may need 1536: make room" in line and "of mautrix-slack" in line]
    for fault, words in (
        (replace(folder, fault="/x: others may write"), "/x: others"),
        (replace(folder, writable=False), "/v"),
    ):
        (told,) = verdict(replace(host, leaving_archives={"slack": fault})).problems
        assert told.startswith(words) and "archive of mautrix-slack, which leaves the list, goes there" in told
    taken = _add("postgres.databases", {"mautrix_slack_restore_check": ""})(host)
    assert "proofs restore the dumps of slack into one" in verdict(taken).problems[0]


def test_images_that_are_to_come_need_room_together() -> None:
    others = [{"kind": "whatsapp"}, {"kind": "slack"}]
    host = replace(healthy(3), docker_free=500 * 2**20)
    told = preflight(host, settings(None, others), whole(None, others)).warnings
    assert "disk: 500 MiB free for Docker: the bridges' images and temporary files may need 3848" in told
