"""The life of the bridge's database: its first content, the changes of the image, and the archive at its end.

The database's comment says what it began with, which image used it last, and which archive was restored to go back. A
restore sets the comment in its own transaction, so nothing is restored twice.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from documents.bridge.kinds import image_tag
from documents.fingerprint import fingerprint
from documents.marks import STACK_LABEL, owner_comment, parse_owner_comment
from documents.places import NO_ARCHIVE, Database, archive_owner
from host_programs.backup import archives
from host_programs.backup.archives import BridgeData
from host_programs.bridge import images
from host_programs.docker import inspect_container, remove_container, remove_image, run_docker
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, measure, psql
from verdicts.host_facts.archive import Manifest, reason_before
from verdicts.host_facts.docker import Container

READ_COMMENT = (
    "select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = current_database();"
)
NAME_ANOTHER = "name an archive of this deployment"


@dataclass(frozen=True)
class DatabaseArguments:
    """`data`: the bridge's, with the image that will run.

    `container`: the bridge's; `ready_mark`: the file that names the container that got ready; `attempt`: a changed one
    replaces the container. `restore`: none, or the path of the archive with the first content. `go_back`: "", or the
    path of the archive that replaces the content. Of the archives made before a change, the newest `keep` stay, and the
    last one of each version. Of the images, the last two stay, or all with `keep_images`. `timestamp`: as of
    `archives.write_archive`.
    """

    data: BridgeData
    container: str
    ready_mark: str
    restore: str
    go_back: str
    keep: int
    keep_images: bool
    attempt: int
    timestamp: Optional[str] = None


@dataclass(frozen=True)
class DatabaseOrigin:
    """`began`: none, or the archive with the database's first content. `previous`: the newest archive that was made
    before a change, and the image that had used the database; both "" if there is none."""

    began: str
    previous: str = ""
    previous_image: str = ""


@dataclass(frozen=True)
class WrittenArchive:
    """`path`: "" where there was nothing to archive."""

    path: str


def prepare_database(arguments: DatabaseArguments) -> DatabaseOrigin:
    """Leave a new database empty, or restore it from an archive. Before a container of another image starts, stop the
    bridge and archive the database; to go back, restore an older archive.

    ScriptError, and the database is unchanged, if an archive is damaged, is of another role or pickle key, or holds
    anything but a dump, or if a database to restore into is not empty. ScriptError, and the bridge runs again, if the
    database cannot be archived before a change."""
    _remove_unready_container(arguments)
    data, key = arguments.data, fingerprint(arguments.data.pickle_key)[:16]
    note = _read_note(data.database)
    # Drop the notes of a destroy or a change that stopped on the way.
    settled = {name: value for name, value in note.items() if name not in ("archived", "changing")}
    if not note.get("began"):
        settled = {"began": arguments.restore, "key": key, "image": data.image}
        if arguments.restore == NO_ARCHIVE:
            _write_note(data, settled)
        else:
            fix = "`pulumi destroy`, then `pulumi up` with restore set"
            _restore_archive(data, Path(arguments.restore), fix, settled)
        if running := _find_own_container(arguments):  # somebody dropped the database under it
            run_docker("restart", "--time", "30", running.id, check=False)
    elif note.get("key") != key:
        raise ScriptError(
            f"{data.database.container}: the keys in the database {data.database.database} are encrypted with another "
            "pickle key than this state's: was the state lost, or made anew? Bring the old one back (`pulumi stack "
            "import`), or begin with an archive, which holds its key (setting restore)"
        )
    elif note.get("image") != data.image or arguments.go_back not in ("", note.get("back")):
        _change_image(arguments, settled)
    elif settled != note:
        _write_note(data, settled)
    earlier = ((str(path), manifest.image) for path, manifest in _list_earlier_archives(data))
    return DatabaseOrigin(str(settled["began"]), *next(earlier, ("", "")))


def _find_own_container(arguments: DatabaseArguments) -> Optional[Container]:
    """The bridge's container, if this stack made it."""
    container = inspect_container(arguments.container)
    return container if container and container.labels.get(STACK_LABEL) == arguments.data.stack else None


def _remove_unready_container(arguments: DatabaseArguments) -> None:
    """Remove a container that never got ready: the next one needs its name. Pulumi's state may not know the container,
    if the run that made it was killed."""
    container, mark = _find_own_container(arguments), Path(arguments.ready_mark)
    if container and (not mark.is_file() or mark.read_text().split()[:1] != [container.id]):
        say(f"{container.name}: never got ready: it makes way for the next one")
        run_docker("rm", "-f", "-v", container.id)


