"""scripts/final_archive.py run for real against a real Postgres behind a stub `docker exec`.

Pins a rollback that loses the bridge's data: an archive of a dump that failed, one that cannot be read back or that
others can read, and a restore that mixes an old database into a new one.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from documents.places import Database
from scripts.common import ScriptError
from scripts.final_archive import Arguments
from scripts.generate import FromArchive, keys
from scripts.wire import plain
from tests.scripts.private_postgres import Postgres, bridge_database, postgres

__all__ = ["bridge_database", "postgres"]

CHECKOUT = Path(__file__).resolve().parents[2]
TOKEN = "as_token_of_the_bridge_that_nobody_may_see"
KEY = "pickle" * 10 + "keys"
STAMP = "20261124T120000Z"


class Box:
    def __init__(self, home: Path, server: Postgres) -> None:
        self.server, self.directory = server, home / "archives/deep"
        self.config, self.registration = home / "config.yaml", home / "registration.yaml"
        self.config.write_text(f'as_token: {TOKEN}\nencryption:\n  pickle_key: "{KEY}"\n')
        self.config.chmod(0o640)
        self.registration.write_text("id: signal\n")
        self.arguments = Arguments(
            directory=str(self.directory),
            bridge="mautrix-signal",
            database=Database("matrix-postgres", "mautrix_signal", "mautrix_signal"),
            restore="none",
            files=(str(self.config), str(self.registration)),
            pickle_key=KEY,
            timestamp=STAMP,
        )

    def run(
        self, verb: str, environment: dict[str, str] | None = None, **changed: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.final_archive", verb],
            cwd=CHECKOUT, env=self.server.environment(**(environment or {})),
            input=json.dumps(plain(replace(self.arguments, **changed))),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (
            TOKEN not in done.stdout + done.stderr
            and KEY not in done.stdout + done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr
        return done

    def good(self, verb: str, **changed: Any) -> dict[str, Any]:
        done = self.run(verb, **changed)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def bad(self, verb: str, environment: dict[str, str] | None = None, **changed: Any) -> str:
        done = self.run(verb, environment, **changed)
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        return done.stderr.strip().splitlines()[-1]

    def again(self) -> None:
        """The database anew, and empty."""
        self.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
        self.server.sql("CREATE DATABASE mautrix_signal OWNER mautrix_signal TEMPLATE template0;")

    def rows(self) -> list[str]:
        return self.server.sql("SELECT count(*), max(name) FROM portal;", "mautrix_signal", "mautrix_signal")


@pytest.fixture
def box(tmp_path: Path, bridge_database: Postgres) -> Iterator[Box]:
    yield Box(tmp_path, bridge_database)


def test_an_archive_holds_all_and_is_private(box: Box) -> None:
    result = box.good("archive")
    path = box.directory / f"mautrix-signal-{STAMP}.tar.gz"
    assert result["path"] == str(path) and result["bytes"] == path.stat().st_size
    assert list(box.directory.iterdir()) == [path], "no temporary file is left"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(p.stat().st_mode) for p in (box.directory, box.directory.parent)] == [0o700, 0o700]
    with tarfile.open(path) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        names = tar.getnames()
        config = tar.extractfile(f"files{box.config}")
        assert config is not None and TOKEN in config.read().decode()
    assert names == ["manifest.json", "database.sql", f"files{box.config}", f"files{box.registration}"]
    assert [(m["name"], m["mode"]) for m in manifest["members"]][1:2] == [(f"files{box.config}", "0640")]


def test_what_was_archived_comes_back(box: Box) -> None:
    before = box.rows()
    path = box.good("archive")["path"]
    box.again()
    assert box.good("begin", restore="latest") == {"restored": path, "tables": 2}
    assert box.rows() == before == ["500|a\\b", "99"]
    owners = box.server.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal")
    assert owners == ["mautrix_signal"]


def test_latest_is_the_newest_of_this_bridge(box: Box) -> None:
    for stamp in ("20251231T235959Z", "20260101T000000Z"):
        box.good("archive", timestamp=stamp)
    box.good("archive", timestamp="20270101T000000Z", bridge="mautrix-signal-two")
    box.again()
    assert box.good("begin", restore="latest")["restored"].endswith("-20260101T000000Z.tar.gz")


def test_a_failed_dump_leaves_no_archive(box: Box) -> None:
    said = box.bad("archive", {"FAIL_DUMP": "mautrix_signal"})
    assert said == (
        "matrix-postgres: database mautrix_signal could not be dumped, and nothing was removed: pg_dump: error: gone"
    )
    assert not box.directory.parent.exists()


def test_a_file_that_is_gone_is_named_and_left_out(box: Box) -> None:
    box.registration.unlink()
    done = box.run("archive")
    assert f"note: {box.registration}: is not there, so the archive goes without it" in done.stderr
    assert json.loads(done.stdout)["missing"] == [str(box.registration)]


def test_an_archive_is_never_written_over(box: Box) -> None:
    path = Path(box.good("archive")["path"])
    content = path.read_bytes()
    assert box.bad("archive").startswith(f"{path}: is there already")
    assert path.read_bytes() == content


def test_a_directory_that_others_may_write_is_refused(box: Box) -> None:
    box.directory.mkdir(parents=True)
    box.directory.chmod(0o777)
    assert box.bad("archive").startswith(f"{box.directory}: others may write into it: chmod go-w")
    assert list(box.directory.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_named(box: Box) -> None:
    box.directory.parent.write_text("")
    assert "it should be a directory that can be written (setting archiveDir)" in box.bad("archive")


def test_a_database_that_is_not_empty_is_not_touched(box: Box) -> None:
    box.good("archive")
    box.again()
    box.server.sql("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';", "mautrix_signal", "mautrix_signal")
    assert box.bad("begin", restore="latest") == (
        "matrix-postgres: database mautrix_signal is not empty (1 tables, views, types or functions): an archive is "
        "restored only into an empty one; set restore to none, or drop the database first"
    )


def test_a_restore_that_fails_half_way_leaves_the_database_empty(box: Box) -> None:
    box.server.sql("CREATE ROLE other; GRANT SELECT ON portal TO other;", "mautrix_signal")
    box.good("archive")
    box.again()
    box.server.sql("DROP ROLE other;")
    assert 'role "other" does not exist' in box.bad("begin", restore="latest")
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


@pytest.mark.parametrize("how", ["cut", "flipped", "swapped", "text"])
def test_a_damaged_archive_is_refused_before_the_database_is_touched(box: Box, how: str) -> None:
    path = Path(box.good("archive")["path"])
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
                if info.name == "database.sql":
                    info.name, info.size = "database.sql", 0
                other.addfile(info, tar.extractfile(info) if info.size else None)
        path.with_suffix(".new").rename(path)
    box.again()
    assert box.bad("begin", restore=str(path)).startswith(f"{path}: damaged")
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


def test_what_is_not_there_and_another_role_are_named(box: Box) -> None:
    assert box.bad("begin", restore="latest").startswith(
        f"{box.directory}: there is no archive mautrix-signal-….tar.gz"
    )
    assert box.bad("begin", restore="/no/such.tar.gz").startswith("/no/such.tar.gz: there is no such archive")
    box.good("archive")
    said = box.bad("begin", restore="latest", database=Database("matrix-postgres", "mautrix_signal", "another"))
    assert "its database belongs to the role 'mautrix_signal', and this one to 'another'" in said


def test_names_go_nowhere_unchecked(box: Box) -> None:
    bad, good = '"; DROP', "mautrix_signal"
    for what, changed in (
        ("database", {"database": Database("matrix-postgres", bad, good)}),
        ("role", {"database": Database("matrix-postgres", good, bad)}),
        ("bridge", {"bridge": bad}),
    ):
        assert box.bad("archive", **changed).startswith(f"{what} '\"; DROP': it should be letters")
    assert box.bad("archive", timestamp="../x").startswith("timestamp '../x': it should be like 20260131T235959Z")


def test_the_pickle_key_comes_out_of_the_archived_config(box: Box) -> None:
    box.good("archive")
    made = keys(FromArchive(str(box.directory), "mautrix-signal", "latest"))
    assert made.pickle_key == KEY
    assert re.fullmatch(r"[A-Za-z0-9]{32}", made.sender_localpart), "a sender of its own"


def test_another_pickle_key_than_the_stack_s_is_refused_before_the_database_is_touched(box: Box) -> None:
    """The data of one deployment beside the key of another: the bridge could never read its keys again."""
    box.good("archive")
    box.again()
    said = box.bad("begin", restore="latest", pickle_key="another" * 9)
    assert "its keys are encrypted with another pickle key than this stack's" in said
    assert box.server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';", "mautrix_signal") == ["0"]


def test_an_archive_without_a_pickle_key_is_said(box: Box) -> None:
    box.good("archive", files=(str(box.registration),))
    box.again()
    assert "holds no config.yaml with a pickle_key" in box.bad("begin", restore="latest")
    with pytest.raises(ScriptError, match=r"holds no config\.yaml with a pickle_key"):
        keys(FromArchive(str(box.directory), "mautrix-signal", "latest"))


def test_a_database_that_somebody_dropped_does_not_stop_a_destroy(box: Box) -> None:
    box.server.sql("DROP DATABASE mautrix_signal WITH (FORCE);")
    done = box.run("archive")
    assert (done.returncode, json.loads(done.stdout)["path"]) == (0, "")
    assert "warning: matrix-postgres: there is no database mautrix_signal any more" in done.stderr
    assert not list(box.directory.glob("*"))
    box.server.sql("CREATE DATABASE mautrix_signal OWNER mautrix_signal TEMPLATE template0;")  # for the fixture's end


def test_a_beginning_without_an_archive_and_every_update_do_nothing(box: Box) -> None:
    """An update with another `restore`: the database has begun already."""
    for verb, restore in (("begin", "none"), ("keep", "none"), ("keep", "latest")):
        assert box.good(verb, restore=restore) == {"restored": "", "tables": 0}
    assert box.rows() == ["500|a\\b", "99"] and not box.directory.exists()
