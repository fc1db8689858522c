"""The last step of a destroy, and of a bridge that is taken from the settings: whatever of it is still there goes.

Pulumi takes away what its state holds. A run that was killed may have made something that the state does not hold, and
a role or a database that is gone already would stop it; so these end here, by the marks that each thing of ours has.

sweep   removes what of one bridge names this stack. ScriptError, and it stays, if its database was never archived.
finish  removes what the stack's bridges shared, after them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from documents import backup_script
from documents.marks import commented
from documents.places import Database, Postgres
from documents.refusal import Refused
from host_programs.backup import archives, nightly_backup
from host_programs.backup.proof import name_scratch_database
from host_programs.common import ScriptError, run, say
from host_programs.container import look, remove_image, remove_own
from host_programs.files import directory, files, safe_files
from host_programs.postgres import isolation, measure, postgres
from host_programs.synapse import appservices

OURS = """
select json_build_object(
  'databases', (select coalesce(json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), '')), '{}')
    from pg_database),
  'roles', (select coalesce(json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), '')), '{}')
    from pg_roles));
"""


@dataclass(frozen=True)
class Bridge:
    """One bridge's places. `image` is the present one, "" if images stay; `archives` is the directory of this stack's
    (`whose`) and `program`'s, which name the earlier ones. `isolated`: the databases that its role is kept out of.
    Without `postgres` role and database are somebody else's."""

    stack: str
    container: str
    directory: str
    image: str
    archives: str
    program: str
    whose: str
    postgres: Optional[Postgres]
    database: Database
    isolated: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """What the shared parts are told at their own removal; `directory` is the stack's own; no `postgres`: it has no
    database there."""

    stack: str
    directory: str
    postgres: Optional[Postgres]
    backup: nightly_backup.NightlyBackup
    synapse: appservices.Appservices


@dataclass(frozen=True)
class Swept:
    """What went, in words."""

    gone: tuple[str, ...] = ()


def sweep(arguments: Bridge) -> Swept:
    """Each in the order of a destroy; what is not there is passed over."""
    gone = [*remove_own(arguments.container, arguments.stack), *_postgres(arguments)]
    for config in directory.configs(Path(arguments.directory)):
        gone += files.erase_own(arguments.stack, config, own_directory=True)
    directory.release(directory.OwnDirectory(arguments.directory, arguments.stack, ""))
    if arguments.image:
        earlier = archives.earlier(arguments.archives, arguments.program, arguments.whose)
        for image in sorted({arguments.image, *(manifest.image for _, manifest in earlier)}):
            gone += remove_image(image)
    return _told(gone)


def finish(arguments: Shared) -> Swept:
    """As `sweep`, of what is shared."""
    gone = [*_synapse(arguments), *_backup(arguments), *_others(arguments)]
    for name in (directory.JOURNAL, directory.PROVEN):  # what they note is done by now, or is gone
        (Path(arguments.directory) / name).unlink(missing_ok=True)
    return _told(gone)


def _told(gone: list[str]) -> Swept:
    for each in gone:
        say(f"removed: {each}")
    return Swept(tuple(gone))


def _synapse(arguments: Shared) -> list[str]:
    """The lines first: Synapse does not start with a registration listed that is not there."""
    edit, gone = arguments.synapse, []
    text = safe_files.read(edit.homeserver_file)
    named = text is not None and edit.stack.encode() in text.data
    if named or safe_files.read(Path(edit.journal)) is not None:
        done = appservices.unregister_appservices(edit)
        gone += [*([str(edit.homeserver_file)] if done.changed else []), *done.removed]
    for file in edit.registrations:
        gone += files.erase_own(arguments.stack, Path(file.path))
    return gone


def _backup(arguments: Shared) -> list[str]:
    backup = arguments.backup
    script = safe_files.read(Path(backup.script)) if backup.script else None
    called = script is not None and _called(script.data.decode(errors="replace"), arguments.stack)
    installed = files.dump_script_owner(Path(backup.block.command)) == arguments.stack
    if not called and not installed and not backup.note.exists():
        return []
    return [backup.script or backup.block.command] if nightly_backup.remove_dumps(backup).changed else []


