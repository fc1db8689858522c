"""The last step of a bridge that is removed: it removes everything that is still there and has this stack's mark.

Pulumi removes only what its state holds, and a killed run may have made more. The provider would stop at a role or a
database that is gone already. So both are dropped here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from documents.bridge.written_config import names_database
from documents.marks import explain_other_owner, parse_owner_comment
from documents.places import Database, Postgres, Synapse
from host_programs import host_lock
from host_programs.backup import archives
from host_programs.bridge import images
from host_programs.docker import remove_container, remove_image, require_running
from host_programs.files import directory
from host_programs.files.directory import ClaimedDirectory
from host_programs.messages import ScriptError, say
from host_programs.postgres import isolation, measure
from host_programs.postgres.psql import quote_identifier, run_as_superuser
from host_programs.postgres.renewal import renew_database
from host_programs.status.deployed import read_deployment
from host_programs.synapse.registration_files import remove_registrations


@dataclass(frozen=True)
class BridgeParts:
    """One bridge's places. `image` is the present one, "" if images stay; `archives` is the
    directory of the archives of `owner` (stack and domain) and `program`, which name earlier images. `isolated`: the
    databases that its role is kept out of. `registration`: the path of its file in Synapse's directory."""

    directory: ClaimedDirectory
    container: str
    image: str
    archives: str
    program: str
    owner: str
    postgres: Postgres
    database: Database
    isolated: tuple[str, ...]
    synapse: Synapse
    registration: str

    @property
    def stack(self) -> str:
        return self.directory.stack


def claim_directory(arguments: BridgeParts) -> ClaimedDirectory:
    """The first step of a bridge: its directory is there, names this stack, and notes the role and the database that
    come next, and whether its image is still to be pulled. ScriptError if it is somebody else's. Preflight has refused
    a role or a database that is."""
    directory.claim_directory(arguments.directory)
    directory.claim_names(Path(arguments.directory.path), arguments.database.names)
    if arguments.image:
        images.note_image(Path(arguments.directory.path), arguments.image)
    return arguments.directory


def renew_bridge(arguments: BridgeParts) -> ClaimedDirectory:
    """`claim_directory` once more; and role and database, if somebody removed or changed them since: the provider
    believes its state, in which they are there. A config of ours that names them shows that they were, or the record of
    the last `up`."""
    claim_directory(arguments)
    configs = map(directory.read_config, directory.list_configs(Path(arguments.directory.path)))
    if any(names_database(config, arguments.database) for config in configs) or _is_recorded(arguments):
        renew_database(arguments.postgres, arguments.stack, arguments.database, arguments.container)
    return arguments.directory


def _is_recorded(arguments: BridgeParts) -> bool:
    try:
        recorded = read_deployment(Path(arguments.directory.shared) / directory.DEPLOYED)
    except ScriptError:
        return False
    return recorded.stack == arguments.stack and arguments.database in recorded.databases


def cleanup_bridge(arguments: BridgeParts) -> None:
    """Remove what is still there, in the order of a destroy. ScriptError, and it stays, if the database was never
    archived."""
    remove_container(arguments.container, arguments.stack)
    was_empty = _remove_database(arguments)

    def is_archived(key: str) -> bool:
        return was_empty or archives.is_key_archived(arguments.archives, arguments.program, key)

    unused = _list_images(arguments)
    synapse = arguments.synapse
    with host_lock.hold_lock(synapse.homeserver_file, arguments.stack):
        remove_registrations(synapse, arguments.stack, [arguments.registration])
    for folder in directory.list_configs(Path(arguments.directory.path)):
        if directory.remove_config(folder, arguments.stack, is_archived):
            say(f"removed: {folder / directory.CONFIG}")
    directory.release_directory(arguments.directory)
    for image in unused:
        remove_image(image)


def _list_images(arguments: BridgeParts) -> list[str]:
    """The bridge's image and earlier ones, if `up` pulled them."""
    if not arguments.image:
        return []
    earlier = archives.list_earlier_archives(arguments.archives, arguments.program, arguments.owner)
    names = {arguments.image, *(manifest.image for _, manifest in earlier)}
    return images.list_pulled(Path(arguments.directory.path), names)


def read_comments(server: Postgres, subject: str) -> Mapping[str, Mapping[str, str]]:
    """As of isolation.py. ScriptError, that `subject` cannot be removed, if Postgres is down."""
    require_running(server.container, f"{subject} cannot be removed")
    return isolation.read_comments(server)


def _remove_database(arguments: BridgeParts) -> bool:
    """PUBLIC has back what it had; the database, the scratch database of a proof and the role go, if they are this
    stack's; but not a role beside somebody else's database. Whether a database was dropped that held nothing to
    archive."""
    server, place, stack = arguments.postgres, arguments.database, arguments.stack
    claimed = directory.read_claimed_names(Path(arguments.directory.path), stack)
    role, database = place.names
    comments = read_comments(server, f"the role {place.role} and the database {place.database}")
    by_database, by_role = comments["databases"], comments["roles"]
    if parse_owner_comment(by_role.get(place.role)).get("public"):
        isolation.give_public_back(isolation.Isolation(stack, server, (place,), arguments.isolated))
    gone = drop_database(server, stack, by_database, place.database, database in claimed)
    drop_database(server, stack, by_database, place.scratch)
    if place.role in by_role:
        _drop_role(server, stack, by_role[place.role], place.role, role in claimed and gone)
    was_there = place.database in by_database
    return was_there and gone and not parse_owner_comment(by_database[place.database]).get("archived")


def drop_database(server: Postgres, stack: str, comments: Mapping[str, str], name: str, claimed: bool = False) -> bool:
    """Drop the database, whoever is connected, if it is the stack's; whether it is not there any more. `claimed`: as of
    `explain_other_owner`. ScriptError if it has content that no whole archive holds."""
    if name not in comments:
        return True
    reason = explain_other_owner(comments[name], stack, claimed)
    if reason:
        say(f"warning: database {name} stays: it {reason}")
        return False
    note = parse_owner_comment(comments[name])
    archive = str(note.get("archived", ""))
    is_needed = not note.get("scratch") and not (archive and archives.is_whole(Path(archive)))
    if is_needed and measure.count_objects(server.container, server.superuser, name):
        reason = f"its archive {archive} is gone or damaged" if archive else "was never archived"
        fix = f"put {archive} back, and run this again; or " if archive else ""
        raise ScriptError(
            f"database {name}: {reason}, so it stays, and all that is left with it: {fix}`pulumi up` and then "
            "`pulumi destroy` archive it"
        )
    run_as_superuser(server, f"drop database if exists {quote_identifier(name)} with (force);")
    say(f"removed: database {name}")
    return True


def _drop_role(server: Postgres, stack: str, comment: str, name: str, claimed: bool) -> None:
    """Drop the role, if it is the stack's."""
    reason = explain_other_owner(comment, stack, claimed)
    if reason:
        say(f"warning: role {name} stays: it {reason}")
        return
    role = quote_identifier(name)
    run_as_superuser(server, f"drop owned by {role}; drop role {role};")
    say(f"removed: role {name}")
