"""Is what was deployed still well? From what the verb `status` saw to a table for a person, an exit code for a
monitoring program, and warnings for a preview."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Optional

from documents.marks import parse_owner_comment
from documents.places import Database
from verdicts.host_facts.bridge import BridgeStatus

HOUR, DAY = 3600.0, 86400.0
DUMP_WARNING = 26 * HOUR  # a nightly dump is a day old before the next one, which may take its time
DUMP_CRITICAL = 3 * DAY
STARTING = 60.0  # seconds that a bridge may take until it is ready, as its health check grants
RESTARTED_RECENTLY = HOUR  # Docker counts restarts for as long as the container lives
REAPPLY = "raise the setting reapply by one, then `pulumi up`"


class Level(IntEnum):
    """How bad it is; the number is the exit code that monitoring programs expect."""

    OK = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> str:
        """What is not well stands out in capitals."""
        return "ok" if self is Level.OK else self.name


# what was seen ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GoodDump:
    """The newest whole dump of a database: when it was made (seconds since the epoch), and what proves that it is
    whole."""

    path: str
    made_at: float
    proof: str


@dataclass(frozen=True)
class DumpFacts:
    """The dumps of one database in the `directory` where our dump script puts them ("": not known). `damaged`: those
    that are newer than the good one and are not whole, as "PATH: why". `error`: why they could not be looked at."""

    database: str
    directory: str = ""
    good: Optional[GoodDump] = None
    damaged: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class NewestArchive:
    """A bridge's newest archive, and when it was made; `path` is "" if there is none. `error`: why that is not
    known."""

    path: str = ""
    made_at: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class BridgeStatusFacts:
    """One bridge. `name` is its container's; `started_at`: when that was last started; `last_event_at`: when Synapse
    last handed it an event, None if the last lines of its log do not tell (times in seconds since the epoch).
    `registration_problem`: why its registration in Synapse's directory tells no as_token, "" if it does; without one
    Synapse is not asked for its ping."""

    name: str
    database: Database
    status: BridgeStatus
    started_at: Optional[float]
    last_event_at: Optional[float]
    registration_problem: str
    dump: DumpFacts
    archive: NewestArchive


@dataclass(frozen=True)
class HomeserverEntries:
    """Our entries that the file at `path` lacks; `error`: why that is not known."""

    path: str
    missing: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class BackupCall:
    """Whether the operator's `script` ("": there is none) calls our dump script: `calls`, and if it does not, what
    stands against it (`problems`, whole lines). `dump_script_owner`: the stack that ours names, None if it is not
    there. `error`: why the operator's cannot be read."""

    script: str
    dump_script: str
    dump_script_owner: Optional[str]
    calls: bool = False
    problems: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class RoleRights:
    """A role in Postgres: its comment, the special `attributes` that it has, and the databases it may connect to."""

    comment: str
    attributes: tuple[str, ...]
    connects: tuple[str, ...]


@dataclass(frozen=True)
class PostgresRights:
    """The bridges' roles by name, and the databases that PUBLIC may connect to. `error`: why Postgres did not tell."""

    roles: dict[str, RoleRights] = field(default_factory=dict)
    public: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class StatusFacts:
    """All that `status` saw of one stack, at `read_at` (seconds since the epoch). `docker_error`: why Docker did not
    tell of the containers; `synapse_silent`: why Synapse does not answer at `synapse_url`, "" if it does. `dumps`: of
    databases that are no bridge's."""

    stack: str
    read_at: float
    docker_error: str
    synapse_url: str
    synapse_silent: str
    bridges: tuple[BridgeStatusFacts, ...]
    homeserver: HomeserverEntries
    backup: BackupCall
    dumps: tuple[DumpFacts, ...]
    rights: PostgresRights


# what it means ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """Something that is not well: one line with what, where, and what to do."""

    level: Level
    text: str


