"""All that the verb `status` looks at, asked side by side. It changes nothing, and each question has a short limit: one
that is not answered leaves its reason in the facts, and hides no other answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, TypeVar

from documents.backup.dump_script import parse_dump_script_owner
from documents.backup.schedule import format_cron_line
from documents.backup.script_check import check_backup_script
from documents.homeserver.entries import Entries
from documents.marks import is_sealed
from documents.places import AUTO, BridgeDeployment, Database, Deployment
from documents.timestamps import file_name_seconds, rfc3339_seconds
from host_programs import program_file
from host_programs.backup import archives
from host_programs.backup.proof import read_note
from host_programs.backup.records import read_records
from host_programs.bridge.bridge_status import BridgeAddress, describe_error, read_bridge_status
from host_programs.docker import inspect_containers, read_recent_log
from host_programs.facts.files import read_own_file
from host_programs.facts.scheduler import read_schedule
from host_programs.files import safe_files
from host_programs.files.directory import PROVEN
from host_programs.status.last_dumps import read_last_dump
from host_programs.status.rights import read_rights
from host_programs.synapse.client import explain_silence, url_of
from host_programs.synapse.inside import homeserver_edit
from verdicts.bridge_log import last_event_time
from verdicts.host_facts.bridge import BridgeStatus
from verdicts.host_facts.docker import Container
from verdicts.schedule import find_schedule_faults, list_wanted
from verdicts.status.facts import (
    BackupCall,
    BridgeHealth,
    BridgeStatusFacts,
    DumpFacts,
    Health,
    HomeserverEntries,
    NewestArchive,
    PostgresRights,
    StatusFacts,
)
from verdicts.status.report import REAPPLY

LIMIT = 5.0  # seconds for each question
LOG_LINES = 2000  # are searched for the last event
WORKERS = 12  # questions at a time

T = TypeVar("T")

_AS_TOKEN = re.compile(r"^as_token: *[\"']?([^\s\"']+)", re.MULTILINE)


@dataclass(frozen=True)
class StatusContext:
    """What was seen before the bridges are asked: containers by name, or why they are not known; Synapse's URL, "" if
    that is not known. `seconds`: for each question. `reads_dumps`: whether the newest dumps are read to their end, or
    believed, since our dump script notes whole ones alone."""

    containers: dict[str, Container]
    docker_error: str
    synapse_url: str
    seconds: float = LIMIT
    reads_dumps: bool = False


def read_health(deployment: Deployment, context: StatusContext) -> Health:
    """What a preview warns of; nothing raises. Docker is asked where DOCKER_HOST says."""

    def read_dump(database: Database) -> DumpFacts:
        seconds = context.seconds if context.reads_dumps else None
        return _answer_or_error(
            lambda: read_last_dump(deployment, database, seconds),
            lambda error: DumpFacts(database.database, error=error),
        )

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        rights = pool.submit(
            _answer_or_error,
            lambda: read_rights(deployment, context.seconds),
            lambda error: PostgresRights(error=error),
        )
        dumps = {database: pool.submit(read_dump, database) for database in deployment.dumped_databases}
        bridges = [
            pool.submit(_read_bridge, bridge, context, dumps.pop(bridge.place.database))
            for bridge in deployment.bridges
        ]
        return Health(
            stack=deployment.stack,
            read_at=time.time(),
            nightly_script=deployment.backup.script or deployment.dump_script,
            bridges=tuple(bridge.result() for bridge in bridges),
            dumps=tuple(dump.result() for dump in dumps.values()),
            rights=rights.result(),
        )


def read_status(deployment: Deployment, seconds: float = LIMIT) -> StatusFacts:
    """The facts of a whole stack; nothing raises. `seconds`: for each question."""
    containers, docker_error = _containers(deployment, seconds)
    synapse = containers.get(deployment.synapse.container)
    script_text, script_error = _script(deployment.backup.script)
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        homeserver = pool.submit(_homeserver, deployment, synapse, seconds)
        synapse_url, synapse_silent = _synapse(deployment, synapse, docker_error, seconds)
        context = StatusContext(containers, docker_error, synapse_url, seconds, reads_dumps=True)
        health = pool.submit(read_health, deployment, context)
        events = [pool.submit(_last_event, bridge, context) for bridge in deployment.bridges]
        bridges = [
            BridgeStatusFacts(
                **vars(bridge),
                last_event_at=event.result(),
                archive=_newest_archive(place),
            )
            for place, bridge, event in zip(deployment.bridges, health.result().bridges, events)
        ]
        return StatusFacts(
            **{
                **vars(health.result()),
                "bridges": tuple(bridges),
                "docker_error": docker_error,
                "synapse_url": synapse_url,
                "synapse_silent": synapse_silent,
                "homeserver": homeserver.result(),
                "backup": _backup(deployment, script_text, script_error),
            }
        )


def _answer_or_error(question: Callable[[], T], failed: Callable[[str], T]) -> T:
    """The answer, or what `failed` makes of the reason why there is none."""
    try:
        return question()
    except Exception as error:
        return failed(describe_error(error))


def _containers(deployment: Deployment, seconds: float) -> tuple[dict[str, Container], str]:
    """By name, and why they are not known."""
    names = [deployment.synapse.container, *(bridge.place.container for bridge in deployment.bridges)]
    return _answer_or_error(lambda: (inspect_containers(*names, timeout=seconds), ""), lambda error: ({}, error))


def _synapse(
    deployment: Deployment, container: Optional[Container], docker_error: str, seconds: float
) -> tuple[str, str]:
    """Where the host reaches Synapse, and why its client-server API does not answer there."""
    if container is None and docker_error and deployment.synapse.url == AUTO:
        return "", docker_error
    url = ""
    try:
        url = url_of(deployment.synapse, container)
        return url, explain_silence(url, seconds)
    except Exception as error:
        return url, describe_error(error)


# one bridge ------------------------------------------------------------------------------------------------------


def _read_bridge(deployment: BridgeDeployment, context: StatusContext, dump: Future[DumpFacts]) -> BridgeHealth:
    place, container = deployment.place, context.containers.get(deployment.place.container)
    as_token, registration_problem = _as_token(deployment)
    address = BridgeAddress(
        network=place.network,
        port=place.port,
        synapse_url=context.synapse_url,
        appservice_id=deployment.bridge.appservice_id,
        as_token=as_token,
        timeout=context.seconds,
    )
    return BridgeHealth(
        name=place.container,
        database=place.database,
        status=(
            BridgeStatus(problem=context.docker_error)
            if context.docker_error
            else read_bridge_status(address, container)
        ),
        started_at=rfc3339_seconds(container.started) if container else None,
        registration_problem=registration_problem,
        dump=dump.result(),
    )


def _as_token(deployment: BridgeDeployment) -> tuple[str, str]:
    """Out of the registration in Synapse's directory; and what is wrong with that file."""
    path = Path(deployment.registration_path)

    def read() -> tuple[str, str]:
        content = safe_files.read_file(path, foreign=True)
        if content is None:
            return "", f"{path}: the registration is not there: Synapse does not start again without it"
        text = content.data.decode(errors="replace")
        token = _AS_TOKEN.search(text)
        changed = f"{path}: the registration was changed since `up` wrote it: Synapse and the bridge read it at a start"
        return token[1] if token else "", "" if is_sealed(text) else changed

    return _answer_or_error(read, lambda error: ("", error))


