"""Reads everything that the program must know about the host before it plans anything: one round trip, read-only.

What is missing is None in the result (verdicts/host_facts/). verdicts/preflight/ says what that means.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from documents.backup import backup_script
from documents.backup.dump_script import parse_dump_script_owner
from documents.places import Deployment
from documents.refusal import Refused
from documents.timestamps import now
from host_programs import docker, host_lock
from host_programs.backup import scripts
from host_programs.facts import bridges, synapse
from host_programs.facts import docker as docker_facts
from host_programs.facts import postgres as postgres_facts
from host_programs.facts.files import find_existing, read_directory, read_file, read_own_file
from host_programs.facts.scheduler import read_schedule
from host_programs.files import safe_files
from host_programs.files.directory import DEPLOYED, JOURNAL, NEWEST
from host_programs.messages import ScriptError
from host_programs.status.deployed import read_deployment
from host_programs.status.read_status import StatusContext, read_health
from host_programs.synapse.restart import inspect_worker
from verdicts.host_facts.docker import Container
from verdicts.host_facts.host import File, HostFacts
from verdicts.status.facts import Health

READERS = 10  # at a time
TEMPLATES = (".template", ".tmpl", ".tpl", ".j2", ".in")  # how the names of files end that others are made from


@dataclass(frozen=True)
class FactsRequest:
    """The places of one stack, and the databases that it isolates. `postgres_password`: the setting, "" for the one
    that Postgres' container has. `over_ssh`: Docker's provider comes as the SSH user, whom sudo names."""

    deployment: Deployment
    isolated_databases: tuple[str, ...]
    postgres_password: str = field(default="", repr=False)
    over_ssh: bool = False


@dataclass(frozen=True)
class ObservedFacts:
    """`health`: None if the stack is not deployed. `lost_program_file`: where the stack's newest program file should
    be, if the stack is deployed and the file is gone."""

    host: HostFacts
    health: Optional[Health] = None
    lost_program_file: str = ""


def observe(request: FactsRequest) -> ObservedFacts:
    """Read all facts, side by side. ScriptError if Docker does not answer."""
    deployment, began = request.deployment, now()
    deployed = (Path(deployment.shared_directory) / DEPLOYED).is_file()
    recorded = _read_recorded(deployment)
    earlier = {bridge.key: bridge for bridge in recorded.bridges} if recorded else {}
    server, mas, postgres = deployment.synapse, deployment.mas, deployment.postgres
    script = _read_program(deployment.backup.script) if deployment.backup.script else None
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        version = pool.submit(docker_facts.read_version)
        listed = pool.submit(docker.inspect_all_containers)
        network = pool.submit(docker.filter_existing, "network", [server.network])
        images = pool.submit(docker.filter_existing, "image", [bridge.place.image for bridge in deployment.bridges])
        inside = pool.submit(synapse.read_inside, deployment)
        rights = pool.submit(
            postgres_facts.read_postgres,
            deployment,
            request.isolated_databases,
            request.postgres_password,
        )
        answer = pool.submit(synapse.read_answer, server)
        edit = pool.submit(_edit_script, deployment, script)
        schedule = pool.submit(read_schedule, deployment)
        workers = {name: pool.submit(inspect_worker, name, server) for name in server.workers}
        context = pool.submit(docker.run_docker, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        daemon = pool.submit(docker_facts.read_daemon)
        docker_version = version.result()  # first: if Docker is gone, this says so best
        containers = {container.name: container for container in listed.result()}
        main = containers.get(server.container)
        status_context = StatusContext(containers, "", answer.result()[0])
        health = pool.submit(read_health, deployment, status_context) if deployed else None
        read_bridges = [
            pool.submit(
                bridges.read_bridge, bridge, containers, bridge.place.image in images.result(), earlier.get(bridge.key)
            )
            for bridge in deployment.bridges
        ]
        host = HostFacts(
            began=began,
            recorded=recorded,
            docker=docker_version,
            docker_host=context.result().stdout.strip(),
            uids=docker_facts.read_id_map(containers, deployment, "uid_map"),
            gids=docker_facts.read_id_map(containers, deployment, "gid_map"),
            docker_free=shutil.disk_usage(find_existing(Path(daemon.result()[0]))).free,
            selinux=daemon.result()[1],
            root=os.geteuid() == 0,
            user_without_docker=docker_facts.find_user_without_docker() if request.over_ssh else "",
            running_steps=host_lock.list_running_steps(deployment.deployment_id),
            bash=shutil.which("bash") is not None,
            synapse_container=main,
            mas_container=containers.get(mas.container) if mas else None,
            postgres_container=containers.get(postgres.container),
            network=bool(network.result()),
            synapse=inside.result(),
            postgres=rights.result(),
            homeserver=_read_homeserver(server.homeserver_file),
            container_paths=_map_paths(docker.find_path_in_container, main, (server.directory, server.homeserver_file)),
            synapse_url=answer.result()[0],
            synapse_silent=answer.result()[1],
            host_paths=_map_paths(docker.find_path_on_host, main, inside.result().files),
            backup_script=script,
            backup_edited=edit.result()[0],
            backup_syntax=edit.result()[1],
            dump_script=read_own_file(Path(deployment.dump_script), parse_dump_script_owner),
            schedule=schedule.result(),
            directory=read_directory(deployment.shared_directory),
            synapse_dir=read_directory(server.directory, foreign=True),
            backup_dir=(
                read_directory(deployment.backup.directory, makes_parents=True)
                if deployment.backup.has_own_directory
                else read_directory(str(Path(deployment.backup.script).parent), foreign=True)
            ),
            doublepuppet=read_own_file(Path(deployment.doublepuppet_path)),
            leaving_containers=bridges.list_leaving(containers, deployment),
            leaving_archives={
                key: read_directory(bridge.archive.directory, makes_parents=True)
                for key, bridge in earlier.items()
                if key not in {bridge.key for bridge in deployment.bridges}
            },
            renderers=synapse.find_renderers(containers, server),
            worker_containers=synapse.find_worker_containers(containers, server),
            workers={name: worker.result() for name, worker in workers.items()},
            interrupted=(Path(deployment.shared_directory) / JOURNAL).is_file(),
            bridges=tuple(bridge.result() for bridge in read_bridges),
        )
        lost = _find_lost_program(request) if deployed else ""
        return ObservedFacts(host, health.result() if health else None, lost)


def _read_program(path: str) -> Optional[File]:
    """A program of the operator's, which root runs."""
    file = read_file(path)
    return file and replace(file, foreign=scripts.find_foreign_owner(Path(path)), executable=os.access(path, os.X_OK))


