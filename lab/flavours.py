"""The kinds of hosts that people have, beside the plan's own: LAB_FLAVOUR names one.

A flavour is laid over the plain host at each `reset`: its files are changed, and Synapse's container is made otherwise.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.engine import LabError

SYNAPSE_UID = 991
OTHER_TOKEN = "lab_irc_as_token_0123456789abcdef"
# Another bridge's, in a list that a careless edit would unload.
OTHER = f"""id: irc
url: null
as_token: {OTHER_TOKEN}
hs_token: lab_irc_hs_token_0123456789abcdef
sender_localpart: ircbot
rate_limited: false
namespaces: {{users: [{{regex: '@irc_.*:echo6\\.co', exclusive: true}}]}}
"""


# Of a homeserver that shows a profile to those alone who share a room with it.
HARDENED = "require_auth_for_profile_requests: true\nlimit_profile_requests_to_users_who_share_rooms: true\n"


@dataclass(frozen=True)
class Beside:
    """A container of Synapse's image beside Synapse's, with its data. `words`: what it runs; `first`: before Synapse;
    `root`: as that user."""

    words: tuple[str, ...]
    first: bool = False
    root: bool = False


@dataclass(frozen=True)
class Flavour:
    """How a host differs from the plain one. `change`: of its tree, below `host_dir`. `files`: of Synapse's
    configuration there, in Synapse's order, and `words`: after `python3 -m synapse.app.homeserver`, if they are not the
    image's own. `tls`: whether Postgres speaks it, and gets its password from a file. `mounts`: host path below
    `host_dir` -> path in Synapse's container. `beside`: more containers, by the end of their names. `settings`: of the
    stack, with {host} for `host_dir` and {lab} for what names begin with."""

    change: Callable[[Path], None] = lambda host: None
    files: tuple[str, ...] = ("synapse/homeserver.yaml",)
    words: tuple[str, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=lambda: {"synapse": "/data"})
    published: bool = True
    mas: bool = True
    tls: bool = False
    beside: Mapping[str, Beside] = field(default_factory=dict)
    settings: Mapping[str, str | list[str]] = field(default_factory=dict)
    bridge: Mapping[str, str] = field(default_factory=dict)

    def config(self, host: Path, lab: str) -> dict[str, object]:
        def filled(text: str) -> str:
            return text.format(host=host, lab=lab)

        return {
            key: filled(value) if isinstance(value, str) else list(map(filled, value))
            for key, value in self.settings.items()
        }


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o640)
    os.chown(path, SYNAPSE_UID, SYNAPSE_UID)


def _several_files(host: Path) -> None:
    """As Debian's: homeserver.yaml, and conf.d behind it, whose list of bridges counts."""
    file = host / "synapse/homeserver.yaml"
    _write(file, f"{file.read_text()}{HARDENED}")
    folder = host / "synapse/conf.d"
    folder.mkdir()
    os.chown(folder, SYNAPSE_UID, SYNAPSE_UID)
    _write(folder / "appservices.yaml", "# the bridges\napp_service_config_files:\n  - /data/irc.yaml\n")
    _write(host / "synapse/irc.yaml", OTHER)


def _without_mas(host: Path) -> None:
    file = host / "synapse/homeserver.yaml"
    text, count = re.subn(r"(?m)^matrix_authentication_service:\n(?: .*\n)+", "", file.read_text())
    assert count == 1
    _write(file, text)


def _mounted_by_itself(host: Path) -> None:
    folder = host / "config"
    folder.mkdir()
    shutil.move(host / "synapse/homeserver.yaml", folder / "homeserver.yaml")


WORKERS = """
redis: {enabled: true, host: redis}
instance_map: {main: {host: synapse, port: 9093}}
notify_appservices_from_worker: bridges
enable_media_repo: false
media_instance_running_background_jobs: bridges
"""
WORKER = """worker_app: synapse.app.generic_worker
worker_name: bridges
worker_log_config: /data/echo6.co.log.config
enable_media_repo: true
worker_listeners:
  - {type: http, port: 8083, bind_addresses: [0.0.0.0], resources: [{names: [client, media]}]}
"""
# Names are looked up anew: a container that is started again may have another address.
PROXY = """error_log stderr; pid /tmp/nginx.pid; events {}
http {
    access_log off; resolver 127.0.0.11 valid=1s;
    server {
        listen 8008;
        set $main http://synapse:8008; set $worker http://worker:8083;
        location / { proxy_pass $main; }
        location ~ ^/_matrix/(media|client/v1/media)/ { proxy_pass $worker; }
    }
}
"""


def _with_a_worker(host: Path) -> None:
    """The worker has the media repository and pushes events to bridges; the proxy knows who has what."""
    file, last = host / "synapse/homeserver.yaml", "        compress: false\n"
    text = file.read_text()
    assert text.count(last) == 1
    replication = "  - {port: 9093, type: http, resources: [{names: [replication]}]}\n"
    _write(file, text.replace(last, f"{last}{replication}") + WORKERS)
    _write(host / "synapse/worker.yaml", WORKER)
    _write(host / "synapse/proxy.conf", PROXY)


FLAVOURS = {
    # As the plan has it: our dumps lie among the script's, and `up` runs that once.
    "plain": Flavour(settings={"backupDir": "${{BACKUP_DIR}}", "proveBackupScript": "true"}),
    "conf.d": Flavour(
        change=_several_files,
        files=("synapse/homeserver.yaml", "synapse/conf.d/appservices.yaml"),
        words=("-c", "/data/homeserver.yaml", "-c", "/data/conf.d"),
        settings={"homeserverFile": "{host}/synapse/conf.d/appservices.yaml", "experimentalFeatures": "false"},
    ),
    "workers": Flavour(
        change=_with_a_worker,
        beside={
            "redis": Beside(("redis-server", "--save", "", "--protected-mode", "no"), first=True),
            "worker": Beside(
                (
                    "python3",
                    "-m",
                    "synapse.app.generic_worker",
                    "-c",
                    "/data/homeserver.yaml",
                    "-c",
                    "/data/worker.yaml",
                )
            ),
            "proxy": Beside(("nginx", "-c", "/data/proxy.conf", "-g", "daemon off;"), root=True),
        },
        settings={"synapseWorkers": ["{lab}-worker"], "homeserverAddress": "http://{lab}-proxy:8008"},
    ),
    "no-mas": Flavour(
        change=_without_mas,
        mas=False,
        tls=True,
        settings={"masContainer": "none", "postgresSslmode": "require"},
    ),
    "file-mount": Flavour(
        change=_mounted_by_itself,
        files=("config/homeserver.yaml",),
        mounts={"synapse": "/data", "config/homeserver.yaml": "/data/homeserver.yaml:ro"},
        settings={"homeserverFile": "{host}/config/homeserver.yaml"},
    ),
    "unpublished": Flavour(published=False, bridge={"database": "mautrix-signal", "role": "mautrix-signal"}),
}


def from_environment() -> str:
    """The name in LAB_FLAVOUR, default plain."""
    name = os.environ.get("LAB_FLAVOUR") or "plain"
    if name not in FLAVOURS:
        raise LabError(f"LAB_FLAVOUR={name}: should be one of {', '.join(FLAVOURS)}")
    return name