def _last_event(deployment: BridgeDeployment, context: StatusContext) -> Optional[float]:
    container = context.containers.get(deployment.place.container)

    def read() -> Optional[float]:
        return last_event_time(read_recent_log(container, LOG_LINES, context.seconds)) if container else None

    return _answer_or_error(read, lambda _: None)


def _newest_archive(deployment: BridgeDeployment) -> NewestArchive:
    """Of this deployment. By its name: what is in it is read when it is used."""

    def read() -> NewestArchive:
        directory, bridge = deployment.archive.directory, deployment.bridge.name
        for path, manifest in archives.list_archives(directory, bridge, deployment.archive_owner):
            return NewestArchive(str(path), file_name_seconds(manifest.created) or path.stat().st_mtime)
        return NewestArchive()

    return _answer_or_error(read, lambda error: NewestArchive(error=error))


# what the bridges share ------------------------------------------------------------------------------------------


def _homeserver(deployment: Deployment, container: Optional[Container], seconds: float) -> HomeserverEntries:
    path = deployment.synapse.homeserver_file

    def read() -> HomeserverEntries:
        content = safe_files.read_file(Path(path), foreign=True)
        if content is None:
            return HomeserverEntries(path, error="no such file: check the setting synapseDir")
        if container is None or not container.running:
            name = deployment.synapse.container
            return HomeserverEntries(path, error=f"only {name} can read it, which does not run: docker start {name}")
        request = homeserver_edit.EditRequest(content.data.decode(), Entries.of(deployment))
        found = program_file.run_inside(container.name, homeserver_edit.add_entries, request, timeout=seconds)
        return HomeserverEntries(path, found.missing, "; ".join(found.refused))

    return _answer_or_error(read, lambda error: HomeserverEntries(path, error=error))


def _script(path: str) -> tuple[str, str]:
    """The operator's backup script, and why it cannot be read; nothing if there is none in the settings."""

    def read() -> tuple[str, str]:
        content = safe_files.read_file(Path(path), foreign=True)
        return (content.data.decode(), "") if content else ("", "no such file: check the setting backupScript")

    return _answer_or_error(read, lambda error: ("", error)) if path else ("", "")


def _backup(deployment: Deployment, script_text: str, script_error: str) -> BackupCall:
    script, dump_script = deployment.backup.script, deployment.dump_script

    def read() -> BackupCall:
        own = read_own_file(Path(dump_script), parse_dump_script_owner)
        owner, changed = (own.stack, own.changed) if own else (None, False)
        known = BackupCall(script, dump_script, owner, error=script_error, dump_script_changed=changed)
        if not script:
            schedule = read_schedule(deployment)
            files = list_wanted(schedule, deployment)
            return replace(
                known,
                schedule=files[0].path if files else "",
                line=format_cron_line(deployment),
                ran=_ran_since_up(deployment),
                problems=tuple(find_schedule_faults(schedule, deployment, REAPPLY)),
            )
        if script_error:
            return known
        checked = check_backup_script(script_text, deployment)
        return replace(known, calls=checked.has_call, problems=() if checked.has_call else checked.problems)

    return _answer_or_error(read, lambda error: BackupCall(script, dump_script, None, error=error))


def _ran_since_up(deployment: Deployment) -> bool:
    """Whether anything has run our dump script but `up`: of each database there is a newer dump than the proof's."""
    proven = {dump.path for dump in read_note(Path(deployment.shared_directory) / PROVEN).files}
    names = [database.database for database in deployment.dumped_databases]
    made = read_records(Path(deployment.dump_records), names).values()
    return all(record.path and record.path not in proven for record in made)
