"""host_programs/bridge/database_life.py run for real against a real Postgres behind a stub `docker exec`.

Pins a rollback that loses the bridge's data: an archive of a dump that failed, one that cannot be read back or that
others can read, and a restore that mixes an old database into a new one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from documents.bridge.config import render_bridge_config
from documents.bridge.pickle_key import fingerprint_key, opens_pickle
from documents.marks import owner_comment, parse_owner_comment
from documents.places import Database
from documents.places import Postgres as Server
from host_programs.backup import archives
from host_programs.backup.archives import (
    BridgeData,
    list_archives,
    read_archived_key,
    read_manifest,
)
from host_programs.bridge import database_life, readiness
from host_programs.bridge.database_life import DatabaseArguments, DatabaseOrigin
from host_programs.docker import inspect_container
from host_programs.facts.bridges import find_source
from host_programs.messages import ScriptError
from host_programs.postgres import dump_restore, measure
from host_programs.postgres.psql import quote_literal
from host_programs.wire import to_json
from tests.facts import DOUBLEPUPPET, KEYS, STACK, TOKENS, container, deployment, pickled
from tests.host_programs.private_postgres import Postgres, bridge_database, postgres
from tests.host_programs.steps import PYTHON, program_path, run_step
from verdicts.host_facts.archive import SourceFacts

__all__ = ["bridge_database", "postgres"]

PREPARE, ARCHIVE, CHECK = "database prepare", "database archive", "archive check"
TOKEN = "as_token_of_the_bridge_that_nobody_may_see"
KEY = "pickle" * 10 + "keys"
STAMP = "20261124T120000Z"
GONE = Database("matrix-postgres", "gone", "mautrix_signal")


class Box:
    def __init__(self, home: Path, server: Postgres) -> None:
        self.server, self.directory = server, home / "archives/deep"
        self.config, self.registration = home / "config.yaml", home / "registration.yaml"
        self.config.write_text(f"as_token: {TOKEN}\n")
        self.config.chmod(0o640)
        self.registration.write_text("id: signal\n")
        self.data = BridgeData(
            stack="mautrix-signal/a",
            domain="example.org",
            image="dock.mau.dev/mautrix/signal:v0.2603.0",
            directory=str(self.directory),
            bridge="mautrix-signal",
            database=Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),
            files=(str(self.config), str(self.registration)),
            postgres=Server("matrix-postgres", 5432, "synapse"),
            pickle_key=KEY,
        )
        self.arguments = DatabaseArguments(
            self.data,
            "mautrix-signal",
            str(home),
            restore="none",
            go_back="",
            keep=2,
            keep_images=False,
            attempt=1,
            timestamp=STAMP,
        )
        self.removal = readiness.ReadinessArguments(
            bridge=replace(deployment().place, database=self.data.database),
            container_id="0123",
            synapse=deployment().synapse,
            postgres=deployment().postgres,
            bot="@signalbot:example.org",
            appservice_id="signal",
            as_token=TOKEN,
            doublepuppet_as_token=TOKEN,
            timeout=1.0,
            mark=str(home / ".ready"),
            attempt=1,
            new_keys=False,
            stack=self.data.stack,
            config=str(home),
            archives=str(self.directory),
            archive_owner="",
            program="mautrix-signal",
            pickle_key=KEY,
        )

    @property
    def path(self) -> Path:
        return self.directory / f"mautrix-signal-{STAMP}.tar.gz"

    def began(self) -> dict[str, Any]:
        """What the database's comment says."""
        (text,) = self.server.sql(
            "select coalesce(shobj_description(oid, 'pg_database'), '') from pg_database where datname = "
            "'mautrix_signal';"
        )
        return dict(parse_owner_comment(text))

    def run(
        self, words: str, environment: dict[str, str] | None = None, **changed: Any
    ) -> subprocess.CompletedProcess[str]:
        data = replace(self.data, **{key: changed.pop(key) for key in [*changed] if hasattr(self.data, key)})
        arguments = self.removal if words == CHECK else replace(self.arguments, data=data, **changed)
        done = run_step(words, arguments, self.server.environment(**(environment or {})), timeout=120)
        assert (
            TOKEN not in done.stdout + done.stderr
            and KEY not in done.stdout + done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr
        return done

    def good(self, verb: str, **changed: Any) -> Any:
        done = self.run(verb, **changed)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def bad(self, verb: str, environment: dict[str, str] | None = None, **changed: Any) -> str:
        done = self.run(verb, environment, **changed)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        return done.stderr.strip().splitlines()[-1]

    def again(self) -> None:
        """The database anew, and empty."""
        self.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
        self.server.sql("CREATE DATABASE mautrix_signal OWNER mautrix_signal TEMPLATE template0;")

    def mark(self, stack: str = "mautrix-signal/a") -> None:
        """As the isolation does, before the database begins."""
        self.server.sql(f"COMMENT ON DATABASE mautrix_signal IS '{owner_comment(stack)}';")

    def rows(self) -> list[str]:
        return self.server.sql("SELECT count(*), max(name) FROM portal;", "mautrix_signal", "mautrix_signal")


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres) -> Iterator[Box]:
    yield Box(tmp_path, bridge_database)


def test_an_archive_holds_all_and_is_private(box: Box) -> None:
    box.mark()
    result = box.good(ARCHIVE)["path"]
    path = box.directory / f"mautrix-signal-{STAMP}.tar.gz"
    assert result == str(path)
    assert list(box.directory.iterdir()) == [path], "no temporary file is left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(p.stat().st_mode) for p in (box.directory, box.directory.parent)] == [0o700, 0o700]
    with tarfile.open(path) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        names = tar.getnames()
        config = tar.extractfile(f"files{box.config}")
        assert config is not None and TOKEN in config.read().decode()
        keys = json.load(tar.extractfile("keys.json"))  # type: ignore[arg-type]
    assert names == ["manifest.json", "database.dump", "keys.json", f"files{box.config}", f"files{box.registration}"]
    assert [(m["name"], m["mode"]) for m in manifest["members"]][2:3] == [(f"files{box.config}", "0640")]
    assert keys == {"pickle_key": KEY}, "of the state: config.yaml may be gone"
    told = {key: manifest[key] for key in ("stack", "domain", "bridge", "image", "schema", "created")}
    assert told == {
        "stack": "mautrix-signal/a",
        "domain": "example.org",
        "bridge": "mautrix-signal",
        "image": "dock.mau.dev/mautrix/signal:v0.2603.0",
        "schema": {"crypto_version": 11, "version": 25},
        "created": STAMP,
    }
    assert box.began()["archived"] == str(path)