def _read_homeserver(path: str) -> Optional[File]:
    """Synapse's configuration file that gets our entries."""
    file, folder = read_file(path), Path(path).parent
    names = safe_files.list_directory(folder, foreign=True) if file and not file.error else []
    templates = [name for name in names if name in {f"{Path(path).name}{end}" for end in TEMPLATES}]
    return file and replace(file, template=str(folder / templates[0]) if templates else "")


def _read_recorded(deployment: Deployment) -> Optional[Deployment]:
    """The stack as the last `up` left it; None if there was none, or another version wrote it."""
    try:
        recorded = read_deployment(Path(deployment.shared_directory) / DEPLOYED)
    except ScriptError:
        return None
    return recorded if recorded.stack == deployment.stack else None


def _find_lost_program(request: FactsRequest) -> str:
    link = Path(request.deployment.shared_directory) / NEWEST
    return "" if link.exists() else str(link.parent / os.readlink(link)) if link.is_symlink() else str(link)


def _map_paths(
    find: Callable[[Container, str], Optional[str]], container: Optional[Container], paths: Iterable[str]
) -> dict[str, str]:
    """The container's path of each, or the host's, as far as there is one."""
    found = {path: find(container, path) for path in paths} if container else {}
    return {path: other for path, other in found.items() if other}


def _edit_script(deployment: Deployment, script: Optional[File]) -> tuple[str, str]:
    """The operator's script as `up` will write it, and what its interpreter says against that; "" both if there is no
    edit."""
    if script is None or script.text is None:
        return "", ""
    try:
        return scripts.edit(script.text, backup_script.dump_call_of(deployment))
    except Refused:
        return "", ""  # preflight says it
