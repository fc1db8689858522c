"""Pins the failure of a first aid that calms or alarms wrongly: a bridge that is dead and shown as well, a dump that is
too old and not told, a monitoring program that is given another exit code than the table says."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents.marks import owner_comment
from documents.places import Database
from verdicts.exit_codes import explain_exit_code
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.status.evaluation import evaluate_status, find_doubts, find_status_warnings, report_unreadable_status
from verdicts.status.facts import (
    BackupCall,
    BridgeStatusFacts,
    DumpFacts,
    Health,
    HomeserverEntries,
    NewestArchive,
    PostgresRights,
    RoleRights,
    StatusFacts,
)
from verdicts.status.report import DAY, HOUR, Level
from verdicts.status.table import format_status

STACK, NOW = "mautrix-signal/contabo", 1_800_000_000.0
ARCHIVE = "/opt/matrix/archives/mautrix-signal-20270105T080000Z.tar.gz"
HOMESERVER, SCRIPT = "/opt/matrix/synapse/homeserver.yaml", "/opt/matrix/scripts/pg_backup.sh"
DUMP_SCRIPT = "/opt/matrix/mautrix-bridges/mautrix-backup.sh"
RUNNING = BridgeStatus(container="running", ready=True, ping="200", image="example/signal:1")


def dump(database: str, age: float = 7 * HOUR, **changed: Any) -> DumpFacts:
    path = f"/opt/matrix/backups/{database}_20270115T010000Z.mautrix-bridges.sql.gz"
    return replace(DumpFacts(database, path, NOW - age, "unpacks, and is whole"), **changed)


def bridge(**changed: Any) -> BridgeStatusFacts:
    facts = BridgeStatusFacts(
        name="mautrix-signal",
        database=Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),
        status=RUNNING,
        started_at=NOW - 10 * DAY,
        last_event_at=NOW - 150,
        registration_problem="",
        dump=dump("mautrix_signal"),
        archive=NewestArchive(ARCHIVE, NOW - 10 * DAY),
    )
    return replace(facts, **changed)


def rights(**changed: Any) -> PostgresRights:
    note = owner_comment(STACK, public={"synapse": ["CONNECT"], "mas": ["CONNECT", "TEMPORARY"]})
    role = RoleRights(note, (), ("mautrix_signal", "postgres"))
    owners = {"mautrix_signal": "mautrix_signal"}
    return replace(PostgresRights({"mautrix_signal": role}, owners, ("postgres",)), **changed)


def stack(**changed: Any) -> StatusFacts:
    facts = StatusFacts(
        stack=STACK,
        read_at=NOW,
        nightly_script=SCRIPT,
        docker_error="",
        synapse_url="http://127.0.0.1:8008",
        synapse_silent="",
        bridges=(bridge(),),
        homeserver=HomeserverEntries(HOMESERVER),
        backup=BackupCall(SCRIPT, DUMP_SCRIPT, STACK, calls=True),
        dumps=(dump("mas"),),
        rights=rights(),
    )
    return replace(facts, **changed)


def findings(facts: StatusFacts) -> list[tuple[Level, str]]:
    return [(finding.level, finding.text) for finding in evaluate_status(facts).findings]


def of_bridge(**changed: Any) -> list[tuple[Level, str]]:
    return findings(stack(bridges=(bridge(**changed),)))


TABLE = f"""OK: 1 bridge of {STACK}

BRIDGE          LEVEL  CONTAINER  READY  PING  LAST EVENT  LAST GOOD DUMP  NEWEST ARCHIVE
mautrix-signal  ok     running    yes    200   2 min ago   7 h old         {ARCHIVE}, 10 days old

SHARED            LEVEL  STATE
Synapse           ok     answers at http://127.0.0.1:8008
homeserver.yaml   ok     holds our entries
backup script     ok     calls {DUMP_SCRIPT}
dump of mas       ok     7 h old: /opt/matrix/backups/mas_20270115T010000Z.mautrix-bridges.sql.gz
Postgres' rights  ok     as `up` left them"""


def test_a_stack_that_is_well_is_a_quiet_table() -> None:
    report = evaluate_status(stack())
    assert report.level == 0 and not report.findings and not find_status_warnings(stack())
    assert format_status(report) == TABLE


