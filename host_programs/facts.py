"""Everything the program must know about the host before it plans anything: one round trip, read-only.

A thing that is missing is None in the result (verdicts/host_facts.py); what it means is for verdicts/preflight.py to
say.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from documents import backup_script
from documents.places import NOTHING, BridgeDeployment, BridgePlace, Deployment, Synapse
from documents.refusal import Refused
from host_programs import host_lock, program_file
from host_programs.backup import archives, shell_syntax
from host_programs.bridge import bridge_status, config_check
from host_programs.bridge.config_check import Question
from host_programs.common import ScriptError, docker
from host_programs.container import every, inside, look, of_stack, on_host, there, variable
from host_programs.files import safe_files
from host_programs.files.directory import CLAIM, JOURNAL, READY, directory_writers
from host_programs.files.files import dump_script_owner, file_writer
from host_programs.postgres.postgres import SCHEMA, Line, psql, sessions
from host_programs.synapse import facts_inside, synapse_address, synapse_process
from host_programs.synapse.exchange import Request, ask
from host_programs.synapse.worker import worker
from host_programs.wire import typed
from verdicts.auth import came
from verdicts.host_facts import (
    ArchiveFacts,
    BridgeFacts,
    BridgeStatus,
    Container,
    Directory,
    File,
    HostFacts,
    IdRange,
    OwnFile,
    PostgresFacts,
    SynapseFacts,
)

POSTGRES = """
select json_build_object(
  'version', current_setting('server_version_num')::int,
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'roles', (select json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), ''))
    from pg_roles where rolname !~ '^pg_'),
  'databases', (select json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), ''))
    from pg_database where datallowconn and not datistemplate),
  'bytes', (select json_object_agg(datname, pg_database_size(oid))
    from pg_database where datallowconn and not datistemplate),
  'locked_out', (select coalesce(json_object_agg(datname, roles), '{}') from (
    select datname, json_agg(rolname order by rolname) as roles
    from pg_database, pg_roles
    where datname = any(string_to_array(:'isolated', ',')) and rolcanlogin and not rolsuper
      and rolname <> all(string_to_array(:'bridge_roles', ','))
      and has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')
      and not exists (
        select from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
        where given.privilege_type = 'CONNECT' and given.grantee <> 0
          and pg_has_role(pg_roles.oid, given.grantee, 'USAGE'))
    group by datname) as through_public));
"""
SCHEDULES = (
    "etc/crontab", "etc/cron.*/*", "var/spool/cron/*", "var/spool/cron/crontabs/*", "etc/systemd/system/*.service",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What to look for: the places of one stack, and the databases that it isolates. `over_ssh`: whether Docker's
    provider comes as the SSH user, whom sudo names."""

    deployment: Deployment
    isolated_databases: tuple[str, ...]
    over_ssh: bool = False


def read(arguments: Look) -> HostFacts:
    """The whole look. ScriptError if Docker does not answer."""
    deployment = arguments.deployment
    synapse = deployment.synapse
    names = {
        "synapse_container": synapse.container,
        "mas_container": deployment.mas.container if deployment.mas else "",
        "postgres_container": deployment.postgres.container,
    }
    script = _file(deployment.backup.script) if deployment.backup.script else None
    dumps_path = backup_script.directory_of((script and script.text) or "", deployment.backup.directory)
    with ThreadPoolExecutor(max_workers=10) as pool:
        version = pool.submit(_docker_version)
        by_name = pool.submit(_containers)
        password = pool.submit(_superuser_password, deployment.postgres.container)
        network = pool.submit(there, "network", [synapse.network])
        images = pool.submit(there, "image", [each.place.image for each in deployment.bridges])
        seen, postgres = pool.submit(_synapse, deployment), pool.submit(_postgres, arguments)
        url = pool.submit(_answers, synapse)
        syntax = pool.submit(_syntax, deployment, script)
        workers = {name: pool.submit(worker, name, synapse) for name in synapse.workers}
        data_root = pool.submit(docker, "info", "--format", "{{.DockerRootDir}}")
        docker_version = version.result()  # first: if Docker is gone, this says so best
        schemas = pool.submit(_schemas, deployment, postgres)
        around = _Around(by_name.result(), images.result(), url.result()[0])
        bridges = pool.map(lambda each: _bridge(each, around), deployment.bridges)
        return HostFacts(
            docker=docker_version,
            docker_host=docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").stdout.strip(),
            uids=_ids(by_name.result(), deployment, "uid_map"),
            gids=_ids(by_name.result(), deployment, "gid_map"),
            docker_free=shutil.disk_usage(_existing(Path(data_root.result().stdout.strip()))).free,
            root=os.geteuid() == 0,
            without_docker=_without_docker(arguments),
            at_work=host_lock.steps(deployment.here),
            bash=_works("bash", "--version"),
            **{key: by_name.result().get(name) for key, name in names.items()},
            network=bool(network.result()),
            superuser_password=password.result(),
            synapse=seen.result(),
            postgres=postgres.result(),
            homeserver=_file(synapse.homeserver_file),
            mounted=_mounted(by_name.result().get(synapse.container), synapse),
            synapse_url=url.result()[0],
            synapse_silent=url.result()[1],
            on_host=_on_host(by_name.result().get(synapse.container), seen.result()),
            backup_script=script,
            backup_syntax=syntax.result(),
            dump_script_owner=dump_script_owner(Path(deployment.dump_script)),
            dump_scheduled=_scheduled(deployment.dump_script),
            directory=_directory(deployment.shared_directory),
            synapse_dir=_directory(synapse.directory),
            dumps_path=dumps_path,
            backup_dir=_directory(dumps_path or str(Path(deployment.backup.script).parent)),
            doublepuppet=_own(Path(deployment.doublepuppet_path)),
            leaving=_leaving(by_name.result(), deployment),
            renderers=_renderers(by_name.result(), synapse),
            worker_containers=_worker_containers(by_name.result(), synapse),
            workers={name: worker.result() for name, worker in workers.items()},
            interrupted=(Path(deployment.shared_directory) / JOURNAL).is_file(),
            bridges=tuple(
                replace(found, schema=schemas.result().get(each.place.database.database, {}))
                for each, found in zip(deployment.bridges, bridges)
            ),
        )


