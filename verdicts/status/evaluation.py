"""What the facts of `status` mean: rows with findings, an exit code for a monitoring program, and warnings for a
preview."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Optional

from documents.marks import parse_owner_comment
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.status.facts import (
    BackupCall,
    BridgeStatusFacts,
    DumpFacts,
    HomeserverEntries,
    NewestArchive,
    StatusFacts,
)

HOUR, DAY = 3600.0, 86400.0
DUMP_WARNING = 26 * HOUR  # a nightly dump is a day old before the next one, which may take its time
DUMP_CRITICAL = 3 * DAY
STARTING = 60.0  # seconds that a bridge may take until it is ready, as its health check grants
RESTARTED_RECENTLY = HOUR  # Docker never resets its count of restarts: an old one is no news
REAPPLY = "raise the setting reapply by one, then `pulumi up`"


class Level(IntEnum):
    """How bad it is; the number is the exit code that monitoring programs expect."""

    OK = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """Problems stand out in capitals."""
        return "ok" if self is Level.OK else self.name


@dataclass(frozen=True)
class Finding:
    """One problem: a line that says what, where, and what to do."""

    level: Level
    text: str


@dataclass(frozen=True)
class Row:
    """One row of the table: its name, the words in its cells, and its problems. `unknown`: nothing could be read, for a
    reason that another row tells."""

    name: str
    cells: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    unknown: bool = False

    @property
    def level(self) -> Level:
        levels = [finding.level for finding in self.findings]
        return max([*levels, Level.CRITICAL if self.unknown else Level.OK])


@dataclass(frozen=True)
class StatusReport:
    """The rows of the bridges, and of the parts that they share. `causes` (Docker, Synapse) come first in the text:
    they may be the reason why a bridge does not work."""

    stack: str
    causes: tuple[Row, ...]
    bridges: tuple[Row, ...]
    shared: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*self.causes, *self.bridges, *self.shared)

    @property
    def level(self) -> Level:
        """The worst of all; also the exit code."""
        return max((row.level for row in self.rows), default=Level.OK)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first."""
        findings = (finding for row in self.rows for finding in row.findings)
        return tuple(sorted(findings, key=lambda finding: -finding.level))


def evaluate_status(facts: StatusFacts) -> StatusReport:
    """Turn the facts into the report's rows."""
    return StatusReport(
        stack=facts.stack,
        causes=(*_build_docker_row(facts), _build_synapse_row(facts)),
        bridges=tuple(_build_bridge_row(bridge, facts) for bridge in facts.bridges),
        shared=(
            _build_homeserver_row(facts.homeserver),
            _build_backup_row(facts.backup, facts.stack),
            *(_build_dump_row(dump, facts) for dump in facts.dumps),
            _build_rights_row(facts),
        ),
    )


def find_status_warnings(facts: StatusFacts) -> tuple[str, ...]:
    """The warnings that `pulumi preview` adds to preflight's own: running bridges that do not work, old dumps, and
    Postgres' rights. One line for each, the worst first."""
    running = [bridge for bridge in facts.bridges if bridge.status.container == "running"]
    dumps = [*(bridge.dump for bridge in facts.bridges), *facts.dumps]
    findings = [
        *(finding for bridge in running for finding in _check_running_bridge(bridge, facts.read_at)),
        *(finding for dump in dumps for finding in _check_dumps(dump, facts)),
        *_check_rights(facts),
    ]
    return tuple(finding.text for finding in sorted(findings, key=lambda finding: -finding.level))


def report_unreadable_status(reason: str) -> StatusReport:
    """The report when nothing could be read, for this reason."""
    row = Row("deployment", ("not known",), (_make_finding(Level.CRITICAL, reason),))
    return StatusReport("", (row,), (), ())


def _make_finding(level: Level, text: str) -> Finding:
    return Finding(level, " ".join(text.split()))


# the rows --------------------------------------------------------------------------------------------------------


def _build_docker_row(facts: StatusFacts) -> Iterator[Row]:
    if facts.docker_error:
        text = f"Docker: the bridges' containers are not known: {facts.docker_error}: see what `docker ps` says"
        yield Row("Docker", ("does not answer",), (_make_finding(Level.CRITICAL, text),))


