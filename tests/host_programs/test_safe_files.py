"""A link that somebody else than root made and root follows: any file of the host read, overwritten or given away."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from host_programs.files import safe_files
from host_programs.messages import ScriptError

OTHER = 991  # a uid that is not ours


def give(path: Path, uid: int = OTHER) -> None:
    os.chown(path, uid, uid, follow_symlinks=False)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory that belongs to another user."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "theirs"
    directory.mkdir()
    give(directory)
    return directory


def test_a_file_is_replaced_whole_with_owner_and_mode(theirs: Path) -> None:
    file = theirs / "a.yaml"
    safe_files.write_file(file, b"one", mode=0o640, owner=(OTHER, OTHER))
    inode = file.stat().st_ino
    assert safe_files.rewrite_file(file, b"two") and not safe_files.rewrite_file(file, b"two")
    now = file.stat()
    assert (file.read_bytes(), stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (b"two", 0o640, OTHER, OTHER)
    assert now.st_ino != inode and [each.name for each in theirs.iterdir()] == ["a.yaml"]


def test_what_is_not_there_is_none_and_its_removal_is_fine(theirs: Path) -> None:
    assert safe_files.read_file(theirs / "no") is None
    assert safe_files.read_file(theirs / "no/deeper") is None
    safe_files.remove_file(theirs / "no")
    safe_files.remove_file(theirs / "no/deeper")
    with pytest.raises(ScriptError, match="no: is gone"):
        safe_files.rewrite_file(theirs / "no", b"")


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket-like"])
def test_what_is_no_regular_file_is_refused_at_once(theirs: Path, kind: str) -> None:
    path = theirs / "a"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # opened to be read, it would hold us for ever
    else:
        path.symlink_to("/dev/zero")
        give(path)
    with pytest.raises(ScriptError, match=r"is no regular file|is a link that uid 991 made"):
        safe_files.read_file(path)


def test_a_link_of_theirs_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", theirs / "a"
    victim.write_text("root's")
    link.symlink_to(victim)
    give(link)
    for act in (safe_files.read_file, lambda path: safe_files.write_file(path, b"x")):
        with pytest.raises(
            ScriptError, match=r"is a link that uid 991 made: it is not followed: set the path .*/victim$"
        ):
            act(link)
    safe_files.remove_file(link)
    assert victim.read_text() == "root's" and not link.is_symlink()


def test_a_link_of_root_s_own_is_followed(theirs: Path, tmp_path: Path) -> None:
    """The operator keeps his homeserver.yaml elsewhere."""
    real, link = tmp_path / "real", theirs / "a"
    real.write_text("old")
    link.symlink_to("../real")
    safe_files.rewrite_file(link, b"new")
    assert link.is_symlink() and real.read_text() == "new"
    with pytest.raises(ScriptError, match=r"is a link to .*real, not a file of its own: remove the link"):
        safe_files.read_file(link, links=False)


def test_a_directory_on_the_way_that_they_made_a_link_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (theirs / "data").symlink_to(tmp_path / "etc")
    give(theirs / "data")
    with pytest.raises(ScriptError, match=r"data is a link that uid 991 made: it is not followed: set the path"):
        safe_files.write_file(theirs / "data/a.yaml", b"x")
    assert not list((tmp_path / "etc").iterdir())


def test_a_directory_on_the_way_that_root_made_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to("real")
    safe_files.write_file(tmp_path / "data/a.yaml", b"x")
    assert (tmp_path / "real/a.yaml").read_bytes() == b"x"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ScriptError, match="links that lead nowhere"):
        safe_files.read_file(tmp_path / "a")
    with pytest.raises(ScriptError, match="links that lead nowhere"):
        safe_files.read_file(tmp_path / "a/c")


def test_a_directory_that_is_made_is_ours_whoever_made_it_first(tmp_path: Path) -> None:
    safe_files.make_directory(tmp_path / "one", 0o700, (1337, 1337))
    made = (tmp_path / "one").stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (1337, 1337, 0o700)
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError):
        safe_files.make_directory(tmp_path / "two", 0o755)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
