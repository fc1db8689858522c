"""Any file of the host read, overwritten, given away or removed, since somebody else than root made a link, or swapped
a directory; what a killed run leaves for ever."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
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
    safe_files.write_file(file, b"one", mode=0o640, owner=(OTHER, OTHER), foreign=True)
    inode = file.stat().st_ino
    assert safe_files.rewrite_file(file, b"two", foreign=True)
    assert not safe_files.rewrite_file(file, b"two", foreign=True)
    now = file.stat()
    assert (file.read_bytes(), stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (b"two", 0o640, OTHER, OTHER)
    assert now.st_ino != inode and [each.name for each in theirs.iterdir()] == ["a.yaml"]


def test_what_is_not_there_is_none_and_its_removal_is_fine(theirs: Path) -> None:
    for path in (theirs / "no", theirs / "no/deeper"):
        assert safe_files.read_file(path, foreign=True) is None
        assert safe_files.inspect_file(path, foreign=True) is None
        assert safe_files.list_directory(path, foreign=True) == []
        assert not safe_files.remove_file(path, foreign=True)
        assert safe_files.remove_directory(path, foreign=True)
    with pytest.raises(ScriptError, match="no: is gone"):
        safe_files.rewrite_file(theirs / "no", b"", foreign=True)


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
        safe_files.read_file(path, foreign=True)


def test_a_link_of_theirs_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", theirs / "a"
    victim.write_text("root's")
    link.symlink_to(victim)
    give(link)
    acts: list[Callable[[], object]] = [
        lambda: safe_files.read_file(link, foreign=True),
        lambda: safe_files.write_file(link, b"x", foreign=True),
    ]
    for act in acts:
        with pytest.raises(
            ScriptError, match=r"is a link that uid 991 made: it is not followed: set the path .*/victim$"
        ):
            act()
    own = pytest.raises(ScriptError, match=r"is a link to .*victim, not a file of its own")
    with own, safe_files.open_file(link, foreign=True):
        pass
    safe_files.remove_file(link, foreign=True)
    assert victim.read_text() == "root's" and not link.is_symlink()


def test_a_link_of_root_s_own_is_followed(theirs: Path, tmp_path: Path) -> None:
    """The operator keeps his homeserver.yaml elsewhere."""
    real, link = tmp_path / "real", theirs / "a"
    real.write_text("old")
    link.symlink_to("../real")
    safe_files.rewrite_file(link, b"new", foreign=True)
    assert link.is_symlink() and real.read_text() == "new"
    with pytest.raises(ScriptError, match=r"is a link to .*real, not a file of its own: remove the link"):
        safe_files.read_file(link, links=False, foreign=True)


def test_a_directory_on_the_way_that_they_made_a_link_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (theirs / "data").symlink_to(tmp_path / "etc")
    give(theirs / "data")
    with pytest.raises(ScriptError, match=r"data is a link that uid 991 made: it is not followed: set the path"):
        safe_files.write_file(theirs / "data/a.yaml", b"x", foreign=True)
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
    with pytest.raises(ScriptError, match="two: not made: Not a directory"):
        safe_files.make_directory(tmp_path / "two", 0o755)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700


ACTS: dict[str, Callable[[Path], object]] = {
    "read": safe_files.read_file,
    "write": lambda path: safe_files.write_file(path, b"x"),
    "remove": safe_files.remove_file,
    "inspect": safe_files.inspect_file,
    "list": lambda path: safe_files.list_directory(path.parent),
    "make": lambda path: safe_files.make_directory(path, 0o700),
    "link": lambda path: safe_files.make_link(path, "x"),
    "empty": lambda path: safe_files.remove_directory(path.parent),
    "tree": safe_files.remove_tree,
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("below", ["", "deeper/"])
def test_nothing_is_done_where_somebody_else_could_change_what_root_does(
    theirs: Path, act: Callable[[Path], object], below: str
) -> None:
    """Pins a parent that its owner swaps for another directory: root then reads a forged note, and deletes what it
    names."""
    (theirs / "deeper").mkdir()
    path = theirs / f"{below}a"
    path.write_text("theirs")
    with pytest.raises(
        ScriptError, match=rf"^{theirs}: belongs to uid 991, who could change .*: chown root {theirs}, or"
    ):
        act(path)
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_nor_where_others_may_write(tmp_path: Path, act: Callable[[Path], object]) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    for mode, refused in ((0o777, True), (0o1777, True), (0o775, True), (0o755, False)):
        open_to_all.chmod(mode)
        (open_to_all / "a").unlink(missing_ok=True)
        (open_to_all / "a").write_text("root's")
        if refused:
            with pytest.raises(
                ScriptError, match=rf"^{open_to_all}: others may write .*: chmod go-w {open_to_all}, or"
            ):
                act(open_to_all / "a")


def test_a_file_that_others_can_change_is_not_read_as_ours(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with safe_files.open_own_file(file) as stream:
        assert stream.read() == b"x"
    for owner, mode, words in ((0, 0o620, "others may write into it"), (OTHER, 0o600, f"belongs to uid {OTHER}, who")):
        give(file, owner)
        file.chmod(mode)
        with pytest.raises(ScriptError, match=f"^{file}: {words}"), safe_files.open_own_file(file):
            pass


def test_a_sticky_directory_above_is_no_fault(tmp_path: Path) -> None:
    """As /tmp: what root made there, nobody else can move."""
    (tmp_path / "sticky/own").mkdir(parents=True)
    (tmp_path / "sticky").chmod(0o1777)
    safe_files.write_file(tmp_path / "sticky/own/a", b"x")
    assert safe_files.read_file(tmp_path / "sticky/own/a")


def test_the_fault_of_a_directory_is_told_before_it_is_used(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert safe_files.find_fault(tmp_path / "new") == ""
    assert safe_files.find_fault(tmp_path / "no/new") == f"{tmp_path}/no: no such directory: make it"
    assert safe_files.find_fault(tmp_path / "no/new", makes_parents=True) == ""
    assert safe_files.find_fault(tmp_path / "file/a/b") == f"{tmp_path}/file: is no directory: move it away"
    assert f"{theirs}: belongs to uid 991" in safe_files.find_fault(theirs)
    assert f"chown root {theirs}" in safe_files.find_fault(theirs / "no/new", makes_parents=True)
    theirs.chmod(0o777)
    assert f": chown root {theirs} && chmod go-w {theirs}, or choose" in safe_files.find_fault(theirs / "new")


def test_what_a_killed_write_left_goes_with_the_next_write_or_the_removal(tmp_path: Path) -> None:
    """Pins a copy of homeserver.yaml, or of tokens, that stays for ever, and a directory that is not removed for it."""

    def kill(file: Path) -> None:
        program = f"""
