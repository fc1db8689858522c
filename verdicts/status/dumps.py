"""The nightly dumps: of each database, and what makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from verdicts.status.facts import BackupCall, DumpFacts, Health, StatusFacts
from verdicts.status.report import DAY, HOUR, REAPPLY, Finding, Level, Row, critical, describe_age, warning

DUMP_WARNING = 26 * HOUR  # a nightly dump is a day old before the next one, which may take its time
DUMP_CRITICAL = 3 * DAY


def build_dump_row(dump: DumpFacts, facts: StatusFacts) -> Row:
    path = f": {dump.good.path}" if dump.good else ""
    words = f"{describe_dump(dump, facts.read_at)}{path}"
    return Row(f"dump of {dump.database}", (words,), tuple(check_dumps(dump, facts)))


def describe_dump(dump: DumpFacts, now: float) -> str:
    if dump.error or not dump.directory:
        return "not known"
    return f"{describe_age(now - dump.good.made_at)} old" if dump.good else "none"


def rate_dump_age(age: Optional[float]) -> Level:
    """How bad the age (seconds) of the last good dump is; None: there is no good dump."""
    if age is None or age > DUMP_CRITICAL:
        return Level.CRITICAL
    return Level.WARNING if age > DUMP_WARNING else Level.OK


def check_dumps(dump: DumpFacts, facts: Health) -> Iterator[Finding]:
    subject, script = f"dumps of {dump.database}", facts.nightly_script
    if dump.error:
        yield warning(f"{subject}: not known: {dump.error}")
    elif not dump.directory:
        fix = "set backupDir to an absolute path, and status watches them"
        yield warning(f"{subject}: only {script} knows its directory for them: {fix}")
    elif dump.good is None:
        fix = f"run {script} and see what it says, then whether cron runs it"
        yield critical(f"{subject}: no good one is in {dump.directory}: {fix}")
    else:
        age = facts.read_at - dump.good.made_at
        level, fix = rate_dump_age(age), f"see whether cron runs {script}, and what that says"
        if level is not Level.OK:
            yield Finding(level, f"{subject}: the last good one is {describe_age(age)} old ({dump.good.path}): {fix}")
    for damaged in dump.damaged:
        yield warning(f"{subject}: a newer one is not good: {damaged}: make another, then remove it")


def build_backup_row(backup: BackupCall, stack: str) -> Row:
    """The operator's backup script, and the dump script of ours that it calls."""
    script, dump_script = backup.script, backup.dump_script
    findings, words = list[Finding](), f"calls {dump_script}"
    if not script:
        words = f"none of yours: {backup.schedule or 'nothing of ours'} runs {dump_script}"
        findings += map(warning, backup.problems)
    elif backup.error:
        words = "not known"
        findings.append(warning(f"{script}: {backup.error}: the databases are not dumped at night"))
    elif not backup.calls:
        words = f"does not call {dump_script}"
        lost = f"{script}: no longer holds our call of {dump_script}: the databases are not dumped at night: {REAPPLY}"
        findings += map(warning, backup.problems or [lost])
    owner = backup.dump_script_owner
    if owner is None:
        findings.append(warning(f"{dump_script}: our dump script is not there: {REAPPLY}"))
    elif owner != stack:
        findings.append(warning(f"{dump_script}: is not {stack}'s, but {owner or 'nobody'}'s: {REAPPLY}"))
    elif backup.dump_script_changed:
        findings.append(warning(f"{dump_script}: was changed since `up` wrote it: {REAPPLY}"))
    return Row("backup script", (words,), tuple(findings))