def _build_synapse_row(facts: StatusFacts) -> Row:
    if not facts.synapse_silent:
        return Row("Synapse", (f"answers at {facts.synapse_url}",))
    where = f" at {facts.synapse_url}" if facts.synapse_url else ""
    text = f"Synapse: does not answer{where}: {facts.synapse_silent}: start it, or see its log (docker logs)"
    return Row("Synapse", ("does not answer",), (_make_finding(Level.CRITICAL, text),))


def _build_bridge_row(bridge: BridgeStatusFacts, facts: StatusFacts) -> Row:
    status, now, dump = bridge.status, facts.read_at, bridge.dump
    unknown = status.container == "unknown"
    findings = [
        *([] if unknown and facts.docker_error else _check_container(bridge, now)),
        *_check_registration(bridge),
        *_check_dumps(dump, facts),
        *_check_archive(bridge),
    ]
    running = status.container == "running"
    cells = (
        _describe_container(status),
        "-" if not running else "yes" if status.ready else "no",
        _describe_ping(status) if running else "-",
        "-" if bridge.last_event_at is None else f"{_describe_age(now - bridge.last_event_at)} ago",
        _describe_dump(dump, now),
        _describe_archive(bridge.archive, now),
    )
    return Row(bridge.name, cells, tuple(findings), unknown)


def _describe_ping(status: BridgeStatus) -> str:
    """The HTTP status of Synapse's answer, if there is one; the finding says the rest."""
    first = status.ping.partition(" ")[0]
    return first if first.isdigit() else "-" if status.ping == "not asked" else "fails"


def _describe_container(status: BridgeStatus) -> str:
    restarts = f", {_describe_restarts(status.restart_count)}" if status.restart_count else ""
    ended = f" (exit code {status.exit_code})" if status.exit_code is not None and status.container != "running" else ""
    return f"{status.container}{ended}{restarts}"


def _describe_restarts(count: int) -> str:
    return f"{count} restart{'s' if count > 1 else ''}"


def _check_container(bridge: BridgeStatusFacts, now: float) -> Iterator[Finding]:
    name, status = bridge.name, bridge.status
    if status.container == "running":
        yield from _check_running_bridge(bridge, now)
    elif status.container == "absent":
        text = f"{name}: there is no container of that name: `pulumi up` makes it anew"
        yield _make_finding(Level.CRITICAL, text)
    elif status.container == "unknown":
        why = status.problem or "no reason given"
        yield _make_finding(Level.CRITICAL, f"{name}: its container is not known: {why}: see what `docker ps` says")
    elif status.container in ("exited", "dead", "restarting"):
        word = "keeps ending" if status.container == "restarting" else f"is {status.container}"
        why = status.exit_meaning or f"the last lines of its log tell why (docker logs --tail 50 {name})"
        yield _make_finding(Level.CRITICAL, f"{name}: its container {word}: {why}{_describe_last_error(status)}")
    else:
        fix = f"docker {'unpause' if status.container == 'paused' else 'start'} {name}"
        yield _make_finding(Level.CRITICAL, f"{name}: its container is {status.container}, not running: {fix}")


def _check_running_bridge(bridge: BridgeStatusFacts, now: float) -> Iterator[Finding]:
    name, status = bridge.name, bridge.status
    running_for = None if bridge.started_at is None else max(now - bridge.started_at, 0)
    starting = running_for is not None and running_for < STARTING
    level = Level.WARNING if starting else Level.CRITICAL
    since = f" (started {_describe_age(running_for)} ago)" if starting and running_for is not None else ""
    if not status.ready:
        why = f" ({status.problem})" if status.problem else ""
        fix = f"see what it waits for: docker logs --tail 50 {name}"
        yield _make_finding(level, f"{name}: is not ready{since}{why}{_describe_last_error(status)}: {fix}")
    if status.ping not in ("200", "not asked"):
        fix = "compare its registration's url with the container's name and port, and see Synapse's log"
        yield _make_finding(level, f"{name}: Synapse's ping of it fails{since}: {status.ping}: {fix}")
    if status.ready and status.problem:
        yield _make_finding(Level.WARNING, f"{name}: not all of it is known: {status.problem}: run this again")
    if status.restart_count and running_for is not None and running_for < RESTARTED_RECENTLY:
        why = status.exit_meaning or f"docker logs {name} tells why"
        times = f"has ended {status.restart_count} time{'s' if status.restart_count > 1 else ''}"
        yield _make_finding(
            Level.WARNING,
            f"{name}: {times} and runs again since {_describe_age(running_for)}: {why}{_describe_last_error(status)}",
        )


