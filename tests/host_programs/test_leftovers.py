"""A trace that a killed run leaves for ever; a database, a role or a file of somebody else's that goes with ours; the
bridge's messages dropped without an archive.

Against a real Postgres behind a stub `docker exec`; the containers are for the end-to-end tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from host_programs.bridge.leftovers import Bridge, Shared

from components.backup import backup_arguments
from components.registration import homeserver_edit
from documents.marks import owner_comment
from host_programs.backup import archives, proof_note
from host_programs.bridge import leftovers
from host_programs.common import ScriptError
from host_programs.files import directory, files
from host_programs.postgres import dumps, isolation
from host_programs.wire import plain
from tests.facts import STACK, whole
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres
from verdicts.host_facts.archive import Manifest

__all__ = ["bridge_database", "postgres"]

TABLES = "drop table portal, crypto, version, crypto_version;"


class Box:
    def __init__(self, folder: Path, server: Postgres) -> None:
        self.server, self.synapse = server, folder / "synapse"
        self.synapse.mkdir()
        self.bridge, self.shared_directory = folder / "bridge", folder / "shared"
        plan = whole(
            {"directory": str(self.bridge)},
            synapseDir=str(self.synapse),
            sharedDir=str(self.shared_directory),
            backupScript="none",
            backupDir=str(folder / "dumps"),
        )
        self.isolation = isolation.Isolation(STACK, plan.postgres, plan.databases, ("synapse", "mas"))
        self.arguments = Bridge(
            stack=STACK,
            container="mautrix-signal",
            directory=str(self.bridge),
            image="",
            archives=str(folder / "archives"),
            program="mautrix-signal",
            whose=plan.archive_owner,
            postgres=plan.postgres,
            database=plan.databases[0],
            isolated=("synapse", "mas"),
        )
        self.shared = Shared(
            stack=STACK,
            directory=str(self.shared_directory),
            postgres=plan.postgres,
            backup=backup_arguments(plan, "synapse"),
            synapse=homeserver_edit(plan),
        )

    def comments(self, database: str | None, role: str | None) -> None:
        for kind, text in (("database", database), ("role", role)):
            self.server.sql(f"comment on {kind} mautrix_signal is {'null' if text is None else repr(text)};")

    def roles(self) -> set[str]:
        return {*self.server.sql("select rolname from pg_roles where rolname !~ '^pg_';")} - {"synapse", "mas"}


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    for key, value in bridge_database.environment().items():
        monkeypatch.setenv(key, value)
    yield Box(tmp_path, bridge_database)


def test_with_nothing_left_nothing_is_done(box: Box, tmp_path: Path) -> None:
    box.server.sql("drop database mautrix_signal with (force);")
    box.server.sql("drop role mautrix_signal;")
    before = sorted(tmp_path.rglob("*"))
    assert leftovers.sweep(box.arguments) == leftovers.finish(box.shared) == leftovers.Swept()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_archived_is_dropped_and_public_has_its_rights_back(box: Box) -> None:
    isolation.shut_public_out(box.isolation)
    box.server.sql(
        f"comment on database mautrix_signal is '{owner_comment(STACK, began='none', archived='/a.tar.gz')}';"
    )
    assert leftovers.sweep(box.arguments).gone == ("database mautrix_signal", "role mautrix_signal")
    assert box.server.databases() == {"synapse", "mas"} and box.roles() == set()
    sql = (
        "select has_database_privilege('public', oid, 'CONNECT') from pg_database where datname in ('synapse', 'mas');"
    )
    assert box.server.sql(sql) == ["t", "t"]


def test_the_image_and_those_of_earlier_versions_go_unless_they_are_kept(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []

    def remove_image(name: str) -> list[str]:
        gone.append(name)
        return [f"image {name}"]

    monkeypatch.setattr(leftovers, "remove_image", remove_image)
    earlier = Manifest(3, "", "before a", STACK, "echo6.co", "mautrix-signal", "signal:a", {}, "m", "m", (), ())
    monkeypatch.setattr(archives, "earlier", lambda *_: iter([(Path("/a"), earlier)]))
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    leftovers.sweep(box.arguments)
    assert gone == []
    leftovers.sweep(replace(box.arguments, image="signal:b"))
    assert gone == ["signal:a", "signal:b"]


def test_messages_that_were_never_archived_are_not_dropped(box: Box) -> None:
    box.comments(owner_comment(STACK, began="none", key="k"), owner_comment(STACK, public={}))
    with pytest.raises(ScriptError, match="database mautrix_signal: was never archived, so it stays"):
        leftovers.sweep(box.arguments)
    assert "mautrix_signal" in box.server.databases()
    box.server.sql(TABLES, "mautrix_signal")  # a run that was killed before the bridge began
    leftovers.sweep(box.arguments)
    assert "mautrix_signal" not in box.server.databases()


@pytest.mark.parametrize(
    ("database", "words"),
    [
        (owner_comment("other/x", began="none", archived="/a"), "it belongs to the stack other/x"),
        ("of the operator", "nothing in it says that this stack made it"),
        (None, "nothing in it says that this stack made it"),
    ],
)
def test_somebody_else_s_stays(box: Box, database: str | None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    box.comments(database, owner_comment("other/x", public={}))
    assert leftovers.sweep(box.arguments) == leftovers.Swept()
    assert box.roles() == {"mautrix_signal"} and "mautrix_signal" in box.server.databases()
    said = capsys.readouterr().err
    assert f"warning: database mautrix_signal stays: {words}" in said
    assert "warning: role mautrix_signal stays: it belongs to the stack other/x" in said


def test_what_a_run_made_that_was_killed_before_it_could_name_it_goes(box: Box) -> None:
    box.server.sql(TABLES, "mautrix_signal")
    assert leftovers.sweep(box.arguments).gone == ("database mautrix_signal", "role mautrix_signal")


def test_a_scratch_database_of_a_killed_proof_goes(box: Box) -> None:
    box.server.sql("create database mautrix_signal_restore_check;")
    box.server.sql(f"comment on database mautrix_signal_restore_check is '{owner_comment(STACK, scratch=True)}';")
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    leftovers.sweep(box.arguments)
    assert box.server.databases() == {"synapse", "mas"}


def claim(path: Path) -> directory.OwnDirectory:
    own = directory.OwnDirectory(str(path), STACK, "")
    directory.claim(own)
    return own


def test_files_of_ours_go_and_others_stay(box: Box) -> None:
    box.server.sql(TABLES, "mautrix_signal")
    claim(box.bridge)
    own = claim(box.shared_directory)
    ours = f"# x: written by the Pulumi stack {STACK}.\n"
    owner = os.geteuid(), os.getegid()
    config = files.OwnedFile(str(box.bridge / "config-0123/config.yaml"), ours, *owner, own_directory=True)
    one, two = (
        files.OwnedFile(path, ours, *owner) for path in (each.path for each in box.shared.synapse.registrations)
    )
    files.create(files.OwnedFiles(STACK, (config, one, two)))
    Path(two.path).write_text("id: somebody-else-s\n")
    box.shared_directory.joinpath("shared_backup.sh").write_text(box.shared.backup.dump_script)
    leftovers.sweep(box.arguments)
    assert not box.bridge.exists()
    assert box.shared_directory.exists() and len([*box.synapse.iterdir()]) == 2, "other bridges may need them"
    leftovers.finish(box.shared)
    directory.release(own)
    assert not box.shared_directory.exists()
    assert [path.name for path in box.synapse.iterdir()] == ["doublepuppet.yaml"]


def test_the_dumps_of_a_proof_that_was_killed_go_with_its_note(box: Box) -> None:
    """While there is one, its directory stays, also where somebody takes that away by hand."""
    own = claim(box.shared_directory)
    dump = box.bridge.parent / "mautrix_signal_20261125T142233Z.shared.sql.gz"
    dump.write_bytes(b"x")
    noted = proof_note.Note((proof_note.NotedDump(str(dump), dumps.hash_file(dump)),))
    (box.shared_directory / directory.PROVEN).write_text(json.dumps(plain(noted)))
    assert directory.release(own).kept == (str(box.shared_directory),)
    leftovers.finish(box.shared)
    directory.release(own)
    assert not dump.exists() and not box.shared_directory.exists()


def test_a_bridge_that_leaves_takes_nothing_of_another_and_what_is_left_goes_at_the_end(box: Box) -> None:
    """Its database once had another name, which no settings tell any more."""
    box.server.sql("create database other;")
    box.server.sql(f"comment on database other is '{owner_comment(STACK, began='none', archived='/a')}';")
    box.comments(owner_comment(STACK, began="none", archived="/a"), owner_comment(STACK, public={}))
    assert leftovers.sweep(box.arguments).gone == ("database mautrix_signal", "role mautrix_signal")
    assert "other" in box.server.databases()
    assert leftovers.finish(box.shared).gone == ("database other",)


def test_without_postgres_it_stops_and_says_what_to_do(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_STATUS", "exited")
    with pytest.raises(ScriptError, match=r"matrix-postgres: is exited: the role .* cannot be removed: start it"):
        leftovers.sweep(box.arguments)
