"""Everything the program must know about the host before it plans anything: one round trip, read-only.

A thing that is missing is null in the result; what it means is for `verdicts/preflight.py` to say.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts import bundle, facts_inside
from scripts.bridge_status import probe
from scripts.common import ScriptError, docker, run

POSTGRES = """
select json_build_object(
  'version', current_setting('server_version_num')::int,
  'superuser', (select rolsuper from pg_roles where rolname = current_user),
  'roles', (select json_agg(rolname) from pg_roles where rolname !~ '^pg_'),
  'databases', (select json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba),
      'bytes', pg_database_size(oid),
      'public', has_database_privilege('public', oid, 'CONNECT')))
    from pg_database where datallowconn and not datistemplate),
  'locked_out', (select json_object_agg(datname, roles) from (
    select datname, json_agg(rolname order by rolname) as roles
    from pg_database, pg_roles
    where datname = any(string_to_array(:'isolated', ',')) and rolcanlogin and not rolsuper
      and rolname <> :'bridge_role' and has_database_privilege(pg_roles.oid, pg_database.oid, 'CONNECT')
      and not exists (
        select from aclexplode(coalesce(datacl, acldefault('d', datdba))) as given
        where given.privilege_type = 'CONNECT' and given.grantee <> 0
          and pg_has_role(pg_roles.oid, given.grantee, 'USAGE'))
    group by datname) as through_public));
"""


def _inspect(kind: str, *names: str) -> dict[str, Any]:
    """`docker KIND inspect` by name; the names that are not there are absent. ScriptError if Docker itself fails."""
    done = docker(kind, "inspect", *names, check=False)
    if done.returncode and "no such" not in done.stderr.lower() and "not found" not in done.stderr.lower():
        raise ScriptError(f"docker {kind} inspect: {done.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return {each.get("Name", "").lstrip("/") or names[0]: each for each in found}


def _container(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": raw["Id"],
        "image": raw["Image"],
        "running": raw["State"]["Running"],
        "status": raw["State"]["Status"],
        "labels": raw["Config"].get("Labels") or {},
        "networks": {name: net["IPAddress"] for name, net in raw["NetworkSettings"]["Networks"].items()},
    }


def _environment(raw: dict[str, Any] | None, name: str) -> str | None:
    for entry in (raw or {}).get("Config", {}).get("Env") or []:
        key, _, value = entry.partition("=")
        if key == name:
            return str(value)
    return None


def _file(path: str) -> dict[str, Any] | None:
    """Text, mode and owner of a file, and whether its directory takes a new file; null if there is none."""
    file = Path(path)
    try:
        was, data = file.stat(), file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return {"error": f"{error.strerror}"}
    try:
        text: str | None = data.decode()
    except UnicodeDecodeError:
        text = None
    return {
        "text": text,
        "mode": was.st_mode & 0o7777,
        "executable": bool(was.st_mode & 0o100),
        "writable": os.access(file.resolve().parent, os.W_OK) and os.access(file, os.W_OK) and not _read_only(file),
    }


def _read_only(path: Path) -> bool:
    """Whether the file system is mounted read-only: root's access(2) says yes to permission bits alone."""
    return bool(os.statvfs(path.resolve()).f_flag & os.ST_RDONLY)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _directory(path: str) -> dict[str, Any]:
    directory = Path(path)
    there = _existing(directory)
    owner = directory / ".stack"
    return {
        "exists": directory.exists(),
        "entries": sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else [],
        "stack": _text(owner),
        "writable": os.access(there, os.W_OK) and not _read_only(there),
        "free": shutil.disk_usage(there).free,
    }


def _postgres(arguments: dict[str, Any]) -> dict[str, Any]:
    done = docker(
        "exec", "-i", arguments["postgres_container"], "psql", "-XqAt", "-v", "ON_ERROR_STOP=1",
        "-v", f"isolated={','.join(arguments['isolated_databases'])}", "-v", f"bridge_role={arguments['bridge_role']}",
        "-U", arguments["postgres_superuser"], "-d", "postgres",
        stdin=POSTGRES, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]}
    return dict(json.loads(done.stdout))


