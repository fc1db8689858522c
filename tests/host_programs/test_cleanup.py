"""A trace that a killed run leaves for ever; a database, a role or a file of somebody else's that goes with ours; the
bridge's messages dropped without an archive.

Against a real Postgres behind a stub `docker exec`; the containers are for the end-to-end tests.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.cleanup import stack_parts
from documents.bridge.pickle_key import fingerprint_key
from documents.marks import owner_comment
from host_programs.backup import archives, proof
from host_programs.bridge import images
from host_programs.cleanup import bridge as cleanup
from host_programs.cleanup.bridge import claim_directory, cleanup_bridge
from host_programs.cleanup.stack import cleanup_stack
from host_programs.files import directory, files
from host_programs.files.directory import ClaimedDirectory
from host_programs.files.files import OwnedFile, OwnedFiles
from host_programs.messages import ScriptError
from host_programs.postgres import isolation
from host_programs.wire import to_json
from tests.facts import STACK, whole
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres
from verdicts.host_facts.archive import Manifest

__all__ = ["bridge_database", "postgres"]

TABLES = "drop table portal, crypto, version, crypto_version;"


class Box:
    def __init__(self, folder: Path, server: Postgres) -> None:
        self.server, self.synapse = server, folder / "synapse"
        self.synapse.mkdir()
        os.chown(self.synapse, 991, 991)
        self.bridge, self.shared_directory = folder / "bridge", folder / "shared"
        plan = whole(
            {"directory": str(self.bridge)},
            synapseDir=str(self.synapse),
            sharedDir=str(self.shared_directory),
            backupScript="none",
            backupDir=str(folder / "dumps"),
        )
        self.isolation = isolation.Isolation(STACK, plan.postgres, plan.databases, ("synapse", "mas"))
        parts = stack_parts(plan, ("synapse", "mas"), "cron")
        self.arguments = replace(parts.bridges[0], image="", archives=str(folder / "archives"))
        self.stack = replace(parts, bridges=(self.arguments,))
        self.registrations = [Path(file.path) for file in parts.synapse.registrations]

    def comments(self, database: str | None, role: str | None) -> None:
        for kind, text in (("database", database), ("role", role)):
            self.server.sql(f"comment on {kind} mautrix_signal is {'null' if text is None else repr(text)};")

    def removed(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        """What was said to be removed since the last look."""
        return re.findall(r"^removed: (.*)$", capsys.readouterr().err, re.MULTILINE)

    def roles(self) -> set[str]:
        return {*self.server.sql("select rolname from pg_roles where rolname !~ '^pg_';")} - {"synapse", "mas"}


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(archives, "is_whole", lambda path: not str(path).startswith("/damaged"))
    yield Box(tmp_path, bridge_database)


def test_with_nothing_left_nothing_is_done(box: Box, tmp_path: Path) -> None:
    box.server.sql("drop database mautrix_signal with (force);")
    box.server.sql("drop role mautrix_signal;")
    before = sorted(tmp_path.rglob("*"))
    cleanup_bridge(box.arguments)
    cleanup_stack(box.stack)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_archived_is_dropped_and_public_has_its_rights_back(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    isolation.shut_public_out(box.isolation)
    box.server.sql(
        f"comment on database mautrix_signal is '{owner_comment(STACK, began='none', archived='/a.tar.gz')}';"
    )
    cleanup_bridge(box.arguments)
    assert box.removed(capsys) == ["database mautrix_signal", "role mautrix_signal"]
    assert box.server.databases() == {"synapse", "mas"} and box.roles() == set()
    sql = (
        "select has_database_privilege('public', oid, 'CONNECT') from pg_database where datname in ('synapse', 'mas');"
    )
    assert box.server.sql(sql) == ["t", "t"]


def test_the_images_that_up_pulled_go_unless_they_are_kept_and_no_other(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destroy took away images that were on the host before."""
    gone: list[str] = []
    present = {"signal:there", "signal:b"}
    monkeypatch.setattr(images, "filter_existing", lambda kind, names: {name for name in names if name in present})
    for image in ("signal:a", "signal:there", "signal:c"):
        claim_directory(replace(box.arguments, image=image))
        present.add(image)
        claim_directory(replace(box.arguments, image=image))  # it is pulled by now
    assert (Path(box.arguments.directory.path) / ".pulled").read_text() == "signal:a\nsignal:c\n"

    monkeypatch.setattr(cleanup, "remove_image", gone.append)
    monkeypatch.setattr(directory, "release_directory", lambda _: gone.append("the directory"))
    earlier = [
        Manifest(4, "", "before a", STACK, "echo6.co", "mautrix-signal", image, {}, "m", "k", (), ())
        for image in ("signal:a", "signal:there", "signal:b")
    ]
    monkeypatch.setattr(archives, "list_earlier_archives", lambda *_: iter([(Path("/a"), each) for each in earlier]))
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    cleanup_bridge(box.arguments)
    assert gone == ["the directory"]
    cleanup_bridge(replace(box.arguments, image="signal:c"))
    assert gone[1:] == ["the directory", "signal:a", "signal:c"], "once, and before an image that may not go"


