"""Facts about Docker on the host: its version, its containers, who may use it, its map of users."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

from documents.places import Deployment
from host_programs.docker import run_docker
from host_programs.messages import ScriptError
from verdicts.host_facts.docker import Container, IdRange

VERSION = ("version", "--format", "{{.Server.Version}}")
LIMIT = 20.0  # seconds


def read_version() -> str:
    """The daemon's version. ScriptError if it does not answer."""
    done = run_docker(*VERSION, check=False, timeout=LIMIT)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ScriptError(f"Docker does not answer on the host: {last}: start it, then run this again")
    return done.stdout.strip()


def read_daemon() -> tuple[str, bool]:
    """The daemon's directory, and whether it confines containers by SELinux."""
    done = run_docker("info", "--format", "{{.DockerRootDir}}\t{{.SecurityOptions}}")
    directory, _, options = done.stdout.strip().partition("\t")
    return directory, "name=selinux" in options


def find_user_without_docker() -> str:
    """The user that sudo names, if only sudo lets him use Docker; "" else."""
    name = os.environ.get("SUDO_USER", "")
    if not name:
        return ""
    user = pwd.getpwnam(name)
    done = subprocess.run(
        ["docker", *VERSION],
        user=user.pw_uid, group=user.pw_gid, extra_groups=os.getgrouplist(name, user.pw_gid), cwd="/",
        env={**os.environ, "HOME": user.pw_dir}, capture_output=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    return name if done.returncode else ""


def read_id_map(containers: Mapping[str, Container], deployment: Deployment, file: str) -> tuple[IdRange, ...]:
    """The map of a running container of the stack (`file`: uid_map or gid_map): all have the daemon's."""
    for name in (deployment.synapse.container, deployment.postgres.container):
        if name in containers and containers[name].pid:
            with contextlib.suppress(OSError, ValueError):
                rows = Path(f"/proc/{containers[name].pid}/{file}").read_text().splitlines()
                return tuple(IdRange(*map(int, row.split())) for row in rows)
    return ()