def _synapse(arguments: dict[str, Any]) -> dict[str, Any]:
    inside = bundle.pack(facts_inside.__name__, {"homeserver": arguments["homeserver_inside"]})
    done = docker(
        "exec", "-i", arguments["synapse_container"], "python3", "-c", bundle.LAUNCH, "read",
        stdin=inside, check=False, timeout=30,
    )  # fmt: skip
    if done.returncode:
        return {"error": (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]}
    return dict(json.loads(done.stdout))


def _others(arguments: dict[str, Any]) -> list[str]:
    """Names of containers, the bridge's own aside, that mount the bridge's directory or one above or below it."""
    done = docker("ps", "-aq", "--no-trunc")
    if not done.stdout.split():
        return []
    mine = Path(arguments["bridge_dir"])
    named = []
    for name, raw in _inspect("container", *done.stdout.split()).items():
        for mount in raw.get("Mounts") or []:
            source = Path(mount.get("Source") or "/")
            if name != arguments["bridge_container"] and (mine == source or mine in source.parents):
                named.append(name)
    return sorted(set(named))


def _bridge(arguments: dict[str, Any]) -> dict[str, Any]:
    """The bridge's status today; the token for the ping is in the registration on the host."""
    registration = _text(Path(arguments["registration_file"])) or ""
    token = re.search(r"^as_token: *[\"']?([^\s\"']+)", registration, re.MULTILINE)
    return probe({**arguments, "as_token": token.group(1) if token else None})


def _docker_version() -> str:
    done = docker("version", "--format", "{{.Server.Version}}", check=False, timeout=20)
    if done.returncode:
        raise ScriptError(
            f"Docker does not answer on the host: {done.stderr.strip().splitlines()[-1]}: start it, then run this again"
        )
    return done.stdout.strip()


def read(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments: the settings' container, directory, file and database names (see `verdicts/preflight.py`,
    `arguments`). Result: JSON with docker, containers, network, image, synapse, homeserver, backup_script,
    postgres, superuser_password (secret), directories, others, bridge (status), machine."""
    names = [arguments[f"{each}_container"] for each in ("synapse", "mas", "postgres", "bridge")]
    with ThreadPoolExecutor(max_workers=8) as pool:

        def later(job: Callable[..., Any], *words: Any) -> Callable[[], Any]:
            return pool.submit(job, *words).result

        version = later(_docker_version)
        containers = later(_inspect, "container", *names)
        network = later(_inspect, "network", arguments["network"])
        image = later(_inspect, "image", arguments["image"])
        synapse, postgres = later(_synapse, arguments), later(_postgres, arguments)
        others, bridge = later(_others, arguments), later(_bridge, arguments["bridge"])
        data_root = later(docker, "info", "--format", "{{.DockerRootDir}}")
        found: dict[str, Any] = {"docker": version()}
        raw = containers()
        found["containers"] = {name: _container(raw[name]) if name in raw else None for name in names}
        found["superuser_password"] = _environment(raw.get(arguments["postgres_container"]), "POSTGRES_PASSWORD")
        found["network"] = bool(network())
        found["image"] = bool(image())
        found["synapse"], found["postgres"] = synapse(), postgres()
        found["others"], found["bridge"] = others(), bridge()
        root = data_root().stdout.strip()
    found["homeserver"] = _file(arguments["homeserver"])
    found["backup_script"] = _file(arguments["backup_script"])
    found["directories"] = {
        each: _directory(arguments[each]) for each in ("bridge_dir", "synapse_dir", "archive_dir", "backup_dir")
    }
    found["registrations"] = {path: Path(path).exists() for path in arguments["registration_files"]}
    found["docker_free"] = shutil.disk_usage(_existing(Path(root))).free
    found["ready_container"] = _text(Path(arguments["bridge_dir"]) / ".ready")
    found["machine"] = {
        "python": platform.python_version(),
        "root": os.geteuid() == 0,
        "bash": _works("bash", "--version"),
    }
    return found


def _text(path: Path) -> str | None:
    return path.read_text().strip() if path.is_file() else None


def _works(*words: str) -> bool:
    try:
        return subprocess.run(words, capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


VERBS = (read,)

if __name__ == "__main__":
    run(*VERBS)
