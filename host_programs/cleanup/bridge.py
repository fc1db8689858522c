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
from host_programs.backup.proof import name_scratch_database
from host_programs.cleanup import databases
from host_programs.docker import remove_container, remove_image
from host_programs.files import directory, files
from host_programs.files.directory import ClaimedDirectory
from host_programs.files.files import OwnedFiles
from host_programs.messages import say
from host_programs.postgres import isolation, psql


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


@dataclass(frozen=True)
class Removed:
    """What went, in words."""

    gone: tuple[str, ...] = ()


def claim_directory(arguments: BridgeParts) -> ClaimedDirectory:
    """The first step of a bridge: its directory is there and names this stack. ScriptError if it is somebody else's."""
    directory.claim_directory(arguments.own)
    return arguments.own


def cleanup_bridge(arguments: BridgeParts) -> Removed:
    """Remove what is still there, in the order of a destroy. ScriptError, and it stays, if the database was never
    archived."""
    gone = [*remove_container(arguments.container, arguments.stack), *_remove_database(arguments)]
    files.remove_files(arguments.registration)
    for config in directory.list_configs(Path(arguments.own.path)):
        gone += files.remove_own_file(arguments.stack, config)
    directory.release_directory(arguments.own)
    if arguments.image:
        earlier = archives.list_earlier_archives(arguments.archives, arguments.program, arguments.owner)
        for image in sorted({arguments.image, *(manifest.image for _, manifest in earlier)}):
            gone += remove_image(image)
    for removed in gone:
        say(f"removed: {removed}")
    return Removed(tuple(gone))


def _remove_database(arguments: BridgeParts) -> list[str]:
    """PUBLIC has back what it had; the database, the scratch database of the backup's proof and the role go, if they
    are this stack's, or nobody's and empty."""
    server, place, stack = arguments.postgres, arguments.database, arguments.stack
    comments = databases.read_comments(server, f"the role {place.role} and the database {place.database}")
    by_database, by_role = comments["databases"], comments["roles"]
    if parse_owner_comment(by_role.get(place.role)).get("public"):
        isolation.give_public_back(isolation.Isolation(stack, server, (place,), arguments.isolated))
    gone: list[str] = []
    if by_database.get(place.database) == "" and databases.is_empty(server, place.database):
        gone += databases.drop_database(server, place.database)
    else:
        gone += databases.drop_archived(server, stack, by_database, place.database)
    gone += databases.drop_archived(server, stack, by_database, name_scratch_database(place.database))
    if place.role in by_role:
        # A role without a comment was made by a run that was killed before it could name it, but not beside a database
        # of somebody else's.
        unnamed = by_role[place.role] == "" and (
            place.database not in by_database or f"database {place.database}" in gone
        )
        owner = parse_owner_comment(by_role[place.role]).get("stack")
        if owner != stack and not unnamed:
            say(f"warning: role {place.role} stays: {databases.owner_in_words(owner)}")
        else:
            role = psql.quote_identifier(place.role)
            databases.run_sql(server, f"drop owned by {role}; drop role {role};")
            gone.append(f"role {place.role}")
    return gone