def test_what_was_archived_comes_back(box: Box) -> None:
    before = box.rows()
    path = box.good(ARCHIVE)["path"]
    box.again()
    assert box.good(PREPARE, restore=path)["began"] == path
    assert (box.began()["began"], box.began()["stack"]) == (path, "mautrix-signal/a")
    assert box.good(PREPARE, restore="none")["began"] == path, "it begins once"
    assert box.rows() == before == ["500|a\\b", "99"]
    owners = box.server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")
    assert owners == ["mautrix_signal"]


def test_a_manifest_is_read_alone_and_the_newest_comes_first(box: Box) -> None:
    for stamp, stack in (("20251231T235959Z", "p/a"), ("20260101T000000Z", "p/b")):
        box.good(ARCHIVE, timestamp=stamp, stack=stack)
    box.good(ARCHIVE, timestamp="20270101T000000Z", bridge="mautrix-signal-two")
    (box.directory / "mautrix-signal-20280101T000000Z.tar.gz").write_text("no archive")
    listed = list(list_archives(str(box.directory), "mautrix-signal"))
    assert [(path.name, manifest.archive_owner) for path, manifest in listed] == [
        ("mautrix-signal-20260101T000000Z.tar.gz", "p/b@example.org"),
        ("mautrix-signal-20251231T235959Z.tar.gz", "p/a@example.org"),
    ]


def test_a_failed_dump_leaves_no_archive_and_no_directory_that_was_made_for_it(box: Box) -> None:
    """A wrong archiveDir left empty directories of root's behind."""
    said = box.bad(ARCHIVE, {"FAIL_DUMP": "mautrix_signal"})
    assert said == (
        "matrix-postgres: database mautrix_signal could not be dumped, and nothing was removed: pg_dump: error: gone"
    )
    assert not box.directory.parent.exists()
    box.directory.mkdir(parents=True)
    box.bad(ARCHIVE, {"FAIL_DUMP": "mautrix_signal"})
    assert list(box.directory.iterdir()) == [], "one that was there stays"


def test_a_file_that_is_gone_is_named_and_left_out(box: Box) -> None:
    box.registration.unlink()
    done = box.run(ARCHIVE)
    assert f"note: {box.registration}: is not there, so the archive goes without it" in done.stderr
    assert read_manifest(box.path).missing == (str(box.registration),)


@pytest.mark.parametrize(
    "rows", ["", "INSERT INTO whatsmeow_app_state_version VALUES ('1@s.whatsapp.net', 'critical', 57, 'h');"]
)
def test_a_table_of_data_that_is_called_like_one_of_versions_is_none(box: Box, rows: str) -> None:
    """WhatsApp and Messenger could never be archived, so never be removed (empty), or never be upgraded (filled)."""
    box.server.sql(
        "CREATE TABLE whatsmeow_app_state_version (jid text, name text, version bigint, hash text); "
        "CREATE TABLE whatsmeow_version (version int, compat int); INSERT INTO whatsmeow_version VALUES (15, 8); "
        f"CREATE TABLE mx_version (version int); INSERT INTO mx_version VALUES (11); {rows}"
        "CREATE TABLE empty_version (version int); CREATE TABLE other_version (version text);",
        "mautrix_signal", "mautrix_signal",
    )  # fmt: skip
    box.good(ARCHIVE)
    manifest = archives.read_manifest(box.path)
    known = {key: value for key, value in manifest.schema.items() if key not in ("version", "crypto_version")}
    assert (known, manifest.schema_unknown) == ({"whatsmeow_version": 15, "mx_version": 11}, "")


def test_versions_that_cannot_be_read_are_noted_and_keep_nothing_from_being_archived(box: Box) -> None:
    box.server.sql("CREATE VIEW broken_version AS SELECT 1 / 0 AS version;", "mautrix_signal", "mautrix_signal")
    done = box.run(ARCHIVE)
    assert done.returncode == 0 and "so the archive goes without them" in done.stderr, done.stderr
    manifest = archives.read_manifest(box.path)
    assert manifest.schema == {} and "division by zero" in manifest.schema_unknown


def test_an_archive_is_never_written_over(box: Box) -> None:
    path = Path(box.good(ARCHIVE)["path"])
    content = path.read_bytes()
    assert box.bad(ARCHIVE).startswith(f"{path}: is there already")
    assert path.read_bytes() == content