def test_what_is_not_known_of_a_healthy_bridge_is_left_out_and_is_no_fault() -> None:
    """A log without debug lines tells no event, and the first archive is made before another image or at a destroy."""
    report = evaluate_status(stack(bridges=(bridge(last_event_at=None, archive=NewestArchive()),)))
    assert report.level == 0
    (row,) = report.bridges
    assert row.cells == ("running", "yes", "200", "-", "7 h old", "none")


EXITED = BridgeStatus(container="exited", exit_code=16, exit_meaning=str(explain_exit_code(16)))


@pytest.mark.parametrize(
    ("status", "words", "text"),
    [
        (BridgeStatus(container="absent"), "absent", "there is no container of that name: `pulumi up` makes it anew"),
        (BridgeStatus(problem="no such host"), "unknown", "its container is not known: no such host: see what"),
        (EXITED, "exited (exit code 16)", f"its container is exited: {explain_exit_code(16)}"),
        (
            replace(EXITED, container="restarting", restart_count=4),
            "restarting (exit code 16), 4 restarts",
            f"its container keeps ending: {explain_exit_code(16)}",
        ),
        (BridgeStatus(container="exited"), "exited", "tell why (docker logs --tail 50 mautrix-signal)"),
        (BridgeStatus(container="paused"), "paused", "is paused, not running: docker unpause mautrix-signal"),
        (BridgeStatus(container="created"), "created", "is created, not running: docker start mautrix-signal"),
    ],
    ids=lambda value: value.container if isinstance(value, BridgeStatus) else "",
)
def test_a_bridge_that_does_not_run_is_critical_and_says_what_its_end_means(
    status: BridgeStatus, words: str, text: str
) -> None:
    ((level, told),) = of_bridge(status=status)
    assert level is Level.CRITICAL and told.startswith("mautrix-signal: ") and text in told
    (row,) = evaluate_status(stack(bridges=(bridge(status=status),))).bridges
    assert row.level is Level.CRITICAL and row.cells[:3] == (words, "-", "-")


def test_the_last_error_of_a_bridge_that_ended_is_told() -> None:
    ((_, text),) = of_bridge(status=replace(EXITED, last_error="2026-03-16T10:00:00Z FATAL M_UNKNOWN_TOKEN"))
    assert text.endswith("(last error: 2026-03-16T10:00:00Z FATAL M_UNKNOWN_TOKEN)")


def test_a_bridge_that_is_not_ready_is_critical() -> None:
    status = replace(RUNNING, ready=False, ping="502 M_CONNECTION_FAILED refused")
    told = of_bridge(status=status)
    assert [level for level, _ in told] == [Level.CRITICAL, Level.CRITICAL]
    assert "is not ready" in told[0][1] and "ping of it fails" in told[1][1]
    assert "502 M_CONNECTION_FAILED refused" in told[1][1]


def test_a_running_bridge_that_synapse_does_not_reach_is_critical() -> None:
    status = replace(RUNNING, ping="401 M_UNKNOWN_TOKEN")
    ((level, text),) = of_bridge(status=status)
    assert level is Level.CRITICAL and "ping of it fails: 401 M_UNKNOWN_TOKEN: compare its registration" in text
    (row,) = evaluate_status(stack(bridges=(bridge(status=status),))).bridges
    assert row.cells[2] == "401"


def test_what_could_not_be_asked_of_a_bridge_that_is_ready_is_a_warning() -> None:
    ((level, text),) = of_bridge(status=replace(RUNNING, problem="docker logs: no answer in 5 s"))
    assert level is Level.WARNING and "docker logs: no answer in 5 s" in text


@pytest.mark.parametrize(("ago", "warns"), [(3599, True), (3600, False)])
def test_a_bridge_that_ended_in_the_last_hour_warns_and_one_that_did_long_ago_does_not(ago: float, warns: bool) -> None:
    """Docker counts for as long as the container lives: a restart of last month must not warn for ever."""
    status = replace(RUNNING, restart_count=2, exit_code=13, exit_meaning=str(explain_exit_code(13)))
    told = of_bridge(status=status, started_at=NOW - ago)
    assert [level for level, _ in told] == [Level.WARNING] * warns
    assert not told or "has ended 2 times and runs again since 59 min: exit code 13" in told[0][1]
    (row,) = evaluate_status(stack(bridges=(bridge(status=status),))).bridges
    assert row.cells[0] == "running, 2 restarts"


