"""Pins the failure of a first aid that is not there when it is needed: a traceback instead of a table, a question that
holds it up for minutes, a secret on the screen, a dump that is taken for a good one and cannot be restored; and of the
file that it reads: a secret in it, another stack's that goes."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.backup import backup_script
from documents.backup.dump_script import render_dump_script
from documents.bridge.registrations import render_bridge_registration
from documents.homeserver.adding import add_entries
from documents.homeserver.entries import Entries
from documents.homeserver.meaning import find_missing_entries
from documents.launcher import RUN_FROM_STDIN
from documents.marks import owner_comment
from documents.places import Deployment
from host_programs import program_file
from host_programs.backup import archives
from host_programs.docker import inspect_containers
from host_programs.facts import scheduler
from host_programs.files import directory
from host_programs.messages import ScriptError
from host_programs.postgres import isolation
from host_programs.status.deployed import read_deployment, record_deployment
from host_programs.status.last_dumps import read_last_dump
from host_programs.status.print_status import main, read_report
from host_programs.status.read_status import StatusContext, read_health, read_status
from host_programs.status.rights import read_rights
from host_programs.synapse.inside import homeserver_edit
from host_programs.synapse.inside.homeserver_edit import EditRequest, EditResult
from host_programs.verbs import words_of
from host_programs.wire import from_json, to_json
from tests.facts import HOMESERVER, KEYS, ROOT, STACK, TOKENS, whole
from tests.host_programs.container_json import ID, STARTED, inspected
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres
from tests.host_programs.scripted_server import Call, ScriptedServer, closed_port, error, reply
from tests.host_programs.stub_docker import StubDocker, out
from verdicts.exit_codes import explain_exit_code
from verdicts.host_facts.archive import Manifest
from verdicts.status.evaluation import StatusReport, evaluate_status
from verdicts.status.facts import Health, StatusFacts

__all__ = ["bridge_database", "postgres"]

TEMPLATE = (ROOT / "host_programs/backup/bridge_backup.sh").read_text()
INSPECT = "container inspect mautrix-signal"
LOG, EVENTS_LOG = f"logs --tail 200 --since {STARTED} {ID}", f"logs --tail 2000 --since {STARTED} {ID}"
PSQL = "exec -i matrix-postgres psql -X -q -w -v ON_ERROR_STOP=1 -A -t -v roles=mautrix_signal -U synapse -d postgres"
VERSIONS = Call("GET", "/_matrix/client/versions", "")
PING = Call("POST", "/_matrix/client/v1/appservice/signal/ping", TOKENS.as_token, {})
RIGHTS = {
    "roles": {
        "mautrix_signal": {
            "comment": owner_comment(STACK, public={"synapse": ["CONNECT"]}),
            "attributes": [],
            "connects": ["mautrix_signal"],
        }
    },
    "owners": {"mautrix_signal": "mautrix_signal"},
    "public": ["postgres"],
}


def ready(seconds: str) -> str:
    """The question to a bridge whose address the host does not know."""
    curl = f"exec {ID} curl -sS --noproxy * --max-time {seconds} -o /dev/null -w %{{http_code}}"
    return f"{curl} http://127.0.0.1:29328/_matrix/mau/ready"


WHOLE = b"CREATE TABLE portal ();\n--\n-- PostgreSQL database dump complete\n--\n\n"


def stamp(age: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age))


class Host:
    """A host as `up` left it, in a folder: Synapse's directory, the stack's own, scripts, dumps."""

    def __init__(self, folder: Path, docker: StubDocker, **settings: str) -> None:
        self.folder, self.docker = folder, docker
        self.synapse, self.shared, self.dumps = folder / "synapse", folder / "shared", folder / "backups"
        for path in (self.synapse, self.shared, self.dumps):
            path.mkdir()
        self.script = folder / "pg_backup.sh"
        self.deployment = whole(
            {
                "directory": str(folder / "bridge"),
                "archiveDir": str(folder / "archives"),
                "bridgeConfig": {"network": {"api_hash": "S3CR3T-api-hash"}},
            },
            **{
                "synapseDir": str(self.synapse),
                "sharedDir": str(self.shared),
                "backupScript": str(self.script),
                **settings,
            },
        )
        bridge = self.deployment.bridges[0]
        os.chown(self.synapse, 991, 991)  # as on a real host
        registration = Path(bridge.registration_path)
        registration.write_text(render_bridge_registration(bridge, TOKENS, KEYS))
        self.homeserver = Path(self.deployment.synapse.homeserver_file)
        self.homeserver.write_text(add_entries(HOMESERVER, Entries.of(self.deployment)))
        text = f"#!/bin/bash\nBACKUP_DIR={self.dumps}\npg_dump x\n"
        self.script.write_text(backup_script.add_call(text, backup_script.dump_call_of(self.deployment)))
        Path(self.deployment.dump_script).write_text(render_dump_script(TEMPLATE, self.deployment))
        self.dump("mautrix_signal", 7 * 3600)
        self.dump("mas", 7 * 3600)
        record_deployment(self.deployment)

    def dump(self, database: str, age: float, data: bytes = gzip.compress(WHOLE), end: str = "shared.sql.gz") -> Path:
        """A dump that our dump script has noted."""
        path = self.dumps / f"{database}_{stamp(age)}.{end}"
        path.write_bytes(data)
        records = Path(self.deployment.dump_records)
        records.mkdir(exist_ok=True)
        (records / f"{database}.made").write_text(f"{path}\n")
        return path

    def report(self) -> StatusReport:
        return evaluate_status(read_status(self.deployment, 2))

    def snapshot(self) -> dict[str, tuple[bytes, float, int]]:
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime, path.stat().st_mode) for path in files}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubDocker:
    stub = StubDocker(tmp_path / "bin")
    synapse = json.loads(inspected())
    synapse[0] |= {"Id": "5" * 64, "Name": "/matrix-synapse"}
    event = {"time": "2026-11-24T15:00:00Z", "message": "Starting handling of transaction", "level": "debug"}
    stub.on(INSPECT, out(inspected()))
    stub.on("container inspect matrix-synapse", out(json.dumps(synapse)))
    stub.on(ready("2.0"), out("200"))
    stub.on(LOG, out("2026-03-16T10:00:00Z INF Bridge started\n"))
    stub.on(EVENTS_LOG, out(json.dumps(event) + "\n"))
    stub.on(PSQL, out(json.dumps(RIGHTS)))
    monkeypatch.setenv("PATH", stub.environment["PATH"])

    def run_here(container: str, verb: Callable[[Any], Any], arguments: Any, timeout: float) -> Any:
        assert container == "matrix-synapse"
        return verb(from_json(type(arguments), json.loads(json.dumps(to_json(arguments)))))

    monkeypatch.setattr(program_file, "run_inside", run_here)
    return stub


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        scripted.on(VERSIONS, reply(200, versions=["v1.11"]))
        scripted.on(PING, reply(200, duration_ms=3))
        yield scripted


@pytest.fixture
def host(tmp_path: Path, docker: StubDocker, server: ScriptedServer) -> Host:
    (tmp_path / "host").mkdir()
    return Host(tmp_path / "host", docker, synapseUrl=server.url)


def silent_host(tmp_path: Path, docker: StubDocker, **settings: str) -> Host:
    (tmp_path / "host").mkdir()
    return Host(tmp_path / "host", docker, **{"synapseUrl": closed_port(), **settings})


def append(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)


def texts(report: StatusReport) -> list[str]:
    return [finding.text for finding in report.findings]


# all of it -------------------------------------------------------------------------------------------------------


def test_a_host_as_up_left_it_is_well_and_stays_as_it_is(host: Host) -> None:
    before = host.snapshot()
    facts = read_status(host.deployment, 2)
    assert evaluate_status(facts).level == 0, texts(evaluate_status(facts))
    assert host.snapshot() == before
    (bridge,) = facts.bridges
    assert bridge.status.ready and bridge.status.ping == "200"
    assert bridge.last_event_at == 1795532400.0 and bridge.started_at and not bridge.archive.path
    assert bridge.dump.path and bridge.dump.proof == "unpacks, and is whole"
    assert [dump.database for dump in facts.dumps] == ["mas"]
    reading = ("container inspect ", f"exec {ID} curl ", "exec -i matrix-postgres psql ", "logs ")
    assert all(call.startswith(reading) for call in host.docker.calls), host.docker.calls
    assert from_json(StatusFacts, json.loads(json.dumps(to_json(facts)))) == facts


def test_no_secret_is_in_what_was_seen(host: Host) -> None:
    host.docker.on(LOG, out(f'{{"level":"error","message":"refused with {TOKENS.as_token}"}}\n'))
    shown = repr(read_status(host.deployment, 2))
    assert "refused with" in shown
    for secret in (TOKENS.as_token, TOKENS.hs_token, "S3CR3T-api-hash", KEYS.sender_localpart):
        assert secret not in shown


def test_the_verb_prints_the_table_and_exits_as_monitoring_expects(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(host.shared / "mautrix-host-1a2b3c.pyz"), "status"])
    host.docker.on(ready("5.0"), out("200"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"OK: 1 bridge of {STACK}\n\nBRIDGE ")


def test_the_verb_in_a_place_without_a_deployment_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "mautrix-host-1a2b3c.pyz"), "status"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().out.startswith(f"CRITICAL: {tmp_path}/deployed.json: no such file: ")


def test_docker_is_asked_where_the_settings_say(
    tmp_path: Path, docker: StubDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = silent_host(tmp_path, docker, dockerHost="unix:///run/user/1000/docker.sock")
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere.sock")
    read_report(host.shared / "x.pyz")
    assert os.environ["DOCKER_HOST"] == "unix:///run/user/1000/docker.sock"


# one thing that is not well --------------------------------------------------------------------------------------


def test_a_docker_that_hangs_is_told_and_not_waited_for(tmp_path: Path, docker: StubDocker) -> None:
    host = silent_host(tmp_path, docker)
    docker.on("container inspect matrix-synapse mautrix-signal", out(sleep=20))
    docker.on(PSQL, out(sleep=20))
    began = time.monotonic()
    report = evaluate_status(read_status(host.deployment, 0.5))
    assert time.monotonic() - began < 10
    assert report.level == 2 and report.rows[0].name == "Docker"
    assert [row.cells[0] for row in report.bridges] == ["unknown"]
    assert any("Postgres: the bridges' rights are not known: docker exec: no answer" in text for text in texts(report))


def test_a_host_without_anything_of_ours_is_a_table_and_no_traceback(tmp_path: Path, docker: StubDocker) -> None:
    deployment = whole(
        {"archiveDir": str(tmp_path / "no_archives")},
        synapseDir=str(tmp_path / "none"),
        sharedDir=str(tmp_path / "gone"),
        backupScript=str(tmp_path / "no_script.sh"),
    )
    gone = out("[]\n", err="Error: No such container: x\n", code=1)
    docker.on(INSPECT, gone)
    docker.on("container inspect matrix-synapse", gone)
    docker.on(PSQL, out(err="Error: No such container: matrix-postgres\n", code=1))
    report = evaluate_status(read_status(deployment, 1))
    assert report.level == 2
    assert {row.name for row in report.rows if row.findings} == {
        "Synapse", "mautrix-signal", "homeserver.yaml", "backup script", "dump of mas", "Postgres' rights",
    }  # fmt: skip


def test_a_synapse_that_is_stopped_is_the_first_thing_told(tmp_path: Path, docker: StubDocker) -> None:
    host = silent_host(tmp_path, docker)
    stopped = json.loads(inspected("exited", 1))
    stopped[0] |= {"Id": "5" * 64, "Name": "/matrix-synapse"}
    docker.on("container inspect matrix-synapse", out(json.dumps(stopped)))
    told = texts(host.report())
    assert told[0].startswith("Synapse: does not answer at http://127.0.0.1:")
    assert any(
        "only matrix-synapse can read it, which does not run: docker start matrix-synapse" in text for text in told
    )


def test_a_bridge_that_ended_is_told_with_its_exit_code_s_meaning(tmp_path: Path, docker: StubDocker) -> None:
    host = silent_host(tmp_path, docker)
    docker.on(INSPECT, out(inspected("exited", 16)))
    docker.on(f"logs --tail 200 {ID}", out('{"level":"fatal","message":"M_UNKNOWN_TOKEN"}\n'))
    told = [text for text in texts(host.report()) if text.startswith("mautrix-signal: ")]
    assert told == [
        f"mautrix-signal: its container is exited: {explain_exit_code(16)} (last error: FATAL M_UNKNOWN_TOKEN)"
    ]


def test_a_ping_that_fails_is_told_with_synapse_s_answer(host: Host, server: ScriptedServer) -> None:
    server.on(PING, error(502, "M_CONNECTION_FAILED", "refused"))
    (text,) = texts(host.report())
    assert "ping of it fails: 502 M_CONNECTION_FAILED refused" in text


def test_a_registration_that_is_gone_is_told_and_no_ping_asked(tmp_path: Path, docker: StubDocker) -> None:
    host = silent_host(tmp_path, docker)
    Path(host.deployment.bridges[0].registration_path).unlink()
    facts = read_status(host.deployment, 2)
    assert facts.bridges[0].status.ping == "not asked"
    assert "registration.yaml: the registration is not there: " in facts.bridges[0].registration_problem


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda host: host.homeserver.write_text(HOMESERVER), "lacks app_service_config_files: /data/"),
        (lambda host: host.homeserver.write_text("a: b: c\n"), "is not known: 1: not valid YAML"),
        (lambda host: host.homeserver.unlink(), "is not known: no such file: check the setting synapseDir"),
        (lambda host: host.script.write_text(f"BACKUP_DIR={host.dumps}\n"), "no longer holds our call"),
        (lambda host: host.script.write_text(f"BACKUP_DIR={host.dumps}\n# >>> {STACK}\n"), "should be one pair"),
        (lambda host: Path(host.deployment.dump_script).unlink(), "our dump script is not there"),
        (lambda host: Path(host.deployment.dump_script).write_text("#!/bin/sh\n"), "but nobody's"),
        (
            lambda host: append(host.deployment.dump_script, "exit 0\n"),
            "mautrix-backup.sh: was changed since `up` wrote it",
        ),
        (
            lambda host: append(host.deployment.bridges[0].registration_path, "rate_limited: true\n"),
            "registration.yaml: the registration was changed since `up` wrote it",
        ),
        (
            lambda host: host.docker.on(PSQL, out(json.dumps({**RIGHTS, "public": ["synapse"]}))),
            "every role may connect to synapse again",
        ),
        (lambda host: host.docker.on(ready("2.0"), out("500")), "mautrix-signal: is not ready"),
        (lambda host: host.docker.on(PSQL, out("no JSON")), "the bridges' rights are not known: "),
    ],
)
def test_each_thing_that_somebody_changed_is_told_and_hides_no_other(
    host: Host, break_it: Callable[[Host], object], text: str
) -> None:
    break_it(host)
    report = host.report()
    (told,) = texts(report)
    assert text in told
    assert len([row for row in report.rows if row.findings]) == 1


def test_the_entries_are_looked_for_by_the_program_that_runs_in_synapse_s_container(
    tmp_path: Path, docker: StubDocker
) -> None:
    """As Docker runs it there: by its words, with the program on standard input."""
    deployment = silent_host(tmp_path, docker).deployment
    words, entries = words_of(homeserver_edit.add_entries).split(), Entries.of(deployment)
    order = program_file.inside_order(EditRequest(HOMESERVER, entries))
    done = subprocess.run([sys.executable, "-c", RUN_FROM_STDIN, *words], input=order, capture_output=True, check=True)
    found = from_json(EditResult, json.loads(done.stdout))
    assert found.missing == find_missing_entries(HOMESERVER, entries) and not found.refused


# dumps and archives ----------------------------------------------------------------------------------------------


def last_dump(host: Host, deployment: Deployment | None = None, seconds: float | None = 5) -> tuple[str, str, str]:
    """The dump's name, its proof, and what is wrong with it."""
    plan = deployment or host.deployment
    found = read_last_dump(plan, plan.databases[0], seconds)
    assert found.fault.startswith(found.path) or not found.fault
    return Path(found.path).name, found.proof, found.fault.removeprefix(f"{found.path}: ")


