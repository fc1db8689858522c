"""The life of the bridge's database: its first content, the changes of the image, and the archive at its end.

Content comes from a source: an archive, or a nightly dump (host_programs/backup/sources.py). The database's comment
says what it began with, which image used it last, and which source was restored to go back. While one is restored, the
comment names it. If the run is killed then, an empty database tells the next one to restore it again; any other one has
its content.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from documents.bridge.kinds import image_tag
from documents.bridge.pickle_key import fingerprint_key
from documents.marks import STACK_LABEL, explain_other_owner, owner_comment, parse_owner_comment
from documents.places import NO_ARCHIVE, Database, archive_owner
from host_programs.backup import archives, sources
from host_programs.backup.archives import BridgeData
from host_programs.bridge import images
from host_programs.docker import inspect_container, remove_container, remove_image, run_docker
from host_programs.files import directory, safe_files
from host_programs.messages import ScriptError, say
from host_programs.postgres import dump_restore, measure, psql
from host_programs.wire import from_json
from verdicts.host_facts.archive import Manifest, reason_before
from verdicts.host_facts.docker import Container

READ_CONTENT = f"""
select json_build_object('comment', coalesce(shobj_description(oid, 'pg_database'), ''),
  'objects', ({measure.COUNT_OBJECTS.strip().rstrip(";")}))
from pg_database where datname = current_database();
"""
NAME_ANOTHER = "name an archive or a nightly dump of this deployment"


@dataclass(frozen=True)
class DatabaseArguments:
    """`data`: the bridge's, with the image that will run.

    `container`: the bridge's; `place`: its directory; `attempt`: a changed one replaces the container. `restore`: none,
    or the path of the source of the first content. `go_back`: "", or the path of the source that replaces it. Of the
    archives made before a change, the newest `keep` stay, and the last one of each version. Of the images, the last two
    stay, or all with `keep_images`. `timestamp`: as of `archives.write_archive`.
    """

    data: BridgeData
    container: str
    place: str
    restore: str
    go_back: str
    keep: int
    keep_images: bool
    attempt: int
    timestamp: Optional[str] = None


@dataclass(frozen=True)
class DatabaseOrigin:
    """`began`: none, or the source of the database's first content. `previous`: the newest archive that was made
    before a change, and the image that had used the database; both "" if there is none."""

    began: str
    previous: str = ""
    previous_image: str = ""


@dataclass(frozen=True)
class WrittenArchive:
    """`path`: "" where there was nothing to archive."""

    path: str


def prepare_database(arguments: DatabaseArguments) -> DatabaseOrigin:
    """Leave a new database empty, or restore its content. Before a container of another image starts, stop the bridge
    and archive the database; to go back, restore older content.

    ScriptError, and the database is unchanged, if a source is damaged, does not restore or is of another pickle key, or
    if a database that should be new is not empty. ScriptError, and the bridge runs again, if the database cannot be
    archived before a change."""
    data, content = arguments.data, _read_content(arguments.data.database)
    if reason := explain_other_owner(content.comment, data.stack, claimed=not content.objects):
        raise ScriptError(f"database {data.database.database}: {reason}: nothing was changed")
    archives.remove_unfinished(data)
    note = content.note
    restoring = str(note.get("restoring", ""))
    cut_off = restoring if restoring and not content.objects else ""
    if cut_off and note.get("back") != cut_off:
        note = {}  # it never began
    _require_key(data, note)
    # Drop the notes of a destroy, a change or a restore that stopped on the way.
    settled = {name: value for name, value in note.items() if name not in ("archived", "changing", "restoring")}
    if not note.get("began"):
        _require_empty(data.database, content)
        settled = {"began": arguments.restore, "key": fingerprint_key(data.pickle_key), "image": data.image}
        if arguments.restore == NO_ARCHIVE:
            _write_note(data, settled)
        else:
            sources.prove_source(data, Path(arguments.restore), "name another in restore")
            _restore_source(data, Path(arguments.restore), settled)
        if running := _find_own_container(arguments):  # somebody dropped the database under it
            run_docker("restart", "--time", "30", running.id, check=False)
    elif cut_off or note.get("image") != data.image or arguments.go_back not in ("", note.get("back")):
        _change_image(arguments, settled, cut_off)
    elif settled != note:
        _write_note(data, settled)
    earlier = ((str(path), manifest.image) for path, manifest in _list_earlier_archives(data))
    return DatabaseOrigin(str(settled["began"]), *next(earlier, ("", "")))


def _find_own_container(arguments: DatabaseArguments) -> Optional[Container]:
    """The bridge's container, if this stack made it."""
    container = inspect_container(arguments.container)
    return container if container and container.labels.get(STACK_LABEL) == arguments.data.stack else None