@dataclass(frozen=True)
class Row:
    """One row of the table: its name, the words in its cells, and what is not well. `unknown`: nothing could be seen,
    for a reason that another row tells."""

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
    """The rows of the bridges, and those of what they share (`causes` come first in what is told: a bridge that is not
    well may be so because of them)."""

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
        found = (finding for row in self.rows for finding in row.findings)
        return tuple(sorted(found, key=lambda finding: -finding.level))


def evaluate_status(facts: StatusFacts) -> StatusReport:
    """The table's rows."""
    return StatusReport(
        stack=facts.stack,
        causes=(*_docker_row(facts), _synapse_row(facts)),
        bridges=tuple(_bridge_row(bridge, facts) for bridge in facts.bridges),
        shared=(
            _homeserver_row(facts.homeserver),
            _backup_row(facts.backup, facts.stack),
            *(_dump_row(dump, facts) for dump in facts.dumps),
            _rights_row(facts),
        ),
    )


def status_warnings(facts: StatusFacts) -> tuple[str, ...]:
    """What `pulumi preview` says beside what preflight asks by itself: whether bridges that run work, how old the last
    good dumps are, and Postgres' rights; one line each, the worst first."""
    running = [bridge for bridge in facts.bridges if bridge.status.container == "running"]
    dumps = [*(bridge.dump for bridge in facts.bridges), *facts.dumps]
    findings = [
        *(finding for bridge in running for finding in _running_findings(bridge, facts.read_at)),
        *(finding for dump in dumps for finding in _dump_findings(dump, facts)),
        *_rights_findings(facts),
    ]
    return tuple(finding.text for finding in sorted(findings, key=lambda finding: -finding.level))


def unreadable_status(reason: str) -> StatusReport:
    """The report where nothing could be looked at."""
    row = Row("deployment", ("not known",), (_finding(Level.CRITICAL, reason),))
    return StatusReport("", (row,), (), ())


def _finding(level: Level, text: str) -> Finding:
    return Finding(level, " ".join(text.split()))


# the rows --------------------------------------------------------------------------------------------------------


def _docker_row(facts: StatusFacts) -> Iterator[Row]:
    if facts.docker_error:
        text = f"Docker: the bridges' containers are not known: {facts.docker_error}: see what `docker ps` says"
        yield Row("Docker", ("does not answer",), (_finding(Level.CRITICAL, text),))


def _synapse_row(facts: StatusFacts) -> Row:
    if not facts.synapse_silent:
        return Row("Synapse", (f"answers at {facts.synapse_url}",))
    where = f" at {facts.synapse_url}" if facts.synapse_url else ""
    text = f"Synapse: does not answer{where}: {facts.synapse_silent}: start it, or see its log (docker logs)"
    return Row("Synapse", ("does not answer",), (_finding(Level.CRITICAL, text),))


def _bridge_row(bridge: BridgeStatusFacts, facts: StatusFacts) -> Row:
    status, now, dump = bridge.status, facts.read_at, bridge.dump
    unknown = status.container == "unknown"
    findings = [
        *([] if unknown and facts.docker_error else _container_findings(bridge, now)),
        *_registration_findings(bridge),
        *_dump_findings(dump, facts),
        *_archive_findings(bridge),
    ]
    running = status.container == "running"
    cells = (
        _container_words(status),
        "-" if not running else "yes" if status.ready else "no",
        _ping_word(status) if running else "-",
        "-" if bridge.last_event_at is None else f"{_age_words(now - bridge.last_event_at)} ago",
        _dump_words(dump, now),
        _archive_words(bridge.archive, now),
    )
    return Row(bridge.name, cells, tuple(findings), unknown)


def _ping_word(status: BridgeStatus) -> str:
    """The status that Synapse answered with, where there is one; the finding says the rest."""
    first = status.ping.partition(" ")[0]
    return first if first.isdigit() else "-" if status.ping == "not asked" else "fails"


def _container_words(status: BridgeStatus) -> str:
    restarts = f", {_restart_words(status.restart_count)}" if status.restart_count else ""
    ended = f" (exit code {status.exit_code})" if status.exit_code is not None and status.container != "running" else ""
    return f"{status.container}{ended}{restarts}"


