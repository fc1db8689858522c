"""The nightly dumps: of each database, and what makes them."""

from __future__ import annotations

from collections.abc import Iterator

from verdicts.status.facts import BackupCall, DumpFacts, Health, StatusFacts
from verdicts.status.report import HOUR, REAPPLY, Finding, Row, describe_age, warning

OLD = 36 * HOUR  # a nightly dump is a day old before the next one, which may take its time


def build_dump_row(dump: DumpFacts, facts: StatusFacts) -> Row:
    words = f"{describe_dump(dump, facts.read_at)}{f': {dump.path}' if dump.path else ''}"
    return Row(f"dump of {dump.database}", (words,), tuple(check_dumps(dump, facts)))


def describe_dump(dump: DumpFacts, now: float) -> str:
    if dump.error:
        return "not known"
    if dump.fault:
        return "not good"
    return f"{describe_age(now - dump.made_at)} old" if dump.path else "none"


def check_dumps(dump: DumpFacts, facts: Health) -> Iterator[Finding]:
    """No more than a warning: nothing is dead yet."""
    subject, script, age = f"dumps of {dump.database}", facts.nightly_script, facts.read_at - dump.made_at
    reason = f"; its last run made none: {dump.failed}" if dump.failed else ""
    if dump.error:
        yield warning(f"{subject}: not known: {dump.error}")
    elif not dump.path:
        yield warning(
            f"{subject}: none was made{reason}: run {script} once, see what it says, and whether it runs at night"
        )
    elif dump.fault:
        yield warning(f"{subject}: the newest is not good: {dump.fault}{reason}: run {script}, and see what changes it")
    elif age > OLD:
        fix = f"see whether {script} runs at night, and what it says"
        yield warning(f"{subject}: the newest is {describe_age(age)} old ({dump.path}){reason}: {fix}")
    elif reason:
        yield warning(f"{subject}: the newest is {describe_age(age)} old{reason}: run {script}, and see what it says")


def build_backup_row(backup: BackupCall, stack: str) -> Row:
    """The operator's backup script, and the dump script of ours that it calls."""
    script, dump_script = backup.script, backup.dump_script
    findings, words = list[Finding](), f"calls {dump_script}"
    if not script:
        words = f"none of yours: {backup.schedule or 'nothing of ours'} runs {dump_script}"
        findings += map(warning, backup.problems)
        if not backup.schedule and not backup.ran:
            fix = f"have something there run what this line does: {backup.line}"
            findings.append(warning(f"{dump_script}: nothing on the host runs it at night: {fix}"))
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
