"""Our dump script on the host: the file host_programs/backup/bridge_backup.sh with the settings of one stack."""

from __future__ import annotations

import re
import shlex

from documents.marks import seal
from documents.places import Deployment
from documents.timestamps import file_name_seconds

CLOSING_LINE = "PostgreSQL database dump complete"  # how every whole dump of pg_dump ends

_SETTINGS = re.compile(
    r"(?<=# --- settings, written by Pulumi: do not edit\n).*(?=# --- end of the settings\n)", re.DOTALL
)
_OWNER = re.compile(r"^# owner: (\S+)$", re.MULTILINE)
# A dump of any stack's, a directory in which one is being made, or what a file system has.
_DUMP_NAME = re.compile(r"[\w-]+_\d{8}T\d{6}Z\.[^/]+\.sql\.gz[^/]*|\.[^/]+\.\w{8}|lost\+found", re.ASCII)


def render_dump_script(template: str, deployment: Deployment) -> str:
    """The text of the dump script. `template` is the file's text; its settings are replaced by those of this stack."""
    plan = deployment.backup
    pairs = ((database.database, database.role) for database in deployment.dumped_databases)
    settings = (
        f"# owner: {deployment.stack}",
        f"mark={shlex.quote(deployment.shared_name)}",
        f"container={shlex.quote(deployment.postgres.container)}",
        f"databases=({' '.join(shlex.quote(f'{database}:{role}') for database, role in pairs)}) # database:role",
        f"directory={shlex.quote(plan.directory if plan.has_own_directory else '')}",
        f"days={plan.days}",
        f"filter={shlex.quote(plan.filter)}",
        f"suffix={shlex.quote(plan.suffix)}",
        f"records={shlex.quote(deployment.dump_records)}",
        *([f"export DOCKER_HOST={shlex.quote(deployment.docker_host)}"] if deployment.docker_host else ()),
    )
    return seal(_SETTINGS.sub(lambda _: "".join(f"{line}\n" for line in settings), template))


def parse_dump_script_owner(text: str) -> str:
    """The stack ("project/name") that a dump script names as its owner; "" if it is no dump script of ours."""
    settings = _SETTINGS.search(text)
    owner = _OWNER.search(settings[0]) if settings else None
    return owner[1] if owner else ""


def name_dump(database: str, mark: str, time: str) -> str:
    """What our dump script calls a dump that it made, without a filter's suffix; `mark`: StackConfig.shared_name."""
    return f"{database}_{time}.{mark}.sql.gz"


def is_dump_of(name: str, database: str, mark: str) -> bool:
    """Whether a file of this name is a dump of the database by the dump script of that mark."""
    time = name[len(database) + 1 :][:16]
    return name == name_dump(database, mark, time) and file_name_seconds(time) is not None


def is_dump_name(name: str) -> bool:
    """Whether a file of that name is a dump script's of ours, of any stack."""
    return _DUMP_NAME.fullmatch(name) is not None