def _restart_words(count: int) -> str:
    return f"{count} restart{'s' if count > 1 else ''}"


def _container_findings(bridge: BridgeStatusFacts, now: float) -> Iterator[Finding]:
    name, status = bridge.name, bridge.status
    if status.container == "running":
        yield from _running_findings(bridge, now)
    elif status.container == "absent":
        text = f"{name}: there is no container of that name: `pulumi up` makes it anew"
        yield _finding(Level.CRITICAL, text)
    elif status.container == "unknown":
        why = status.problem or "no reason given"
        yield _finding(Level.CRITICAL, f"{name}: its container is not known: {why}: see what `docker ps` says")
    elif status.container in ("exited", "dead", "restarting"):
        word = "keeps ending" if status.container == "restarting" else f"is {status.container}"
        why = status.exit_meaning or f"the last lines of its log tell why (docker logs --tail 50 {name})"
        yield _finding(Level.CRITICAL, f"{name}: its container {word}: {why}{_error_words(status)}")
    else:
        fix = f"docker {'unpause' if status.container == 'paused' else 'start'} {name}"
        yield _finding(Level.CRITICAL, f"{name}: its container is {status.container}, not running: {fix}")


def _running_findings(bridge: BridgeStatusFacts, now: float) -> Iterator[Finding]:
    name, status = bridge.name, bridge.status
    running_for = None if bridge.started_at is None else max(now - bridge.started_at, 0)
    starting = running_for is not None and running_for < STARTING
    level = Level.WARNING if starting else Level.CRITICAL
    since = f" (started {_age_words(running_for)} ago)" if starting and running_for is not None else ""
    if not status.ready:
        why = f" ({status.problem})" if status.problem else ""
        fix = f"see what it waits for: docker logs --tail 50 {name}"
        yield _finding(level, f"{name}: is not ready{since}{why}{_error_words(status)}: {fix}")
    if status.ping not in ("200", "not asked"):
        fix = "compare its registration's url with the container's name and port, and see Synapse's log"
        yield _finding(level, f"{name}: Synapse's ping of it fails{since}: {status.ping}: {fix}")
    if status.ready and status.problem:
        yield _finding(Level.WARNING, f"{name}: not all of it is known: {status.problem}: run this again")
    if status.restart_count and running_for is not None and running_for < RESTARTED_RECENTLY:
        why = status.exit_meaning or f"docker logs {name} tells why"
        times = f"has ended {status.restart_count} time{'s' if status.restart_count > 1 else ''}"
        yield _finding(
            Level.WARNING,
            f"{name}: {times} and runs again since {_age_words(running_for)}: {why}{_error_words(status)}",
        )


def _registration_findings(bridge: BridgeStatusFacts) -> Iterator[Finding]:
    if bridge.registration_problem:
        text = f"{bridge.registration_problem}: Synapse does not start again without it: {REAPPLY}"
        yield _finding(Level.CRITICAL, text)


def _error_words(status: BridgeStatus) -> str:
    return f" (last error: {status.last_error})" if status.last_error else ""


def _archive_words(archive: NewestArchive, now: float) -> str:
    if archive.error:
        return "not known"
    return f"{archive.path}, {_age_words(now - archive.made_at)} old" if archive.path else "none"


def _archive_findings(bridge: BridgeStatusFacts) -> Iterator[Finding]:
    """None yet is no fault: the first one is made before another image, or at a destroy."""
    if bridge.archive.error:
        yield _finding(Level.WARNING, f"{bridge.name}: its archives are not known: {bridge.archive.error}")


def _dump_row(dump: DumpFacts, facts: StatusFacts) -> Row:
    words = _dump_words(dump, facts.read_at)
    path = f": {dump.good.path}" if dump.good else ""
    return Row(f"dump of {dump.database}", (f"{words}{path}",), tuple(_dump_findings(dump, facts)))