def _check_registration(bridge: BridgeStatusFacts) -> Iterator[Finding]:
    if bridge.registration_problem:
        text = f"{bridge.registration_problem}: Synapse does not start again without it: {REAPPLY}"
        yield _make_finding(Level.CRITICAL, text)


def _describe_last_error(status: BridgeStatus) -> str:
    return f" (last error: {status.last_error})" if status.last_error else ""


def _describe_archive(archive: NewestArchive, now: float) -> str:
    if archive.error:
        return "not known"
    return f"{archive.path}, {_describe_age(now - archive.made_at)} old" if archive.path else "none"


def _check_archive(bridge: BridgeStatusFacts) -> Iterator[Finding]:
    """A bridge without an archive is fine: the first one is made before a change of the image, or at a destroy."""
    if bridge.archive.error:
        yield _make_finding(Level.WARNING, f"{bridge.name}: its archives are not known: {bridge.archive.error}")


def _build_dump_row(dump: DumpFacts, facts: StatusFacts) -> Row:
    words = _describe_dump(dump, facts.read_at)
    path = f": {dump.good.path}" if dump.good else ""
    return Row(f"dump of {dump.database}", (f"{words}{path}",), tuple(_check_dumps(dump, facts)))


def _describe_dump(dump: DumpFacts, now: float) -> str:
    if dump.error or not dump.directory:
        return "not known"
    return f"{_describe_age(now - dump.good.made_at)} old" if dump.good else "none"


def rate_dump_age(age: Optional[float]) -> Level:
    """How bad the age (seconds) of the last good dump is; None: there is no good dump."""
    if age is None or age > DUMP_CRITICAL:
        return Level.CRITICAL
    return Level.WARNING if age > DUMP_WARNING else Level.OK


def _check_dumps(dump: DumpFacts, facts: StatusFacts) -> Iterator[Finding]:
    what = f"dumps of {dump.database}"
    if dump.error:
        yield _make_finding(Level.WARNING, f"{what}: not known: {dump.error}")
        return
    if not dump.directory:
        fix = "set backupDir to an absolute path, and status watches them"
        yield _make_finding(Level.WARNING, f"{what}: only {facts.backup.script} knows its directory for them: {fix}")
        return
    script = facts.backup.script or facts.backup.dump_script
    if dump.good is None:
        fix = f"run {script} and see what it says, then whether cron runs it"
        yield _make_finding(Level.CRITICAL, f"{what}: no good one is in {dump.directory}: {fix}")
    else:
        age = facts.read_at - dump.good.made_at
        level = rate_dump_age(age)
        if level is not Level.OK:
            fix = f"see whether cron runs {script}, and what that says"
            yield _make_finding(
                level, f"{what}: the last good one is {_describe_age(age)} old ({dump.good.path}): {fix}"
            )
    for damaged in dump.damaged:
        yield _make_finding(Level.WARNING, f"{what}: a newer one is not good: {damaged}: make another, then remove it")


def _build_homeserver_row(entries: HomeserverEntries) -> Row:
    if entries.error:
        text = f"{entries.path}: whether our entries are in it is not known: {entries.error}"
        return Row("homeserver.yaml", ("not known",), (_make_finding(Level.WARNING, text),))
    if entries.missing:
        fix = f"the bridges are dead after Synapse's next restart: {REAPPLY}"
        text = f"{entries.path}: lacks {', '.join(entries.missing)}: {fix}"
        return Row("homeserver.yaml", (f"lacks {', '.join(entries.missing)}",), (_make_finding(Level.WARNING, text),))
    return Row("homeserver.yaml", ("holds our entries",))


def _build_backup_row(backup: BackupCall, stack: str) -> Row:
    findings = [*_check_backup_call(backup), *_check_dump_script(backup, stack)]
    if not backup.script:
        words = f"none of yours: cron runs {backup.dump_script}"
    elif backup.error:
        words = "not known"
    else:
        words = f"{'calls' if backup.calls else 'does not call'} {backup.dump_script}"
    return Row("backup script", (words,), tuple(findings))