@contextlib.contextmanager
def _open_matching_archive(data: BridgeData, path: Path, fix: str) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open the archive. ScriptError unless it is intact, is of this role and key, and its dump is safe to run."""
    database = data.database
    with archives.open_archive(path) as (tar, manifest):
        if manifest.role not in ("", database.role):
            raise ScriptError(
                f"{path}: its database belongs to the role {manifest.role!r}, and this one to {database.role!r}: "
                "use that role's name (setting role)"
            )
        if archives.extract_pickle_key(path, tar) != data.pickle_key:
            raise ScriptError(
                f"{path}: its keys are encrypted with another pickle key than this stack's, which was made before: "
                f"nothing was restored; {fix}"
            )
        dump_restore.refuse_psql_commands(archives.open_member(tar, archives.DATABASE), f"{path}: {archives.DATABASE}")
        yield tar, manifest


def _restore_archive(data: BridgeData, path: Path, fix: str, note: Mapping[str, object], emptied: bool = False) -> None:
    """Restore the archive and write the note in one transaction. `emptied`: drop the present content first."""
    container, name, role = data.database.container, data.database.database, data.database.role
    with _open_matching_archive(data, path, fix) as (tar, manifest):
        objects = 0 if emptied else measure.count_objects(container, role, name)
        if objects:
            raise ScriptError(
                f"{container}: database {name} is not empty ({objects} tables, views, types or functions), and an "
                "archive is restored into an empty one only: nothing was restored; set restore to none to go on with "
                "what is there, or `pulumi destroy`, which archives it"
            )
        first = dump_restore.DROP_CONTENT if emptied else ""
        dump = archives.open_member(tar, archives.DATABASE)
        dump_restore.restore_dump(data.database, dump, first, _comment_statement(data, note))
    say(f"restored: {path.name} of {manifest.created} into {name}")


def _change_image(arguments: DatabaseArguments, note: Mapping[str, Any]) -> None:
    """Hand the database from one image to another: stop the bridge and archive the database first."""
    data = arguments.data
    back = "" if arguments.go_back == note.get("back") else arguments.go_back
    old, new = str(note.get("image", data.image)), data.image
    reason = reason_before(f"going back to {Path(back).name}" if back else f"{image_tag(old)} to {image_tag(new)}")
    if back:  # before anything stops
        with _open_matching_archive(data, Path(back), NAME_ANOTHER):
            pass
    _write_note(data, {**note, "changing": new})  # should this run be killed
    container = _find_own_container(arguments)
    stopped = container if container and container.status in ("running", "restarting", "paused") else None
    if stopped:
        say(f"stopping {arguments.container}: messages wait in Synapse until the new container is ready")
        run_docker("stop", "--time", "30", stopped.id)
    try:
        archives.write_archive(replace(data, image=old), reason, arguments.timestamp)
        if back:
            _restore_archive(data, Path(back), NAME_ANOTHER, {**note, "image": new, "back": back}, emptied=True)
        else:
            _write_note(data, {**note, "image": new})
    except ScriptError as error:
        with contextlib.suppress(ScriptError):
            _write_note(data, note)
        if stopped is None:
            raise
        run_docker("start", stopped.id)
        raise ScriptError(f"{error}\n{arguments.container}: runs again as before, with {old}") from None
    _remove_old_archives(arguments, old, {str(note["began"]), back, str(note.get("back"))})


def _list_earlier_archives(data: BridgeData) -> Iterator[tuple[Path, Manifest]]:
    return archives.list_earlier_archives(data.directory, data.bridge, archive_owner(data.stack, data.domain))


def _remove_old_archives(arguments: DatabaseArguments, replaced: str, used: set[str]) -> None:
    """Remove old archives, and all images that were pulled but the present one and the one that it `replaced`."""
    seen: set[str] = set()
    for number, (path, manifest) in enumerate([*_list_earlier_archives(arguments.data)], start=1):
        if number > arguments.keep and manifest.image in seen and str(path) not in used:
            path.unlink()
            say(f"removed: {path} ({manifest.reason}): keepArchives is {arguments.keep}")
        seen.add(manifest.image)
    unused = set() if arguments.keep_images else seen - {replaced, arguments.data.image}
    for image in images.list_pulled(Path(arguments.ready_mark).parent, unused):
        remove_image(image)


def archive_database(arguments: DatabaseArguments) -> WrittenArchive:
    """Archive the database, unless it is empty and never got its first content. ScriptError, before anything but the
    container is removed, if the archive cannot be complete."""
    data, database = arguments.data, arguments.data.database
    # A killed run may have left a container that the state does not know: it must not write any more.
    remove_container(arguments.container, data.stack)
    note: dict[str, Any] = {}
    with contextlib.suppress(ScriptError):  # a missing database is no reason to stop
        note = _read_note(database)
        if not note.get("began") and not measure.count_objects(database.container, database.role, database.database):
            return WrittenArchive("")
    image = str(note.get("image", data.image))
    path = archives.write_archive(replace(data, image=image), "destroy", arguments.timestamp)
    if path:
        _write_note(data, {**note, "archived": path})
    return WrittenArchive(path)


def _comment_statement(data: BridgeData, note: Mapping[str, object]) -> str:
    comment = owner_comment(data.stack, **note)
    return f"comment on database {psql.quote_identifier(data.database.database)} is {psql.quote_literal(comment)};"


def _write_note(data: BridgeData, note: Mapping[str, object]) -> None:
    _run_sql(data.database, _comment_statement(data, note))


def _read_note(database: Database) -> dict[str, Any]:
    """The values in the database's comment: `began`, the fingerprint of its `key`, the `image` that used it last, the
    archive that was restored to go `back`, the image to which it is `changing`, and `archived` once it is archived."""
    values = parse_owner_comment("\n".join(_run_sql(database, READ_COMMENT)))
    return {key: value for key, value in values.items() if key != "stack"}


def _run_sql(database: Database, statement: str) -> list[str]:
    return psql.run_sql(database.container, database.role, database.database, statement, timeout=60)
