"""The last step of a destroy: whatever of this stack is still there goes.

Pulumi takes away what its state holds. A run that was killed may have made something that the state does not hold, and
a role or a database that is gone already would stop it; so these end here, by the marks that each thing of ours has.

nothing  is for the beginning.
sweep    removes what names this stack. ScriptError, and it stays, if the bridge's database was never archived.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from documents import backup_script
from documents.marks import commented
from documents.places import Database
from documents.refusal import Refused
from scripts import archives, dumps, files, isolation, nightly_backup, postgres, safe_files, synapse
from scripts.common import ScriptError, run, say
from scripts.container import look, remove_image, remove_own

OURS = """
select json_build_object(
  'databases', (select coalesce(json_object_agg(datname, coalesce(shobj_description(oid, 'pg_database'), '')), '{}')
    from pg_database),
  'roles', (select coalesce(json_object_agg(rolname, coalesce(shobj_description(oid, 'pg_authid'), '')), '{}')
    from pg_roles));
"""


@dataclass(frozen=True)
class Arguments:
    """What the stack's parts are told at their own removal; `container` and `directory` are the bridge's. `image` is
    the present one, "" if images stay; `archives` is the directory of this deployment's (`whose`) and `program`'s,
    which name the earlier ones."""

    stack: str
    container: str
    directory: str
    image: str
    archives: str
    program: str
    whose: str
    isolation: isolation.Isolation
    backup: nightly_backup.Arguments
    synapse: synapse.Arguments

    @property
    def database(self) -> Database:
        return self.isolation.bridge


@dataclass(frozen=True)
class Swept:
    """What went, in words."""

    gone: tuple[str, ...] = ()


def nothing(arguments: Arguments) -> Swept:
    """Nothing: the resource is there to be deleted last."""
    return Swept()


def sweep(arguments: Arguments) -> Swept:
    """Each in the order of a destroy; what is not there is passed over."""
    gone = [
        *remove_own(arguments.container, arguments.stack),
        *_synapse(arguments),
        *_backup(arguments),
        *_postgres(arguments),
    ]
    for config in sorted(Path(arguments.directory).glob("config-*/config.yaml")):
        gone += _erased(arguments.stack, config, own_directory=True)
    if Path(arguments.directory).is_dir():
        for name in (files.JOURNAL, files.PROVEN):  # what they note is done by now, or is gone
            (Path(arguments.directory) / name).unlink(missing_ok=True)
        files.release(files.BridgeDirectory(arguments.directory, arguments.stack))
    if arguments.image:
        earlier = archives.earlier(arguments.archives, arguments.program, arguments.whose)
        for image in sorted({arguments.image, *(manifest.image for _, manifest in earlier)}):
            gone += remove_image(image)
    for each in gone:
        say(f"removed: {each}")
    return Swept(tuple(gone))


def _synapse(arguments: Arguments) -> list[str]:
    """The lines first: Synapse does not start with a registration listed that is not there."""
    edit, gone = arguments.synapse, []
    text = safe_files.read(edit.path)
    named = text is not None and edit.owner.encode() in text.data
    if (named or safe_files.read(Path(edit.journal)) is not None) and synapse.remove(edit).changed:
        gone.append(str(edit.path))
    for path in edit.watch:
        gone += _erased(arguments.stack, Path(path))
    return gone


def _erased(stack: str, path: Path, own_directory: bool = False) -> list[str]:
    """The file, if it is this stack's."""
    was = None if path.is_symlink() else safe_files.read(path)
    if was is None or files.file_writer(was) != stack:
        return []
    file = files.OwnedFile(str(path), "", 0, 0, own_directory=own_directory)
    return [*files.erase(files.OwnedFiles(stack, (file,))).paths]


def _backup(arguments: Arguments) -> list[str]:
    backup = arguments.backup
    script = safe_files.read(Path(backup.script)) if backup.script else None
    called = script is not None and _called(script.data.decode(errors="replace"), arguments.stack)
    installed = files.dump_script_owner(Path(backup.block.command)) == arguments.stack
    if not called and not installed and not backup.note.exists():
        return []
    return [backup.script or backup.block.command] if nightly_backup.remove(backup).changed else []


def _called(text: str, stack: str) -> bool:
    try:
        return backup_script.remove(text, stack) != text
    except Refused:
        return True  # its removal says why


def _postgres(arguments: Arguments) -> list[str]:
    """PUBLIC has back what it had; the database and the role go, if they are this stack's or nobody's and empty."""
    server, bridge, stack = arguments.isolation.postgres, arguments.database, arguments.stack
    container = look(server.container)
    if container is None or not container.running:
        state = container.status if container else "not there"
        raise ScriptError(
            f"container {server.container}: is {state}: the role {bridge.role} and the database {bridge.database} "
            f"cannot be removed: start it (docker start {server.container}), then run this again"
        )
    found = json.loads(_sql(arguments, OURS)[0])
    databases, roles = found["databases"], found["roles"]
    if commented(roles.get(bridge.role)).get("public"):
        isolation.restore(arguments.isolation)
    gone = []
    for name, text in sorted(databases.items()):
        says = commented(text)
        if says.get("stack") != stack and not (name == bridge.database and not text and _empty(arguments)):
            if name == bridge.database:
                say(f"warning: database {name} stays: {_whose(says.get('stack'))}")
            continue
        if says.get("began") and not says.get("archived") and not _empty(arguments):
            raise ScriptError(
                f"database {name}: was never archived, so it stays, and all that is left with it: `pulumi up` and then "
                "`pulumi destroy --run-program` archive it"
            )
        _sql(arguments, f"drop database if exists {postgres.quoted(name)} with (force);")
        gone.append(f"database {name}")
    if bridge.role in roles:
        owner = commented(roles[bridge.role]).get("stack", "" if not roles[bridge.role] else None)
        if owner not in ("", stack):
            say(f"warning: role {bridge.role} stays: {_whose(owner)}")
        else:
            _sql(arguments, f"drop owned by {postgres.quoted(bridge.role)}; drop role {postgres.quoted(bridge.role)};")
            gone.append(f"role {bridge.role}")
    return gone


def _whose(stack: object) -> str:
    return f"it belongs to the stack {stack}" if stack else "nothing in it says that this stack made it"


def _empty(arguments: Arguments) -> bool:
    server = arguments.isolation.postgres
    return dumps.objects(server.container, server.superuser, arguments.database.database) == 0


def _sql(arguments: Arguments, statement: str) -> list[str]:
    server = arguments.isolation.postgres
    return postgres.sql(server.container, server.superuser, "postgres", statement, timeout=120)


VERBS = (nothing, sweep)

if __name__ == "__main__":
    run(*VERBS)
