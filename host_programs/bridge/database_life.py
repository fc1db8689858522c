"""The bridge's database through its life: how it begins, what happens to it when the image changes, and the archive at
its end.

prepare_database  gives a new database its content: none, or what an archive holds. Later, before a container of another
                  image: stops the bridge and archives the database as that bridge left it; to go back, an archive
                  replaces it.
check_archive     before the bridge's container goes for good: can the archive be made?
archive_database  what a destroy leaves (backup/archives.py).

A restore runs an archive's dump, as the role, in one transaction. What the database began with, the image that used it
last and the archive that it went back to are in its comment, set in the same transaction: each happens once.
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
    """The data of `subject`, whose image is the one that is to run.

    `container` is the bridge's, and `ready_mark` the file that names the container that got ready; another `attempt`
    makes the container anew. `restore`: none, or the path of the archive that the database begins with; `go_back`: "",
    or the path of the archive that replaces it. Of the archives made before a change, `keep` stay, and the last one of
    each version; of images the last two, or all with `keep_images`. `timestamp`: as `archives.write`.
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
    """What an archive of `database` in `directory` needs."""

    directory: str
    database: Database


@dataclass(frozen=True)
class ArchiveCheck:
    """`bytes`: of the database; 0 if it is gone, so that there is nothing to archive."""

    bytes: int = 0


@dataclass(frozen=True)
class DatabaseOrigin:
    """`began`: none, or the archive that the database came from; `previous`: the newest archive that was made before a
    change, and the image that left it; both "" if there is none."""

    began: str
    previous: str = ""
    previous_image: str = ""


def prepare_database(arguments: DatabaseArguments) -> DatabaseOrigin:
    """ScriptError, with the database as it was, if an archive is damaged, belongs to another role, its keys are
    encrypted with another pickle key than the stack's, it holds what no dump does, or a database that should begin is
    not empty; and, with the bridge running again, if it cannot be archived before a change."""
    _remove_unready_container(arguments)
    subject, key = arguments.subject, fingerprint(arguments.subject.pickle_key)[:16]
    database = subject.database
    first = {"began": arguments.restore, "key": key, "image": subject.image}
    known = _read_note(database, _note_if_new(subject, first) if arguments.restore == NO_ARCHIVE else "")
    if not known.get("began") and arguments.restore == NO_ARCHIVE:
        _run_sql(database, _comment_statement(subject, first))
        known = first
    # Without what a destroy or a change noted that stopped on the way.
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
    elif settled != known:  # it is not wanted any more
        _run_sql(database, _comment_statement(subject, settled))
    previous = next(((str(path), manifest.image) for path, manifest in _list_earlier_archives(subject)), ("", ""))
    return DatabaseOrigin(str(known["began"]), *previous)


def _remove_unready_container(arguments: DatabaseArguments) -> None:
    """A container of this stack that never got ready has the name that the next one needs. Pulumi's state may not know
    it, if the run that made it was killed."""
    container = inspect_container(arguments.container)
    if container is None or container.labels.get(STACK_LABEL) != arguments.subject.stack:
        return
    mark = Path(arguments.ready_mark)
    if not mark.is_file() or mark.read_text().split()[:1] != [container.id]:
        say(f"{container.name}: never got ready: it makes way for the next one")
        run_docker("rm", "-f", "-v", container.id)


@contextlib.contextmanager
def _open_matching_archive(subject: Subject, path: Path, fix: str) -> Iterator[tuple[tarfile.TarFile, Manifest]]:
    """The archive, whole; ScriptError unless it is of this role and key, and its dump one that may be run."""
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
    """What the archive holds, and `statement`, in one transaction, the database `emptied` before."""
    container, name, role = subject.database.container, subject.database.database, subject.database.role
    with _open_matching_archive(subject, path, fix) as (tar, manifest):
        there = 0 if emptied else measure.count_objects(container, role, name)
        if there:
            raise ScriptError(
                f"{container}: database {name} is not empty ({there} tables, views, types or functions), and an "
                "archive is restored into an empty one only: nothing was restored; set restore to none to go on with "
                "what is there, or `pulumi destroy`, which archives it"
            )
        first = dump_restore.DROP_OWNED if emptied else ""
        dump_restore.restore_dump(container, role, name, archives.open_member(tar, archives.DATABASE), first, statement)
    tables = measure.count_tables(container, role, name)
    say(f"restored: {path.name} of {manifest.created} into {name}: {tables} tables")


def _change_image(arguments: DatabaseArguments, known: Mapping[str, Any]) -> None:
    """The database from the image that used it last to another one: archived first, while nobody writes."""
    subject, back = arguments.subject, arguments.go_back
    back = "" if back == known.get("back") else back
    old, new = str(known.get("image", subject.image)), subject.image
    reason = reason_before(f"going back to {Path(back).name}" if back else f"{image_tag(old)} to {image_tag(new)}")
    if back:  # before anything stops
        with _open_matching_archive(subject, Path(back), NAME_ANOTHER):
            pass
    _run_sql(subject.database, _comment_statement(subject, {**known, "changing": new}))  # should this run be killed
    container = inspect_container(arguments.container)
    mine = container is not None and container.labels.get(STACK_LABEL) == subject.stack
    if container and mine and container.status in ("running", "restarting", "paused"):
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
    """Too old archives, and images other than the present one and the one that it has `replaced`."""
    images: set[str] = set()
    for number, (path, manifest) in enumerate([*_list_earlier_archives(arguments.subject)], start=1):
        if number > arguments.keep and manifest.image in images and str(path) not in used:
            path.unlink()
            say(f"removed: {path} ({manifest.reason}): keepArchives is {arguments.keep}")
        images.add(manifest.image)
    unused = set() if arguments.keep_images else images - {replaced, arguments.subject.image}
    for image in sorted(unused):
        for gone in remove_image(image):
            say(f"removed: {gone}")


def check_archive(arguments: ArchiveCheckArguments) -> ArchiveCheck:
    """ScriptError, and nothing is removed yet, if it is clear that the archive could not be made: Postgres is not
    there, the database cannot be dumped, the directory cannot be written, or has no room."""
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
    # Nothing is made for the look: the checks of several bridges run side by side.
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
    """ScriptError, and nothing but the container is removed yet, if no whole archive can be written. There is none of
    a database that never began and is empty."""
    subject = arguments.subject
    # One that is still there, since the state did not know it (a run was killed), must not write any more.
    for gone in remove_container(arguments.container, subject.stack):
        say(f"removed: {gone}")
    known: dict[str, Any] = {}
    with contextlib.suppress(ScriptError):  # it is gone, which is no reason to stop
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
    """What has psql note `first` of a database whose comment says no more than whose it is, as that of a new one does
    (postgres/isolation.py): in the session that looks, since one for each bridge is what many wait for."""
    noted, new = (
        psql.quote_literal(_comment_statement(subject, first)),
        psql.quote_literal(owner_comment(subject.stack)),
    )
    return f"select{noted} where ({READ_COMMENT.strip(';')}) ={new} \\gexec \\\\ "


def _read_note(database: Database, before: str = "") -> dict[str, Any]:
    """What the database's comment says, by name: `began`, the fingerprint of its `key`, the `image` that used it last,
    the archive that it went `back` to, the image to which it is `changing`, and `archived` once it is; `before`:
    what runs before that is looked at."""
    values = parse_owner_comment("\n".join(_run_sql(database, f"{before}{READ_COMMENT}")))
    return {key: value for key, value in values.items() if key != "stack"}