@dataclass(frozen=True)
class _Around:
    """What the look at each bridge needs: containers by name, images that are there, Synapse's URL."""

    by_name: dict[str, Container]
    images: set[str]
    synapse_url: str


def _bridge(deployment: BridgeDeployment, around: _Around) -> BridgeFacts:
    place, archive = deployment.place, deployment.archive
    directory = Path(place.directory)
    return BridgeFacts(
        container=around.by_name.get(place.container),
        image=place.image in around.images,
        directory=_directory(place.directory),
        directory_writers=tuple(sorted(directory_writers(directory))),
        others=_others(around.by_name, place),
        registration=_own(Path(deployment.registration_path)),
        ready_mark=_text(directory / READY) or "",
        config_refused=_config(deployment) if place.image in around.images else (),
        archive_dir=_directory(archive.directory),
        archive=_archive(deployment),
        going_back=_named(archive.go_back) if archive.go_back else None,
        versions=_versions(deployment),
        status=_status(deployment, around),
        schema={},  # asked for all of them at once
    )


def _file(path: str) -> Optional[File]:
    file = Path(path)
    try:
        content = safe_files.read(file)
    except ScriptError as error:
        return File(error=str(error).partition(": ")[2])
    except OSError as error:
        return File(error=str(error.strerror))
    if content is None:
        return None
    try:
        text: Optional[str] = content.data.decode()
    except UnicodeDecodeError:
        text = None
    writable = os.access(file.resolve().parent, os.W_OK) and os.access(file, os.W_OK) and not _read_only(file)
    return File(text=text, writable=writable)


def _own(path: Path) -> Optional[OwnFile]:
    """A link in the file's place is nobody's of ours."""
    if path.is_symlink():
        return OwnFile("", 0, 0)
    content = safe_files.read(path)
    return OwnFile(file_writer(content), content.status.st_uid, content.status.st_gid) if content else None


def _archive(deployment: BridgeDeployment) -> Optional[ArchiveFacts]:
    """`latest` is the newest of this stack, this domain and this bridge."""
    directory, wanted = Path(deployment.archive.directory), deployment.archive.restore
    if wanted != "latest":
        return None if wanted == NOTHING else _named(wanted)
    others: dict[str, None] = {}
    for path, manifest in archives.found(directory, deployment.bridge.name):
        if manifest.whose == deployment.whose:
            return ArchiveFacts(str(path), manifest)
        others[manifest.whose] = None
    return ArchiveFacts(error=f"{directory}: holds no archive of {deployment.whose}", others=tuple(others))


def _named(path: str) -> ArchiveFacts:
    try:
        return ArchiveFacts(path, archives.manifest_of(Path(path)))
    except ScriptError as error:
        return ArchiveFacts(error=str(error))


def _versions(deployment: BridgeDeployment) -> dict[str, ArchiveFacts]:
    """By image, the newest archive of the bridge's database as that image left it."""
    versions: dict[str, ArchiveFacts] = {}
    for path, manifest in archives.found(Path(deployment.archive.directory), deployment.bridge.name):
        if manifest.whose == deployment.whose:
            versions.setdefault(manifest.image, ArchiveFacts(str(path), manifest))
    return versions


