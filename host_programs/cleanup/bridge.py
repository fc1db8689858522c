"""The last step of a bridge that goes: whatever of it is still there goes, by the mark that each thing of ours has.

Pulumi takes away what its state holds. A run that was killed may have made something that the state does not hold, and
a role or a database that is gone already would stop the provider; so these end here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from documents.marks import parse_owner_comment
from documents.places import Database, Postgres
from host_programs.backup import archives
from host_programs.cleanup import databases
from host_programs.docker import remove_container, remove_image
from host_programs.files import directory, files
from host_programs.files.directory import ClaimedDirectory, FileChanges
from host_programs.files.files import OwnedFiles
from host_programs.messages import say
from host_programs.postgres import isolation
from host_programs.postgres.dump_restore import name_scratch_database


@dataclass(frozen=True)
class BridgeParts:
    """One bridge's places. `own` is its directory; `image` is the present one, "" if images stay; `archives` is the
    directory of the archives of `owner` (stack and domain) and `program`, which name earlier images. `isolated`: the
    databases that its role is kept out of. `registration`: its file in Synapse's directory."""

    own: ClaimedDirectory
    container: str
    image: str
    archives: str
    program: str
    owner: str
    postgres: Postgres
    database: Database
    isolated: tuple[str, ...]
    registration: OwnedFiles

    @property
    def stack(self) -> str:
        return self.own.stack


def claim_directory(arguments: BridgeParts) -> FileChanges:
    """The first step of a bridge: its directory is there and names this stack. ScriptError if it is somebody else's."""
    return directory.claim_directory(arguments.own)


def cleanup_bridge(arguments: BridgeParts) -> FileChanges:
    """Remove what is still there, in the order of a destroy. ScriptError, and it stays, if the database was never
    archived."""
    remove_container(arguments.container, arguments.stack)
    _remove_database(arguments)
    files.remove_files(arguments.registration)
    for config in directory.list_configs(Path(arguments.own.path)):
        for path in files.remove_own_file(arguments.stack, config, own_directory=True):
            say(f"removed: {path}")
    if arguments.image:
        earlier = archives.list_earlier_archives(arguments.archives, arguments.program, arguments.owner)
        for image in sorted({arguments.image, *(manifest.image for _, manifest in earlier)}):
            remove_image(image)
    return directory.release_directory(arguments.own)


def _remove_database(arguments: BridgeParts) -> None:
    """PUBLIC has back what it had; the database, the scratch database of the backup's proof and the role go, if they
    are this stack's. A killed run may have made some before it could name them: an empty database and a role without
    comments go, too; but not a role beside somebody else's database."""
    server, place, stack = arguments.postgres, arguments.database, arguments.stack
    comments = databases.read_comments(server, f"the role {place.role} and the database {place.database}")
    by_database, by_role = comments["databases"], comments["roles"]
    if parse_owner_comment(by_role.get(place.role)).get("public"):
        isolation.give_public_back(isolation.Isolation(stack, server, (place,), arguments.isolated))
    dropped = databases.drop_database(server, stack, by_database, place.database, unnamed=True)
    databases.drop_database(server, stack, by_database, name_scratch_database(place.database))
    if place.role in by_role:
        is_gone = dropped or place.database not in by_database
        databases.drop_role(server, stack, by_role[place.role], place.role, unnamed=is_gone)