def test_a_directory_that_others_may_write_is_refused(box: Box) -> None:
    box.directory.mkdir(parents=True)
    box.directory.chmod(0o777)
    assert box.bad(ARCHIVE).startswith(f"{box.directory}: others may write into it, and could change")
    box.directory.chmod(0o755)
    shutil.chown(box.directory, 1000)  # who could replace an archive by one of his
    assert box.bad(ARCHIVE).startswith(f"{box.directory}: belongs to uid 1000, who could change what is in it: chown")
    assert list(box.directory.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_named(box: Box) -> None:
    box.directory.parent.write_text("")
    assert "it should be a directory that can be written (setting archiveDir)" in box.bad(ARCHIVE)


def test_a_database_that_is_not_empty_is_not_touched(box: Box) -> None:
    box.good(ARCHIVE)
    box.again()
    box.mark()
    box.server.sql("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';", "mautrix_signal", "mautrix_signal")
    for restore in (str(box.path), "none"):  # an archive is not mixed into it, and another key or image not tried on it
        assert box.bad(PREPARE, restore=restore) == (
            "matrix-postgres: database mautrix_signal is not empty (1 tables, views, types or functions), and its "
            "comment does not say which key and image it needs: nothing was changed; `pulumi preview` says how to go on"
        )
        assert "began" not in box.began()


def test_a_right_of_a_role_that_is_gone_does_not_stop_a_restore(box: Box) -> None:
    """An archive that only the server could restore from which it came."""
    box.server.sql("CREATE ROLE other; GRANT SELECT ON portal TO other;", "mautrix_signal")
    box.good(ARCHIVE)
    box.again()
    box.server.sql("DROP ROLE other;")
    assert box.good(PREPARE, restore=str(box.path))["began"] == str(box.path)
    assert box.rows() == ["500|a\\b", "99"]


@pytest.mark.parametrize("how", ["cut", "flipped", "swapped", "text"])
def test_a_damaged_archive_is_refused_before_the_database_is_touched(box: Box, how: str) -> None:
    path = Path(box.good(ARCHIVE)["path"])
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        path.write_bytes(data[:900] + bytes([data[900] ^ 255]) + data[901:])
    elif how == "text":
        path.write_text("no archive")
    else:
        with tarfile.open(path) as tar, tarfile.open(path.with_suffix(".new"), "w:gz") as other:
            for info in tar.getmembers():
                if info.name == "database.dump":
                    info.name, info.size = "database.dump", 0
                other.addfile(info, tar.extractfile(info) if info.size else None)
        path.with_suffix(".new").rename(path)
    box.again()
    assert box.bad(PREPARE, restore=str(path)).startswith(f"{path}: damaged")
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


def test_what_is_not_there_is_named_and_another_role_restores(box: Box) -> None:
    box.good(ARCHIVE)
    box.server.sql("DROP DATABASE mautrix_signal WITH (FORCE); CREATE ROLE another LOGIN;")
    box.server.sql("CREATE DATABASE mautrix_signal OWNER another TEMPLATE template0;")
    other = Database("matrix-postgres", "mautrix_signal", "another")
    said = box.bad(PREPARE, restore="/no/such.tar.gz", database=other)
    assert "/no/such.tar.gz: damaged, or no archive of a bridge: " in said
    box.good(PREPARE, restore=str(box.path), database=other)
    owners = box.server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")
    box.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
    box.server.sql("DROP ROLE another;")
    assert owners == ["another"]


def test_names_go_nowhere_unchecked(box: Box) -> None:
    bad, good = '"; DROP', "mautrix_signal"
    for what, changed in (
        ("database", {"database": Database("matrix-postgres", bad, good)}),
        ("role", {"database": Database("matrix-postgres", good, bad)}),
        ("bridge", {"bridge": bad}),
    ):
        assert box.bad(ARCHIVE, **changed).startswith(f"{what} '\"; DROP': it should be letters")
    assert box.bad(ARCHIVE, timestamp="../x").startswith("timestamp '../x': it should be like 20260131T235959Z")


def test_the_pickle_key_comes_out_of_the_archive(box: Box) -> None:
    box.config.unlink()
    box.good(ARCHIVE)
    assert read_archived_key(box.path) == KEY


def test_a_database_that_never_began_leaves_an_archive_only_if_there_is_something_in_it(box: Box) -> None:
    """A first `up` that the stop-and-check stopped: the destroy after it leaves the host as it was."""
    assert box.good(ARCHIVE)["path"] == str(box.path), "tables, whoever made them"
    box.path.unlink()
    box.again()
    assert box.good(ARCHIVE)["path"] == "" and not box.path.exists()
    box.good(PREPARE)
    assert box.good(ARCHIVE)["path"] == str(box.path), "it has begun: a bridge may have run"


@pytest.mark.parametrize("comment", [owner_comment(STACK), "", owner_comment(STACK, x="y")])
def test_an_empty_database_of_ours_begins_whatever_else_its_comment_says(
    box: Box, monkeypatch: pytest.MonkeyPatch, comment: str
) -> None:
    for key, value in box.server.environment().items():
        monkeypatch.setenv(key, value)
    box.again()
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS {quote_literal(comment)};")
    arguments = replace(box.arguments, data=replace(box.data, stack=STACK, image="it's/an\\image:$1"))
    for _ in range(2):
        assert database_life.prepare_database(arguments).began == "none"
        note = box.began()
        assert note.pop("key") and note == {"stack": STACK, "began": "none", "image": "it's/an\\image:$1"}


def test_a_state_with_another_key_than_the_database_s_goes_no_further(box: Box) -> None:
    """The state was lost and made anew: the bridge would start with a key that reads nothing."""
    box.again()
    assert box.good(PREPARE)["began"] == "none"
    said = box.bad(PREPARE, pickle_key="x" * 64)
    assert "encrypted with another pickle key than this state's: `pulumi preview` says" in said
    assert "it began with another pickle key" in box.bad(ARCHIVE, pickle_key="x" * 64), "it would be of no use"
    assert not list(box.directory.glob("*"))
    assert box.good(PREPARE)["began"] == "none"


@pytest.mark.parametrize("comment", ["of a person, with a ' and a \\", owner_comment("other/x", began="none")])
def test_somebody_else_s_database_is_left_as_it_is(box: Box, comment: str) -> None:
    """Its comment was written over with ours, and a destroy then dropped it."""
    box.again()
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS {quote_literal(comment)};")
    for number, tables in enumerate(("", "CREATE TABLE theirs ();")):
        box.server.sql(tables, *ROLE)
        assert box.bad(PREPARE).startswith("database mautrix_signal: ")
        box.good(ARCHIVE, timestamp=f"20261124T12000{number}Z")
        told = "select shobj_description(oid, 'pg_database') from pg_database where datname = 'mautrix_signal';"
        assert box.server.sql(told) == [comment]


def test_another_pickle_key_than_the_stack_s_is_refused_before_the_database_is_touched(box: Box) -> None:
    """The data of one deployment beside the key of another: the bridge could never read its keys again."""
    box.good(ARCHIVE)
    box.again()
    said = box.bad(PREPARE, restore=str(box.path), pickle_key="another" * 9)
    assert "its keys are encrypted with another pickle key than this stack's" in said
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


def forge(path: Path, **members: Callable[[bytes], bytes]) -> None:
    """Change members of the archive (database, keys, manifest), and have its manifest say so."""
    with tarfile.open(path) as tar:
        contents = {info.name: tar.extractfile(info).read() for info in tar.getmembers()}  # type: ignore[union-attr]
    names = {name.partition(".")[0]: name for name in contents}
    manifest = json.loads(contents["manifest.json"])
    for key, change in members.items():
        name = names[key]
        contents[name] = change(contents[name])
        for member in manifest["members"]:
            if member["name"] == name:
                member["sha256"] = hashlib.sha256(contents[name]).hexdigest()
    if "manifest" not in members:
        contents["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w:gz") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def replaced(old: str, new: str) -> Callable[[bytes], bytes]:
    """A change that puts one text in the place of another."""

    def change(data: bytes) -> bytes:
        assert old.encode() in data
        return data.replace(old.encode(), new.encode())

    return change


def toc_string(text: str) -> str:
    """A string as it stands in a dump in the custom format: a sign, four bytes of length, the text."""
    return f"\0{chr(len(text))}\0\0\0{text}"


def test_an_archive_of_another_version_is_said(box: Box) -> None:
    box.good(ARCHIVE)
    forge(box.path, manifest=replaced('"version": 4\n', '"version": 1\n'))
    box.again()
    said = box.bad(PREPARE, restore=str(box.path))
    assert said == f"{box.path}: is an archive of version 1, and this reads version 4 alone"


@pytest.mark.parametrize(
    "hostile",
    [
        "\\! touch MARK",
        "--\r\\! touch MARK\r",
        "copy (select 1 as stdin) to stdout;\n\\! touch MARK\n\\.\n",
        "select 1e$a$;\n\\! touch MARK\n$a$;",
        "\\connect - synapse\n",
        "COPY portal TO PROGRAM 'touch MARK';",
        "ALTER ROLE mautrix_signal SUPERUSER;",
        "SET SESSION AUTHORIZATION synapse; ALTER ROLE mautrix_signal SUPERUSER;",
        "COMMIT; SET ROLE synapse; ALTER ROLE mautrix_signal SUPERUSER;",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE mautrix_signal SUPERUSER'; END $$;",
    ],
)
def test_a_hostile_archive_runs_no_shell_and_becomes_nobody_else(box: Box, hostile: str) -> None:
    """Its dump ran in psql, which has commands of its own, and whose socket trusts everybody as any user."""
    mark = box.directory.parent.parent / "mark"
    comment = "COMMENT ON TABLE public.portal IS 'of the bridge';\n"
    box.server.sql("COMMENT ON TABLE portal IS 'of the bridge';", "mautrix_signal")
    box.good(ARCHIVE)
    text = hostile.replace("MARK", str(mark))
    forge(box.path, database=replaced(toc_string(comment), toc_string(text)))
    box.again()
    said = box.bad(PREPARE, restore=str(box.path))
    assert said.startswith(f"{box.path}: the dump cannot be restored into mautrix_signal_restore_check: pg_restore: ")
    assert not mark.exists() and "began" not in box.began()
    assert box.server.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mautrix_signal';") == ["f"]
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]
    assert "mautrix_signal_restore_check" not in box.server.databases()