def test_a_database_is_not_dropped_for_an_archive_that_is_damaged_by_now(box: Box) -> None:
    """Its comment alone said that it was archived."""
    box.comments(owner_comment(STACK, began="none", archived="/damaged.tar.gz"), owner_comment(STACK, public={}))
    with pytest.raises(ScriptError, match=r"database mautrix_signal: its archive /damaged.tar.gz is gone or damaged"):
        cleanup_bridge(box.arguments)
    assert box.server.sql("select count(*) from pg_database where datname = 'mautrix_signal';") == ["1"]


def test_messages_that_were_never_archived_are_not_dropped(box: Box) -> None:
    box.comments(owner_comment(STACK, began="none", key="k"), owner_comment(STACK, public={}))
    with pytest.raises(ScriptError, match="database mautrix_signal: was never archived, so it stays"):
        cleanup_bridge(box.arguments)
    assert "mautrix_signal" in box.server.databases()
    box.server.sql(TABLES, "mautrix_signal")  # a run that was killed before the bridge began
    cleanup_bridge(box.arguments)
    assert "mautrix_signal" not in box.server.databases()


@pytest.mark.parametrize(
    ("database", "words"),
    [
        (owner_comment("other/x", began="none", archived="/a"), "it belongs to the stack other/x"),
        ("of the operator", "it was not made by this stack"),
        (None, "it was not made by this stack"),
    ],
)
def test_somebody_else_s_stays(box: Box, database: str | None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    box.comments(database, owner_comment("other/x", public={}))
    cleanup_bridge(box.arguments)
    assert box.roles() == {"mautrix_signal"} and "mautrix_signal" in box.server.databases()
    said = capsys.readouterr().err
    assert f"warning: database mautrix_signal stays: {words}" in said
    assert "warning: role mautrix_signal stays: it belongs to the stack other/x" in said


def test_a_role_without_a_comment_beside_a_database_of_somebody_else_s_stays(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may own it: then it cannot be dropped, and a destroy would stop here for ever."""
    cleanup_bridge(box.arguments)
    assert box.roles() == {"mautrix_signal"} and "mautrix_signal" in box.server.databases()
    said = capsys.readouterr().err
    assert "warning: role mautrix_signal stays: it was not made by this stack" in said


def test_what_a_run_made_that_was_killed_before_it_could_name_it_goes(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    box.server.sql(TABLES, "mautrix_signal")
    claim_directory(box.arguments)
    cleanup_bridge(box.arguments)
    assert box.removed(capsys) == ["database mautrix_signal", "role mautrix_signal"]


def test_an_empty_database_and_a_role_that_no_mark_and_no_claim_name_stay(box: Box) -> None:
    """The settings named somebody else's once: a destroy dropped it."""
    box.server.sql(TABLES, "mautrix_signal")
    directory.claim_directory(box.arguments.directory)
    directory.claim_names(box.bridge, ["role another", "database another"])
    cleanup_bridge(box.arguments)
    directory.claim_directory(replace(box.arguments.directory, stack="other/x"))
    directory.claim_names(box.bridge, box.arguments.database.names)
    cleanup_bridge(box.arguments)
    assert box.roles() == {"mautrix_signal"} and "mautrix_signal" in box.server.databases()


@pytest.mark.parametrize("comment", [owner_comment(STACK), owner_comment(STACK, began="none", key="k"), None])
def test_content_that_is_in_no_archive_is_never_dropped(box: Box, comment: str | None) -> None:
    """A database with our mark that had not begun, and still held tables, went without a word."""
    claim_directory(box.arguments)
    box.comments(comment, owner_comment(STACK, public={}))
    said = "database mautrix_signal: was never archived, so it stays"
    with pytest.raises(ScriptError, match=said):
        cleanup_bridge(box.arguments)
    with pytest.raises(ScriptError, match=said):
        cleanup_stack(box.stack)
    assert "mautrix_signal" in box.server.databases() and box.bridge.exists()


def test_a_scratch_database_of_a_killed_proof_goes(box: Box) -> None:
    box.server.sql("create database mautrix_signal_restore_check;")
    box.server.sql("create table restored ();", "mautrix_signal_restore_check")
    box.server.sql(f"comment on database mautrix_signal_restore_check is '{owner_comment(STACK, scratch=True)}';")
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    cleanup_bridge(box.arguments)
    assert box.server.databases() == {"synapse", "mas"}


OURS = f"# x: written by the Pulumi stack {STACK}.\n"


def owned(path: Path | str, **more: bool) -> OwnedFile:
    """A file of this stack's."""
    return OwnedFile(str(path), OURS, os.geteuid(), os.getegid(), **more)


def test_files_of_ours_go_and_others_stay(box: Box) -> None:
    box.server.sql(TABLES, "mautrix_signal")
    claim_directory(box.arguments)
    directory.claim_directory(box.stack.directory)
    config = owned(box.bridge / "config-0123/config.yaml", own_directory=True)
    registration, doublepuppet = map(owned, box.registrations)
    files.write_files(OwnedFiles(STACK, (config,)))
    files.write_files(OwnedFiles(STACK, (registration, doublepuppet), foreign=True))
    Path(doublepuppet.path).write_text("id: somebody-else-s\n")
    box.shared_directory.joinpath("mautrix-backup.sh").write_text(box.stack.backup.dump_script)
    (box.shared_directory / "mautrix-host-0123456789ab.pyz").write_text(OURS)
    cleanup_bridge(box.arguments)
    assert not box.bridge.exists()
    assert [path.name for path in box.synapse.iterdir()] == ["doublepuppet.yaml"]
    assert len([*box.shared_directory.iterdir()]) == 3, "other bridges may need them"
    cleanup_stack(box.stack)
    assert not box.shared_directory.exists()
    assert [path.name for path in box.synapse.iterdir()] == ["doublepuppet.yaml"]


@pytest.mark.parametrize("archived", [False, True])
def test_a_config_with_the_last_copy_of_its_pickle_key_stays(
    box: Box, archived: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody dropped the database, and the nightly dumps of it cannot be read without the key."""
    box.server.sql("drop database mautrix_signal with (force);")
    claim_directory(box.arguments)
    text = f'{OURS}encryption:\n  pickle_key: "a key"\n'
    config = box.bridge / "config-0123/config.yaml"
    files.write_files(OwnedFiles(STACK, (replace(owned(config, own_directory=True), content=text),)))
    if archived:
        folder = Path(box.arguments.archives)
        folder.mkdir()
        key = fingerprint_key("a key")
        manifest = Manifest(4, "", "destroy", STACK, "echo6.co", "mautrix-signal", "", {}, "m", key, (), ())
        data = json.dumps(to_json(manifest)).encode()
        with tarfile.open(folder / "mautrix-signal-20260101T000000Z.tar.gz", "w:gz") as tar:
            head = tarfile.TarInfo("manifest.json")
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    cleanup_bridge(box.arguments)
    assert config.exists() is not archived
    said = f"warning: {config} stays: no archive holds its pickle key"
    assert (said in capsys.readouterr().err) is not archived


def test_a_key_that_never_encrypted_anything_keeps_no_config(box: Box) -> None:
    """A first `up` that stopped before the bridge began: the destroy after it leaves no trace."""
    box.server.sql(TABLES, "mautrix_signal")
    box.comments(owner_comment(STACK), owner_comment(STACK, public={}))
    claim_directory(box.arguments)
    text = f'{OURS}encryption:\n  pickle_key: "a key"\n'
    config = owned(box.bridge / "config-0123/config.yaml", own_directory=True)
    files.write_files(OwnedFiles(STACK, (replace(config, content=text),)))
    cleanup_bridge(box.arguments)
    assert not box.bridge.exists()


def test_no_superuser_runs_what_the_owner_of_a_database_put_in_his_way(box: Box) -> None:
    """A bridge that is taken over, or a hostile archive, would own all of Postgres after the next destroy."""
    box.server.sql(
        "create function mine(bigint, bigint) returns bigint language plpgsql as $$ begin if (select rolsuper from "
        "pg_roles where rolname = current_user) then alter role mautrix_signal superuser; end if; return 7; end $$;"
        "create operator + (leftarg = bigint, rightarg = bigint, function = mine);"
        "alter database mautrix_signal set search_path = public, pg_catalog;",
        "mautrix_signal", "mautrix_signal",
    )  # fmt: skip
    box.comments(owner_comment(STACK, began="none"), owner_comment(STACK, public={}))
    with pytest.raises(ScriptError, match="was never archived"):
        cleanup_bridge(box.arguments)
    assert box.server.sql("select rolsuper from pg_roles where rolname = 'mautrix_signal';") == ["f"]


def test_the_registration_for_double_puppeting_and_one_that_a_killed_run_left_go_at_the_end(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wrote them, and was killed before it put them into homeserver.yaml."""
    files.write_files(OwnedFiles(STACK, tuple(map(owned, box.registrations)), foreign=True))
    cleanup_stack(box.stack)
    assert sorted(box.removed(capsys)) == sorted(map(str, box.registrations))
    assert [*box.synapse.iterdir()] == []


def test_a_registration_that_synapse_still_reads_stays(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """Without it Synapse would not start again."""
    box.server.sql(TABLES, "mautrix_signal")
    registration = Path(box.arguments.registration)
    files.write_files(OwnedFiles(STACK, (owned(registration),), foreign=True))
    (box.synapse / "homeserver.yaml").write_text("app_service_config_files:\n  - /data/registration.yaml\n")
    cleanup_bridge(box.arguments)
    assert registration.exists()
    assert f"warning: {registration} stays: {box.synapse}/homeserver.yaml lists it" in capsys.readouterr().err


def test_what_somebody_else_put_into_our_directories_stays(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    """A program file of another stack's among it, which its own destroy needs."""
    box.server.sql(TABLES, "mautrix_signal")
    claim_directory(box.arguments)
    directory.claim_directory(box.stack.directory)
    (box.bridge / "notes").write_text("mine")
    earlier, foreign, strange = (box.shared_directory / f"mautrix-host-{name}.pyz" for name in ("a", "b", "c"))
    earlier.write_bytes(OURS.encode() + b"PK\x03\x04\xff\n\xff")
    foreign.write_bytes(b"# Programs: written by the Pulumi stack other/x.\nPK")
    strange.write_bytes(b"\xff\xfe")
    cleanup_bridge(box.arguments)
    cleanup_stack(box.stack)
    assert [path.name for path in box.bridge.iterdir()] == ["notes"]
    assert sorted(box.shared_directory.iterdir()) == [foreign, strange]
    said = capsys.readouterr().err
    assert f"warning: {box.bridge} stays: it holds files that this stack did not make: notes" in said
    assert f"warning: {box.shared_directory} stays: it holds files that this stack did not make: {foreign.name}" in said


def test_a_directory_that_another_stack_claims_stays_as_it_is(box: Box) -> None:
    """Both stacks once named the same one: this one's first step was refused, and its destroy must take nothing."""
    box.server.sql(TABLES, "mautrix_signal")
    for path in (box.bridge, box.shared_directory):
        directory.claim_directory(ClaimedDirectory(str(path), "other/x", ""))
        (path / directory.READY).write_text("0123 1 an image\n")
    program = box.shared_directory / "mautrix-host-0.pyz"
    program.write_text(OURS)
    with pytest.raises(ScriptError, match=r"belongs to the stack other/x: set another directory of mautrix-signal"):
        claim_directory(box.arguments)
    before = sorted([*box.bridge.iterdir(), *box.shared_directory.iterdir()])
    cleanup_bridge(box.arguments)
    cleanup_stack(box.stack)
    assert sorted([*box.bridge.iterdir(), *box.shared_directory.iterdir()]) == before


def test_the_dumps_of_a_proof_that_was_killed_go_with_its_note(box: Box) -> None:
    """While there is one, its directory stays, also where somebody takes that away by hand."""
    own = box.stack.directory
    directory.claim_directory(own)
    dump = box.bridge.parent / "mautrix_signal_20261125T142233Z.shared.sql.gz"
    dump.write_bytes(b"x")
    noted = proof.Note((proof.NotedDump(str(dump), hashlib.sha256(b"x").hexdigest()),))
    (box.shared_directory / directory.PROVEN).write_text(json.dumps(to_json(noted)))
    directory.release_directory(own)
    assert box.shared_directory.exists()
    cleanup_stack(box.stack)
    assert not dump.exists() and not box.shared_directory.exists()


def test_a_bridge_that_leaves_takes_nothing_of_another_and_what_is_left_goes_at_the_end(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its database once had another name, which no settings tell any more."""
    box.server.sql("create database other;")
    box.server.sql(f"comment on database other is '{owner_comment(STACK, began='none', archived='/a')}';")
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    cleanup_bridge(box.arguments)
    assert box.removed(capsys) == ["database mautrix_signal", "role mautrix_signal"]
    assert "other" in box.server.databases()
    cleanup_stack(box.stack)
    assert box.removed(capsys) == ["database other"]


def test_without_postgres_it_stops_and_says_what_to_do(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_STATUS", "exited")
    with pytest.raises(ScriptError, match=r"matrix-postgres: is exited: the role .* cannot be removed: start it"):
        cleanup_bridge(box.arguments)