import os, signal
from pathlib import Path
from host_programs.files import safe_files
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
safe_files.write_file(Path({str(file)!r}), b"secret")
"""
        done = subprocess.run([sys.executable, "-c", program], check=False)
        assert done.returncode == -signal.SIGKILL and not file.exists()
        assert [path.read_bytes() for path in file.parent.iterdir()] == [b"secret"]

    folder = tmp_path / "own"
    folder.mkdir()
    file = folder / "a"
    kill(file)
    assert safe_files.list_directory(folder) == []
    safe_files.write_file(file, b"new")
    assert [path.name for path in folder.iterdir()] == ["a"]
    file.unlink()
    kill(file)
    assert not safe_files.remove_file(file)
    assert [*folder.iterdir()] == []
    kill(file)
    safe_files.remove_unfinished(file)
    assert [*folder.iterdir()] == []
    kill(file)
    assert safe_files.remove_directory(folder) and not folder.exists()


def test_a_directory_with_files_and_a_link_to_one_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").write_text("")
    (tmp_path / "link").symlink_to("full")
    assert not safe_files.remove_directory(tmp_path / "full")
    safe_files.remove_tree(tmp_path / "link")
    assert (tmp_path / "full/a").exists() and not (tmp_path / "link").exists()
    safe_files.remove_tree(tmp_path / "full")
    safe_files.remove_tree(tmp_path / "full")
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    program = f"""
import resource
from pathlib import Path
from host_programs.files import safe_files
from host_programs.messages import ScriptError
resource.setrlimit(resource.RLIMIT_FSIZE, (3, resource.RLIM_INFINITY))
try:
    safe_files.write_file(Path({str(tmp_path / "a")!r}), b"secret")
except ScriptError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/a: not written, the old file stands: File too large\n"
    assert [*tmp_path.iterdir()] == []