def test_what_a_dump_says_of_owners_and_databases_is_not_followed(box: Box) -> None:
    """pg_restore can become another user, and connect anew to a name that a dump holds: not as we call it."""
    box.good(ARCHIVE)
    plain = box.directory / "dump"
    words = ["pg_dump", "-Fc", "-Z0", "-h", str(box.server.socket), "-U", "synapse", "-d", "mautrix_signal"]
    plain.write_bytes(subprocess.run(words, capture_output=True, check=True).stdout)

    def with_owner(_: bytes) -> bytes:
        data = plain.read_bytes().replace(toc_string("mautrix_signal").encode(), toc_string("synapse").encode())
        assert toc_string("synapse").encode() in data
        return data

    forge(box.path, database=with_owner)
    box.again()
    box.good(PREPARE, restore=str(box.path))
    owners = box.server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")
    assert owners == ["mautrix_signal"]


def test_a_restore_that_fails_half_way_leaves_nothing(box: Box) -> None:
    box.server.sql("COMMENT ON TABLE portal IS 'of the bridge';", "mautrix_signal")
    box.good(ARCHIVE)
    comment = "COMMENT ON TABLE public.portal IS 'of the bridge';\n"
    forge(box.path, database=replaced(toc_string(comment), toc_string("SELECT 1/0;")))
    box.again()
    with patch.dict(os.environ, box.server.environment()), archives.open_archive(box.path) as (tar, _):
        dump = archives.open_member(tar, archives.DATABASE)
        with pytest.raises(ScriptError, match="division by zero"):
            dump_restore.restore_dump(box.data.database, dump_restore.Dump(dump, is_plain=False))
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


# the key ----------------------------------------------------------------------------------------------------------


def encrypt(box: Box, *accounts: bytes) -> None:
    rows = ", ".join(f"('{number}', '\\x{account.hex()}')" for number, account in enumerate(accounts))
    box.server.sql(
        f"CREATE TABLE crypto_account (account_id text PRIMARY KEY, account bytea); INSERT INTO crypto_account VALUES "
        f"{rows};",
        "mautrix_signal", "mautrix_signal",
    )  # fmt: skip


def test_an_archive_s_key_opens_what_is_in_its_dump(box: Box) -> None:
    """A state that was lost and made anew: the archive had the new key, the old one went with config.yaml, and what was
    restored could not be read any more."""
    encrypt(box, pickled("the key of the state that was lost"))
    for words in (CHECK, ARCHIVE):
        assert box.bad(words).startswith(
            "matrix-postgres: database mautrix_signal: its keys are encrypted with another pickle key than the one at "
            "hand: an archive of both would be useless, so nothing was removed: "
        )
    assert not box.directory.parent.exists()
    box.server.sql("DROP TABLE crypto_account;", "mautrix_signal", "mautrix_signal")
    encrypt(box, pickled(KEY))
    box.good(CHECK)
    box.good(ARCHIVE)
    assert read_manifest(box.path).key == fingerprint_key(KEY)


def test_without_keys_in_the_database_its_comment_tells_which_key_is_its_own(box: Box) -> None:
    """A bridge that does not encrypt, or a form of its keys that we do not know."""
    comment = owner_comment("mautrix-signal/a", began="none", key=fingerprint_key("another"))
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS '{comment}';")
    for words in (CHECK, ARCHIVE):
        assert "database mautrix_signal: it began with another pickle key than the one at hand" in box.bad(words)
    encrypt(box, b"another form")
    assert "it began with another pickle key than the one at hand" in box.bad(ARCHIVE)
    comment = comment.replace(fingerprint_key("another"), fingerprint_key(KEY))
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS '{comment}';")
    box.good(ARCHIVE)


def test_an_archive_whose_key_does_not_open_its_dump_is_not_restored(box: Box) -> None:
    encrypt(box, pickled(KEY))
    box.good(ARCHIVE)
    forge(box.path, keys=lambda _: json.dumps({"pickle_key": "another"}).encode())
    box.again()
    assert box.bad(PREPARE, restore=str(box.path), pickle_key="another").startswith(
        f"{box.path}: its keys are encrypted with another pickle key than the one in the archive: nothing was restored"
    )
    assert "began" not in box.began() and measure_tables(box) == ["0"]