@pytest.fixture
def dumps_host(tmp_path: Path, docker: StubDocker) -> Host:
    return silent_host(tmp_path, docker)


def test_the_dump_that_was_noted_last_counts_and_has_to_be_whole(dumps_host: Host) -> None:
    good = dumps_host.dump("mautrix_signal", 3600)
    assert last_dump(dumps_host) == (good.name, "unpacks, and is whole", "")
    cut = dumps_host.dump("mautrix_signal", 60, gzip.compress(WHOLE)[:-12])
    assert last_dump(dumps_host)[:2] == (cut.name, "") and last_dump(dumps_host)[2].startswith("damaged: ")
    half = dumps_host.dump("mautrix_signal", 30, gzip.compress(b"CREATE TABLE portal ();\n"))
    assert last_dump(dumps_host) == (half.name, "", "not a whole dump: pg_dump's closing line is not at its end")


def test_a_dump_that_somebody_deleted_is_told_though_others_are_there(dumps_host: Host) -> None:
    """A clean-up by number took ours each night."""
    dumps_host.dump("mautrix_signal", 86400)
    dumps_host.dump("mautrix_signal", 3600).unlink()
    for seconds in (None, 5.0):
        assert last_dump(dumps_host, seconds=seconds)[2] == "is gone: somebody deleted it"