def test_a_registration_that_is_gone_is_critical_even_while_all_runs() -> None:
    """Synapse does not come up again when a registration that it lists is not there."""
    status = replace(RUNNING, ping="not asked")
    ((level, text),) = of_bridge(status=status, registration_problem="/s/r.yaml: the registration was changed")
    assert level is Level.CRITICAL and text.startswith("/s/r.yaml: the registration was changed: raise the setting re")


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        ({"age": 0}, 0, ""),
        ({"age": -60}, 0, ""),
        ({"age": 36 * HOUR}, 0, ""),
        ({"age": 36 * HOUR + 1}, 1, "the newest is 36 h old (/opt/matrix/backups/"),
        (
            {"age": 20 * DAY},
            1,
            "the newest is 20 days old (/opt/matrix/backups/mautrix_signal_20270115T010000Z.",
        ),
        ({"path": ""}, 1, f"none was made: run {SCRIPT} once, see what it says, and whether it runs at night"),
        ({"fault": "/b/x.sql.gz: is gone"}, 1, "the newest is not good: /b/x.sql.gz: is gone: run"),
        (
            {"failed": "2027-01-15T03:00:01Z: no room"},
            1,
            "7 h old; its last run made none: 2027-01-15T03:00:01Z: no",
        ),
        ({"failed": "2027: no room", "age": 3 * DAY}, 1, "3 days old (/opt"),
        ({"error": "/b: Permission denied"}, 1, "not known: /b: Permission denied"),
    ],
)
def test_a_dump_that_is_old_gone_or_was_not_made_is_a_warning_with_its_reason(
    changed: dict[str, Any], level: int, text: str
) -> None:
    """A cron line that a reinstall removed: nobody knew for three weeks."""
    found = dump("mautrix_signal", **changed)
    told = of_bridge(dump=found)
    assert [each for each, _ in told] == [level] * bool(level)
    assert all(words.startswith("dumps of mautrix_signal: ") and text in words for _, words in told)
    assert all(changed.get("failed", "") in words for _, words in told)
    assert [each for each, _ in findings(stack(dumps=(replace(found, database="mas"),)))] == [level] * bool(level)
    (row,) = evaluate_status(stack(bridges=(bridge(dump=found),))).bridges
    assert row.level == level
    if changed.get("error"):
        assert row.cells[4] == "not known"
    health = {field.name: getattr(stack(dumps=(found,)), field.name) for field in fields(Health)}
    assert len([line for line in find_status_warnings(Health(**health)) if line.startswith("dumps of")]) == level


def test_a_bridge_that_was_stopped_is_told_with_the_command_that_starts_it() -> None:
    stopped = BridgeStatus(container="exited", exit_code=0, exit_meaning=str(explain_exit_code(0)))
    ((_, told),) = of_bridge(status=stopped)
    assert told.endswith("if nobody meant to stop it, start it again (docker start mautrix-signal)")


def test_the_cause_is_told_before_the_bridges_that_suffer_from_it() -> None:
    """A monitoring program shows the first line alone."""
    ill = bridge(status=replace(RUNNING, ping="connection refused"))
    facts = stack(synapse_silent="connection refused", bridges=(ill, replace(ill, name="mautrix-whatsapp")))
    text = format_status(evaluate_status(facts))
    first = text.splitlines()[0]
    assert first.startswith("CRITICAL: Synapse: does not answer at http://127.0.0.1:8008: connection refused: ")
    assert first.endswith("(and 2 more)")
    assert "mautrix-signal: Synapse's ping of it fails: connection refused: Synapse does not answer, see there" in text
    assert len(find_status_warnings(facts)) == 2, "preflight itself reports that Synapse does not answer"


def test_a_bridge_that_keeps_ending_is_told_at_preview_and_its_proof_does_not_stand() -> None:
    """Preview told of bridges that run, and of those that Docker starts no more: nobody told of a loop."""
    looping = BridgeStatus(container="restarting", restart_count=9, exit_code=16, exit_meaning="the as_token is wrong")
    facts = stack(bridges=(bridge(status=looping),), rights=rights(public=("synapse",)))
    loop, opened = find_status_warnings(facts)
    assert loop == "mautrix-signal: its container keeps ending: the as_token is wrong"
    assert find_doubts(facts, "mautrix-signal") == {"ready": loop, "isolation": opened}
    assert find_doubts(stack(), "mautrix-signal") == {}