def _restore_source(data: BridgeData, path: Path, note: Mapping[str, object]) -> None:
    """Put the content of a proven source in the place of the present content, and write the note. ScriptError, and the
    database is empty, if it cannot be restored all the same: the next run tries it again."""
    restoring = _comment_statement(data, {**note, "restoring": str(path)})
    place = data.database
    psql.run_sql(place.container, place.role, place.database, f"begin; {dump_restore.DROP_CONTENT} {restoring} commit;")
    try:
        sources.restore_source(place, path)
    except ScriptError as error:
        raise ScriptError(f"{error}: {place.database} is empty: `pulumi up` tries it again") from None
    _write_note(data, note)
    say(f"restored: {path.name} into {place.database}")


def _change_image(arguments: DatabaseArguments, note: Mapping[str, Any], cut_off: str) -> None:
    """Hand the database from one image to another: stop the bridge and archive the database first. `cut_off`: the
    source whose restore was cut off and left the database empty; "" if none was."""
    data = arguments.data
    back = cut_off if arguments.go_back in ("", note.get("back")) else arguments.go_back
    old, new = str(note.get("image", data.image)), data.image
    reason = reason_before(f"going back to {Path(back).name}" if back else f"{image_tag(old)} to {image_tag(new)}")
    if back:  # before anything stops
        sources.prove_source(data, Path(back), NAME_ANOTHER)
    if not cut_off:
        _stop_and_archive(arguments, note, old, reason)
    changed = {**note, "image": new}
    if back:
        _restore_source(data, Path(back), {**changed, "back": back})
    else:
        _write_note(data, changed)
    _remove_old_archives(arguments, old, {str(note["began"]), back, str(note.get("back"))})


def _stop_and_archive(arguments: DatabaseArguments, note: Mapping[str, Any], image: str, reason: str) -> None:
    """Stop the bridge, and archive the database as its `image` left it. ScriptError, and the bridge runs again, if that
    fails."""
    data = arguments.data
    _write_note(data, {**note, "changing": data.image})  # should this run be killed
    container = _find_own_container(arguments)
    stopped = container if container and container.status in ("running", "restarting", "paused") else None
    if stopped:
        say(f"stopping {arguments.container}: messages wait in Synapse until the new container is ready")
        run_docker("stop", "--time", "30", stopped.id)
    try:
        archives.write_archive(replace(data, image=image), reason, arguments.timestamp)
    except ScriptError as error:
        with contextlib.suppress(ScriptError):
            _write_note(data, note)
        if stopped is None:
            raise
        run_docker("start", stopped.id)
        raise ScriptError(f"{error}\n{arguments.container}: runs again as before, with {image}") from None


def _list_earlier_archives(data: BridgeData) -> Iterator[tuple[Path, Manifest]]:
    return archives.list_earlier_archives(data.directory, data.bridge, archive_owner(data.stack, data.domain))