def measure_tables(box: Box) -> list[str]:
    return box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")


# nightly dumps ----------------------------------------------------------------------------------------------------

NIGHTLY = "mautrix_signal_20261124T120000Z.mautrix-bridges.sql.gz"


def dump_nightly(box: Box, change: Callable[[bytes], bytes] = lambda text: text) -> Path:
    """As our dump script makes it."""
    words = ["pg_dump", "-h", str(box.server.socket), "-U", "mautrix_signal", "-d", "mautrix_signal"]
    text = subprocess.run(words, capture_output=True, check=True).stdout
    box.directory.mkdir(parents=True, exist_ok=True)
    path = box.directory / NIGHTLY
    path.write_bytes(gzip.compress(change(text)))
    path.chmod(0o600)
    return path


def test_what_was_dumped_at_night_comes_back(box: Box) -> None:
    encrypt(box, pickled(KEY))
    before, path = box.rows(), dump_nightly(box)
    box.again()
    assert box.good(PREPARE, restore=str(path))["began"] == str(path)
    assert box.rows() == before == ["500|a\\b", "99"]
    assert box.began()["began"] == str(path) and "restoring" not in box.began()
    owners = box.server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")
    assert owners == ["mautrix_signal"]
    path.unlink()
    assert box.good(PREPARE, restore=str(path))["began"] == str(path), "it began; the dump may go"