def _dump_words(dump: DumpFacts, now: float) -> str:
    if dump.error or not dump.directory:
        return "not known"
    return f"{_age_words(now - dump.good.made_at)} old" if dump.good else "none"


def dump_level(age: Optional[float]) -> Level:
    """Of the last good dump's age in seconds; None: there is none."""
    if age is None or age > DUMP_CRITICAL:
        return Level.CRITICAL
    return Level.WARNING if age > DUMP_WARNING else Level.OK


def _dump_findings(dump: DumpFacts, facts: StatusFacts) -> Iterator[Finding]:
    what = f"dumps of {dump.database}"
    if dump.error:
        yield _finding(Level.WARNING, f"{what}: not known: {dump.error}")
        return
    if not dump.directory:
        fix = "set backupDir to an absolute path, and status watches them"
        yield _finding(Level.WARNING, f"{what}: only {facts.backup.script} knows its directory for them: {fix}")
        return
    script = facts.backup.script or facts.backup.dump_script
    if dump.good is None:
        fix = f"run {script} and see what it says, then whether cron runs it"
        yield _finding(Level.CRITICAL, f"{what}: no good one is in {dump.directory}: {fix}")
    else:
        age = facts.read_at - dump.good.made_at
        level = dump_level(age)
        if level is not Level.OK:
            fix = f"see whether cron runs {script}, and what that says"
            yield _finding(level, f"{what}: the last good one is {_age_words(age)} old ({dump.good.path}): {fix}")
    for damaged in dump.damaged:
        yield _finding(Level.WARNING, f"{what}: a newer one is not good: {damaged}: make another, then remove it")


def _homeserver_row(entries: HomeserverEntries) -> Row:
    if entries.error:
        text = f"{entries.path}: whether our entries are in it is not known: {entries.error}"
        return Row("homeserver.yaml", ("not known",), (_finding(Level.WARNING, text),))
    if entries.missing:
        fix = f"the bridges are dead after Synapse's next restart: {REAPPLY}"
        text = f"{entries.path}: lacks {', '.join(entries.missing)}: {fix}"
        return Row("homeserver.yaml", (f"lacks {', '.join(entries.missing)}",), (_finding(Level.WARNING, text),))
    return Row("homeserver.yaml", ("holds our entries",))


def _backup_row(backup: BackupCall, stack: str) -> Row:
    findings = [*_call_findings(backup), *_dump_script_findings(backup, stack)]
    if not backup.script:
        words = f"none of yours: cron runs {backup.dump_script}"
    elif backup.error:
        words = "not known"
    else:
        words = f"{'calls' if backup.calls else 'does not call'} {backup.dump_script}"
    return Row("backup script", (words,), tuple(findings))


def _call_findings(backup: BackupCall) -> Iterator[Finding]:
    if not backup.script:
        return
    if backup.error:
        yield _finding(Level.WARNING, f"{backup.script}: {backup.error}: the databases are not dumped at night")
    elif not backup.calls and backup.problems:
        yield from (_finding(Level.WARNING, problem) for problem in backup.problems)
    elif not backup.calls:
        fix = f"the databases are not dumped at night: {REAPPLY}"
        yield _finding(Level.WARNING, f"{backup.script}: no longer holds our call of {backup.dump_script}: {fix}")


def _dump_script_findings(backup: BackupCall, stack: str) -> Iterator[Finding]:
    if backup.dump_script_owner is None:
        yield _finding(Level.WARNING, f"{backup.dump_script}: our dump script is not there: {REAPPLY}")
    elif backup.dump_script_owner != stack:
        owner = backup.dump_script_owner or "nobody"
        yield _finding(Level.WARNING, f"{backup.dump_script}: is not {stack}'s, but {owner}'s: {REAPPLY}")