def _called(text: str, stack: str) -> bool:
    try:
        return backup_script.remove(text, stack) != text
    except Refused:
        return True  # its removal says why


def _postgres(arguments: Bridge) -> list[str]:
    """PUBLIC has back what it had; the database, the one of the backup's proof and the role go, if they are this
    stack's or nobody's and empty."""
    server, bridge, stack = arguments.postgres, arguments.database, arguments.stack
    if server is None:
        return []
    found = _found(server, f"the role {bridge.role} and the database {bridge.database}")
    databases, roles = found["databases"], found["roles"]
    if commented(roles.get(bridge.role)).get("public"):
        isolation.give_public_back(isolation.Isolation(stack, server, (bridge,), arguments.isolated))
    gone = []
    if bridge.database in databases and not databases[bridge.database] and _empty(server, bridge.database):
        gone += _drop(server, bridge.database)
    else:
        gone += _dropped(server, stack, databases, bridge.database)
    gone += _dropped(server, stack, databases, name_scratch_database(bridge.database))
    if bridge.role in roles:
        owner = commented(roles[bridge.role]).get("stack", "" if not roles[bridge.role] else None)
        if owner not in ("", stack):
            say(f"warning: role {bridge.role} stays: {_whose(owner)}")
        else:
            _sql(server, f"drop owned by {postgres.quoted(bridge.role)}; drop role {postgres.quoted(bridge.role)};")
            gone.append(f"role {bridge.role}")
    return gone


def _others(arguments: Shared) -> list[str]:
    """Databases that were made for this stack under other names."""
    server, stack = arguments.postgres, arguments.stack
    if server is None:
        return []
    databases = _found(server, "the stack's databases")["databases"]
    own = [name for name, text in sorted(databases.items()) if commented(text).get("stack") == stack]
    return [gone for name in own for gone in _dropped(server, stack, databases, name)]


def _found(server: Postgres, what: str) -> Mapping[str, Mapping[str, str]]:
    """The comments on databases and roles, by name. ScriptError, of `what` cannot be removed, if Postgres is down."""
    container = look(server.container)
    if container is None or not container.running:
        raise ScriptError(
            f"container {server.container}: is {container.status if container else 'not there'}: {what} cannot be "
            f"removed: start it (docker start {server.container}), then run this again"
        )
    found: Mapping[str, Mapping[str, str]] = json.loads(_sql(server, OURS)[0])
    return found


def _dropped(server: Postgres, stack: str, databases: Mapping[str, str], name: str) -> list[str]:
    """The database is gone, if it is the stack's. ScriptError if it was never archived."""
    if name not in databases:
        return []
    says = commented(databases[name])
    if says.get("stack") != stack:
        say(f"warning: database {name} stays: {_whose(says.get('stack'))}")
        return []
    if says.get("began") and not says.get("archived") and not _empty(server, name):
        raise ScriptError(
            f"database {name}: was never archived, so it stays, and all that is left with it: `pulumi up` and then "
            "`pulumi destroy --run-program` archive it"
        )
    return _drop(server, name)


def _drop(server: Postgres, name: str) -> list[str]:
    _sql(server, f"drop database if exists {postgres.quoted(name)} with (force);")
    return [f"database {name}"]


def _whose(stack: object) -> str:
    return f"it belongs to the stack {stack}" if stack else "nothing in it says that this stack made it"


def _empty(server: Postgres, name: str) -> bool:
    return measure.count_objects(server.container, server.superuser, name) == 0


def _sql(server: Postgres, statement: str) -> list[str]:
    return postgres.sql(server.container, server.superuser, "postgres", statement, timeout=120)


VERBS = (sweep, finish)

if __name__ == "__main__":
    run(*VERBS)
