"""Reads everything that the program must know about the host before it plans anything: one round trip, read-only.

What is missing is None in the result (verdicts/host_facts/). verdicts/preflight/ says what that means.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from documents.backup.script_check import resolve_directory
from documents.places import Deployment
from host_programs import host_lock
from host_programs.docker import filter_existing, run_docker
from host_programs.facts import backup, bridges, synapse
from host_programs.facts import docker as docker_facts
from host_programs.facts import postgres as postgres_facts
from host_programs.facts.files import find_existing, read_directory, read_file, read_own_file
from host_programs.files.directory import DEPLOYED, JOURNAL, NEWEST
from host_programs.files.files import read_dump_script_owner
from host_programs.status.read_status import read_status
from host_programs.synapse.restart import inspect_worker
from verdicts.host_facts.host import HostFacts
from verdicts.status.facts import StatusFacts

READERS = 10  # at a time


@dataclass(frozen=True)
class FactsRequest:
    """The places of one stack, and the databases that it isolates. `over_ssh`: Docker's provider comes as the SSH user,
    whom sudo names. `status`: read how a stack that is deployed is, too."""

    deployment: Deployment
    isolated_databases: tuple[str, ...]
    over_ssh: bool = False
    status: bool = False


@dataclass(frozen=True)
class ObservedFacts:
    """`status`: None if the stack is not deployed, or nobody asked. `lost_program_file`: where the stack's newest
    program file should be, if the stack is deployed and the file is gone."""

    host: HostFacts
    status: Optional[StatusFacts] = None
    lost_program_file: str = ""


def observe(request: FactsRequest) -> ObservedFacts:
    """Read all facts, side by side. ScriptError if Docker does not answer."""
    deployed = (Path(request.deployment.shared_directory) / DEPLOYED).is_file()
    with ThreadPoolExecutor(max_workers=1) as pool:
        status = pool.submit(read_status, request.deployment) if request.status and deployed else None
        host = read_host(request)
        return ObservedFacts(host, status.result() if status else None, _find_lost_program(request) if deployed else "")


def _find_lost_program(request: FactsRequest) -> str:
    link = Path(request.deployment.shared_directory) / NEWEST
    return "" if link.exists() else str(link.parent / os.readlink(link)) if link.is_symlink() else str(link)


def read_host(request: FactsRequest) -> HostFacts:
    """Those that preflight judges. ScriptError if Docker does not answer."""
    deployment = request.deployment
    server = deployment.synapse
    names = {
        "synapse_container": server.container,
        "mas_container": deployment.mas.container if deployment.mas else "",
        "postgres_container": deployment.postgres.container,
    }
    script = read_file(deployment.backup.script) if deployment.backup.script else None
    dumps_path = resolve_directory((script and script.text) or "", deployment.backup.directory)
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        version = pool.submit(docker_facts.read_version)
        listed = pool.submit(docker_facts.list_containers)
        password = pool.submit(postgres_facts.read_superuser_password, deployment.postgres.container)
        network = pool.submit(filter_existing, "network", [server.network])
        images = pool.submit(filter_existing, "image", [bridge.place.image for bridge in deployment.bridges])
        inside = pool.submit(synapse.read_inside, deployment)
        rights = pool.submit(postgres_facts.read_postgres, deployment, request.isolated_databases)
        answer = pool.submit(synapse.read_answer, server)
        syntax = pool.submit(backup.check_syntax, deployment, script)
        workers = {name: pool.submit(inspect_worker, name, server) for name in server.workers}
        data_root = pool.submit(run_docker, "info", "--format", "{{.DockerRootDir}}")
        docker_version = version.result()  # first: if Docker is gone, this says so best
        schemas = pool.submit(postgres_facts.read_schemas, deployment, rights)
        containers, url = listed.result(), answer.result()[0]
        surroundings = bridges.Surroundings(containers, images.result())
        bridge_facts = pool.map(lambda bridge: bridges.read_bridge(bridge, surroundings), deployment.bridges)
        return HostFacts(
            docker=docker_version,
            docker_host=run_docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").stdout.strip(),
            uids=docker_facts.read_id_map(containers, deployment, "uid_map"),
            gids=docker_facts.read_id_map(containers, deployment, "gid_map"),
            docker_free=shutil.disk_usage(find_existing(Path(data_root.result().stdout.strip()))).free,
            root=os.geteuid() == 0,
            user_without_docker=docker_facts.find_user_without_docker() if request.over_ssh else "",
            running_steps=host_lock.list_running_steps(deployment.deployment_id),
            bash=backup.runs("bash", "--version"),
            **{key: containers.get(name) for key, name in names.items()},
            network=bool(network.result()),
            superuser_password=password.result(),
            synapse=inside.result(),
            postgres=rights.result(),
            homeserver=read_file(server.homeserver_file),
            container_paths=synapse.map_into_container(containers.get(server.container), server),
            synapse_url=url,
            synapse_silent=answer.result()[1],
            host_paths=synapse.map_onto_host(containers.get(server.container), inside.result()),
            backup_script=script,
            backup_syntax=syntax.result(),
            dump_script_owner=read_dump_script_owner(Path(deployment.dump_script)),
            dump_scheduled=backup.is_scheduled(deployment.dump_script),
            directory=read_directory(deployment.shared_directory),
            synapse_dir=read_directory(server.directory),
            dumps_path=dumps_path,
            backup_dir=read_directory(dumps_path or str(Path(deployment.backup.script).parent)),
            doublepuppet=read_own_file(Path(deployment.doublepuppet_path)),
            leaving_containers=bridges.list_leaving(containers, deployment),
            renderers=synapse.find_renderers(containers, server),
            worker_containers=synapse.find_worker_containers(containers, server),
            workers={name: worker.result() for name, worker in workers.items()},
            interrupted=(Path(deployment.shared_directory) / JOURNAL).is_file(),
            bridges=tuple(
                replace(facts, schema=schemas.result().get(bridge.place.database.database, {}))
                for bridge, facts in zip(deployment.bridges, bridge_facts)
            ),
        )