def test_a_bridge_that_is_still_to_be_made_is_no_warning_at_preview() -> None:
    new = Database("matrix-postgres", "mautrix_new", "mautrix_new")
    absent = bridge(
        name="mautrix-new", database=new, status=BridgeStatus(container="absent"), dump=DumpFacts("mautrix_new")
    )
    assert find_status_warnings(stack(bridges=(bridge(), absent))) == ()


def test_a_docker_that_does_not_answer_is_told_first_and_the_bridges_are_no_less_critical() -> None:
    unknown = BridgeStatus(problem="docker container: no answer in 5 s")
    facts = stack(docker_error="docker container: no answer in 5 s", bridges=(bridge(status=unknown),) * 2)
    report = evaluate_status(facts)
    docker, *others = findings(facts)
    assert docker[0] is Level.CRITICAL and docker[1].startswith("Docker: ") and "no answer in 5 s" in docker[1]
    assert len(others) == 2
    assert [row.level for row in report.bridges] == [2, 2] and report.level == 2


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        (
            {"homeserver": HomeserverEntries(HOMESERVER, ("app_service_config_files: /data/registration.yaml",))},
            1,
            f"{HOMESERVER}: lacks app_service_config_files: /data/registration.yaml: the bridges are dead after",
        ),
        (
            {"homeserver": HomeserverEntries(HOMESERVER, error="no such file: check the setting synapseDir")},
            1,
            f"{HOMESERVER}: whether our entries are in it is not known: no such file",
        ),
        ({"backup": BackupCall(SCRIPT, DUMP_SCRIPT, STACK)}, 1, f"{SCRIPT}: no longer holds our call of {DUMP_SCRIPT}"),
        (
            {"backup": BackupCall(SCRIPT, DUMP_SCRIPT, STACK, problems=(f"{SCRIPT}:3: one mark: put it back",))},
            1,
            f"{SCRIPT}:3: one mark: put it back",
        ),
        ({"backup": BackupCall(SCRIPT, DUMP_SCRIPT, STACK, error="no such file: check x")}, 1, f"{SCRIPT}: no such"),
        (
            {"backup": BackupCall("", DUMP_SCRIPT, STACK, problems=("/etc/cron.d/x: is missing",), ran=True)},
            1,
            "is missing",
        ),
        ({"backup": BackupCall(SCRIPT, DUMP_SCRIPT, None, True)}, 1, f"{DUMP_SCRIPT}: our dump script is not there"),
        ({"backup": BackupCall(SCRIPT, DUMP_SCRIPT, "p/x", True)}, 1, f"is not {STACK}'s, but p/x's"),
        ({"backup": BackupCall(SCRIPT, DUMP_SCRIPT, "", True)}, 1, f"is not {STACK}'s, but nobody's"),
        ({"rights": PostgresRights(error="psql: refused")}, 2, "rights are not known: psql: refused"),
        (
            {"backup": BackupCall(SCRIPT, DUMP_SCRIPT, STACK, True, dump_script_changed=True)},
            1,
            f"{DUMP_SCRIPT}: was changed since `up` wrote it: raise the setting reapply",
        ),
        (
            {"rights": rights(public=("mas", "postgres", "synapse"))},
            2,
            "every role may connect to mas, synapse again, through PUBLIC: raise the setting reapply by one",
        ),
        ({"rights": rights(public=("mautrix_signal",))}, 2, "every role may connect to mautrix_signal again"),
        ({"rights": rights(roles={})}, 2, "role mautrix_signal: is not there: raise the setting reapply by one"),
        ({"rights": rights(owners={})}, 2, "database mautrix_signal: is not there: raise the setting reapply by one"),
        (
            {"rights": rights(owners={"mautrix_signal": "synapse"})},
            2,
            "database mautrix_signal: belongs to synapse, should be mautrix_signal's: raise the setting reapply by one",
        ),
    ],
)
def test_what_somebody_changed_after_up_is_told(changed: dict[str, Any], level: int, text: str) -> None:
    ((found, told),) = findings(stack(**changed))
    assert found == level and text in told