def _remove_old_archives(arguments: DatabaseArguments, replaced: str, used: set[str]) -> None:
    """Remove old archives, and all images that were pulled but the present one and the one that it `replaced`."""
    seen: set[str] = set()
    for number, (path, manifest) in enumerate([*_list_earlier_archives(arguments.data)], start=1):
        if number > arguments.keep and manifest.image in seen and str(path) not in used:
            safe_files.remove_file(path)
            say(f"removed: {path} ({manifest.reason}): keepArchives is {arguments.keep}")
        seen.add(manifest.image)
    unused = set() if arguments.keep_images else seen - {replaced, arguments.data.image}
    for image in images.list_pulled(Path(arguments.place), unused):
        remove_image(image)


def archive_database(arguments: DatabaseArguments) -> WrittenArchive:
    """Archive the database, unless it is empty and never got its first content, or not the content that was to be
    restored, or another stack's. ScriptError, before anything but the container is removed, if the archive
    cannot be complete, or its key is another one than the database's."""
    data, database = arguments.data, arguments.data.database
    # A killed run may have left a container that the state does not know: it must not write any more.
    remove_container(arguments.container, data.stack)
    archives.remove_unfinished(data)
    content = _Content("", 1)
    with contextlib.suppress(ScriptError):  # a missing database is no reason to stop
        content = _read_content(database)
    note = content.note
    never_filled = not content.objects and (note.get("restoring") or not note.get("began"))
    if content.owner not in ("", data.stack) or never_filled:
        return WrittenArchive("")
    image = str(note.get("image", data.image))
    path = archives.write_archive(replace(data, image=image), "destroy", arguments.timestamp)
    claimed = database.names[1] in directory.read_claimed_names(Path(arguments.place), data.stack)
    if path and not explain_other_owner(content.comment, data.stack, claimed):
        _write_note(data, {**note, "archived": path})
    return WrittenArchive(path)


def _require_key(data: BridgeData, note: Mapping[str, object]) -> None:
    """ScriptError if the database is encrypted with another key than this state's."""
    if note.get("began") and note.get("key") != fingerprint_key(data.pickle_key):
        raise ScriptError(
            f"{data.database.container}: the keys in the database {data.database.database} are encrypted with another "
            "pickle key than this state's: `pulumi preview` says how to bring the right one back"
        )


def _require_empty(database: Database, content: _Content) -> None:
    """ScriptError if a database that never began has content: nobody knows whose key and image it needs."""
    if content.objects:
        raise ScriptError(
            f"{database.container}: database {database.database} is not empty ({content.objects} tables, views, types "
            "or functions), and its comment does not say which key and image it needs: nothing was changed; `pulumi "
            "preview` says how to go on"
        )


def _comment_statement(data: BridgeData, note: Mapping[str, object]) -> str:
    comment = owner_comment(data.stack, **note)
    return f"comment on database {psql.quote_identifier(data.database.database)} is {psql.quote_literal(comment)};"


def _write_note(data: BridgeData, note: Mapping[str, object]) -> None:
    _run_sql(data.database, _comment_statement(data, note))


@dataclass(frozen=True)
class _Content:
    """The database's `comment`, and how many `objects` are in it."""

    comment: str
    objects: int

    @property
    def owner(self) -> str:
        """The stack that the comment names; "" if it names none."""
        return str(parse_owner_comment(self.comment).get("stack", ""))

    @property
    def note(self) -> dict[str, Any]:
        """The values in the comment: `began`, the fingerprint of its `key`, the `image` that used it last, the source
        that was restored to go `back`, the image to which it is `changing`, the source that is `restoring`, and
        `archived` once it is archived."""
        return {key: value for key, value in parse_owner_comment(self.comment).items() if key != "stack"}


def _read_content(database: Database) -> _Content:
    return from_json(_Content, json.loads("".join(_run_sql(database, READ_CONTENT))), "Postgres' answer")


def _run_sql(database: Database, statement: str) -> list[str]:
    return psql.run_sql(database.container, database.role, database.database, statement, timeout=60)
