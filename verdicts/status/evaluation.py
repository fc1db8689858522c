"""What the facts of `status` mean: the report, and warnings for a preview."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from documents.marks import parse_owner_comment
from verdicts.status.bridges import build_bridge_row, check_container
from verdicts.status.dumps import build_backup_row, build_dump_row, check_dumps
from verdicts.status.facts import BridgeHealth, Health, HomeserverEntries, StatusFacts
from verdicts.status.report import REAPPLY, Finding, Level, Row, StatusReport, critical, warning

__all__ = ["StatusReport", "evaluate_status", "find_doubts", "find_status_warnings", "report_unreadable_status"]


def evaluate_status(facts: StatusFacts) -> StatusReport:
    """Turn the facts into the report's rows."""
    return StatusReport(
        stack=facts.stack,
        causes=_build_cause_rows(facts),
        bridges=tuple(build_bridge_row(bridge, facts) for bridge in facts.bridges),
        shared=(
            _build_homeserver_row(facts.homeserver),
            build_backup_row(facts.backup, facts.stack),
            *(build_dump_row(dump, facts) for dump in facts.dumps),
            _build_rights_row(facts),
        ),
    )


PREFLIGHTS = ("absent", "created", "exited", "dead")  # states of a container that preflight tells: `up` replaces it


def find_status_warnings(facts: Health) -> tuple[str, ...]:
    """The warnings that `pulumi preview` adds to preflight's own: bridges that do not work, old dumps, and Postgres'
    rights. One line for each, the worst first."""
    deployed = tuple(bridge for bridge in facts.bridges if bridge.status.container != "absent")
    findings = [finding for bridge in deployed for finding in _check_bridge(bridge, facts)]
    for dump in (*(bridge.dump for bridge in deployed), *facts.dumps):
        findings += check_dumps(dump, facts)
    findings += _check_rights(replace(facts, bridges=deployed))
    return tuple(finding.text for finding in sorted(findings, key=lambda finding: -finding.level))


def find_doubts(facts: Health, name: str) -> dict[str, str]:
    """Why a proof of the last `up` cannot stand now, by the output's name; of the bridge whose container is `name`."""
    (bridge,) = (bridge for bridge in facts.bridges if bridge.name == name)
    questions = {"isolation": _check_rights(facts), "ready": _check_bridge(bridge, facts)}
    doubts = {}
    for proof, findings in questions.items():
        if text := next((finding.text for finding in findings if finding.level is Level.CRITICAL), ""):
            doubts[proof] = text
    return doubts


def _check_bridge(bridge: BridgeHealth, facts: Health) -> Iterator[Finding]:
    if bridge.status.container not in PREFLIGHTS:
        yield from check_container(bridge, facts.read_at)


def report_unreadable_status(reason: str) -> StatusReport:
    """The report when nothing could be read, for this reason."""
    return StatusReport("", (Row("deployment", ("not known",), (critical(reason),)),), (), ())


def _build_cause_rows(facts: StatusFacts) -> tuple[Row, ...]:
    docker, silent, address = facts.docker_error, facts.synapse_silent, facts.synapse_url
    synapse = Row("Synapse", (f"answers at {address}",))
    if silent:
        place = f" at {address}" if address else ""
        text = f"Synapse: does not answer{place}: {silent}: start it, or see its log (docker logs)"
        synapse = Row("Synapse", ("does not answer",), (critical(text),))
    if not docker:
        return (synapse,)
    text = f"Docker: the bridges' containers are not known: {docker}: see what `docker ps` says"
    return Row("Docker", ("does not answer",), (critical(text),)), synapse


def _build_homeserver_row(entries: HomeserverEntries) -> Row:
    name, missing = "homeserver.yaml", ", ".join(entries.missing)
    if entries.error:
        text = f"{entries.path}: whether our entries are in it is not known: {entries.error}"
        return Row(name, ("not known",), (warning(text),))
    if missing:
        text = f"{entries.path}: lacks {missing}: the bridges are dead after Synapse's next restart: {REAPPLY}"
        return Row(name, (f"lacks {missing}",), (warning(text),))
    return Row(name, ("holds our entries",))


def _build_rights_row(facts: StatusFacts) -> Row:
    findings, error = (*_check_missing(facts), *_check_rights(facts)), facts.rights.error
    if error:
        text = f"Postgres: the bridges' rights are not known: {error}: see that Postgres runs (docker logs)"
        return Row("Postgres' rights", ("not known",), (critical(text),))
    return Row("Postgres' rights", ("not as `up` left them" if findings else "as `up` left them",), findings)


def _check_missing(facts: Health) -> Iterator[Finding]:
    """Roles and databases that are gone; preflight tells them, too."""
    for bridge in facts.bridges if not facts.rights.error else ():
        for kind, name, present in (
            ("role", bridge.database.role, facts.rights.roles),
            ("database", bridge.database.database, facts.rights.owners),
        ):
            if name not in present:
                yield critical(f"Postgres: {kind} {name}: is not there: {REAPPLY}")


def _check_rights(facts: Health) -> Iterator[Finding]:
    """`up` notes in the comment on each role which databases it took from PUBLIC."""
    rights = facts.rights
    if rights.error:
        return
    notes = {name: parse_owner_comment(role.comment) for name, role in rights.roles.items()}
    closed = {bridge.database.database for bridge in facts.bridges}
    for note in notes.values():
        taken = note.get("public")
        closed |= set(taken) if isinstance(taken, dict) else set()
    if opened := sorted(closed & {*rights.public}):
        text = f"every role may connect to {', '.join(opened)} again, through PUBLIC"
        yield critical(f"Postgres: {text}: {REAPPLY}")
    for bridge in facts.bridges:
        name, database = bridge.database.role, bridge.database.database
        role, owner, subject = rights.roles.get(name), rights.owners.get(database), f"Postgres: role {name}"
        if role is None:
            continue
        stray = sorted({*role.connects} & closed - {database, *opened})
        if stray:
            fix = "revoke what lets it in there (a grant of its own, or another role's)"
            yield critical(f"{subject}: may connect to {', '.join(stray)}: {fix}")
        if owner not in (None, name):
            yield critical(f"Postgres: database {database}: belongs to {owner}, should be {name}'s: {REAPPLY}")
        elif owner and database not in role.connects:
            yield critical(f"{subject}: may not connect to its own database {database}: {REAPPLY}")
        if role.attributes:
            yield critical(f"{subject}: has {', '.join(role.attributes)}, should have none: {REAPPLY}")
        if notes[name].get("stack") != facts.stack:
            lost = "what PUBLIC could do before is lost with it"
            yield warning(f"{subject}: its comment no longer names {facts.stack}, and {lost}: {REAPPLY}")