def test_no_backup_script_is_no_fault() -> None:
    for schedule, words in (("/etc/cron.d/x", "/etc/cron.d/x runs"), ("", "nothing of ours runs")):
        report = evaluate_status(stack(backup=BackupCall("", DUMP_SCRIPT, STACK, schedule=schedule, ran=True)))
        assert report.level == 0 and f"none of yours: {words} {DUMP_SCRIPT}" in format_status(report)


def test_a_host_on_which_nothing_makes_the_dumps_is_not_ok() -> None:
    """It said OK where neither cron nor systemd was, until the proof's own dumps were old."""
    ((level, told),) = findings(stack(backup=BackupCall("", DUMP_SCRIPT, STACK, line="0 4 * * * root /x")))
    assert level == 1 and told.startswith(f"{DUMP_SCRIPT}: nothing on the host runs it at night: ")
    assert told.endswith("run what this line does: 0 4 * * * root /x")


def role(**changed: Any) -> PostgresRights:
    found = rights()
    return replace(found, roles={"mautrix_signal": replace(found.roles["mautrix_signal"], **changed)})


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (role(connects=("mautrix_signal", "synapse")), 2, "may connect to synapse: revoke what lets it in there"),
        (role(connects=("postgres",)), 2, "may not connect to its own database mautrix_signal"),
        (
            role(attributes=("SUPERUSER", "CREATEDB")),
            2,
            "has SUPERUSER, CREATEDB, should have none: raise the setting reapply by one",
        ),
        (role(comment=""), 1, f"its comment no longer names {STACK}"),
        (role(comment=owner_comment("p/x")), 1, f"its comment no longer names {STACK}"),
    ],
)
def test_a_role_that_is_no_longer_as_up_left_it_is_told(found: PostgresRights, level: int, text: str) -> None:
    ((seen, told),) = findings(stack(rights=found))
    assert seen == level and told.startswith("Postgres: role mautrix_signal: ") and text in told


def test_a_bridge_s_role_in_another_bridge_s_database_is_told() -> None:
    other = bridge(name="mautrix-two", database=Database("matrix-postgres", "mautrix_two", "mautrix_two"))
    noted = owner_comment(STACK, public={"synapse": ["CONNECT"]})
    roles = {
        "mautrix_signal": RoleRights(noted, (), ("mautrix_signal", "mautrix_two")),
        "mautrix_two": RoleRights(noted, (), ("mautrix_two",)),
    }
    ((_, text),) = findings(
        stack(bridges=(bridge(), other), rights=PostgresRights(roles, {role: role for role in roles}))
    )
    assert "role mautrix_signal: may connect to mautrix_two" in text


def test_nothing_that_could_be_looked_at_is_critical() -> None:
    report = report_unreadable_status("/opt/x/deployed.json: no such file: run `pulumi up`")
    assert report.level == 2
    assert format_status(report).startswith("CRITICAL: /opt/x/deployed.json: no such file: run `pulumi up`\n")


texts = st.text(max_size=40)
statuses = st.builds(
    BridgeStatus,
    container=st.sampled_from(["running", "exited", "restarting", "dead", "paused", "absent", "unknown", "removing"]),
    ready=st.booleans(),
    ping=st.sampled_from(["200", "not asked", "502 M_CONNECTION_FAILED", "connection refused"]),
    last_error=texts,
    restart_count=st.integers(0, 9),
    exit_code=st.none() | st.integers(0, 255),
    exit_meaning=texts,
    problem=texts,
)
times = st.none() | st.floats(NOW - 10 * DAY, NOW + DAY)


@given(statuses, times, times, texts, st.booleans())
def test_the_first_line_the_rows_and_the_exit_code_agree_whatever_was_seen(
    status: BridgeStatus, started: float | None, event: float | None, silent: str, docker: bool
) -> None:
    facts = stack(
        bridges=(bridge(status=status, started_at=started, last_event_at=event),),
        synapse_silent=silent,
        docker_error="no answer" if docker else "",
    )
    report = evaluate_status(facts)
    lines = format_status(report).splitlines()
    assert lines[0].startswith(f"{report.level.name}: ")
    assert (report.level == Level.OK) == (not report.findings)
    assert status.container == "running" or report.level == Level.CRITICAL
    assert all(len(text.splitlines()) == 1 for text in find_status_warnings(facts))
