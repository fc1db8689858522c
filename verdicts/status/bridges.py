"""The row of one bridge: its container, its registration, its newest archive."""

from __future__ import annotations

from collections.abc import Iterator

from verdicts.host_facts.bridge import BridgeStatus
from verdicts.status.dumps import check_dumps, describe_dump
from verdicts.status.facts import BridgeHealth, BridgeStatusFacts, NewestArchive, StatusFacts
from verdicts.status.report import HOUR, REAPPLY, Finding, Row, critical, describe_age, warning

RESTARTED_RECENTLY = HOUR  # Docker never resets its count of restarts: an old one is no news


def build_bridge_row(bridge: BridgeStatusFacts, facts: StatusFacts) -> Row:
    status, archive, running = bridge.status, bridge.archive, bridge.status.container == "running"
    findings = [*check_container(bridge, facts.read_at, facts.synapse_silent)]
    if bridge.registration_problem:
        findings.append(critical(f"{bridge.registration_problem}: {REAPPLY}"))
    findings += check_dumps(bridge.dump, facts)
    if archive.error:
        findings.append(warning(f"{bridge.name}: its archives are not known: {archive.error}"))
    cells = (
        _describe_container(status),
        "-" if not running else "yes" if status.ready else "no",
        _describe_ping(status.ping) if running else "-",
        "-" if bridge.last_event_at is None else f"{describe_age(facts.read_at - bridge.last_event_at)} ago",
        describe_dump(bridge.dump, facts.read_at),
        _describe_archive(archive, facts.read_at),
    )
    return Row(bridge.name, cells, tuple(findings))


def _describe_container(status: BridgeStatus) -> str:
    count = status.restart_count
    restarts = f", {count} restart{'s' if count > 1 else ''}" if count else ""
    ended = f" (exit code {status.exit_code})" if status.exit_code is not None and status.container != "running" else ""
    return f"{status.container}{ended}{restarts}"


def _describe_ping(ping: str) -> str:
    """The HTTP status of Synapse's answer, if there is one; the finding says the rest."""
    code = ping.partition(" ")[0]
    return code if code.isdigit() else "-" if ping == "not asked" else "fails"


def _describe_archive(archive: NewestArchive, now: float) -> str:
    """A bridge without an archive is fine: the first one is made before a change of the image, or at a destroy."""
    if archive.error:
        return "not known"
    return f"{archive.path}, {describe_age(now - archive.made_at)} old" if archive.path else "none"


def _check_stopped_bridge(bridge: BridgeHealth) -> Finding:
    name, status, state = bridge.name, bridge.status, bridge.status.container
    if state == "absent":
        return critical(f"{name}: there is no container of that name: `pulumi up` makes it anew")
    if state == "unknown":
        return critical(f"{name}: its container is not known: {status.problem}: see what `docker ps` says")
    if state in ("exited", "dead", "restarting"):
        word = "keeps ending" if state == "restarting" else f"is {state}"
        return critical(f"{name}: its container {word}: {_explain_end(bridge)}")
    fix = f"docker {'unpause' if state == 'paused' else 'start'} {name}"
    return critical(f"{name}: its container is {state}, not running: {fix}")


def check_container(bridge: BridgeHealth, now: float, synapse_silent: str = "") -> Iterator[Finding]:
    """`synapse_silent`: as of StatusFacts; then a ping that fails is its fault."""
    if bridge.status.container == "running":
        yield from _check_running_bridge(bridge, now, synapse_silent)
    else:
        yield _check_stopped_bridge(bridge)


def _check_running_bridge(bridge: BridgeHealth, now: float, synapse_silent: str) -> Iterator[Finding]:
    name, status = bridge.name, bridge.status
    if not status.ready:
        reason = f" ({status.problem})" if status.problem else ""
        fix = f"see what it waits for: docker logs --tail 50 {name}"
        yield critical(f"{name}: is not ready{reason}{_describe_last_error(status)}: {fix}")
    elif status.problem:
        yield warning(f"{name}: not all of it is known: {status.problem}: run this again")
    if status.ping not in ("200", "not asked"):
        fix = "compare its registration's url with the container's name and port, and see Synapse's log"
        fix = "Synapse does not answer, see there" if synapse_silent else fix
        yield critical(f"{name}: Synapse's ping of it fails: {status.ping}: {fix}")
    running_for = RESTARTED_RECENTLY if bridge.started_at is None else now - bridge.started_at
    if status.restart_count and running_for < RESTARTED_RECENTLY:
        times = f"{status.restart_count} time{'s' if status.restart_count > 1 else ''}"
        text = f"has ended {times} and runs again since {describe_age(running_for)}: {_explain_end(bridge)}"
        yield warning(f"{name}: {text}")


def _explain_end(bridge: BridgeHealth) -> str:
    status = bridge.status
    meaning = status.exit_meaning or f"the last lines of its log tell why (docker logs --tail 50 {bridge.name})"
    start = f" (docker start {bridge.name})" if meaning.endswith("start it again") else ""
    return f"{meaning}{start}{_describe_last_error(status)}"


def _describe_last_error(status: BridgeStatus) -> str:
    return f" (last error: {status.last_error})" if status.last_error else ""