def _rights_row(facts: StatusFacts) -> Row:
    name, rights = "Postgres' rights", facts.rights
    if rights.error:
        text = f"Postgres: the bridges' rights are not known: {rights.error}: see that Postgres runs (docker logs)"
        return Row(name, ("not known",), (_finding(Level.CRITICAL, text),))
    findings = tuple(_rights_findings(facts))
    return Row(name, ("not as `up` left them" if findings else "as `up` left them",), findings)


def _rights_findings(facts: StatusFacts) -> Iterator[Finding]:
    """`up` notes in the comment on each role which databases it took from PUBLIC."""
    rights, own = facts.rights, {bridge.database.role: bridge.database.database for bridge in facts.bridges}
    notes = {role: parse_owner_comment(found.comment) for role, found in rights.roles.items()}
    isolated = {database for note in notes.values() for database in _isolated(note.get("public"))}
    closed = isolated | {*own.values()}
    opened = sorted(closed & {*rights.public})
    if opened:
        names = ", ".join(f'"{database}"' for database in opened)
        fix = f"REVOKE CONNECT, TEMPORARY ON DATABASE {names} FROM PUBLIC;"
        yield _finding(
            Level.CRITICAL, f"Postgres: every role may connect to {', '.join(opened)} again, through PUBLIC: {fix}"
        )
    for role, database in own.items():
        found = rights.roles.get(role)
        if found is None:
            yield _finding(Level.CRITICAL, f"Postgres: role {role}: is not there: `pulumi up --refresh` makes it again")
            continue
        stray = sorted({*found.connects} & closed - {database, *opened})
        if stray:
            yield _finding(
                Level.CRITICAL,
                f"Postgres: role {role}: may connect to {', '.join(stray)}: revoke what lets it in there "
                "(a grant of its own, or another role's)",
            )
        if database not in found.connects:
            yield _finding(
                Level.CRITICAL,
                f"Postgres: role {role}: may not connect to its own database {database}: make it its owner",
            )
        if found.attributes:
            more = ", ".join(found.attributes)
            fix = f'ALTER ROLE "{role}" {" ".join(f"NO{name}" for name in found.attributes)};'
            yield _finding(Level.CRITICAL, f"Postgres: role {role}: has {more}, should have none: {fix}")
        if notes[role].get("stack") != facts.stack:
            yield _finding(
                Level.WARNING,
                f"Postgres: role {role}: its comment no longer names {facts.stack}, and what PUBLIC could do before is "
                f"lost with it: {REAPPLY}",
            )


def _isolated(noted: object) -> Iterable[str]:
    return noted if isinstance(noted, dict) else ()


# the text --------------------------------------------------------------------------------------------------------

BRIDGE_HEAD = ("BRIDGE", "LEVEL", "CONTAINER", "READY", "PING", "LAST EVENT", "LAST GOOD DUMP", "NEWEST ARCHIVE")
SHARED_HEAD = ("SHARED", "LEVEL", "STATE")


def status_table(report: StatusReport) -> str:
    """The report for a person. Its first line says all that a monitoring program shows; what to do stands below the
    tables."""
    blocks = [[summary(report)]]
    if report.bridges:
        blocks.append(_columns([BRIDGE_HEAD, *map(_cells, report.bridges)]))
    blocks.append(_columns([SHARED_HEAD, *map(_cells, (*report.causes, *report.shared))]))
    if report.findings:
        blocks.append([f"{finding.level.word}: {finding.text}" for finding in report.findings])
    return "\n\n".join("\n".join(block) for block in blocks)


def summary(report: StatusReport) -> str:
    """`OK`, `WARNING` or `CRITICAL`, and the first thing that is so."""
    if not report.findings:
        count = len(report.bridges)
        return f"{report.level.name}: {count} bridge{'' if count == 1 else 's'} of {report.stack}"
    first, *rest = report.findings
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{report.level.name}: {first.text}{more}"


def _cells(row: Row) -> tuple[str, ...]:
    return (row.name, row.level.word, *row.cells)


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _age_words(seconds: float) -> str:
    """In the largest unit of which there are at least two."""
    seconds = max(seconds, 0)
    for length, unit in ((DAY, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