def _check_backup_call(backup: BackupCall) -> Iterator[Finding]:
    if not backup.script:
        return
    if backup.error:
        yield _make_finding(Level.WARNING, f"{backup.script}: {backup.error}: the databases are not dumped at night")
    elif not backup.calls and backup.problems:
        yield from (_make_finding(Level.WARNING, problem) for problem in backup.problems)
    elif not backup.calls:
        fix = f"the databases are not dumped at night: {REAPPLY}"
        yield _make_finding(Level.WARNING, f"{backup.script}: no longer holds our call of {backup.dump_script}: {fix}")


def _check_dump_script(backup: BackupCall, stack: str) -> Iterator[Finding]:
    if backup.dump_script_owner is None:
        yield _make_finding(Level.WARNING, f"{backup.dump_script}: our dump script is not there: {REAPPLY}")
    elif backup.dump_script_owner != stack:
        owner = backup.dump_script_owner or "nobody"
        yield _make_finding(Level.WARNING, f"{backup.dump_script}: is not {stack}'s, but {owner}'s: {REAPPLY}")


def _build_rights_row(facts: StatusFacts) -> Row:
    name, rights = "Postgres' rights", facts.rights
    if rights.error:
        text = f"Postgres: the bridges' rights are not known: {rights.error}: see that Postgres runs (docker logs)"
        return Row(name, ("not known",), (_make_finding(Level.CRITICAL, text),))
    findings = tuple(_check_rights(facts))
    return Row(name, ("not as `up` left them" if findings else "as `up` left them",), findings)


def _check_rights(facts: StatusFacts) -> Iterator[Finding]:
    """`up` notes in the comment on each role which databases it took from PUBLIC."""
    rights = facts.rights
    database_of_role = {bridge.database.role: bridge.database.database for bridge in facts.bridges}
    notes = {role: parse_owner_comment(role_rights.comment) for role, role_rights in rights.roles.items()}
    isolated = {database for note in notes.values() for database in _list_isolated_databases(note.get("public"))}
    closed = isolated | {*database_of_role.values()}
    opened = sorted(closed & {*rights.public})
    if opened:
        names = ", ".join(f'"{database}"' for database in opened)
        fix = f"REVOKE CONNECT, TEMPORARY ON DATABASE {names} FROM PUBLIC;"
        yield _make_finding(
            Level.CRITICAL, f"Postgres: every role may connect to {', '.join(opened)} again, through PUBLIC: {fix}"
        )
    for role, database in database_of_role.items():
        role_rights = rights.roles.get(role)
        if role_rights is None:
            yield _make_finding(
                Level.CRITICAL, f"Postgres: role {role}: is not there: `pulumi up --refresh` makes it again"
            )
            continue
        stray = sorted({*role_rights.connects} & closed - {database, *opened})
        if stray:
            yield _make_finding(
                Level.CRITICAL,
                f"Postgres: role {role}: may connect to {', '.join(stray)}: revoke what lets it in there "
                "(a grant of its own, or another role's)",
            )
        if database not in role_rights.connects:
            yield _make_finding(
                Level.CRITICAL,
                f"Postgres: role {role}: may not connect to its own database {database}: make it its owner",
            )
        if role_rights.attributes:
            more = ", ".join(role_rights.attributes)
            fix = f'ALTER ROLE "{role}" {" ".join(f"NO{name}" for name in role_rights.attributes)};'
            yield _make_finding(Level.CRITICAL, f"Postgres: role {role}: has {more}, should have none: {fix}")
        if notes[role].get("stack") != facts.stack:
            yield _make_finding(
                Level.WARNING,
                f"Postgres: role {role}: its comment no longer names {facts.stack}, and what PUBLIC could do before is "
                f"lost with it: {REAPPLY}",
            )


def _list_isolated_databases(note: object) -> Iterable[str]:
    return note if isinstance(note, dict) else ()


def _describe_age(seconds: float) -> str:
    """In the largest unit that counts at least two."""
    seconds = max(seconds, 0)
    for length, unit in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