END_OF_DUMP = b"--\n-- PostgreSQL database dump complete\n"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "{path}: damaged: "),
        (lambda path: rewrite(path, lambda text: text[: len(text) // 2]), "{path}:"),
        (lambda path: rewrite(path, lambda text: text.partition(END_OF_DUMP)[0]), "{path}:"),
        (lambda path: path.write_text("of age"), "{path}:1: it does not begin as a dump of pg_dump's: "),
        (lambda path: rewrite(path, with_end(b"\\! touch /tmp/ran\n")), "{path}:"),
        (lambda path: rewrite(path, with_end(b"SELECT 1/0;\n")), "{path}: the dump cannot be restored into "),
        (lambda path: rewrite(path, with_end(b"SET ROLE synapse;\n")), "{path}: the dump cannot be restored into "),
        (lambda path: path.chmod(0o606), "{path}: others may write into it, and could change"),
        (lambda path: path.parent.chmod(0o777), "{path.parent}: others may write into it, and could change"),
        (lambda path: path.unlink(), "{path}: cannot be read: No such file or directory"),
        (lambda path: path.symlink_to(path.rename(f"{path}.x")), "{path}: is a link to "),
    ],
)
def test_a_dump_that_is_not_sound_is_refused_before_the_database_is_touched(
    box: Box, spoil: Callable[[Path], object], words: str
) -> None:
    path = dump_nightly(box)
    box.again()
    spoil(path)
    said = box.bad(PREPARE, restore=str(path))
    assert said.startswith(words.format(path=path)), said
    assert measure_tables(box) == ["0"] and "began" not in box.began()
    assert "mautrix_signal_restore_check" not in box.server.databases()


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


def with_end(more: bytes) -> Callable[[bytes], bytes]:
    """A change that puts more before the end of a dump."""
    return lambda text: text.replace(END_OF_DUMP, more + END_OF_DUMP)


def test_a_dump_of_another_key_is_not_restored(box: Box) -> None:
    encrypt(box, pickled("another"))
    path = dump_nightly(box)
    box.again()
    said = box.bad(PREPARE, restore=str(path))
    assert said.startswith(
        f"{path}: its keys are encrypted with another pickle key than this stack's: nothing was restored"
    )
    assert measure_tables(box) == ["0"] and "began" not in box.began()


def test_a_restore_of_a_dump_that_was_cut_off_is_done_again(box: Box) -> None:
    only_there = b"SELECT 1 / (current_database() <> 'mautrix_signal')::int;\n"
    good = gzip.decompress(dump_nightly(box).read_bytes())
    path = dump_nightly(box, with_end(only_there))
    box.again()
    said = box.bad(PREPARE, restore=str(path))
    assert "division by zero: mautrix_signal is empty: `pulumi up` tries it again" in said
    assert measure_tables(box) == ["0"] and box.began()["restoring"] == str(path)
    path.write_bytes(gzip.compress(good))
    assert box.good(PREPARE, restore=str(path))["began"] == str(path)
    assert box.rows() == ["500|a\\b", "99"] and "restoring" not in box.began()


def test_a_nightly_dump_is_known_by_its_name_and_by_the_key_that_opens_it(box: Box, tmp_path: Path) -> None:
    encrypt(box, pickled(KEY))
    path = dump_nightly(box)
    home = tmp_path / "signal-bridge"
    (home / "config-old").mkdir(parents=True)

    def found(path: Path) -> SourceFacts:
        source = find_source(deployment({"restore": str(path), "directory": str(home)}))
        assert source is not None
        return source

    (account,) = found(path).accounts
    assert opens_pickle(KEY, bytes.fromhex(account)) and found(path).key == ""
    config = render_bridge_config(deployment(), "x", TOKENS, replace(KEYS, pickle_key=KEY), DOUBLEPUPPET)
    (home / "config-old/config.yaml").write_text(config)
    assert found(path) == SourceFacts(str(path), accounts=(account,), key=fingerprint_key(KEY))
    other = path.rename(path.with_name(path.name.replace("signal", "slack")))
    expected = "mautrix_signal_20260131T235959Z.mautrix-bridges.sql.gz"
    assert found(other) == SourceFacts(error=f"{other}: a dump of this bridge's database is called as {expected}")
    assert found(path).error == f"{path}: cannot be read: No such file or directory"


# runs that are killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore"])
def test_a_run_that_is_killed_leaves_no_dump_and_the_next_one_removes_what_it_left(box: Box, program: str) -> None:
    """A dump and its key lay in archiveDir for ever."""
    order = json.dumps({"arguments": to_json(box.arguments)})
    environment = box.server.environment(SLOW=program)
    with subprocess.Popen(
        [*PYTHON, str(program_path()), *ARCHIVE.split()],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(order)
        process.stdin.close()
        until = time.monotonic() + 30
        while not sleeps(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    (left,) = box.directory.iterdir()
    assert left.name == f".mautrix-signal-{STAMP}.tar.gz.part" and left.read_bytes() == b""
    left.write_text("a key")  # as of a run that was killed later
    others = [box.directory / f".mautrix-signal-{name}.tar.gz.part" for name in ("two-20260101T000000Z", "notes")]
    for other in others:
        other.write_text("somebody else's")
    done = box.run(ARCHIVE, timestamp="20270101T000000Z")
    assert f"removed: {left}: a run that was killed had begun to write it" in done.stderr
    assert {*box.directory.iterdir()} == {*others, box.directory / "mautrix-signal-20270101T000000Z.tar.gz"}


def sleeps(group: int) -> bool:
    """Whether the program that takes for ever runs in the process group."""
    done = subprocess.run(["ps", "-eo", "pgid=,args="], capture_output=True, text=True, check=True)
    return any(line.split()[:3] == [str(group), "sleep", "600"] for line in done.stdout.splitlines())


def test_what_a_killed_run_left_goes_at_the_next_up_and_the_next_destroy(box: Box) -> None:
    box.again()
    box.directory.mkdir(parents=True)
    for words in (PREPARE, ARCHIVE):
        left = box.directory / ".mautrix-signal-20260101T000000Z.tar.gz.part"
        left.write_text("a key")
        box.good(words)
        assert not left.exists()


@pytest.mark.parametrize("restore", ["the same", "none"])
def test_a_restore_that_was_cut_off_is_done_again_or_given_up(box: Box, restore: str) -> None:
    box.good(ARCHIVE)
    box.again()
    said = box.bad(PREPARE, {"FAIL_RESTORE": "mautrix_signal"}, restore=str(box.path))
    assert said == (
        "the dump cannot be restored into mautrix_signal: pg_restore: error: could not write: No space left on device: "
        "mautrix_signal is empty: `pulumi up` tries it again"
    )
    restore = "none" if restore == "none" else str(box.path)
    assert box.good(PREPARE, restore=restore)["began"] == restore
    assert "restoring" not in box.began() and measure_tables(box) == (["0"] if restore == "none" else ["4"])


def test_a_restore_that_was_killed_once_it_had_its_content_is_not_done_again(box: Box) -> None:
    box.good(ARCHIVE)
    box.again()
    box.good(PREPARE, restore=str(box.path))
    note = box.began()
    comment = owner_comment(**{**note, "restoring": str(box.path)})
    box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS '{comment}'; ")
    box.server.sql("INSERT INTO portal VALUES ('later');", *ROLE)
    assert box.good(PREPARE, restore=str(box.path))["began"] == str(box.path)
    assert box.began() == note and box.rows()[0].startswith("501")


def test_an_up_after_an_archive_makes_it_an_old_one(box: Box) -> None:
    """A destroy that stopped behind it, and then the bridge goes on: what comes now is in no archive."""
    box.again()
    box.good(PREPARE)
    box.good(ARCHIVE)
    assert box.began()["archived"] == str(box.path)
    assert box.good(PREPARE)["began"] == "none"
    assert "archived" not in box.began() and box.began()["began"] == "none"


def test_latest_is_the_newest_of_this_stack_and_domain(box: Box) -> None:
    """Staging's `latest` must never be production's: both would run one session."""
    plan = deployment({"archiveDir": str(box.directory), "restore": "latest"})
    made = (
        ("20260101T000000Z", STACK, "echo6.co"),
        ("20260102T000000Z", "mautrix-signal/prod", "echo6.co"),
        ("20260103T000000Z", STACK, "example.org"),
    )
    for stamp, stack, domain in made[1:]:
        box.good(ARCHIVE, timestamp=stamp, stack=stack, domain=domain)
    found = find_source(plan)
    assert found is not None and found.manifest is None and plan.archive_owner in found.error
    box.good(ARCHIVE, timestamp=made[0][0], stack=STACK, domain="echo6.co")
    found = find_source(plan)
    assert found is not None and found.path.endswith("-20260101T000000Z.tar.gz")
    by_path = find_source(deployment({"archiveDir": str(box.directory), "restore": str(box.directory / "x.tar.gz")}))
    assert by_path is not None and "x.tar.gz: damaged, or no archive of a bridge" in by_path.error
    assert find_source(deployment()) is None


def test_latest_is_not_an_older_archive_where_the_newest_is_damaged(box: Box) -> None:
    """The older one came back without a word, and what came after it was lost."""
    for stamp in ("20260101T000000Z", "20260102T000000Z"):
        box.good(ARCHIVE, timestamp=stamp, stack=STACK, domain="echo6.co")
    plan = deployment({"archiveDir": str(box.directory), "restore": "latest"})
    newest = box.directory / "mautrix-signal-20260102T000000Z.tar.gz"
    whole_one = newest.read_bytes()
    middle = len(whole_one) // 2
    for damaged in (whole_one[:middle], b"", whole_one[:middle] + bytes(40) + whole_one[middle + 40 :]):
        newest.write_bytes(damaged)
        found = find_source(plan)
        assert found is not None and found.manifest is None and str(newest) in found.error
        assert not archives.is_whole(newest)
    newest.write_bytes(whole_one)
    found = find_source(plan)
    assert found is not None and found.path == str(newest) and archives.is_whole(newest)


# before the container goes ----------------------------------------------------------------------------------------


def test_what_an_archive_needs_is_looked_at_and_nothing_is_left_by_it(box: Box) -> None:
    box.good(CHECK)
    assert not box.directory.parent.exists()


def test_the_checks_and_archives_of_many_bridges_run_side_by_side(box: Box) -> None:
    """A directory whose parents are not there was made and taken away again by each of them: the others failed."""
    with ThreadPoolExecutor(8) as pool:
        checks = [pool.submit(box.run, CHECK) for _ in range(8)]
        writes = [pool.submit(box.run, ARCHIVE, bridge=f"bridge-{number}") for number in range(4)]
        gone = [pool.submit(box.run, ARCHIVE, database=GONE) for _ in range(4)]
        ended = [future.result() for future in (*checks, *writes, *gone)]
    assert [done.stderr for done in ended if done.returncode] == []
    assert len(list(box.directory.glob("bridge-*.tar.gz"))) == 4 == len(list(box.directory.iterdir()))


def test_a_directory_that_another_step_removes_meanwhile_is_made_again(tmp_path: Path) -> None:
    """Of two bridges that archive at once, the one that fails takes its empty directories away."""
    path, removed, write = tmp_path / "archives/deep/.a.part", list[Path](), archives.write_private_file

    def remove_then_write(path: Path, data: bytes) -> None:
        if not removed:
            removed.append(path.parent)
            path.parent.rmdir()
            path.parent.parent.rmdir()
        write(path, data)

    made: list[Path] = []
    with patch.object(archives, "write_private_file", remove_then_write):
        assert archives._make_private_file(path, made) == path and path.exists()
    folder = path.parent
    assert removed == [folder] and made == [folder.parent, folder] * 2


def test_a_destroy_that_could_not_archive_stops_before_the_container(box: Box, tmp_path: Path) -> None:
    box.directory.mkdir(parents=True)
    box.directory.chmod(0o770)
    assert box.bad(CHECK).startswith(f"{box.directory}: others may write into it, and could change")
    box.directory.rmdir()
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", small], check=True)
    try:
        box.removal = replace(box.removal, archives=str(small / "deep"))
        assert "MiB free, and the archive may need" in box.bad(CHECK)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
    box.server.sql(
        "CREATE ROLE stranger; CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO stranger;", "mautrix_signal"
    )
    box.removal = replace(box.removal, archives=str(box.directory))
    assert "could not be dumped, and nothing was removed: " in box.bad(CHECK)
    box.server.sql("DROP TABLE theirs; DROP ROLE stranger;", "mautrix_signal")
    assert box.bad(CHECK, {"STUB_STATUS": "exited"}).startswith(
        "container matrix-postgres: is exited: without it the bridge's database cannot be archived, so nothing was "
        "removed"
    )


def test_a_database_that_is_gone_is_told_and_stops_nothing(box: Box) -> None:
    box.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
    done = box.run(CHECK)
    assert done.returncode == 0, done.stderr
    assert "there is no database mautrix_signal any more: nothing to archive" in done.stderr
    box.server.sql("DROP ROLE mautrix_signal;")
    box.good(CHECK)


def test_a_database_that_somebody_dropped_does_not_stop_a_destroy(box: Box) -> None:
    box.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
    done = box.run(ARCHIVE)
    assert (done.returncode, json.loads(done.stdout)["path"]) == (0, "")
    assert "warning: matrix-postgres: there is no database mautrix_signal any more" in done.stderr
    assert not list(box.directory.glob("*"))


# ---- another image


OLD, NEW = "dock.mau.dev/mautrix/signal:v0.2603.0", "dock.mau.dev/mautrix/signal:v0.2608.0"
NEWER = "dock.mau.dev/mautrix/signal:v0.2609.0"


class Running:
    """The bridge's container: what is done to it, in order."""

    def __init__(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.box, self.stamp = box, 0
        self.there = container("mautrix-signal", labels={"mautrix-bridge.stack": "mautrix-signal/a"})
        for key, value in box.server.environment().items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(
            database_life,
            "inspect_container",
            lambda name: self.there if name == "mautrix-signal" else inspect_container(name),
        )
        monkeypatch.setattr(database_life, "run_docker", lambda *words, **_: self.calls.append(" ".join(words)))
        monkeypatch.setattr(database_life, "remove_image", self.remove_image)
        box.again()
        self.begin(OLD)
        self.calls.clear()
        box.server.sql("CREATE TABLE portal (name text); INSERT INTO portal VALUES ('old');", *ROLE)

    def begin(self, image: str, **changed: Any) -> DatabaseOrigin:
        """Each with a timestamp of its own."""
        self.stamp += 1
        data, stamp = replace(self.box.data, image=image), f"20270101T0000{self.stamp:02}Z"
        return database_life.prepare_database(replace(self.box.arguments, data=data, timestamp=stamp, **changed))

    def remove_image(self, name: str) -> None:
        self.calls.append(f"rmi {name}")

    def names(self) -> list[str]:
        return self.box.server.sql("SELECT name FROM portal ORDER BY 1;", *ROLE)


ROLE = ("mautrix_signal", "mautrix_signal")


@pytest.fixture
def bridge(box: Box, monkeypatch: pytest.MonkeyPatch) -> Running:
    return Running(box, monkeypatch)


def test_a_bridge_whose_database_somebody_dropped_starts_anew_with_the_new_one(bridge: Running) -> None:
    """It went on with the old content in its memory: ready, pinged, and no event arrived."""
    bridge.box.again()
    bridge.begin(OLD)
    assert bridge.calls[-1] == f"restart --time 30 {bridge.there.id}" and bridge.box.began()["began"] == "none"
    calls = [*bridge.calls]
    bridge.begin(OLD)
    assert bridge.calls == calls


def test_before_another_image_the_bridge_stops_and_its_database_is_archived(bridge: Running) -> None:
    assert bridge.begin(OLD).previous == "" and bridge.calls == []
    begun = bridge.begin(NEW)
    assert bridge.calls[0] == "stop --time 30 id-of-mautrix-signal"
    manifest = read_manifest(Path(begun.previous))
    assert (manifest.image, manifest.reason) == (OLD, "before v0.2603.0 to v0.2608.0")
    assert bridge.names() == ["old"]
    assert bridge.box.began() | {"key": ""} == {"stack": "mautrix-signal/a", "began": "none", "key": "", "image": NEW}
    bridge.calls.clear()
    assert bridge.begin(NEW) == begun and bridge.calls == [], "once"


def test_the_way_back_replaces_the_database_once_and_archives_it_first(bridge: Running) -> None:
    archive = bridge.begin(NEW).previous
    bridge.box.server.sql(
        "INSERT INTO portal VALUES ('new'); CREATE SCHEMA more CREATE TABLE later (id serial);"
        "CREATE TYPE mood AS ENUM ();"
        "CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY); CREATE VIEW seen AS SELECT * FROM portal;"
        "CREATE SEQUENCE loose; CREATE DOMAIN word AS text; CREATE TABLE referring (mood mood, word word);"
        "CREATE FUNCTION two(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 2';",
        *ROLE,
    )
    begun = bridge.begin(OLD, go_back=archive)
    assert bridge.names() == ["old"] and measure.count_objects("matrix-postgres", *ROLE) == 2, "portal and its type"
    assert (read_manifest(Path(begun.previous)).image, bridge.box.began()["back"]) == (NEW, archive)
    assert read_manifest(Path(begun.previous)).reason == f"before going back to {Path(archive).name}"
    bridge.box.server.sql("INSERT INTO portal VALUES ('later');", *ROLE)
    bridge.begin(OLD, go_back=archive)
    bridge.begin(NEW, go_back=archive)
    assert bridge.names() == ["later", "old"], "the consent was for one time"


def test_what_cannot_be_archived_lets_the_bridge_run_on(bridge: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_DUMP", "mautrix_signal")
    with pytest.raises(ScriptError, match=f"(?s)could not be dumped.*mautrix-signal: runs again as before, with {OLD}"):
        bridge.begin(NEW)
    assert bridge.calls == ["stop --time 30 id-of-mautrix-signal", "start id-of-mautrix-signal"]
    assert bridge.box.began()["image"] == OLD and "changing" not in bridge.box.began()


@pytest.mark.parametrize("how", ["damaged", "another key", "does not restore"])
def test_an_archive_that_cannot_be_gone_back_to_leaves_the_database_as_it_is(bridge: Running, how: str) -> None:
    bridge.box.server.sql("COMMENT ON TABLE portal IS 'of the bridge';", *ROLE)
    archive = Path(bridge.begin(NEW).previous)
    bridge.box.server.sql("INSERT INTO portal VALUES ('new');", *ROLE)
    if how == "damaged":
        archive.write_bytes(archive.read_bytes()[:-200])
    elif how == "another key":
        forge(archive, keys=replaced(KEY, "x" * 64))
    else:
        forge(archive, database=replaced("IS 'of the bridge'", "IS 'of the bridgé"))
    bridge.calls.clear()
    with pytest.raises(ScriptError, match=re.escape(str(archive))):
        bridge.begin(OLD, go_back=str(archive))
    assert bridge.calls == [], "it was not even stopped"
    assert (bridge.names(), bridge.box.began()["image"]) == (["new", "old"], NEW)


def test_a_way_back_that_is_cut_off_goes_on_with_the_next_up(bridge: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is empty then: nothing may begin with it, and no archive may be made of it."""
    archive = bridge.begin(NEW).previous
    bridge.box.server.sql("INSERT INTO portal VALUES ('new');", *ROLE)

    def cut_off(go_back: str) -> None:
        monkeypatch.setenv("FAIL_RESTORE", "mautrix_signal")
        with pytest.raises(ScriptError, match="mautrix_signal is empty: `pulumi up` tries it again"):
            bridge.begin(OLD, go_back=go_back)
        monkeypatch.delenv("FAIL_RESTORE")
        assert measure_tables(bridge.box) == ["0"]

    cut_off(archive)
    newest, before = next(list_archives(bridge.box.data.directory, "mautrix-signal"))
    assert before.reason == f"before going back to {Path(archive).name}"
    assert database_life.archive_database(bridge.box.arguments).path == "", "what was in it is in the archive before it"
    bridge.begin(OLD, go_back="")  # also where the setting was taken back meanwhile
    assert bridge.names() == ["old"] and bridge.box.began()["back"] == archive
    assert next(list_archives(bridge.box.data.directory, "mautrix-signal"))[0] == newest, "none of an empty database"
    bridge.begin(NEW)
    cut_off(str(newest))
    bridge.begin(NEW, go_back=str(newest))
    assert bridge.names() == ["new", "old"] and "restoring" not in bridge.box.began()


def test_last_night_s_dump_replaces_the_database_once_and_that_is_archived_first(bridge: Running) -> None:
    path = str(dump_nightly(bridge.box))
    bridge.box.server.sql("UPDATE portal SET name = 'wrong';", *ROLE)
    begun = bridge.begin(OLD, go_back=path)
    assert bridge.calls[0] == "stop --time 30 id-of-mautrix-signal" and bridge.names() == ["old"]
    assert read_manifest(Path(begun.previous)).reason == f"before going back to {NIGHTLY}"
    assert bridge.box.began()["back"] == path
    bridge.box.server.sql("INSERT INTO portal VALUES ('later');", *ROLE)
    bridge.begin(OLD, go_back=path)
    assert bridge.names() == ["later", "old"], "once"


def test_a_container_of_somebody_else_s_is_left_alone(bridge: Running) -> None:
    bridge.there = container("mautrix-signal")
    bridge.begin(NEW)
    assert not [call for call in bridge.calls if not call.startswith("rmi ")]


def test_a_change_that_was_ended_and_is_not_wanted_any_more_is_forgotten(bridge: Running) -> None:
    """The container that it stopped is made anew by another `attempt` (verdicts/preflight/)."""
    known = bridge.box.began()
    text = owner_comment(
        "mautrix-signal/a", **{**{key: known[key] for key in known if key != "stack"}, "changing": NEW}
    )
    bridge.box.server.sql(f"COMMENT ON DATABASE mautrix_signal IS '{text}';")
    bridge.begin(OLD, attempt=2)
    assert bridge.box.began() == known


def test_archives_are_kept_by_count_and_the_last_one_of_each_version_always(bridge: Running) -> None:
    images = [OLD, NEW] * 3 + [NEWER]
    pulled = Path(bridge.box.arguments.place) / ".pulled"
    pulled.write_text(f"{OLD}\n{NEWER}\n")
    made = [bridge.begin(image).previous for image in images[1:]]
    left = {str(path) for path, _ in list_archives(bridge.box.data.directory, "mautrix-signal")}
    assert left == {*made[-2:]}, "keep=2: the last of NEW, and that of OLD before it"
    bridge.begin(f"{NEWER}-1")
    bridge.begin(f"{NEWER}-2")
    left = {str(path) for path, _ in list_archives(bridge.box.data.directory, "mautrix-signal")}
    assert {*made[-2:]} <= left and len(left) == 4, "the last ones of OLD and NEW, though they are old"
    removed = [call for call in bridge.calls if call.startswith("rmi ")]
    assert removed[-1] == f"rmi {NEWER}", "and no image but the present one and the one before it"
    assert f"rmi {NEW}" not in removed, "it was there before"


def test_the_last_archive_names_the_image_that_left_the_database(bridge: Running) -> None:
    """A destroy after an upgrade that never came so far: the setting names another one."""
    data = replace(bridge.box.data, image=NEW)
    done = database_life.archive_database(replace(bridge.box.arguments, data=data, timestamp="20280101T000000Z"))
    assert read_manifest(Path(done.path)).image == OLD