def test_a_night_that_failed_and_one_that_never_was(dumps_host: Host) -> None:
    records = Path(dumps_host.deployment.dump_records)
    (records / "mas.failed").write_text("2026-12-01T03:00:01Z: mas: no whole dump could be made in /b: pg_dump: gone\n")
    (records / "mautrix_signal.made").unlink()
    found = [finding for finding in dumps_host.report().findings if finding.text.startswith("dumps of")]
    assert [finding.level for finding in found] == [1, 1]
    told = [finding.text for finding in found]
    none = f"dumps of mautrix_signal: none was made: run {dumps_host.script} once"
    assert any(line.startswith(none) for line in told)
    assert any("its last run made none: 2026-12-01T03:00:01Z: mas: no whole dump could" in line for line in told)


def test_a_note_that_others_could_have_written_is_not_believed(dumps_host: Host) -> None:
    os.chown(dumps_host.deployment.dump_records, 1000, 1000)
    found = read_health(dumps_host.deployment, StatusContext({}, "", "")).dumps[0]
    assert "belongs to uid 1000" in found.error


def test_a_dump_that_is_too_large_to_be_read_counts_as_our_script_named_it(dumps_host: Host) -> None:
    """It gives a file its name only once it is whole; a warning for ever would be read by nobody."""
    name, proof, fault = last_dump(dumps_host, seconds=-1)
    assert name and proof.startswith("too large to be read again") and not fault


