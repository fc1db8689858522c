"""The life of the bridge's database: its first content, the changes of the image, and the archive at its end.

prepare_database  A new database stays empty, or is restored from an archive. Later, before a container of another image
                  starts: it stops the bridge and archives the database. To go back, it restores an older archive.
check_archive     Before a destroy removes the container: can the archive be made?
archive_database  Writes the archive that a destroy leaves (backup/archives.py).

A restore runs an archive's dump, as the role, in one transaction. The same transaction sets the database's comment: the
first content, the image that used the database last, and the archive that was restored to go back. So nothing is
restored twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
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
from host_programs.backup.archives import Subject, WrittenArchive
from host_programs.docker import inspect_container, remove_container, remove_image, run_docker
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, dumps, measure, psql
from verdicts.host_facts.archive import Manifest, reason_before

READ_COMMENT = (
    "select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = current_database();"
)

NEWER_CHECKOUT = (
    "note: a destroy runs the steps that the last `pulumi up` installed: where a newer checkout of this program mends "
    "it, update, `pulumi up`, `pulumi destroy`"
)
NAME_ANOTHER = "name an archive of this deployment"


@dataclass(frozen=True)
class DatabaseArguments:
    """`subject`: the bridge's data, with the image that will run.

    `container`: the bridge's; `ready_mark`: the file that names the container that got ready; `attempt`: a changed one
    replaces the container. `restore`: none, or the path of the archive with the first content. `go_back`: "", or the
    path of the archive that replaces the content. Of the archives made before a change, the newest `keep` stay, and the
    last one of each version. Of the images, the last two stay, or all with `keep_images`. `timestamp`: as of
    `archives.write_archive`.
    """

    subject: Subject
    container: str
    ready_mark: str
    restore: str
    go_back: str
    keep: int
    keep_images: bool
    attempt: int
    timestamp: Optional[str] = None


@dataclass(frozen=True)
class ArchiveCheckArguments:
    """The `directory` for an archive of `database`."""

    directory: str
    database: Database


@dataclass(frozen=True)
class ArchiveCheck:
    """`bytes`: the size of the database; 0 if it is gone, so that there is nothing to archive."""

    bytes: int = 0


@dataclass(frozen=True)
class DatabaseOrigin:
    """`began`: none, or the archive with the database's first content. `previous`: the newest archive that was made
    before a change, and the image that had used the database; both "" if there is none."""

    began: str
    previous: str = ""
    previous_image: str = ""


def prepare_database(arguments: DatabaseArguments) -> DatabaseOrigin:
    """ScriptError, and the database is unchanged, if an archive is damaged, is of another role or pickle key, or holds
    anything but a dump, or if a database to restore into is not empty. ScriptError, and the bridge runs again, if the
    database cannot be archived before a change."""
    _remove_unready_container(arguments)
    subject, key = arguments.subject, fingerprint(arguments.subject.pickle_key)[:16]
    database = subject.database
    first = {"began": arguments.restore, "key": key, "image": subject.image}
    known = _read_note(database, _note_if_new(subject, first) if arguments.restore == NO_ARCHIVE else "")
    if not known.get("began") and arguments.restore == NO_ARCHIVE:
        _run_sql(database, _comment_statement(subject, first))
        known = first
    # Drop the notes of a destroy or a change that stopped on the way.
    settled = {key: value for key, value in known.items() if key not in ("archived", "changing")}
    if not known.get("began"):
        known, fix = first, "`pulumi destroy`, then `pulumi up` with restore set"
        _restore_archive(subject, Path(arguments.restore), fix, _comment_statement(subject, known))
    elif known.get("key") != key:
        raise ScriptError(
            f"{database.container}: the keys in the database {database.database} are encrypted with another pickle key "
            "than this state's: was the state lost, or made anew? Bring the old one back (`pulumi stack import`), or "
            "begin with an archive, which holds its key (setting restore)"
        )
    elif known.get("image") != subject.image or arguments.go_back not in ("", known.get("back")):
        _change_image(arguments, settled)
    elif settled != known:  # nobody wants that change any more
        _run_sql(database, _comment_statement(subject, settled))
    previous = next(((str(path), manifest.image) for path, manifest in _list_earlier_archives(subject)), ("", ""))
    return DatabaseOrigin(str(known["began"]), *previous)


def _remove_unready_container(arguments: DatabaseArguments) -> None:
    """Remove a container of this stack that never got ready: the next one needs its name. Pulumi's state may not know
    the container, if the run that made it was killed."""
    container = inspect_container(arguments.container)
    if container is None or container.labels.get(STACK_LABEL) != arguments.subject.stack:
        return
    mark = Path(arguments.ready_mark)
    if not mark.is_file() or mark.read_text().split()[:1] != [container.id]:
        say(f"{container.name}: never got ready: it makes way for the next one")
        run_docker("rm", "-f", "-v", container.id)


@contextlib.contextmanager
def _open_matching_archive(subject: Subject, path: Path, fix: str) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """Open the archive. ScriptError unless it is intact, is of this role and key, and its dump is safe to run."""
    database = subject.database
    with archives.open_archive(path) as (tar, manifest):
        if manifest.role not in ("", database.role):
            raise ScriptError(
                f"{path}: its database belongs to the role {manifest.role!r}, and this one to {database.role!r}: "
                "use that role's name (setting role)"
            )
        if archives.extract_pickle_key(path, tar) != subject.pickle_key:
            raise ScriptError(
                f"{path}: its keys are encrypted with another pickle key than this stack's, which was made before: "
                f"nothing was restored; {fix}"
            )
        dump_restore.refuse_psql_commands(archives.open_member(tar, archives.DATABASE), f"{path}: {archives.DATABASE}")
        yield tar, manifest


def _restore_archive(subject: Subject, path: Path, fix: str, statement: str, emptied: bool = False) -> None:
    """Restore the archive and run `statement` in one transaction. `emptied`: drop the present content first."""
    container, name, role = subject.database.container, subject.database.database, subject.database.role
    with _open_matching_archive(subject, path, fix) as (tar, manifest):
        objects = 0 if emptied else measure.count_objects(container, role, name)
        if objects:
            raise ScriptError(
                f"{container}: database {name} is not empty ({objects} tables, views, types or functions), and an "
                "archive is restored into an empty one only: nothing was restored; set restore to none to go on with "
                "what is there, or `pulumi destroy`, which archives it"
            )
        first = dump_restore.DROP_OWNED if emptied else ""
        dump_restore.restore_dump(container, role, name, archives.open_member(tar, archives.DATABASE), first, statement)
    tables = measure.count_tables(container, role, name)
    say(f"restored: {path.name} of {manifest.created} into {name}: {tables} tables")


def _change_image(arguments: DatabaseArguments, known: Mapping[str, Any]) -> None:
    """Hand the database from one image to another: stop the bridge and archive the database first."""
    subject, back = arguments.subject, arguments.go_back
    back = "" if back == known.get("back") else back
    old, new = str(known.get("image", subject.image)), subject.image
    reason = reason_before(f"going back to {Path(back).name}" if back else f"{image_tag(old)} to {image_tag(new)}")
    if back:  # before anything stops
        with _open_matching_archive(subject, Path(back), NAME_ANOTHER):
            pass
    _run_sql(subject.database, _comment_statement(subject, {**known, "changing": new}))  # should this run be killed
    container = inspect_container(arguments.container)
    is_ours = container is not None and container.labels.get(STACK_LABEL) == subject.stack
    if container and is_ours and container.status in ("running", "restarting", "paused"):
        say(f"stopping {arguments.container}: messages wait in Synapse until the new container is ready")
        run_docker("stop", "--time", "30", container.id)
    else:
        container = None
    try:
        archives.write_archive(replace(subject, image=old), reason, arguments.timestamp)
        changed = _comment_statement(subject, {**known, "image": new, **({"back": back} if back else {})})
        if back:
            _restore_archive(subject, Path(back), NAME_ANOTHER, changed, emptied=True)
        else:
            _run_sql(subject.database, changed)
    except ScriptError as error:
        with contextlib.suppress(ScriptError):
            _run_sql(subject.database, _comment_statement(subject, known))
        if container is None:
            raise
        run_docker("start", container.id)
        raise ScriptError(f"{error}\n{arguments.container}: runs again as before, with {old}") from None
    _remove_old_archives(arguments, old, {str(known["began"]), back, str(known.get("back"))})


def _list_earlier_archives(subject: Subject) -> Iterator[tuple[Path, Manifest]]:
    return archives.list_earlier_archives(
        subject.directory, subject.bridge, archive_owner(subject.stack, subject.domain)
    )


def _remove_old_archives(arguments: DatabaseArguments, replaced: str, used: set[str]) -> None:
    """Remove old archives, and all images but the present one and the one that it `replaced`."""
    images: set[str] = set()
    for number, (path, manifest) in enumerate([*_list_earlier_archives(arguments.subject)], start=1):
        if number > arguments.keep and manifest.image in images and str(path) not in used:
            path.unlink()
            say(f"removed: {path} ({manifest.reason}): keepArchives is {arguments.keep}")
        images.add(manifest.image)
    unused = set() if arguments.keep_images else images - {replaced, arguments.subject.image}
    for image in sorted(unused):
        for removed in remove_image(image):
            say(f"removed: {removed}")


def check_archive(arguments: ArchiveCheckArguments) -> ArchiveCheck:
    """ScriptError, before anything is removed, if the archive cannot be made: Postgres does not run, the database
    cannot be dumped, or the directory cannot be written or has no room."""
    database, directory = arguments.database, Path(arguments.directory)
    container = inspect_container(database.container)
    if container is None or not container.running:
        state = container.status if container else "not there"
        raise ScriptError(
            f"container {database.container}: is {state}: without it the bridge's database cannot be archived, so "
            f"nothing was removed: start it (docker start {database.container}), then run this again"
        )
    size = measure.measure_database(database)
    if size is None:
        say(f"warning: {database.container}: there is no database {database.database} any more: nothing to archive")
        return ArchiveCheck()
    # This check makes no directory: the checks of several bridges run at the same time.
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if nearest == directory:
        archives.check_directory(directory)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK) or os.statvfs(nearest).f_flag & os.ST_RDONLY:
        raise ScriptError(f"{directory}: cannot be written: {archives.WRITABLE}")
    free = shutil.disk_usage(nearest).free
    needed = size + size // 2  # the dump as it is, and compressed
    if free < needed:
        raise ScriptError(
            f"{directory}: {free >> 20} MiB free, and the archive may need {needed >> 20} MiB: nothing was removed: "
            "make room, or set archiveDir to another disk (`pulumi up`, then destroy)"
        )
    dumps.check_dumpable(database)
    return ArchiveCheck(size)


def archive_database(arguments: DatabaseArguments) -> WrittenArchive:
    """ScriptError, before anything but the container is removed, if the archive cannot be complete. An empty database
    that never got its first content is not archived."""
    subject = arguments.subject
    # A killed run may have left a container that the state does not know: it must not write any more.
    for removed in remove_container(arguments.container, subject.stack):
        say(f"removed: {removed}")
    known: dict[str, Any] = {}
    with contextlib.suppress(ScriptError):  # a missing database is no reason to stop
        known = _read_note(subject.database)
        place = subject.database
        if not known.get("began") and not measure.count_objects(place.container, place.role, place.database):
            return WrittenArchive()
    subject = replace(subject, image=str(known.get("image", subject.image)))
    try:
        done = archives.write_archive(subject, "destroy", arguments.timestamp)
    except ScriptError:
        say(NEWER_CHECKOUT)
        raise
    if done.path:
        _run_sql(subject.database, _comment_statement(subject, {**known, "archived": done.path}))
    return done


def _run_sql(database: Database, statement: str) -> list[str]:
    return psql.run_statement(database.container, psql.Statement(database.role, database.database, statement))


def _comment_statement(subject: Subject, values: Mapping[str, object]) -> str:
    mark = owner_comment(subject.stack, **values)
    return f"comment on database {psql.quote_identifier(subject.database.database)} is {psql.quote_literal(mark)};"


def _note_if_new(subject: Subject, first: Mapping[str, object]) -> str:
    """SQL that writes the first comment of a new database, in the session that reads it: further sessions for many
    bridges would take long. The comment of a new database names its owner and nothing else (postgres/isolation.py)."""
    noted, new = (
        psql.quote_literal(_comment_statement(subject, first)),
        psql.quote_literal(owner_comment(subject.stack)),
    )
    return f"select{noted} where ({READ_COMMENT.strip(';')}) ={new} \\gexec \\\\ "


def _read_note(database: Database, before: str = "") -> dict[str, Any]:
    """The values in the database's comment: `began`, the fingerprint of its `key`, the `image` that used it last, the
    archive that was restored to go `back`, the image to which it is `changing`, and `archived` once it is archived.
    `before`: SQL to run first."""
    values = parse_owner_comment("\n".join(_run_sql(database, f"{before}{READ_COMMENT}")))
    return {key: value for key, value in values.items() if key != "stack"}