def _read_only(path: Path) -> bool:
    """Whether the file system is mounted read-only: root's access(2) says yes to permission bits alone."""
    return bool(os.statvfs(path.resolve()).f_flag & os.ST_RDONLY)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _directory(path: str) -> Directory:
    directory = Path(path)
    there = _existing(directory)
    return Directory(
        exists=directory.exists(),
        entries=tuple(sorted(entry.name for entry in directory.iterdir())) if directory.is_dir() else (),
        stack=_text(directory / CLAIM),
        writable=os.access(there, os.W_OK) and not _read_only(there),
        free=shutil.disk_usage(there).free,
    )


def _text(path: Path) -> Optional[str]:
    return path.read_text().strip() if path.is_file() else None


def _works(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _docker_version() -> str:
    done = docker("version", "--format", "{{.Server.Version}}", check=False, timeout=20)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ScriptError(f"Docker does not answer on the host: {said}: start it, then run this again")
    return done.stdout.strip()


def _without_docker(arguments: Look) -> str:
    """The SSH user, if only sudo lets him use Docker."""
    name = os.environ.get("SUDO_USER", "") if arguments.over_ssh else ""
    if not name:
        return ""
    user = pwd.getpwnam(name)
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        user=user.pw_uid, group=user.pw_gid, extra_groups=os.getgrouplist(name, user.pw_gid), cwd="/",
        env={**os.environ, "HOME": user.pw_dir}, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    return name if done.returncode else ""


def _superuser_password(container: str) -> str:
    """As the official image takes it: from its variable, or from the file that another one names."""
    file = variable(container, "POSTGRES_PASSWORD_FILE")
    if not file:
        return variable(container, "POSTGRES_PASSWORD")
    done = docker("exec", container, "cat", file, check=False, timeout=20)
    return "" if done.returncode else done.stdout.rstrip("\n")


def _postgres(arguments: Look) -> PostgresFacts:
    postgres, bridges = arguments.deployment.postgres, arguments.deployment.databases
    done = psql(
        postgres.container, postgres.superuser, "postgres", POSTGRES, timeout=30,
        isolated=",".join(arguments.isolated_databases), bridge_roles=",".join(each.role for each in bridges),
    )  # fmt: skip
    if done.returncode:
        return PostgresFacts(error=(done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0])
    return typed(PostgresFacts, json.loads(done.stdout), "Postgres' answer")


def _schemas(deployment: Deployment, postgres: Future[PostgresFacts]) -> dict[str, dict[str, tuple[int, int]]]:
    """By database. Asked as its role: its tables may be views, whose functions would run with a superuser's rights."""
    there = postgres.result().databases
    own = [each.place.database for each in deployment.bridges if each.place.database.database in there]
    query = " ".join(SCHEMA.split())
    lines = [Line(each.role, each.database, query) for each in own]
    try:
        said = sessions(deployment.postgres.container, *lines)
    except ScriptError:
        said = []
    return {
        each.database: {part: (version, oldest) for part, (version, oldest) in json.loads(told.out).items()}
        for each, told in zip(own, said)
        if told.well
    }


def _mounted(container: Optional[Container], synapse: Synapse) -> dict[str, str]:
    places = (
        {path: inside(container, path) for path in (synapse.directory, synapse.homeserver_file)} if container else {}
    )
    return {path: there for path, there in places.items() if there}


def _on_host(container: Optional[Container], synapse: SynapseFacts) -> dict[str, str]:
    places = {file: on_host(container, file) for file in synapse.files} if container else {}
    return {file: here for file, here in places.items() if here}


def _synapse(deployment: Deployment) -> SynapseFacts:
    synapse = deployment.synapse
    container = look(synapse.container)
    file = (inside(container, synapse.homeserver_file) if container else None) or synapse.inside("homeserver.yaml")
    asked = facts_inside.Arguments(homeserver=file, address=synapse.address)
    try:
        return program_file.run_inside(synapse.container, facts_inside.read, asked, timeout=30)
    except program_file.InsideError as error:
        return SynapseFacts(error=str(error))


def _answers(synapse: Synapse) -> tuple[str, str]:
    """Where the host reaches Synapse, and why its client-server API does not answer there."""
    url = ""
    try:
        url = synapse_address.base(synapse)
        exchange = ask("versions", url, Request("GET", "/_matrix/client/versions"), 5)
    except ScriptError as error:
        return url, str(error)
    good = exchange.status == 200 and "versions" in (exchange.json() or {})
    return url, "" if good else came(exchange)


def _containers() -> dict[str, Container]:
    """All that there are, by name."""
    return {each.name: each for each in every()}


def _ids(by_name: dict[str, Container], deployment: Deployment, file: str) -> tuple[IdRange, ...]:
    """The map of a container of the stack that runs; they all have the daemon's."""
    for name in (deployment.synapse.container, deployment.postgres.container):
        if name in by_name and by_name[name].pid:
            with contextlib.suppress(OSError, ValueError):
                rows = Path(f"/proc/{by_name[name].pid}/{file}").read_text().splitlines()
                return tuple(IdRange(*map(int, row.split())) for row in rows)
    return ()


def _others(by_name: dict[str, Container], place: BridgePlace) -> tuple[str, ...]:
    """Names of containers, the bridge's own aside, that mount its directory or one below it."""
    mine = Path(place.directory)
    return tuple(
        name
        for name, each in sorted(by_name.items())
        if name != place.container
        and any(mine in (source, *source.parents) for source in (Path(mount.source) for mount in each.mounts))
    )


def _leaving(by_name: dict[str, Container], deployment: Deployment) -> tuple[str, ...]:
    """Names of this stack's containers that are no bridge of its settings any more."""
    return tuple(
        name
        for name, each in sorted(by_name.items())
        if of_stack(each, deployment.stack, deployment.synapse.network)
        and name not in (bridge.place.container for bridge in deployment.bridges)
    )


def _worker_containers(by_name: dict[str, Container], synapse: Synapse) -> tuple[str, ...]:
    """Names of other containers that have this Synapse's files and run Synapse."""
    main = by_name.get(synapse.container)
    places = (synapse.homeserver_file, synapse.directory)
    sharing = {
        name: each
        for name, each in by_name.items()
        if main and each.id != main.id and any(inside(each, place) for place in places)
    }
    if not (main and sharing):
        return ()
    processes = synapse_process.running(synapse_process.WORKER, everywhere=True)
    running = {_pid_namespace(process) for process in processes}
    return tuple(
        name
        for name, each in sorted(sharing.items())
        if (_pid_namespace(Path(f"/proc/{each.pid}")) in running if each.running else each.image_id == main.image_id)
    )


def _renderers(by_name: dict[str, Container], synapse: Synapse) -> tuple[str, ...]:
    """Names of containers that have homeserver.yaml and whose command writes it: an init service of compose's, or
    Synapse's own with a shell around it."""
    return tuple(
        name
        for name, each in sorted(by_name.items())
        if (there := inside(each, synapse.homeserver_file)) and _writes(" ".join(each.command), there)
    )


def _writes(command: str, file: str) -> bool:
    """Whether a shell's text writes the file: as an output, or as the last word of a program that does. It may be named
    by a variable, or from the directory that it is in."""
    named = rf"(?:{re.escape(file)}|(?:\./|\$\S*/)?{re.escape(Path(file).name)})"
    name = rf"[\"']?{named}[\"']?"
    programs = r"\b(?:cp|mv|install|tee|sed\s+-i|yq\s+-i)\b"
    outputs = rf"(?:>|\s-o|\s--out\S*)\s*{name}(?=[\s;&|)]|$)"
    return bool(re.search(rf"{outputs}|{programs}[^;&|\n]*\s{name}\s*(?:[;&|)\n]|$)", command))


def _pid_namespace(process: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(process / "ns/pid")
    return ""  # it is gone


def _status(deployment: BridgeDeployment, around: _Around) -> BridgeStatus:
    """The bridge's status today; the token for the ping is in the registration on the host."""
    registration = _text(Path(deployment.registration_path)) or ""
    token = re.search(r"^as_token: *[\"']?([^\s\"']+)", registration, re.MULTILINE)
    question = bridge_status.Question(
        network=deployment.place.network,
        port=deployment.place.port,
        synapse_url=around.synapse_url,
        appservice_id=deployment.bridge.appservice_id,
        as_token=token.group(1) if token else "",
        timeout=3.0,
    )
    return bridge_status.seen(question, around.by_name.get(deployment.place.container))


def _config(deployment: BridgeDeployment) -> tuple[str, ...]:
    """What the bridge does not take, if its image is here already; else the step that writes its config asks."""
    return config_check.refused(Question.of(deployment, deployment.place.image))


def _scheduled(script: str, root: Path = Path("/")) -> bool:
    """Whether cron or a systemd unit of the host names the script."""
    for pattern in SCHEDULES:
        for file in root.glob(pattern):
            with contextlib.suppress(OSError):
                if script.encode() in file.read_bytes():
                    return True
    return False


def _syntax(deployment: Deployment, script: Optional[File]) -> str:
    """What the operator's script's interpreter says against our edit; "" if nothing, or if there is no edit."""
    if script is None or script.text is None:
        return ""
    try:
        return shell_syntax.check(script.text, backup_script.block(deployment))
    except Refused:
        return ""  # preflight says it