def test_of_filtered_dumps_only_that_they_are_not_empty_is_told(dumps_host: Host) -> None:
    plan = replace(
        dumps_host.deployment, backup=replace(dumps_host.deployment.backup, filter="age -r x", suffix=".age")
    )
    good = dumps_host.dump("mautrix_signal", 3600, b"\x00secret", end="shared.sql.gz.age")
    assert last_dump(dumps_host, plan) == (good.name, "filtered: only that it is not empty can be told", "")
    dumps_host.dump("mautrix_signal", 60, b"", end="shared.sql.gz.age")
    assert last_dump(dumps_host, plan)[2] == "is empty"


def archive(host: Host, created: str, **changed: Any) -> Path:
    manifest = Manifest(
        version=archives._VERSION,
        created=created,
        reason="destroy",
        stack=STACK,
        domain="echo6.co",
        bridge="mautrix-signal",
        image="example/signal:1",
        schema={},
        database="mautrix_signal",
        key="0123456789abcdef",
        members=(),
        missing=(),
    )
    data = json.dumps(to_json(replace(manifest, **changed))).encode()
    folder = Path(host.deployment.bridges[0].archive.directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mautrix-signal-{created}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        head = tarfile.TarInfo("manifest.json")
        head.size = len(data)
        tar.addfile(head, io.BytesIO(data))
    return path


def test_the_newest_archive_of_this_stack_is_shown(host: Host) -> None:
    archive(host, "20261101T080000Z")
    newest = archive(host, "20261102T080000Z")
    archive(host, "20261103T080000Z", stack="p/another")
    found = read_status(host.deployment, 2).bridges[0].archive
    assert (found.path, found.made_at, found.error) == (str(newest), 1793606400.0, "")


# Postgres' rights ------------------------------------------------------------------------------------------------


def test_rights_are_read_as_they_are_and_as_up_left_them(
    bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    plan = whole()
    isolated = isolation.Isolation(STACK, plan.postgres, plan.databases, ("synapse", "mas"))
    isolation.shut_public_out(isolated)
    try:
        found = read_rights(plan, 20)
        role = found.roles["mautrix_signal"]
        assert role.attributes == () and role.connects == ("mautrix_signal", "postgres", "template1")
        assert found.public == ("postgres", "template1")
        bridge_database.sql(
            "GRANT CONNECT ON DATABASE mas TO PUBLIC; GRANT CONNECT ON DATABASE synapse TO mautrix_signal;"
        )
        bridge_database.sql("ALTER ROLE mautrix_signal CREATEDB BYPASSRLS;")
        found = read_rights(plan, 20)
        role = found.roles["mautrix_signal"]
        assert role.attributes == ("CREATEDB", "BYPASSRLS") and {"mas", "synapse"} < {*role.connects}
        assert found.public == ("mas", "postgres", "template1")
    finally:
        bridge_database.sql("REVOKE CONNECT ON DATABASE synapse FROM mautrix_signal;")
        isolation.give_public_back(isolated)


def test_a_postgres_that_is_not_there_is_told(bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in bridge_database.environment(STUB_PGHOST="/nowhere").items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ScriptError, match="connection to server on socket"):
        read_rights(whole(), 20)


# the file that tells what is deployed ----------------------------------------------------------------------------


def test_the_deployment_is_recorded_without_a_secret_and_for_root_alone(dumps_host: Host) -> None:
    path = dumps_host.shared / "deployed.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "S3CR3T" not in path.read_text() and "S3CR3T" in str(dumps_host.deployment.bridges[0].config)
    written = path.stat().st_mtime_ns
    assert record_deployment(dumps_host.deployment).path == str(path)
    assert path.stat().st_mtime_ns == written
    read = read_deployment(path)
    assert replace(read.bridges[0], config=dumps_host.deployment.bridges[0].config) == dumps_host.deployment.bridges[0]


def test_a_record_that_others_could_read_is_written_again(dumps_host: Host) -> None:
    path = dumps_host.shared / "deployed.json"
    path.chmod(0o644)
    record_deployment(dumps_host.deployment)
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_stack_s_record_is_not_replaced(dumps_host: Host) -> None:
    other, path = replace(dumps_host.deployment, stack="p/another"), dumps_host.shared / "deployed.json"
    text = path.read_text()
    with pytest.raises(ScriptError, match=f"is of the stack {STACK}: set another sharedDir"):
        record_deployment(other)
    assert path.read_text() == text


def test_a_record_is_not_written_through_a_link(dumps_host: Host, tmp_path: Path) -> None:
    path = dumps_host.shared / "deployed.json"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScriptError, match="is a link"):
        record_deployment(dumps_host.deployment)
    assert path.is_symlink()


def test_a_record_without_the_stack_s_directory_is_refused(dumps_host: Host, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=f"{tmp_path}/gone: no such directory"):
        record_deployment(replace(dumps_host.deployment, shared_directory=str(tmp_path / "gone")))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stack": "p/s"}', "\x00"])
def test_a_record_that_cannot_be_read_says_what_to_do(dumps_host: Host, text: str) -> None:
    path = dumps_host.shared / "deployed.json"
    path.write_text(text)
    with pytest.raises(ScriptError, match=r"is not what this version of the programs writes .*`pulumi up`"):
        read_deployment(path)


def test_the_directory_is_released_with_the_record_in_it(dumps_host: Host) -> None:
    own = directory.ClaimedDirectory(str(dumps_host.shared), STACK, "sharedDir")
    (dumps_host.shared / directory.CLAIM).write_text(f"{STACK}\n")
    Path(dumps_host.deployment.dump_script).unlink()  # the backup's own removal comes before
    shutil.rmtree(dumps_host.deployment.dump_records)
    directory.release_directory(own)
    assert not dumps_host.shared.exists()


def test_a_preview_reads_no_dump_and_asks_docker_for_each_bridge_s_log_alone(dumps_host: Host) -> None:
    """A preview with 20 bridges took seconds longer: the containers were listed twice, every dump unpacked, every log
    read twice, and Synapse's container started Python for an answer that no warning uses."""
    cut = dumps_host.dump("mas", 3600, gzip.compress(WHOLE)[:-8])
    calls = len(dumps_host.docker.calls)
    containers = inspect_containers("mautrix-signal", "matrix-synapse")
    facts = read_health(dumps_host.deployment, StatusContext(containers, "", ""))
    assert [call.split()[0] for call in dumps_host.docker.calls[calls + 1 :]].count("logs") == 1
    assert facts.bridges[0].dump.proof and (facts.dumps[0].path, facts.dumps[0].proof) == (str(cut), "by its name")
    assert facts == from_json(Health, json.loads(json.dumps(to_json(facts))))


def test_without_a_script_of_the_operator_s_it_is_told_what_runs_ours(
    tmp_path: Path, docker: StubDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` called it well, whatever ran at night, or did not."""
    host = silent_host(tmp_path, docker, backupScript="none", backupDir=str(tmp_path / "host/backups"))
    monkeypatch.setattr(scheduler, "find_scheduler", lambda: "")
    backup = read_status(host.deployment, 2).backup
    assert (backup.schedule, backup.problems) == ("", ())
    monkeypatch.setattr(scheduler, "find_scheduler", lambda: "cron")
    backup = read_status(host.deployment, 2).backup
    assert backup.schedule == "/etc/cron.d/shared_backup"
    assert backup.problems == (
        "/etc/cron.d/shared_backup: is missing: if somebody removed it, raise the setting reapply by one, then "
        "`pulumi up`",
    )
