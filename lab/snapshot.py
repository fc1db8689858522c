"""What the host looks like, as plain data: taken before and after, two snapshots tell whether anything is different."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypedDict

import yaml

from lab.containers import Containers
from lab.flavours import FLAVOURS
from lab.place import Place


class Registrations(TypedDict):
    """Ids of appservices: those that homeserver.yaml names, those that the running Synapse loaded when it started."""

    configured: list[str]
    running: list[str]


class Snapshot(TypedDict):
    """The state of the host.

    files: path below `host_dir` -> [type, mode, uid, gid, sha256 or link target]. postgres: `roles`, `members`,
    `settings`, `databases` (with owner and effective ACL). containers: name -> state. networks: name -> names of the
    members.
    """

    files: dict[str, list[object]]
    postgres: dict[str, Any]
    containers: dict[str, str]
    networks: dict[str, list[str]]
    registrations: Registrations


_CATALOG = """
SELECT json_build_object(
  'roles', (SELECT json_agg(json_build_array(rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
      rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil, md5(rolpassword), shobj_description(oid, 'pg_authid'))
      ORDER BY rolname) FROM pg_authid),
  'members', (SELECT json_agg(json_build_array(roleid::regrole::text, member::regrole::text, admin_option)
      ORDER BY roleid::regrole::text, member::regrole::text) FROM pg_auth_members),
  'settings', (SELECT json_agg(json_build_array(setdatabase, setrole::regrole::text, setconfig)
      ORDER BY setdatabase, setrole::regrole::text) FROM pg_db_role_setting),
  'databases', (SELECT json_object_agg(datname, json_build_object(
      'owner', datdba::regrole::text, 'encoding', pg_encoding_to_char(encoding), 'collate', datcollate,
      'ctype', datctype, 'comment', shobj_description(oid, 'pg_database'), 'template', datistemplate, 'allowconn',
      datallowconn, 'connlimit', datconnlimit, 'acl', ARRAY(SELECT unnest(coalesce(datacl, acldefault('d',
      datdba)))::text ORDER BY 1) ) ORDER BY datname) FROM pg_database)
);
"""


def take(place: Place, containers: Containers, ignore: Sequence[str]) -> Snapshot:
    """The host now, without the files whose path matches one of the patterns `ignore` (fnmatch)."""
    mine = containers.docker.inspect("container", containers.mine("container"))
    networks = containers.docker.inspect("network", containers.mine("network"))
    files = {path: facts for path, facts in _tree(place.host_dir) if not any(fnmatch(path, each) for each in ignore)}
    return {
        "files": files,
        "postgres": json.loads(containers.psql(_CATALOG)),
        "containers": {name: item["State"]["Status"] for name, item in sorted(mine.items())},
        "networks": {
            name: sorted(member["Name"] for member in item["Containers"].values())
            for name, item in sorted(networks.items())
        },
        "registrations": {
            "configured": _configured_registrations(place),
            "running": _running_registrations(containers, mine.get(place.synapse)),
        },
    }


def loaded_registrations(log: str) -> list[str]:
    """Ids of the appservices that Synapse's log says it loaded, sorted. Pure."""
    # Synapse loads them once for each of its parts that asks.
    lines = [line for line in log.splitlines() if "Loaded application service: " in line]
    return sorted({match[1] for line in lines if (match := re.search(r"'id': '([^']*)'", line))})


def _configured_registrations(place: Place) -> list[str]:
    document: dict[str, Any] = {}
    for name in FLAVOURS[place.flavour].files:
        document |= yaml.safe_load((place.host_dir / name).read_text()) or {}
    ids = []
    for path in document.get("app_service_config_files") or []:
        file = place.host_dir / "synapse" / Path(path).relative_to("/data")
        ids.append(str(yaml.safe_load(file.read_text())["id"]) if file.is_file() else f"{path} is missing")
    return sorted(ids)


def _running_registrations(containers: Containers, synapse: Mapping[str, Any] | None) -> list[str]:
    """From the lines that Synapse logs as it loads them; the file may say something else since."""
    if synapse is None or not synapse["State"]["Running"]:
        return []
    logs = containers.docker("logs", "--since", synapse["State"]["StartedAt"], containers.place.synapse)
    return loaded_registrations(logs.stdout + logs.stderr)


def _tree(top: Path) -> Iterator[tuple[str, list[object]]]:
    """(path below `top`, [type, mode, uid, gid, sha256 or link target or ""]) of all that is in `top`, sorted."""
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFSOCK: "socket"}
    for path in sorted(top.rglob("*")):
        facts = path.lstat()
        kind = kinds.get(stat.S_IFMT(facts.st_mode), "special")
        content = ""
        if kind == "file":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif kind == "link":
            content = os.readlink(path)
        mode = f"{stat.S_IMODE(facts.st_mode):04o}"
        yield str(path.relative_to(top)), [kind, mode, facts.st_uid, facts.st_gid, content]
